"""An ipBlock holds addresses of pods or nodes, and the network plugin does not match those by address (`--cni cilium`).

Cilium knows pods and nodes by their identities and applies blocks to the rest of the world only.  Its documentation
lists an ipBlock with a pod's address among the features that are missing (cilium/cilium issue 9209), so `0.0.0.0/0`
does not let pods in; nodes can be matched since version 1.15, where `policy-cidr-match-mode` is `nodes` (issue 20550).

Bad (`--cni cilium`):

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
      - from: [{podSelector: {matchLabels: {app: web}}}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: web, labels: {app: web}}
    spec: {containers: [{name: main, image: web}]}
    status: {phase: Running, podIP: 10.0.0.5}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.pods import Pods
from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, Cni, Matching, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import BlockPeer
from npcompile.netset.cidrs import block_except, point
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC502", slug="cni-ip-block", severity=Severity.WARNING, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a block that holds a pod's or a node's address."""
    if case.cni is not Cni.CILIUM:
        return
    pods = case.pods()
    for policy in case.program.policies:
        for rule in policy.rules:
            for peer in rule.match.peers:
                if isinstance(peer, BlockPeer):
                    yield from _claims(case, pods, RuleOf(policy=policy, rule=rule), peer)


def _claims(case: Case, pods: Pods, rule: RuleOf, peer: BlockPeer) -> Iterator[Claim]:
    pod = next(iter(pods.within(peer)), None)
    if pod is not None:
        end = Endpoint(pod=pod[0], address=pod[1])
        whose, advice = f"the address of pod `{pod[0]}`", "select the pods by their labels, too"
        yield _claim(rule, peer, end, whose=whose, kind="pods", advice=advice)
    addresses = block_except(peer.cidr, peer.excepts)
    nodes = case.program.cluster.nodes.values()
    node = next(((one, held) for one in nodes for held in one.addresses if point(held) in addresses), None)
    if node is not None:
        end = Endpoint(address=node[1])
        advice = "set `policy-cidr-match-mode` to `nodes`, which Cilium knows since 1.15"
        yield _claim(rule, peer, end, whose=f"an address of node `{node[0].name}`", kind="nodes", advice=advice)


def _claim(rule: RuleOf, peer: BlockPeer, end: Endpoint, *, whose: str, kind: str, advice: str) -> Claim:
    return Claim(
        rule=RULE,
        message=f"{named(rule)}: `{peer.cidr}` holds `{end.address}`, {whose}; Cilium matches no {kind} by address",
        span=peer.span,
        evidence=Matching(policy=rule.policy, endpoint=end, peer=peer, holds=True),
        scope=Scope.INVENTORY,
        help=advice,
    )
