"""The map against the reference evaluator: its edges, expanded, are exactly what `semantics.decide` allows.

The groups are derived here again from what the parties say of themselves, every pair of their ends is judged at a port
of every class, and an edge must hold for all of its pairs or for some, as it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npcompile import semantics
from npcompile.analyses.parties import EVERYONE, Chosen, ExternalParty, GroupBy, NodeParty, Party, PodParty, groups
from npcompile.analyses.reach import Edge, Holds, Reach
from npcompile.ir.cluster import Pod, Workload
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset import ports
from npcompile.netset.cidrs import Family
from npcompile.relation.relation import Relation, relate
from tests.properties.relation_cases import dense_programs
from tests.properties.relation_oracle import Oracle
from tests.strategies import NODE_ADDRESSES, programs

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
Key = tuple[object, ...]
ANYWHERE: Key = ("outside",)
ON_NODES: Key = ("nodes",)


@st.composite
def owned(draw: st.DrawFn) -> Program:
    """A program whose pods have owners, or none, and may be templates."""
    program = draw(st.one_of(dense_programs(), programs(max_pods=5)))
    owners = st.sampled_from((None, None, Workload(kind="Deployment", name="w"), Workload(kind="Job", name="w")))
    pods = [replace(pod, workload=draw(owners)) for pod in program.cluster.pods]
    if draw(st.booleans()):
        pods[0] = replace(pods[0], template=True, addresses=(), node=None, host_network=False)
    return replace(program, cluster=replace(program.cluster, pods=tuple(pods)))


class World:
    """A program's ends, grouped, and every pair of them judged."""

    def __init__(self, program: Program, by: GroupBy) -> None:
        self.program, self.by = program, by
        self.oracle = Oracle(program)
        self.points = sorted(self.oracle.points)
        self.relation = relate(program)
        self.ends: dict[Key, list[Endpoint]] = {}
        for end in self.oracle.endpoints:
            self.ends.setdefault(self.key(end), []).append(end)

    def key(self, end: Endpoint) -> Key:
        """The group of an end.  Each address outside is one."""
        if end.pod is None:
            nodes = {address for addresses in NODE_ADDRESSES.values() for address in addresses}
            return ON_NODES if end.address in nodes else (*ANYWHERE, end.address)
        return self.key_of_pod(end.pod)

    def key_of_pod(self, pod: Pod) -> Key:
        match self.by:
            case GroupBy.POD:
                return ("pod", *pod.key)
            case GroupBy.NAMESPACE:
                return ("namespace", pod.namespace, pod.host_network)
            case GroupBy.WORKLOAD:
                alike = pod.workload or frozenset(pod.labels.items())
                return ("workload", pod.namespace, alike, pod.host_network)

    def keys_of(self, party: Party) -> list[Key]:
        """The groups that a party stands for."""
        match party:
            case NodeParty():
                return [ON_NODES]
            case ExternalParty():
                inside = [key for key in self.ends if key[0] == ANYWHERE[0]]
                return [key for key in inside if any(key[1] in cidr for cidr in party.cidrs)]  # type: ignore[operator]
            case PodParty():
                return [next(key for key in self.ends if self.is_called(key, party))]

    def is_called(self, key: Key, party: PodParty) -> bool:
        pods = {end.pod.key: end.pod for end in self.ends[key] if end.pod is not None}
        if not pods:
            return False
        first = pods[min(pods)]
        owner = first.workload if self.by is GroupBy.WORKLOAD else None
        name = None if self.by is GroupBy.NAMESPACE else owner.name if owner else first.name
        said = (party.namespace, party.name, party.workload, party.host_network, party.pods)
        return said == (first.namespace, name, owner.kind if owner else None, first.host_network, len(pods))

    @cache  # noqa: B019
    def pairs(self, src: Key, dst: Key, family: Family) -> tuple[tuple[Endpoint, Endpoint], ...]:
        return tuple(
            (one, other)
            for one in self.ends[src]
            for other in self.ends[dst]
            if one.family in (None, family) and other.family in (None, family) and self.is_pair(one, other)
        )

    def is_pair(self, src: Endpoint, dst: Endpoint) -> bool:
        """Two ends, not of one running pod, one of a pod, and not a pod's own node and that pod."""
        if src.pod is not None and dst.pod is not None and src.pod.key == dst.pod.key:
            return src.pod.template
        if src.pod is None and dst.pod is None:
            return False
        ordinary = dst.pod is not None and not dst.pod.host_network
        return not (ordinary and dst.pod is not None and semantics.is_own_node(self.program.cluster, dst.pod, src))

    @cache  # noqa: B019
    def decide(self, src: Endpoint, dst: Endpoint, at: int) -> semantics.Decision:
        protocol, port = ports.at(at)
        flow = Flow(src=src, dst=dst, protocol=protocol, port=port)
        return semantics.decide(self.program.policies, self.program.cluster, flow)

    def expected(self, pairs: Sequence[tuple[Endpoint, Endpoint]]) -> dict[Holds, set[int]]:
        """The points that are open between all pairs, and those between some."""
        found: dict[Holds, set[int]] = {holds: set() for holds in Holds}
        for at in self.points:
            opened = [self.decide(*pair, at).verdict is Verdict.ALLOW for pair in pairs]
            if any(opened):
                found[Holds.ALL if all(opened) else Holds.SOME].add(at)
        return found

    def edges(self, sources: Chosen = EVERYONE, targets: Chosen = EVERYONE) -> list[Edge]:
        return list(reach(self.relation, self.by, sources, targets).edges())


def reach(relation: Relation, by: GroupBy, sources: Chosen = EVERYONE, targets: Chosen = EVERYONE) -> Reach:
    return Reach(relation, groups(relation, by, sources), groups(relation, by, targets))


def families(edge: Edge) -> Iterator[Family]:
    yield from Family if edge.family is None else (edge.family,)


def check_edges(world: World, edges: list[Edge]) -> None:
    """Expanded, the edges are what is allowed, for every pair of groups and family."""
    said: dict[tuple[Key, Key, Family], dict[Holds, set[int]]] = {}
    for edge in edges:
        points = {at for at in world.points if at in edge.ports}
        assert points
        for src in world.keys_of(edge.src):
            for dst in world.keys_of(edge.dst):
                for family in families(edge):
                    here = said.setdefault((src, dst, family), {holds: set() for holds in Holds})
                    assert not points & (here[Holds.ALL] | here[Holds.SOME]), "said twice"
                    here[edge.holds] |= points
    for src in world.ends:
        for dst in world.ends:
            for family in Family:
                pairs = world.pairs(src, dst, family)
                if pairs:
                    nothing: dict[Holds, set[int]] = {holds: set() for holds in Holds}
                    assert said.get((src, dst, family), nothing) == world.expected(pairs), (src, dst, family)


def check_rules(world: World, edge: Edge) -> None:
    """An edge names every rule that decides one of its flows, and no other; its example is one of them."""
    rules, unisolated = set(), set()
    allowed = []
    for family in families(edge):
        for src in world.keys_of(edge.src):
            for dst in world.keys_of(edge.dst):
                for pair in world.pairs(src, dst, family):
                    for at in (at for at in world.points if at in edge.ports):
                        decision = world.decide(*pair, at)
                        if decision.verdict is not Verdict.ALLOW:
                            continue
                        allowed.append(pair)
                        for direction, side in (
                            (Direction.EGRESS, decision.egress),
                            (Direction.INGRESS, decision.ingress),
                        ):
                            if side.reason is semantics.Reason.NOT_ISOLATED:
                                unisolated.add(direction)
                            elif side.policy is not None and side.rule is not None:
                                rules.add((side.policy.key, direction, side.rule.index))
    assert {(one.policy.key, one.rule.direction, one.rule.index) for one in edge.rules} == rules
    assert set(edge.unisolated) == unisolated
    flow = edge.example
    assert ports.point(flow.protocol, flow.port) in edge.ports
    decision = semantics.decide(world.program.policies, world.program.cluster, flow)
    assert decision.verdict is Verdict.ALLOW
    assert world.is_pair(flow.src, flow.dst)
    if not isinstance(edge.src, ExternalParty) and not isinstance(edge.dst, ExternalParty):
        assert (flow.src, flow.dst) in allowed


def check_outside(world: World, edge: Edge) -> None:
    """The internet is every address outside that the other end can have to do with."""
    party = edge.src if isinstance(edge.src, ExternalParty) else edge.dst
    if not isinstance(party, ExternalParty):
        return
    other = world.keys_of(edge.dst if party is edge.src else edge.src)[0]
    met = {end.family for end in world.ends[other]}
    outside = [key for key in world.ends if key[0] == ANYWHERE[0]]
    possible = [key for key in outside if None in met or world.ends[key][0].family in met]
    meant = world.keys_of(party)
    assert meant
    assert set(meant) <= set(possible)
    assert party.internet == (set(meant) == set(possible))
    if party.excepts:
        assert set(possible) - set(meant) == {
            key
            for key in possible
            if any(key[1] in cidr for cidr in party.excepts)  # type: ignore[operator]
        }


@pytest.mark.parametrize("by", GroupBy)
@settings(CALM, max_examples=40)
@given(program=owned())
def test_the_map_is_what_the_evaluator_allows(by: GroupBy, program: Program) -> None:
    world = World(program, by)
    edges = world.edges()
    check_edges(world, edges)
    for edge in edges:
        check_rules(world, edge)
        check_outside(world, edge)


@settings(CALM, max_examples=60)
@given(owned(), st.sampled_from(GroupBy), st.data())
def test_a_choice_leaves_the_rest_as_it_is(program: Program, by: GroupBy, data: st.DataObject) -> None:
    """`--from` and `--to` a namespace, and the internet: the same edges as without them."""
    world = World(program, by)
    namespaces = sorted({pod.namespace for pod in program.cluster.pods})
    some = st.sampled_from([EVERYONE, Chosen(internet=True), *(Chosen(namespace=name) for name in namespaces)])
    sources, targets = data.draw(some), data.draw(some)
    everything = [edge for edge in world.edges() if chosen(sources, edge.src) and chosen(targets, edge.dst)]
    assert [meaning(edge) for edge in world.edges(sources, targets)] == [meaning(edge) for edge in everything]


def chosen(choice: Chosen, party: Party) -> bool:
    if choice.internet:
        return isinstance(party, ExternalParty)
    return choice.everything or (isinstance(party, PodParty) and party.namespace == choice.namespace)


def meaning(edge: Edge) -> Key:
    rules = tuple((one.policy.key, one.rule.direction, one.rule.index) for one in edge.rules)
    return (edge.src, edge.dst, edge.ports, edge.holds, edge.family, rules, edge.unisolated, edge.classes)


@settings(CALM, max_examples=60)
@given(owned(), st.sampled_from(GroupBy), st.sampled_from(Direction), st.data())
def test_what_a_map_of_one_place_leaves_out_is_denied(
    program: Program, by: GroupBy, direction: Direction, data: st.DataObject
) -> None:
    """The closing statement: each identity reaches something of the place (or is reached by something of it), or is
    shown with a flow that is denied.
    """
    into = direction is Direction.INGRESS
    world = World(program, by)
    pod = data.draw(st.sampled_from(program.cluster.pods))
    place = data.draw(st.sampled_from((Chosen(namespace=pod.namespace), Chosen(pods=(pod,), finest=GroupBy.POD))))
    inside = [
        end for end in world.oracle.endpoints
        if end.pod and (end.pod.key == pod.key or (place.namespace and end.pod.namespace == pod.namespace))
    ]  # fmt: skip
    identities = world.relation.identities
    connected, candidates = set(), set()
    for far in world.oracle.endpoints:
        for near in inside:
            src, dst = (far, near) if into else (near, far)
            families_match = src.family is None or dst.family is None or src.family == dst.family
            if families_match and world.is_pair(src, dst):
                candidates.add(identities.of(far))
                if any(world.decide(src, dst, at).verdict is Verdict.ALLOW for at in world.points):
                    connected.add(identities.of(far))
    sources, targets = (EVERYONE, place) if into else (place, EVERYONE)
    closing = reach(world.relation, by, sources, targets).closing(direction)
    assert closing.connected == len(connected)
    assert {identities.of(flow.src if into else flow.dst) for flow in closing.denied} == candidates - connected
    for flow in closing.denied:
        assert world.decide(flow.src, flow.dst, ports.point(flow.protocol, flow.port)).verdict is Verdict.DENY


@settings(CALM, max_examples=60)
@given(owned(), st.data())
def test_one_pod_and_one_address(program: Program, data: st.DataObject) -> None:
    """A pod by itself is as in the map by pods, and an address is as any other of its identity."""
    world = World(program, GroupBy.POD)
    pod = data.draw(st.sampled_from(program.cluster.pods))
    one = Chosen(pods=(pod,), finest=GroupBy.POD)
    everything = world.edges()
    by = data.draw(st.sampled_from(GroupBy))
    for found, side in (
        (reach(world.relation, by, sources=one), "src"),
        (reach(world.relation, by, targets=one), "dst"),
    ):
        if by is GroupBy.POD:
            assert [meaning(edge) for edge in found.edges()] == [
                meaning(edge) for edge in everything if names(getattr(edge, side), pod)
            ]
        assert all(names(getattr(edge, side), pod) for edge in found.edges())
    end = data.draw(st.sampled_from([end for end in world.oracle.endpoints if end.pod is None]))
    address = Chosen(address=end.address)
    world.ends = {key: ends for key, ends in world.ends.items() if key[0] == "pod"} | {world.key(end): [end]}
    check_address(world, end, [*world.edges(sources=address), *world.edges(targets=address)])


def names(party: Party, pod: Pod) -> bool:
    return isinstance(party, PodParty) and (party.namespace, party.name, party.by) == (*pod.key, GroupBy.POD)


def check_address(world: World, end: Endpoint, edges: list[Edge]) -> None:
    """The edges of an address with each pod."""
    key = world.key(end)
    for edge in edges:
        outside = edge.dst if isinstance(edge.src, PodParty) else edge.src
        assert str(end.address) in str(outside)
        check_rules(world, edge)
    for pod in [key for key in world.ends if key[0] == "pod"]:
        for src, dst in ((key, pod), (pod, key)):
            for family in Family:
                if pairs := world.pairs(src, dst, family):
                    here = {holds: set[int]() for holds in Holds}
                    for edge in edges:
                        if (world.keys_of(edge.src), world.keys_of(edge.dst)) == ([src], [dst]):
                            assert edge.family in (None, family)
                            here[edge.holds] |= {at for at in world.points if at in edge.ports}
                    assert here == world.expected(pairs)
