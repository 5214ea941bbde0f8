"""`diff` against the reference evaluator: the boxes, expanded, are exactly the flows whose verdicts differ.

The boxes are expanded from what they say of themselves: their parties and ports.  Every pair of ends that both versions
have is judged by both, at a port of every class.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npcompile import semantics
from npcompile.analyses.diff import Changed, Comparison, compare
from npcompile.analyses.diff_parties import Party, PartyKind
from npcompile.ir.cluster import Pod, Workload
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.ir.versions import Change
from npcompile.netset import ports
from npcompile.netset.cidrs import Address, family_of
from npcompile.netset.ports import Protocol
from tests.properties.relation_cases import dense_policies, dense_programs
from tests.properties.relation_oracle import Oracle
from tests.strategies import NODE_ADDRESSES, labels, pods, policies, programs

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
OWNERS = st.sampled_from((None, None, Workload(kind="Deployment", name="w"), Workload(kind="Job", name="w")))

End = tuple[Endpoint, Endpoint]  # as the old and the new version have it
Cell = tuple[str, str, int]  # source, destination, point of the port


def with_policies(program: Program, some: Iterable[object]) -> Program:
    return replace(program, policies=tuple(sorted(some, key=lambda policy: policy.key)))  # type: ignore[attr-defined]


def with_pods(program: Program, some: Iterable[Pod]) -> Program:
    return replace(program, cluster=replace(program.cluster, pods=tuple(sorted(some, key=lambda pod: pod.key))))


@st.composite
def changed_policies(draw: st.DrawFn) -> tuple[Program, Program]:
    """Two programs over the same pods; some of their policies are the same."""
    old = draw(st.one_of(dense_programs(), programs(max_pods=5)))
    old = with_pods(old, [replace(pod, workload=draw(OWNERS)) for pod in old.cluster.pods])
    pool = [rule.match for policy in old.policies for rule in policy.rules]
    kept = [policy for policy in old.policies if draw(st.booleans())]
    names = [f"np{number}" for number in range(4) if f"np{number}" not in {policy.name for policy in kept}]
    some = dense_policies if pool and draw(st.booleans()) else None
    added = [
        draw(some(name, tuple(pool)) if some else policies(name)) for name in names[: draw(st.integers(0, len(names)))]
    ]
    return old, with_policies(old, [*kept, *added])


@st.composite
def changed_clusters(draw: st.DrawFn) -> tuple[Program, Program]:
    """Two programs whose pods differ, too: in number, labels, ports, addresses, nodes and what they are."""
    old, new = draw(changed_policies())
    found = []
    for number, pod in enumerate(new.cluster.pods):
        other = draw(pods(number, bound=draw(st.booleans())))
        match draw(st.sampled_from(("same", "labels", "ports", "node", "other", "gone"))):
            case "same":
                found.append(pod)
            case "labels":
                found.append(replace(pod, labels=draw(labels())))
            case "ports":
                found.append(replace(pod, ports=other.ports))
            case "node" if not pod.host_network:
                found.append(replace(pod, node=draw(st.sampled_from((None, *NODE_ADDRESSES)))))
            case "other":
                found.append(replace(other, namespace=pod.namespace, name=pod.name))
    if draw(st.booleans()):
        found.append(replace(draw(pods(9, bound=True)), name="new"))
    if draw(st.booleans()):
        space = draw(st.sampled_from(sorted(new.cluster.namespaces)))
        named = replace(new.cluster.namespaces[space], labels={**new.cluster.namespaces[space].labels, "team": "one"})
        new = replace(new, cluster=replace(new.cluster, namespaces={**new.cluster.namespaces, space: named}))
    return old, with_pods(new, found)


class World:
    """Two versions, and every comparable pair of ends judged by both."""

    def __init__(self, old: Program, new: Program) -> None:
        self.versions = (old, new)
        self.points = sorted(Oracle(old).points)
        self.ends: dict[str, End] = {}
        listed = [{(pod.key, pod.template): pod for pod in one.cluster.pods} for one in self.versions]
        self.common = {key: (listed[0][key], listed[1][key]) for key in listed[0].keys() & listed[1].keys()}
        for before, after in self.common.values():
            for one in before.addresses or (None,):
                for other in after.addresses or (None,):
                    if one is None or other is None or one.version == other.version:
                        family = one or other
                        name = f"{before} {family_of(family).name if family else 'any'}"
                        self.ends[name] = (Endpoint(pod=before, address=one), Endpoint(pod=after, address=other))
        for address in self.addresses():
            self.ends[str(address)] = (Endpoint(address=address), Endpoint(address=address))
        self.pairs = [(a, b) for a in self.ends for b in self.ends if self.is_pair(self.ends[a], self.ends[b])]

    def addresses(self) -> set[Address]:
        """Addresses of every class, that no ordinary pod has, and no pod on the network of its node for both."""
        candidates = {end.address for one in self.versions for end in Oracle(one).endpoints if end.pod is None}
        candidates |= {address for addresses in NODE_ADDRESSES.values() for address in addresses}
        inhabited = [pod for one in self.versions for pod in one.cluster.pods]
        taken = {address for pod in inhabited if not pod.host_network for address in pod.addresses}
        both = [pair for pair in self.common.values() if pair[0].host_network and pair[1].host_network]
        shown = {address for old, new in both for address in old.addresses if address in new.addresses}
        return {address for address in candidates if address is not None} - taken - shown

    def is_pair(self, src: End, dst: End) -> bool:
        """Whether both versions have such flows, and one of them may deny them."""
        for one, other in zip(src, dst, strict=True):
            if one.family and other.family and one.family != other.family:
                return False
        families = [{end.family for end in ends} - {None} for ends in (src, dst)]
        if families[0] and families[1] and families[0] != families[1]:
            return False
        pods_of = [ends[1].pod for ends in (src, dst)]
        if pods_of[0] and pods_of[1] and pods_of[0].key == pods_of[1].key:
            return pods_of[0].template
        return not all(self.own_node(version, src, dst) for version in range(2))

    def own_node(self, version: int, src: End, dst: End) -> bool:
        pod = dst[version].pod
        if pod is None or pod.host_network:
            return False
        return semantics.is_own_node(self.versions[version].cluster, pod, src[version])

    def decide(self, version: int, src: str, dst: str, at: int) -> semantics.Decision:
        protocol, port = ports.at(at)
        program = self.versions[version]
        flow = Flow(src=self.ends[src][version], dst=self.ends[dst][version], protocol=protocol, port=port)
        return semantics.decide(program.policies, program.cluster, flow)

    def expected(self) -> dict[Change, set[Cell]]:
        """The flows whose verdicts differ."""
        found: dict[Change, set[Cell]] = {change: set() for change in Change}
        for src, dst in self.pairs:
            for at in self.points:
                verdicts = tuple(self.decide(version, src, dst, at).verdict for version in range(2))
                if verdicts[0] is not verdicts[1]:
                    found[Change.OPENED if verdicts[1] is Verdict.ALLOW else Change.CLOSED].add((src, dst, at))
        return found

    def inside(self, parties: Iterable[Party]) -> set[str]:
        """The ends that some parties stand for."""
        return {name for party in parties for name, end in self.ends.items() if self.is_in(party, end)}

    def is_in(self, party: Party, end: End) -> bool:
        if end[1].pod is not None:
            named = {(pod.key, pod.template) for pod in party.pods}
            families = {one.family for one in end} - {None}
            return (end[1].pod.key, end[1].pod.template) in named and party.family in (None, *families)
        address = end[1].address
        if party.kind is PartyKind.NODES:
            return address in party.addresses
        return self.is_outside(address) and any(address in cidr for cidr in party.cidrs)  # type: ignore[operator]

    def is_outside(self, address: Address | None) -> bool:
        special = {one for addresses in NODE_ADDRESSES.values() for one in addresses}
        return address not in special

    def cells(self, changed: Changed) -> set[Cell]:
        """The flows that a box stands for."""
        sources, targets = self.inside(changed.sources), self.inside(changed.targets)
        inside = [at for at in self.points if at in changed.ports]
        return {(a, b, at) for a, b in self.pairs if a in sources and b in targets for at in inside}


def check(world: World, comparison: Comparison) -> None:
    expected = world.expected()
    for change in Change:
        boxes = [(one, world.cells(one)) for one in comparison.of(change)]
        assert set().union(*(cells for _, cells in boxes)) == expected[change]
        assert sum(len(cells) for _, cells in boxes) == len(expected[change]), "boxes overlap"
        for one, cells in boxes:
            assert cells
            check_box(world, one, cells)
        if comparison.complete:
            check_apart([one for one, _ in boxes])


def check_box(world: World, one: Changed, cells: set[Cell]) -> None:
    """Its causes are those of its flows, and its witness is one of them."""
    passing, denying = (0, 1) if one.change is Change.CLOSED else (1, 0)
    rules, not_isolated, blockers, own_node = set(), set(), set(), False
    for cell in cells:
        decision = world.decide(passing, *cell)
        for direction, side in ((Direction.EGRESS, decision.egress), (Direction.INGRESS, decision.ingress)):
            if side.reason is semantics.Reason.NOT_ISOLATED:
                not_isolated.add(direction)
            elif side.policy is not None and side.rule is not None:
                rules.add((side.policy.key, direction, side.rule.index))
            own_node = own_node or side.reason is semantics.Reason.OWN_NODE
        decision = world.decide(denying, *cell)
        for direction, side in ((Direction.EGRESS, decision.egress), (Direction.INGRESS, decision.ingress)):
            if not side.allowed and side.policy is not None:
                blockers.add((direction, side.policy.key))
    assert {(of.policy.key, of.rule.direction, of.rule.index) for of in one.why.rules} == rules
    assert {(blocker.direction, blocker.policy.key) for blocker in one.blockers} == blockers
    assert set(one.why.not_isolated) == not_isolated
    assert one.why.own_node == own_node
    check_witness(one)
    check_surprise(world, one, cells)


def check_witness(one: Changed) -> None:
    for flow in one.witness:
        assert ports.point(flow.protocol, flow.port) in one.ports
        assert flow.port_text == ports_first(one)


def ports_first(one: Changed) -> str:
    protocol, port = ports.at(one.ports.first)
    return f"{protocol}/{port}" if protocol is not Protocol.ICMP else str(protocol)


def check_surprise(world: World, one: Changed, cells: set[Cell]) -> None:
    """A closed flow that a newly isolated end denies, and the other explicitly allows."""
    surprising = False
    for src, dst, at in cells if one.change is Change.CLOSED else ():
        before, after = (world.decide(version, src, dst, at) for version in range(2))
        for old, new, far in (
            (before.ingress, after.ingress, after.egress),
            (before.egress, after.egress, after.ingress),
        ):
            newly = old.reason is semantics.Reason.NOT_ISOLATED and not new.allowed
            surprising = surprising or (newly and far.reason is semantics.Reason.RULE)
    assert (one.surprise is not None) == surprising


def check_apart(boxes: list[Changed]) -> None:
    """No two boxes are one: they differ in more than one of source, destination and ports."""
    said = [(one.sources, one.targets, one.ports) for one in boxes]
    for place, one in enumerate(said):
        for other in said[:place]:
            assert sum(mine == theirs for mine, theirs in zip(one, other, strict=True)) < 2


@settings(CALM, max_examples=40)
@given(changed_policies())
def test_the_boxes_are_what_differs(versions: tuple[Program, Program]) -> None:
    check(World(*versions), compare(*versions))


@settings(CALM, max_examples=40)
@given(changed_clusters())
def test_the_boxes_are_what_differs_where_the_cluster_changes(versions: tuple[Program, Program]) -> None:
    check(World(*versions), compare(*versions))


@settings(CALM, max_examples=15)
@given(changed_clusters())
def test_with_little_effort_the_boxes_are_as_true(versions: tuple[Program, Program]) -> None:
    comparison = compare(*versions, pieces=3)
    check(World(*versions), comparison)


@settings(CALM, max_examples=60)
@given(st.one_of(dense_programs(), programs()))
def test_nothing_differs_from_itself(program: Program) -> None:
    comparison = compare(program, program)
    assert comparison.changes == ()
    assert comparison.one_sided == ()
    assert comparison.alike


def said(changes: Iterable[Changed]) -> list[object]:
    return [(one.sources, one.targets, one.ports) for one in changes]


@settings(CALM, max_examples=60)
@given(changed_policies())
def test_what_one_way_opens_the_other_way_closes(versions: tuple[Program, Program]) -> None:
    there, back = compare(*versions), compare(*reversed(versions))
    assert said(there.of(Change.OPENED)) == said(back.of(Change.CLOSED))
    assert said(there.of(Change.CLOSED)) == said(back.of(Change.OPENED))
