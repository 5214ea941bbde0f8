"""A policy without rules denies, and other policies open all of its pods to everyone.

NetworkPolicies only add up: a default-deny takes nothing away from what another policy allows.  For every pod that it
selects, the rules of others together match every peer on every port, so that nothing is denied in this direction.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: default-deny, namespace: shop}
    spec: {podSelector: {}, policyTypes: [Ingress]}
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: for-debugging, namespace: shop}
    spec:
      podSelector: {}
      policyTypes: [Ingress]
      ingress: [{}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: default-deny, namespace: shop}
    spec: {podSelector: {}, policyTypes: [Ingress]}
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: for-debugging, namespace: shop}
    spec:
      podSelector: {matchLabels: {debug: "true"}}
      policyTypes: [Ingress]
      ingress: [{}]
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import named, place
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.ir.policy import Direction
from npcompile.questions import DefeatedDeny, NotDecided

RULE = RuleCode(code="NPC202", slug="defeated-deny", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a policy and direction in which nothing is denied."""
    for answer in case.engine.defeated_denies():
        yield undecided(RULE, answer) if isinstance(answer, NotDecided) else _claim(case, answer)


def _claim(case: Case, answer: DefeatedDeny) -> Claim:
    ingress = answer.direction is Direction.INGRESS
    cover = " and ".join(named(rule) for rule in answer.rules)
    verb = "opens" if len(answer.rules) == 1 else "together open"
    return Claim(
        rule=RULE,
        message=f"`{answer.policy}` denies no {answer.direction}: {cover} {verb} all of its pods to everyone",
        span=answer.policy.span,
        label="denies nothing",
        evidence=FlowWitness(
            flow=answer.example.flow,
            invented=answer.example.invented,
            egress_allowed=None if ingress else True,
            ingress_allowed=True if ingress else None,
            matched_by=answer.rules[0],
        ),
        scope=case.scope,
        every_pod=case.everywhere(answer),
        notes=tuple(place(rule, f"opens pods to everyone: {named(rule)}") for rule in answer.rules),
        help="narrow what opens the pods, or remove the policy that denies nothing",
    )
