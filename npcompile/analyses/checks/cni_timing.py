"""When the network plugin begins to enforce a policy (`--cni aws` or `calico`).

The API leaves it open.  With the Amazon VPC CNI as it comes, a new pod allows everything until its policies are
configured; `NETWORK_POLICY_ENFORCING_MODE=strict` turns that round (Amazon EKS user guide).  Calico judges the first
packet of a connection, and one that is open lives on when a policy changes (Calico reference, "Connection tracking").

Bad (`--cni aws`):

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]

Good (`--cni cilium`):

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.claims import Case, Claim, Cni, Textual, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity

RULE = RuleCode(code="NPC508", slug="cni-timing", severity=Severity.INFO, kind=Kind.HEURISTIC)
_SAYS = {
    Cni.AWS: (
        "allows everything to and from a new pod until its policies are configured",
        "set `NETWORK_POLICY_ENFORCING_MODE` to `strict` where that is too late",
    ),
    Cni.CALICO: (
        "lets connections that are open live on when a policy changes",
        "end them, or delete their state with the `conntrack` tool, when a policy is tightened",
    ),
}


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a program that has policies."""
    policies = case.program.policies
    if case.cni not in _SAYS or not policies:
        return
    what, advice = _SAYS[case.cni]
    yield Claim(
        rule=RULE,
        message=f"{case.cni} {what}",
        span=policies[0].span,
        evidence=Textual(),
        scope=case.scope,
        help=advice,
    )
