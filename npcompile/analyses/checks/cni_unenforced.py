"""The network plugin enforces no NetworkPolicy at all (`--cni flannel`).

Flannel only connects pods: the API server accepts policies, and every packet passes.  Something else has to enforce
them beside it: Calico (both together were called Canal) or kube-network-policies, which Flannel's chart installs with
`netpol.enabled=true` since v0.25.5.

Bad (`--cni flannel`):

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]

Good (`--cni calico`):

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
from npcompile.diagnostics.model import RuleCode, Severity

RULE = RuleCode(code="NPC501", slug="cni-unenforced", severity=Severity.ERROR)
_ENFORCES_NOTHING = frozenset({Cni.FLANNEL})


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a program that has policies."""
    policies = case.program.policies
    if case.cni not in _ENFORCES_NOTHING or not policies:
        return
    number = len(policies)
    whom = "the policy" if number == 1 else f"the {number} policies"
    yield Claim(
        rule=RULE,
        message=f"{case.cni} enforces no NetworkPolicy by itself: {whom} would have no effect",
        span=policies[0].span,
        evidence=Textual(),
        scope=case.scope,
        help="install what enforces policies beside it (`netpol.enabled=true` since v0.25.5), or use another plugin",
    )
