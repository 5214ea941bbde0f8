"""Checks that look at pods and z3 both, each by its definition, over all labels that could make a difference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile import semantics
from npcompile.driver.check import CheckOptions, check_program
from npcompile.ir.cluster import Cluster, Namespace, Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.labels import NAMESPACE_NAME
from npcompile.ir.policy import BlockPeer, Direction, Peer, PodPeer, Policy
from npcompile.ir.program import Program
from tests.properties.relation_cases import dense_programs
from tests.strategies import KEYS, NAMESPACES, VALUES, programs

# Of each key: absent, what selectors mention (names of namespaces, too), and something else.
LABELS = (None, *VALUES, NAMESPACES[0], "other")


def labellings() -> Iterator[dict[str, str]]:
    for values in product(LABELS, repeat=len(KEYS)):
        yield {key: value for key, value in zip(KEYS, values, strict=True) if value is not None}


EVERY_LABELLING = tuple(labellings())


def said(program: Program, code: str) -> list[str]:
    return [f"{one.severity}: {one.message}" for one in check_program(program, CheckOptions(select=(code,)))]


@settings(max_examples=60, deadline=None)
@given(st.one_of(programs(), dense_programs()))
def test_isolated_by_labels(program: Program) -> None:
    expected = set()
    for name in NAMESPACES:
        pods = [pod for pod in program.cluster.pods if pod.namespace == name and not pod.host_network]
        for direction in Direction:
            isolated = all(_isolated(program, direction, pod) for pod in pods)
            could = (Pod(namespace=name, name="new", labels=labels) for labels in EVERY_LABELLING)
            if pods and isolated and not all(_isolated(program, direction, pod) for pod in could):
                expected.add((name, str(direction)))
    found = [re.findall(r"`(.)` are isolated for (\w+)", one)[0] for one in said(program, "NPC304")]
    assert len(found) == len(set(found))
    assert set(found) == expected


def _isolated(program: Program, direction: Direction, pod: Pod) -> bool:
    return any(direction in policy.directions and semantics.selects(policy, pod) for policy in program.policies)


@settings(max_examples=60, deadline=None)
@given(programs())
def test_idle_peers(program: Program) -> None:
    expected = []
    for policy in program.policies:
        subjects = any(semantics.selects(policy, pod) for pod in program.cluster.pods)
        selects = any(semantics.matches(policy.subjects, labels) for labels in EVERY_LABELLING)
        for rule in policy.rules if selects else ():
            peers = rule.match.peers
            never = [not _possible(program.cluster, policy, peer) for peer in peers]
            idle = [
                impossible or (subjects and not _matched(program, policy, peer))
                for impossible, peer in zip(never, peers, strict=True)
            ]
            if len(peers) > 1 and not all(idle):
                expected += ["error" if one else "info" for one, out in zip(never, idle, strict=True) if out]
    assert sorted(one.split(":")[0] for one in said(program, "NPC421")) == sorted(expected)


def _matched(program: Program, policy: Policy, peer: Peer) -> bool:
    ends = (Endpoint(pod=pod, address=address) for pod in program.cluster.pods for address in pod.addresses or (None,))
    return isinstance(peer, BlockPeer) or any(
        semantics.peer_matches(program.cluster, policy, peer, end) for end in ends
    )


def _possible(cluster: Cluster, policy: Policy, peer: Peer) -> bool:
    if not isinstance(peer, PodPeer):
        return True
    if not any(semantics.matches(peer.pods, labels) for labels in EVERY_LABELLING):
        return False
    spaces = peer.namespaces
    return spaces is None or any(semantics.matches(spaces, one.labels) for one in _namespaces(cluster))


def _namespaces(cluster: Cluster) -> Iterator[Namespace]:
    """The listed ones, and any other, under every valid name that a selector mentions, and under another one."""
    yield from (one for one in cluster.namespaces.values() if one.listed)
    names = {*NAMESPACES, *(value for value in VALUES if value), "other"}
    for name in sorted(names - {one.name for one in cluster.namespaces.values() if one.listed}):
        for labels in EVERY_LABELLING:
            yield Namespace(name=name, labels={**labels, NAMESPACE_NAME: name})
