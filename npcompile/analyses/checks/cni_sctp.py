"""A rule speaks of SCTP, which the network plugin does not support as it comes (`--cni cilium` or `kube-router`).

Cilium needs `sctp.enabled=true`, a beta feature, and a Service's port that equals its target port.  kube-router does
not implement SCTP in policies (its issue 1019 asks for it, and is open).

Bad (`--cni cilium`):

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - ports: [{port: 9000, protocol: SCTP}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - ports: [{port: 9000, protocol: TCP}]
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, Cni, Textual, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.netset.ports import Protocol
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC504", slug="cni-sctp", severity=Severity.WARNING, kind=Kind.HEURISTIC)
_SAYS = {
    Cni.CILIUM: ("knows SCTP only where it is enabled", "install Cilium with `sctp.enabled=true` (beta)"),
    Cni.KUBE_ROUTER: ("does not implement SCTP in policies", "do not rely on this rule with kube-router"),
}


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a port item for SCTP."""
    if case.cni not in _SAYS:
        return
    what, advice = _SAYS[case.cni]
    for policy in case.program.policies:
        for rule in policy.rules:
            for item in rule.match.ports:
                if item.protocol is Protocol.SCTP:
                    yield Claim(
                        rule=RULE,
                        message=f"{named(RuleOf(policy=policy, rule=rule))}: {case.cni} {what}",
                        span=item.span,
                        evidence=Textual(),
                        scope=case.scope,
                        help=advice,
                    )
