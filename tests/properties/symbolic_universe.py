"""A universe of flows small enough to enumerate, for policies that cannot tell more apart, and what they mean in it.

It holds one end for each class that the policies can tell apart, so a statement about all of it is one about everything
that could exist.  Everything about meaning comes from the reference evaluator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from npcompile.ir.cluster import Cluster, ContainerPort, Namespace, Pod
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.labels import NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import (
    BlockPeer,
    Direction,
    Match,
    NamedPort,
    PodPeer,
    Policy,
    PortItem,
    PortRange,
    Rule,
)
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import RuleOf
from npcompile.semantics import peer_matches, port_matches, selects

TCP, UDP = Protocol.TCP, Protocol.UDP
NAMED_B = Requirement(key=NAMESPACE_NAME, operator=Operator.IN, values=("b",))
VALUES = (None, "x", "other")
# Two addresses of each cell that the blocks below cut out: one for sources, one for destinations.
CELLS = (("1.0.0.0", "1.0.0.1"), ("10.0.0.1", "10.0.0.2"), ("10.0.0.129", "10.0.0.130"), ("fd00::1", "fd00::2"))
BLOCKS = (
    BlockPeer(cidr=ip_network("10.0.0.0/24")),
    BlockPeer(cidr=ip_network("10.0.0.0/24"), excepts=(ip_network("10.0.0.128/25"),)),
    BlockPeer(cidr=ip_network("10.0.0.128/25")),
    BlockPeer(cidr=ip_network("0.0.0.0/0")),
    BlockPeer(cidr=ip_network("::/0")),
)
POINTS = ((TCP, 53), (TCP, 80), (TCP, 81), (TCP, 9), (UDP, 53), (UDP, 54), (Protocol.SCTP, 80), (Protocol.ICMP, None))
PORT_ITEMS: tuple[PortItem, ...] = (
    PortRange(protocol=TCP, first=80, last=80),
    PortRange(protocol=TCP, first=80, last=81),
    PortRange(protocol=TCP, first=1, last=65535),
    PortRange(protocol=TCP, first=53, last=53),
    PortRange(protocol=UDP, first=53, last=53),
    NamedPort(protocol=TCP, name="http"),
)


def selectors(key: str) -> st.SearchStrategy[Selector]:
    """Selectors over one key and one value."""
    some = [Requirement(key=key, operator=o, values=("x",)) for o in (Operator.IN, Operator.NOT_IN)]
    some += [Requirement(key=key, operator=o) for o in (Operator.EXISTS, Operator.DOES_NOT_EXIST)]
    chosen = st.lists(st.sampled_from(some), max_size=2, unique=True)
    return st.one_of(
        st.just(Selector()),
        chosen.map(lambda found: Selector(requirements=tuple(sorted(found, key=lambda r: r.operator.value)))),
    )


def peers() -> st.SearchStrategy[PodPeer | BlockPeer]:
    """Peers of every kind."""
    spaces = st.one_of(st.none(), selectors("env"), st.just(Selector(requirements=(NAMED_B,))))
    return st.one_of(st.builds(PodPeer, namespaces=spaces, pods=selectors("app")), st.sampled_from(BLOCKS).map(replace))


def peer_lists() -> st.SearchStrategy[tuple[PodPeer | BlockPeer, ...]]:
    """Peers of a rule, split ones and pods of the own namespace often enough."""
    some = (Operator.IN, Operator.EXISTS)
    halves = st.sampled_from(
        [
            (
                PodPeer(namespaces=_one("env", a), pods=Selector()),
                PodPeer(namespaces=None, pods=_one("app", b)),
            )
            for a in some
            for b in some
        ]
    )
    own = selectors("app").map(lambda found: (PodPeer(namespaces=None, pods=found),))
    return st.one_of(
        st.lists(peers(), max_size=2).map(tuple), own, own, halves, halves.map(lambda pair: (pair[1], pair[0]))
    )


def _one(key: str, operator: Operator) -> Selector:
    values = ("x",) if operator is Operator.IN else ()
    return Selector(requirements=(Requirement(key=key, operator=operator, values=values),))


@st.composite
def policies(draw: st.DrawFn, name: str) -> Policy:
    """A policy of namespace a or b."""
    directions = draw(st.sets(st.sampled_from(Direction), min_size=1))
    rules = []
    for direction in (one for one in Direction if one in directions):
        for index in range(draw(st.integers(0, 3))):
            items = draw(st.lists(st.sampled_from(PORT_ITEMS), max_size=2, unique=True))
            match = Match(peers=draw(peer_lists()), ports=tuple(items))
            rules.append(Rule(direction=direction, index=index, match=match))
    return Policy(
        namespace=draw(st.sampled_from(("a", "a", "b"))),
        name=name,
        subjects=draw(st.one_of(st.just(Selector()), selectors("app"))),
        directions=frozenset(directions),
        rules=tuple(rules),
    )


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Policies without pods, one namespace listed."""
    found = tuple(sorted((draw(policies(f"p{n}")) for n in range(draw(st.integers(1, 4)))), key=lambda p: p.key))
    labels = draw(st.sampled_from(({}, {"env": "x"}, {"env": "z"})))
    namespaces = {"b": Namespace(name="b", labels={**labels, NAMESPACE_NAME: "b"})}
    return Program(policies=found, cluster=Cluster(namespaces=namespaces))


@st.composite
def closing(draw: st.DrawFn) -> Program:
    """Programs whose policies often have no say: other ones close both namespaces, and those allow only pods there."""
    program = draw(programs())
    shut = [
        Policy(
            namespace=namespace,
            name=f"z-{namespace}",
            subjects=Selector(),
            directions=frozenset(draw(st.sampled_from([Direction, (Direction.INGRESS,), (Direction.EGRESS,)]))),
            rules=(),
        )
        for namespace in draw(st.sampled_from(("ab", "ab", "a", "b")))
    ]
    inside = st.builds(
        PodPeer, namespaces=st.sampled_from((None, Selector(requirements=(NAMED_B,)))), pods=selectors("app")
    )
    policies = [
        replace(policy, rules=tuple(_to(rule, draw(inside)) for rule in policy.rules)) for policy in program.policies
    ]
    return replace(program, policies=tuple(sorted((*policies, *shut), key=lambda policy: policy.key)))


def _to(rule: Rule, peer: PodPeer) -> Rule:
    return replace(rule, match=replace(rule.match, peers=(peer,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A possible end, but for its address, which both cells' addresses stand for."""

    pod: Pod | None
    cell: int | None
    space: str = ""  # tells the possible labels of one namespace apart

    def end(self, side: int) -> Endpoint:
        return Endpoint(pod=self.pod, address=None if self.cell is None else ip_address(CELLS[self.cell][side]))


class Universe:
    """Every class of flow, and for each rule and side the port points (a bit mask) by which it matches."""

    def __init__(self, program: Program) -> None:
        self.program = program
        spaces = {("b", "b"): program.cluster.namespaces["b"].labels}
        for name in ("a", "new"):
            for value in VALUES:
                labels = {NAMESPACE_NAME: name} | ({} if value is None else {"env": value})
                spaces[f"{name}-{value}", name] = labels
        namespaces = {space: Namespace(name=space, labels=labels) for (space, _), labels in spaces.items()}
        self._cluster = Cluster(namespaces=namespaces)
        self.places = [_Place(pod=None, cell=cell) for cell in range(len(CELLS))]
        for space, name in spaces:
            for value in VALUES:
                pod = Pod(namespace=name, name="p", labels={} if value is None else {"app": value})
                self.places += [_Place(pod=pod, cell=cell, space=space) for cell in (None, *range(len(CELLS)))]
        self.rules = sorted(
            (RuleOf(policy=p, rule=rule) for p in program.policies for rule in p.rules), key=lambda of: of.order
        )
        self.peer_items = {
            (of.order, number): {i for i, place in enumerate(self.places) if self.matches_peer(of, item, place)}
            for of in self.rules
            for number, item in enumerate(of.rule.match.peers)
        }

    def matches_peer(self, of: RuleOf, item: PodPeer | BlockPeer, place: _Place) -> bool:
        """Whether a peer that a rule has, or could have, matches an end."""
        if isinstance(item, PodPeer) and item.namespaces is not None and place.pod is not None:
            # the evaluator looks a namespace up by name: here each name stands with several labels
            moved = replace(place, pod=replace(place.pod, namespace=place.space))
            return peer_matches(self._cluster, of.policy, item, moved.end(0))
        return peer_matches(self._cluster, of.policy, item, place.end(0))

    def selected(self, policy: Policy, place: _Place) -> bool:
        return place.pod is not None and selects(policy, place.pod)

    def is_peer(self, of: RuleOf, place: int) -> bool:
        found = (place in self.peer_items[of.order, number] for number in range(len(of.rule.match.peers)))
        return not of.rule.match.peers or any(found)

    def points(self, items: tuple[PortItem, ...], dst: _Place) -> int:
        """The points that port items match, and their twins where the destination declares them as `http`."""
        return sum(
            1 << number
            for number, (protocol, port, declared) in enumerate(self._declared(dst))
            if not items or any(port_matches(item, self._flow(dst, protocol, port, declared)) for item in items)
        )

    def every_point(self, dst: _Place) -> int:
        return self.points((), dst)

    def _declared(self, dst: _Place) -> Iterator[tuple[Protocol, int | None, bool]]:
        yield from ((protocol, port, False) for protocol, port in POINTS)
        if dst.pod is not None:
            yield from ((protocol, port, True) for protocol, port in POINTS)

    def _flow(self, dst: _Place, protocol: Protocol, port: int | None, declared: bool) -> Flow:
        pod = dst.pod
        if pod is not None and port is not None and declared:
            pod = replace(pod, ports=(ContainerPort(name="http", protocol=TCP, number=port),))
        end = Endpoint(pod=pod, address=ip_address("1.0.0.1") if pod is None else None)
        src = Endpoint(pod=Pod(namespace="a", name="sender", labels={}))
        return Flow(src=src, dst=end, protocol=protocol, port=port)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """The pairs of ends between which a flow is possible."""
        for i, src in enumerate(self.places):
            for j, dst in enumerate(self.places):
                a, b = src.end(0), dst.end(1)
                if src.pod is None and dst.pod is None:
                    continue
                if a.address is not None and b.address is not None and a.family != b.family:
                    continue
                same_name = src.pod is not None and dst.pod is not None and src.pod.namespace == dst.pod.namespace
                if same_name and src.pod.namespace != "new" and src.space != dst.space:  # type: ignore[union-attr]
                    continue
                yield i, j

    def subject_and_peer(self, direction: Direction, pair: tuple[int, int]) -> tuple[int, int]:
        return (pair[1], pair[0]) if direction is Direction.INGRESS else pair


class Meaning:
    """The universe's flows, as a mask of points for each pair of ends."""

    def __init__(self, program: Program) -> None:
        self.universe = universe = Universe(program)
        self.pairs = list(universe.pairs())
        masks = {
            (of.order, items, is_pod): universe.points(items, next(p for p in universe.places if bool(p.pod) is is_pod))
            for of in universe.rules
            for items in (of.rule.match.ports, *((item,) for item in of.rule.match.ports))
            for is_pod in (True, False)
        }
        self._masks = masks
        self._every = {is_pod: universe.every_point(universe.places[-1 if is_pod else 0]) for is_pod in (True, False)}
        self.selected = {
            policy.key: {i for i, place in enumerate(universe.places) if universe.selected(policy, place)}
            for policy in program.policies
        }
        self.peers = {
            of.order: {i for i in range(len(universe.places)) if universe.is_peer(of, i)} for of in universe.rules
        }

    def matched(self, of: RuleOf, pair: tuple[int, int], items: tuple[PortItem, ...] | None = None) -> int:
        """T_p and M_r, with other port items if given."""
        subject, peer = self.universe.subject_and_peer(of.rule.direction, pair)
        if subject not in self.selected[of.policy.key] or peer not in self.peers[of.order]:
            return 0
        is_pod = self.universe.places[pair[1]].pod is not None
        return self._masks[of.order, of.rule.match.ports if items is None else items, is_pod]

    def allowed(self, direction: Direction, pair: tuple[int, int], without: Policy | None = None) -> int:
        """A_D, of all policies but one."""
        subject, _ = self.universe.subject_and_peer(direction, pair)
        found = 0
        if not self.isolated(direction, subject, without):
            return self.everything(pair)
        for of in self.universe.rules:
            if of.rule.direction is direction and of.policy is not without:
                found |= self.matched(of, pair)
        return found

    def everything(self, pair: tuple[int, int]) -> int:
        """All points of a pair of ends."""
        return self._every[self.universe.places[pair[1]].pod is not None]

    def isolated(self, direction: Direction, place: int, without: Policy | None = None) -> bool:
        """Whether some policy, but for one, isolates an end."""
        policies = (policy for policy in self.universe.program.policies if policy is not without)
        return any(direction in p.directions and place in self.selected[p.key] for p in policies)
