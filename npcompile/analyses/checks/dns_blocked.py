"""Pods may send something, and cannot resolve names.

Egress was restricted and port 53 forgotten, the most common accident of egress policies: everything that connects by
name fails.  A warning when UDP 53 is closed; an info when only TCP 53 is, which long answers need (RFC 7766).

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Egress]
      egress:
      - to: [{podSelector: {matchLabels: {app: db}}}]
        ports: [{port: 5432}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Egress]
      egress:
      - to: [{podSelector: {matchLabels: {app: db}}}]
        ports: [{port: 5432}]
      - to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
        ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import some
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.questions import DnsBlocked, NotDecided

RULE = RuleCode(code="NPC402", slug="dns-blocked", severity=Severity.WARNING, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a policy whose pods cannot resolve names."""
    for answer in case.engine.dns_blocked():
        yield undecided(RULE, answer) if isinstance(answer, NotDecided) else _claim(case, answer)


def _claim(case: Case, answer: DnsBlocked) -> Claim:
    who = some(answer.pods) if case.scope is Scope.INVENTORY else "pods that it selects"
    closed = "over TCP" if answer.udp_allowed else "at all"
    return Claim(
        rule=RULE,
        severity=Severity.INFO if answer.udp_allowed else Severity.WARNING,
        message=f"`{answer.policy}` isolates {who} for egress, and DNS is not allowed {closed}",
        span=answer.policy.span,
        evidence=FlowWitness(
            flow=answer.example.flow, invented=answer.example.invented, egress_allowed=False
        ),
        scope=case.scope,
        help="allow egress to the cluster's DNS on port 53, over UDP and TCP",
    )  # fmt: skip
