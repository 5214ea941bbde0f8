"""Peers that were probably meant as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from npcompile.ir.cluster import Pod
from npcompile.ir.policy import Peer, PodPeer
from npcompile.netset.cidrs import Family, family_of
from npcompile.questions import SplitPeer
from npcompile.relation.inventory import Inventory
from npcompile.relation.rules import BoxedRule

_V4, _V6 = frozenset({Family.V4}), frozenset({Family.V6})


def split_peers(inventory: Inventory) -> Iterator[SplitPeer]:
    """Adjacent peers, one of namespaces and one of pods, that together match more than one peer with both selectors
    would, which would still match some pod.
    """
    for rule in inventory.relation.rules:
        for first, second in pairwise(rule.of.rule.match.peers):
            for namespaces, pods in ((first, second), (second, first)):
                if _only_namespaces(namespaces) and _only_pods(pods):
                    assert isinstance(namespaces, PodPeer)
                    assert isinstance(pods, PodPeer)
                    yield from _split(inventory, rule, namespaces, pods)


def _only_namespaces(peer: Peer) -> bool:
    return (
        isinstance(peer, PodPeer)
        and peer.namespaces is not None
        and bool(peer.namespaces.requirements)
        and not peer.pods.requirements
    )


def _only_pods(peer: Peer) -> bool:
    return isinstance(peer, PodPeer) and peer.namespaces is None and bool(peer.pods.requirements)


def _split(inventory: Inventory, rule: BoxedRule, namespaces: PodPeer, pods: PodPeer) -> Iterator[SplitPeer]:
    selection, roster = inventory.relation.selection, inventory.roster
    namespace = rule.of.policy.namespace
    both = selection.peers(namespace, PodPeer(namespaces=namespaces.namespaces, pods=pods.pods))
    either = selection.peers(namespace, namespaces) | selection.peers(namespace, pods)
    lost = either & ~both
    boxes = [box._replace(peers=box.peers & lost) for box in rule.possible]
    example = inventory.example(rule.direction, boxes)
    if both and example is not None:
        yield SplitPeer(
            subject=rule.of,
            namespaces=namespaces,
            pods=pods,
            example=example,
            closes=_pairs(roster.pods_in(rule.subjects), roster.pods_in(lost)),
        )


def _pairs(subjects: Sequence[Pod], peers: Sequence[Pod]) -> int:
    """How many pairs of two pods can have flows: a pod with IPv4 only has none with a pod with IPv6 only."""
    own = {pod.key for pod in subjects}
    first, second = Counter(map(_families, subjects)), Counter(map(_families, peers))
    apart = first[_V4] * second[_V6] + first[_V6] * second[_V4]
    return len(subjects) * len(peers) - apart - sum(pod.key in own and not pod.template for pod in peers)


def _families(pod: Pod) -> frozenset[Family]:
    return frozenset(family_of(address) for address in pod.addresses)
