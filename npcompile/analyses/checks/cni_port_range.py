"""Older versions of the network plugin ignore `endPort` (`--cni cilium`, `kube-router` or `calico`).

A plugin that does not know the field keeps the first port and drops the rest of the range without a word.  Cilium knows
it since 1.16 (cilium/cilium issues 16622 and 28684), kube-router since 2021 (its pull request 1080 of that May), Calico
in 3.19.1 at the latest (libcalico-go pull request 1357, kubernetes pull request 102386).

Bad (`--cni cilium`):

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - ports: [{port: 8000, endPort: 8010}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - ports: [{port: 8000}]
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, Cni, Textual, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.ir.policy import PortItem, PortRange
from npcompile.netset.ports import FIRST_PORT, LAST_PORT
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC503", slug="cni-port-range", severity=Severity.WARNING, kind=Kind.HEURISTIC)
_SINCE = {Cni.CILIUM: "before 1.16", Cni.KUBE_ROUTER: "of before May 2021", Cni.CALICO: "before 3.19"}
_LONG_AGO = frozenset({Cni.KUBE_ROUTER, Cni.CALICO})


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a range of ports."""
    if case.cni not in _SINCE:
        return
    for policy in case.program.policies:
        for rule in policy.rules:
            for item in rule.match.ports:
                if isinstance(item, PortRange) and _is_range(item):
                    yield _claim(case, case.cni, RuleOf(policy=policy, rule=rule), item)


def _is_range(item: PortRange) -> bool:
    return item.first < item.last and (item.first, item.last) != (FIRST_PORT, LAST_PORT)


def _claim(case: Case, cni: Cni, rule: RuleOf, item: PortItem) -> Claim:
    return Claim(
        rule=RULE,
        severity=Severity.INFO if cni in _LONG_AGO else Severity.WARNING,
        message=f"{named(rule)}: versions of {cni} {_SINCE[cni]} ignore `endPort` and match the first port only",
        span=item.span,
        evidence=Textual(),
        scope=case.scope,
        help="make sure that the version is newer, or list the ports one by one",
    )
