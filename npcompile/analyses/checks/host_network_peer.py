"""A rule asks by labels for pods that are on their node's network, which no selector matches.

The traffic of a pod with `hostNetwork: true` comes from, and goes to, its node's address.  A rule for the labels of an
ingress controller on the node's network, say, does not let it in, though its own node is never shut out.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - from: [{podSelector: {matchLabels: {app: proxy}}}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: proxy-0, namespace: web, labels: {app: proxy}}
    spec: {hostNetwork: true, containers: [{name: main, image: proxy}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - from: [{ipBlock: {cidr: 192.0.2.0/24}}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: proxy-0, namespace: web, labels: {app: proxy}}
    spec: {hostNetwork: true, containers: [{name: main, image: proxy}]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import named, some
from npcompile.analyses.claims import Case, Claim, Matching, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import PodPeer
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC418", slug="host-network-peer", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a peer that asks for certain pods, some of them on their node's network."""
    pods = case.pods()
    for policy in case.program.policies:
        for rule in policy.rules:
            for peer in rule.match.peers:
                if isinstance(peer, PodPeer) and peer.pods.requirements:
                    hosts = [pod for pod in pods.labelled(policy, peer) if pod.host_network]
                    if hosts:
                        yield _claim(RuleOf(policy=policy, rule=rule), peer, hosts)


def _claim(rule: RuleOf, peer: PodPeer, hosts: list[Pod]) -> Claim:
    are = "is" if len(hosts) == 1 else "are"
    return Claim(
        rule=RULE,
        message=f"{named(rule)} does not match {some(hosts)}, which {are} on the node's network",
        span=peer.span,
        label="no selector matches `hostNetwork` pods",
        evidence=Matching(policy=rule.policy, endpoint=Endpoint(pod=hosts[0]), peer=peer, holds=False),
        scope=Scope.INVENTORY,
        help="add an `ipBlock` with the addresses of the nodes",
    )
