"""An ipBlock holds addresses of pods.

By the API it then matches those pods, and npcompile and the conformance tests say so, too.  But addresses of pods
change, and not every network plugin agrees: Cilium never matches pods by address.  A rule that means pods should select
them; one that means the outside should except the pods' range.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - from: [{ipBlock: {cidr: 10.0.0.0/8}}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: web, labels: {app: web}}
    spec: {containers: [{name: main, image: web}]}
    status: {phase: Running, podIP: 10.0.0.5}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/16]}}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: web, labels: {app: web}}
    spec: {containers: [{name: main, image: web}]}
    status: {phase: Running, podIP: 10.0.0.5}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from npcompile.analyses.checks.wording import named, some
from npcompile.analyses.claims import Case, Claim, Matching, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import BlockPeer
from npcompile.netset.cidrs import Address
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC420", slug="block-covers-pods", severity=Severity.INFO, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a block that holds a pod's address."""
    pods = case.pods()
    for policy in case.program.policies:
        for rule in policy.rules:
            for peer in rule.match.peers:
                if isinstance(peer, BlockPeer):
                    held = pods.within(peer)
                    if held:
                        yield _claim(RuleOf(policy=policy, rule=rule), peer, held)


def _claim(rule: RuleOf, peer: BlockPeer, held: Sequence[tuple[Pod, Address]]) -> Claim:
    pod, address = held[0]
    pods = list({one.key: one for one, _ in held}.values())
    return Claim(
        rule=RULE,
        message=f"{named(rule)}: `{peer.cidr}` holds addresses of {some(pods)}",
        span=peer.span,
        evidence=Matching(policy=rule.policy, endpoint=Endpoint(pod=pod, address=address), peer=peer, holds=True),
        scope=Scope.INVENTORY,
        help="select pods by their labels; add `except` for the pods' addresses where only the outside is meant",
    )
