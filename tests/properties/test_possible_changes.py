"""The boxes of what a change opens and closes for every possible pod, against the reference evaluator.

Ends of a small universe, in which each thing that the policies mention meets one that they do not, are judged by both
versions.  A flow changes if and only if one of the boxes, read as it describes itself, has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npcompile import semantics
from npcompile.driver.diff import Judge
from npcompile.ir.classes import AddressClass, EndClass, LabelCondition, PodClass
from npcompile.ir.cluster import Cluster, ContainerPort, Namespace, Pod
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.labels import NAMESPACE_NAME, Labels
from npcompile.ir.policy import Direction, Match
from npcompile.ir.program import PolicyIndex, Program
from npcompile.ir.versions import Both, Change, Version
from npcompile.netset import cidrs, ports
from npcompile.netset.ports import Protocol
from npcompile.questions import Example, PossibleChange
from npcompile.semantics import Reason, Side
from npcompile.symbolic import pair_question
from npcompile.symbolic.changes import possible_changes
from tests.properties.relation_cases import PEERS, PORTS, dense_policies
from tests.properties.test_diff import changed_clusters
from tests.strategies import policies

CALM = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
FEW = settings(CALM, max_examples=25)
DIRECTIONS = (Direction.EGRESS, Direction.INGRESS)
EFFORT = 2_000_000
SPACES = ("a", "b", "c", "d")  # policies are in the first two, and speak of the third
ADDRESSES = (None, *map(ip_address, ("10.0.0.1", "10.0.0.5", "10.9.0.1", "192.0.2.130", "203.0.113.7", "fd00::5")))
POINTS = ((Protocol.TCP, 1), (Protocol.TCP, 80), (Protocol.TCP, 81), (Protocol.TCP, 443), (Protocol.TCP, 9999),
          (Protocol.UDP, 53), (Protocol.UDP, 80), (Protocol.ICMP, None))  # fmt: skip
LABELS = [{key: value for key, value in zip(("app", "tier"), values, strict=True) if value is not None}
          for values in product((None, "x", "z"), (None, "y"))]  # fmt: skip
TEAMS: list[dict[str, str]] = [{}, {"team": "one"}, {"team": "two", "app": "x"}]
LISTINGS = st.fixed_dictionaries({}, optional={name: st.sampled_from(TEAMS) for name in SPACES[1:3]})


def namespace(name: str, labels: Labels, *, listed: bool) -> Namespace:
    return Namespace(name=name, labels={**labels, NAMESPACE_NAME: name}, listed=listed)


@st.composite
def two_versions(draw: st.DrawFn) -> Both[Program]:
    """Two programs without pods, some of whose policies are the same, and most of whose namespaces are."""
    peers = draw(st.lists(st.sampled_from(PEERS), min_size=1, max_size=3))
    items = draw(st.lists(st.sampled_from(PORTS), min_size=1, max_size=3))
    pool = tuple(Match(peers=some, ports=ports) for some in peers for ports in items)
    make = st.sampled_from((policies, lambda name: dense_policies(name, pool), lambda name: dense_policies(name, pool)))
    old = {f"p{n}": draw(draw(make)(f"p{n}")) for n in range(draw(st.integers(0, 3)))}
    new = {name: policy for name, policy in old.items() if draw(st.booleans())}
    for number in range(draw(st.integers(0, 2))):
        name = f"p{draw(st.integers(0, 3))}" if number else "q"
        new[name] = draw(draw(make)(name))
    listings = draw(LISTINGS)
    others = draw(st.one_of(st.just(listings), st.just(listings), LISTINGS))
    return Both(_program(old, listings), _program(new, others))


def _program(named: Mapping[str, object], listings: Mapping[str, Labels]) -> Program:
    known = {name: namespace(name, labels, listed=True) for name, labels in listings.items()}
    some = sorted(named.values(), key=lambda policy: policy.key)  # type: ignore[attr-defined]
    for policy in some:
        name = policy.namespace  # type: ignore[attr-defined]
        known.setdefault(name, namespace(name, {}, listed=False))
    return Program(policies=tuple(some), cluster=Cluster(namespaces=known))  # type: ignore[arg-type]


@dataclass(frozen=True)
class End:
    """An end, and what the labels of its namespace are where a version does not list it."""

    endpoint: Endpoint
    team: int = 0


class World:
    """Two versions, and how they judge flows between some ends."""

    def __init__(self, programs: Both[Program]) -> None:
        self.programs = programs
        self.policies = Both(*(PolicyIndex(program.policies) for program in programs))

    def spaces(self, version: Version, ends: tuple[End, End]) -> dict[str, Namespace]:
        """The namespaces of a version, those included that it does not list."""
        known = dict(self.programs[version].cluster.namespaces)
        for end in ends:
            pod = end.endpoint.pod
            if pod is not None and not (pod.namespace in known and known[pod.namespace].listed):
                known[pod.namespace] = namespace(pod.namespace, TEAMS[end.team], listed=False)
        return known

    def sides(self, version: Version, flow: Flow, spaces: Mapping[str, Namespace]) -> tuple[Side, Side]:
        cluster = replace(self.programs[version].cluster, namespaces=spaces)
        decision = semantics.decide(self.policies[version].judging(flow), cluster, flow)
        return decision.egress, decision.ingress

    def change(self, flow: Flow, ends: tuple[End, End]) -> Change | None:
        old, new = (all(side.allowed for side in self.sides(v, flow, self.spaces(v, ends))) for v in Version)
        return None if old == new else Change.OPENED if new else Change.CLOSED

    def listed(self, version: Version, name: str) -> bool:
        found = self.programs[version].cluster.namespaces.get(name)
        return found is not None and found.listed

    def replayed(self, example: Example) -> Both[tuple[Side, Side]]:
        found = []
        for version in Version:
            known = dict(self.programs[version].cluster.namespaces)
            known |= {one.name: one for one in example.invented if not self.listed(version, one.name)}
            found.append(self.sides(version, example.flow, known))
        return Both(*found)

    def is_surprise(self, direction: Direction, sides: Both[tuple[Side, Side]]) -> bool:
        """Whether an end is newly isolated in a direction, denies, and the other end's rules allow."""
        near = DIRECTIONS.index(direction)
        old, new = sides
        newly = old[near].reason is Reason.NOT_ISOLATED and new[near].reason is Reason.NO_RULE
        return newly and all(side.allowed for side in old) and new[1 - near].reason is Reason.RULE

    # What a box says of itself

    def has(self, one: PossibleChange, flow: Flow, ends: tuple[End, End]) -> bool:
        declared = {(port.name, port.protocol) for port in flow.dst.pod.ports if port.number == flow.port} if (
            flow.dst.pod
        ) else set()  # fmt: skip
        return (
            ports.point(flow.protocol, flow.port) in one.ports
            and all(((port.name, port.protocol) in declared) is port.declared for port in one.declared)
            and any(self.is_in(ends[0], some) for some in one.sources)
            and any(self.is_in(ends[1], some) for some in one.targets)
        )

    def is_in(self, end: End, some: EndClass) -> bool:
        address, pod = end.endpoint.address, end.endpoint.pod
        if isinstance(some, AddressClass):
            return pod is None and address is not None and cidrs.point(address) in some.addresses
        if pod is None or (pod.namespace in some.names) is some.excluded:
            return False
        if not (some.unaddressed if address is None else cidrs.point(address) in some.addresses):
            return False
        return all(fulfils(one, pod.labels) for one in some.labels) and self.is_labelled(some, pod.namespace, end)

    def is_labelled(self, some: PodClass, name: str, end: End) -> bool:
        labels: Labels = TEAMS[end.team]
        if some.namespace_labels and some.labels_in is not None:
            assert not self.listed(some.labels_in, name)
        elif some.namespace_labels:
            assert not any(self.listed(version, name) for version in Version)
        return all(fulfils(one, labels) for one in some.namespace_labels)


def fulfils(condition: LabelCondition, labels: Labels) -> bool:
    value = labels.get(condition.key)
    return condition.absent if value is None else (value in condition.values) is not condition.excluded


@st.composite
def some_ends(draw: st.DrawFn) -> list[End]:
    """Ends of the universe."""
    found = [End(Endpoint(address=address)) for address in draw(st.sets(st.sampled_from(ADDRESSES[1:]), max_size=3))]
    for number in range(draw(st.integers(4, 8))):
        name = draw(st.sampled_from(SPACES))
        address = draw(st.sampled_from(ADDRESSES))
        declared = draw(st.sampled_from(((), (("http", 80),), (("http", 81), ("dns", 53)))))
        pod = Pod(
            namespace=name,
            name=f"e{number}",
            labels=draw(st.sampled_from(LABELS)),
            addresses=() if address is None else (address,),
            ports=tuple(ContainerPort(name=word, protocol=Protocol.TCP, number=port) for word, port in declared),
        )
        found.append(End(Endpoint(pod=pod, address=address), draw(st.integers(0, len(TEAMS) - 1))))
    teams = {end.endpoint.pod.namespace: end.team for end in found if end.endpoint.pod}  # one a namespace
    return [replace(end, team=teams[end.endpoint.pod.namespace]) if end.endpoint.pod else end for end in found]


def flows(ends: list[End]) -> Iterator[tuple[Flow, tuple[End, End]]]:
    for src, dst in product(ends, ends):
        one, other = src.endpoint, dst.endpoint
        alike = one.address is not None and one.address == other.address
        mixed = one.family and other.family and one.family != other.family
        if src is not dst and not alike and not mixed and (one.pod or other.pod):
            for protocol, port in POINTS:
                yield Flow(src=one, dst=other, protocol=protocol, port=port), (src, dst)


@given(two_versions(), some_ends())
@CALM
def test_the_boxes_are_the_flows_that_change(programs: Both[Program], ends: list[End]) -> None:
    found = possible_changes(*programs, EFFORT)
    assert not found.unsettled
    world = World(programs)
    for flow, pair in flows(ends):
        boxed = {one.change for one in found.changes if world.has(one, flow, pair)}
        change = world.change(flow, pair)
        assert boxed == ({change} if change else set()), (flow, pair)
    for one in found.changes:
        check_causes(world, one)


def check_causes(world: World, one: PossibleChange) -> None:
    """The example is such a flow, for causes that are named; and so is that of a surprise."""
    sides = world.replayed(one.example)
    passing, denying = sides[one.change.passing], sides[one.change.passing.other]
    assert all(side.allowed for side in passing)
    assert not all(side.allowed for side in denying)
    named = {(of.policy, of.rule) for of in one.why.rules}
    blockers = {(blocker.direction, blocker.policy) for blocker in one.blockers}
    for direction, lets, keeps in zip(DIRECTIONS, passing, denying, strict=True):
        assert lets.reason is not Reason.RULE or (lets.policy, lets.rule) in named
        assert lets.reason is not Reason.NOT_ISOLATED or direction in one.why.not_isolated
        assert keeps.allowed or (direction, keeps.policy) in blockers
    if one.surprise is not None:
        assert world.is_surprise(one.surprise.direction, world.replayed(one.surprise.example))


@given(two_versions())
@CALM
def test_boxes_and_solver_agree(programs: Both[Program]) -> None:
    """What boxes decide is what z3 decides, down to the causes and the examples."""
    found = possible_changes(*programs, EFFORT)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pair_question, "EFFORT_OF_STEP", 1 << 62)  # no effort buys a look at a box
        assert possible_changes(*programs, EFFORT) == found


@given(two_versions(), some_ends())
@FEW
def test_surprises_are_those_of_the_definition(programs: Both[Program], ends: list[End]) -> None:
    found = possible_changes(*programs, EFFORT)
    world = World(programs)
    for flow, pair in flows(ends):
        sides = Both(*(world.sides(version, flow, world.spaces(version, pair)) for version in Version))
        if world.change(flow, pair) is Change.CLOSED and any(world.is_surprise(one, sides) for one in DIRECTIONS):
            assert any(one.surprise for one in found.changes if world.has(one, flow, pair)), (flow, pair)


@given(changed_clusters())
@FEW
def test_real_pods_are_examples_where_both_versions_have_them_alike(versions: tuple[Program, Program]) -> None:
    """Clusters with pods and nodes, whose examples have to pass the driver's replay."""
    programs = Both(*versions)
    found = possible_changes(*programs, EFFORT)
    judge = Judge(programs)
    known = set(programs.old.cluster.pods) & set(programs.new.cluster.pods)
    listed = {pod.key for program in programs for pod in program.cluster.pods}
    for one in found.changes:
        judge.confirm(one)
        for end in (one.example.flow.src, one.example.flow.dst):
            assert end.pod is None or end.pod in known or end.pod.key not in listed
