"""The symbolic engine's answers are exactly what the definitions say, over a universe small enough to enumerate.

The universe holds one end for each class that the policies can tell apart, so a statement about all of it is one about
everything that could exist.  Everything about meaning comes from the reference evaluator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from itertools import pairwise

from hypothesis import given, settings
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
from npcompile.questions import Breadth, NotDecided, RuleOf
from npcompile.semantics import peer_matches, port_matches, selects
from npcompile.symbolic.engine import SymbolicEngine
from tests.properties.redundancy_oracle import parts, split

TCP, UDP = Protocol.TCP, Protocol.UDP
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
    named = Requirement(key=NAMESPACE_NAME, operator=Operator.IN, values=("b",))
    spaces = st.one_of(st.none(), selectors("env"), st.just(Selector(requirements=(named,))))
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
        self._peers = {
            (of.order, number): {i for i, place in enumerate(self.places) if self._is_peer(of, item, place)}
            for of in self.rules
            for number, item in enumerate(of.rule.match.peers)
        }

    def _is_peer(self, of: RuleOf, item: PodPeer | BlockPeer, place: _Place) -> bool:
        if isinstance(item, PodPeer) and item.namespaces is not None and place.pod is not None:
            # the evaluator looks a namespace up by name: here each name stands with several labels
            moved = replace(place, pod=replace(place.pod, namespace=place.space))
            return peer_matches(self._cluster, of.policy, item, moved.end(0))
        return peer_matches(self._cluster, of.policy, item, place.end(0))

    def selected(self, policy: Policy, place: _Place) -> bool:
        return place.pod is not None and selects(policy, place.pod)

    def is_peer(self, of: RuleOf, place: int) -> bool:
        found = (place in self._peers[of.order, number] for number in range(len(of.rule.match.peers)))
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

    def allowed(self, direction: Direction, pair: tuple[int, int]) -> int:
        """A_D."""
        subject, _ = self.universe.subject_and_peer(direction, pair)
        found = 0
        if not self.isolated(direction, subject):
            return self.everything(pair)
        for of in self.universe.rules:
            if of.rule.direction is direction:
                found |= self.matched(of, pair)
        return found

    def everything(self, pair: tuple[int, int]) -> int:
        """All points of a pair of ends."""
        return self._every[self.universe.places[pair[1]].pod is not None]

    def isolated(self, direction: Direction, place: int) -> bool:
        policies = self.universe.program.policies
        return any(direction in p.directions and place in self.selected[p.key] for p in policies)


def expected_shadowed(meaning: Meaning) -> dict[object, list[object]]:
    """The rules that are shadowed, in the fixed order of removal, and their covers."""
    flows = {of.order: [meaning.matched(of, pair) for pair in meaning.pairs] for of in meaning.universe.rules}
    kept = list(meaning.universe.rules)
    found: dict[object, list[object]] = {}

    def covered(of: RuleOf, by: list[RuleOf]) -> bool:
        return all(
            not mine or not mine & ~_union(flows[one.order][n] for one in by) for n, mine in enumerate(flows[of.order])
        )

    for of in reversed(meaning.universe.rules):
        others = [
            one
            for one in kept
            if one is not of
            and one.rule.direction is of.rule.direction
            and one.policy.namespace == of.policy.namespace
            and any(a & b for a, b in zip(flows[one.order], flows[of.order], strict=True))
        ]
        if not any(flows[of.order]) or not covered(of, others):
            continue
        single = next((one for one in others if covered(of, [one])), None)
        cover = others if single is None else [single]
        for one in list(cover):
            if covered(of, [other for other in cover if other is not one]):
                cover = [other for other in cover if other is not one]
        found[of.order] = [one.order for one in cover]
        kept = [one for one in kept if one is not of]
    return found


class Superfluous:
    """Which policies do all that another one does."""

    def __init__(self, meaning: Meaning) -> None:
        self._meaning = meaning
        self._flows = {of.order: [meaning.matched(of, pair) for pair in meaning.pairs] for of in meaning.universe.rules}
        self.policies = [policy for policy in meaning.universe.program.policies if meaning.selected[policy.key]]

    def _allowed(self, among: list[Policy], direction: Direction, n: int) -> int:
        keys = {policy.key for policy in among}
        rules = (of for of in self._meaning.universe.rules if of.policy.key in keys and of.rule.direction is direction)
        return _union(self._flows[of.order][n] for of in rules)

    def with_only(self, policy: Policy, left: Collection[Policy]) -> bool:
        """Whether a policy is superfluous where these others are left."""
        meaning = self._meaning
        for direction in policy.directions:
            every = [p for p in self.policies if direction in p.directions and p is not policy]
            others = [p for p in every if p in left]
            for n, pair in enumerate(meaning.pairs):
                subject, _ = meaning.universe.subject_and_peer(direction, pair)
                if subject not in meaning.selected[policy.key]:
                    continue
                own = self._allowed([policy], direction, n)
                if not any(subject in meaning.selected[p.key] for p in every):
                    if own != meaning.everything(pair):
                        return False
                elif own & ~self._allowed(others, direction, n) or not any(
                    subject in meaning.selected[p.key] for p in others
                ):
                    return False
        return True


def expected_redundant(meaning: Meaning) -> list[tuple[str, str]]:
    """The policies that are superfluous, in the fixed order of removal."""
    superfluous = Superfluous(meaning)
    left, found = list(superfluous.policies), []
    for policy in reversed(superfluous.policies):
        if superfluous.with_only(policy, left):
            left.remove(policy)
            found.append(policy.key)
    return sorted(found)


def expected_items(meaning: Meaning, gone: Collection[object]) -> set[tuple[object, str, int]]:
    """The parts of rules that are superfluous, in the fixed order of removal."""
    universe = meaning.universe
    matches = {of.order: (of, of.rule.match) for of in universe.rules if of.order not in gone}

    def flows(of: RuleOf, match: Match) -> list[int]:
        return part_of_rule(universe.program, of, match)

    masks = {order: flows(of, match) for order, (of, match) in matches.items()}
    found = set()
    for order, (of, match) in reversed(list(matches.items())):
        near = [
            masks[one.order]
            for one, _ in matches.values()
            if one is not of and one.policy.namespace == of.policy.namespace and one.rule.direction is of.rule.direction
        ]
        for kind, number in parts(match):
            own, rest = split(matches[order][1], kind, number)
            if not getattr(rest, kind):
                continue
            mine, left = flows(of, own), flows(of, rest)
            covered = all(not m & ~_union(iter((r, *others))) for m, r, *others in zip(mine, left, *near, strict=True))
            if any(mine) and covered:
                found.add((order, kind, number))
                matches[order], masks[order] = (of, rest), left
    return found


def part_of_rule(program: Program, of: RuleOf, match: Match) -> list[int]:
    """What a rule would match if it matched this, by pair of ends."""
    reduced = Meaning(replace(program, policies=(_with_one_rule(of, match),)))
    (rule,) = reduced.universe.rules
    return [reduced.matched(rule, pair) for pair in reduced.pairs]


def _with_one_rule(of: RuleOf, match: Match) -> Policy:
    return replace(of.policy, rules=(replace(of.rule, match=match),))


def expected_wide_open(meaning: Meaning) -> dict[tuple[str, Direction, Breadth], bool]:
    """Where a pod is possible that is open to everyone of a kind, and whether on all ports."""
    places = meaning.universe.places
    kinds = {
        Breadth.IPV4: [n for n, place in enumerate(places) if place.pod is None and place.cell != len(CELLS) - 1],
        Breadth.IPV6: [n for n, place in enumerate(places) if place.pod is None and place.cell == len(CELLS) - 1],
        Breadth.PODS: [n for n, place in enumerate(places) if place.pod is not None],
    }
    found: dict[tuple[str, Direction, Breadth], bool] = {}
    for subject, place in enumerate(places):
        if place.pod is None or place.cell is not None:
            continue
        for direction in Direction:
            for breadth, everyone in kinds.items():
                # a destination that is anyone need not declare any name
                points = (1 << len(POINTS) * (2 if direction is Direction.INGRESS else 1)) - 1
                for peer in everyone:
                    pair = (peer, subject) if direction is Direction.INGRESS else (subject, peer)
                    rules = (of for of in meaning.universe.rules if of.rule.direction is direction)
                    points &= _union(meaning.matched(of, pair) for of in rules)
                key = (place.pod.namespace, direction, breadth)
                if points:
                    found[key] = found.get(key, False) or bool(points >> len(POINTS) - 1 & 1)
    return found


def expected_defeated(meaning: Meaning) -> set[tuple[object, Direction]]:
    """The policies without rules of which every subject is open to everyone."""
    found = set()
    for policy in meaning.universe.program.policies:
        for direction in policy.directions if not policy.rules and meaning.selected[policy.key] else ():
            rules = [of for of in meaning.universe.rules if of.rule.direction is direction]
            if opened(meaning, policy, direction, rules):
                found.add((policy.key, direction))
    return found


def opened(meaning: Meaning, policy: Policy, direction: Direction, rules: Collection[RuleOf]) -> bool:
    """Whether rules match every flow of every subject of a policy."""
    return all(
        _union(meaning.matched(of, pair) for of in rules) == meaning.everything(pair)
        for pair in meaning.pairs
        if meaning.universe.subject_and_peer(direction, pair)[0] in meaning.selected[policy.key]
    )


def expected_excepts(meaning: Meaning) -> set[tuple[object, object, object]]:
    """The excepts that another rule allows, and the first that does."""
    found = set()
    for of in meaning.universe.rules:
        for peer in (one for one in of.rule.match.peers if isinstance(one, BlockPeer)):
            for excepted in peer.excepts:
                own = _with_one_rule(of, replace(of.rule.match, peers=(BlockPeer(cidr=excepted),)))
                alone = Meaning(replace(meaning.universe.program, policies=(own,)))
                masks = [alone.matched(alone.universe.rules[0], pair) for pair in meaning.pairs]
                for other in meaning.universe.rules:
                    same = other.policy.namespace == of.policy.namespace and other.rule.direction is of.rule.direction
                    theirs = (meaning.matched(other, pair) for pair in meaning.pairs)
                    if same and other is not of and any(a & b for a, b in zip(masks, theirs, strict=True)):
                        found.add((of.order, peer, other.order))
                        break
    return found


def expected_dead(meaning: Meaning) -> set[tuple[object, PortItem | None]]:
    """The rules and port items that no flow between pods can use, before equal blockers are merged."""
    found: set[tuple[object, PortItem | None]] = set()
    for of in meaning.universe.rules:
        for item in of.rule.match.ports or (None,):
            if dead(meaning, of, item):
                found.add((of.order, item))
    return found


def dead(meaning: Meaning, of: RuleOf, item: PortItem | None) -> bool:
    """Whether flows between pods match a rule by a port item (None: anyhow), and the far end denies all of them."""
    places = meaning.universe.places
    far = Direction.EGRESS if of.rule.direction is Direction.INGRESS else Direction.INGRESS
    near = {
        pair: mask
        for pair in meaning.pairs
        if places[pair[0]].pod and places[pair[1]].pod
        if (mask := meaning.matched(of, pair, None if item is None else (item,)))
    }
    return bool(near) and not any(mask & meaning.allowed(far, pair) for pair, mask in near.items())


def expected_ways_in(meaning: Meaning) -> dict[object, bool]:
    """The ingress rules that let something in, and whether from outside."""
    found: dict[object, bool] = {}
    for of in meaning.universe.rules:
        if of.rule.direction is Direction.INGRESS:
            through = [
                pair
                for pair in meaning.pairs
                if (m := meaning.matched(of, pair)) and m & meaning.allowed(Direction.EGRESS, pair)
            ]
            if through:
                found[of.order] = any(meaning.universe.places[src].pod is None for src, _ in through)
    return found


def expected_uncovered(meaning: Meaning) -> set[tuple[str, Direction]]:
    """Where a pod is possible that nothing isolates."""
    return {
        (place.pod.namespace, direction)
        for number, place in enumerate(meaning.universe.places)
        for direction in Direction
        if place.pod is not None and not meaning.isolated(direction, number)
    }


def expected_dns(meaning: Meaning) -> set[tuple[object, bool]]:
    """The policies with subjects that may send something, and not to port 53 over UDP, or only not over TCP."""
    rules = [of for of in meaning.universe.rules if of.rule.direction is Direction.EGRESS]
    reach = {of.order: _union(meaning.matched(of, pair) for pair in meaning.pairs) for of in rules}
    asks = {
        protocol: _union(1 << n for n, (p, port) in enumerate(POINTS * 2) if (p, port) == (protocol, 53))
        for protocol in (TCP, UDP)
    }
    found = set()
    for policy in meaning.universe.program.policies:
        for subject in meaning.selected[policy.key] if Direction.EGRESS in policy.directions else ():
            allowed = _union(reach[of.order] for of in rules if subject in meaning.selected[of.policy.key])
            if allowed and not allowed & asks[UDP]:
                found.add((policy.key, False))
            elif allowed and not allowed & asks[TCP]:
                found.add((policy.key, True))
    return found


def expected_split(meaning: Meaning) -> set[tuple[object, int]]:
    """Adjacent peers, one of namespaces and one of pods, that match more than one with both selectors would."""
    universe, found = meaning.universe, set()
    for of in universe.rules:
        for number, (one, other) in enumerate(pairwise(of.rule.match.peers)):
            if not isinstance(one, PodPeer) or not isinstance(other, PodPeer):
                continue
            spaces, pods = (one, other) if one.namespaces is not None else (other, one)
            if pods.namespaces is not None or not pods.pods.requirements or spaces.pods.requirements:
                continue
            if spaces.namespaces is None or not spaces.namespaces.requirements:
                continue
            joined = PodPeer(namespaces=spaces.namespaces, pods=pods.pods)
            either = universe._peers[of.order, number] | universe._peers[of.order, number + 1]
            both = {i for i, place in enumerate(universe.places) if universe._is_peer(of, joined, place)}
            subjects = [universe.subject_and_peer(of.rule.direction, pair) for pair in meaning.pairs]
            ends = {peer for subject, peer in subjects if subject in meaning.selected[of.policy.key]}
            if both & ends and ends & (either - both):
                found.add((of.order, number))
    return found


def _union(masks: Iterator[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found


@settings(max_examples=25, deadline=None)
@given(programs())
def test_answers_are_the_definitions(program: Program) -> None:
    engine, meaning = SymbolicEngine(program), Meaning(program)
    rules = meaning.universe.rules

    empty = {(p.key, None) for p in program.policies if not meaning.selected[p.key]}
    matches = {of.order: any(meaning.matched(of, pair) for pair in meaning.pairs) for of in rules}
    empty |= {(of.policy.key, of.rule) for of in rules if not matches[of.order] and (of.policy.key, None) not in empty}
    assert {(one.policy.key, one.rule) for one in engine.vacuous()} == empty

    shadowed = {one.subject.order: [c.order for c in one.cover] for one in engine.shadowed()}
    assert shadowed == expected_shadowed(meaning)

    defeated = {(one.policy.key, one.direction) for one in engine.defeated_denies()}
    assert defeated == expected_defeated(meaning)

    excepts = {(one.subject.order, one.peer, one.opener.order) for one in engine.defeated_excepts()}
    assert excepts == expected_excepts(meaning)

    wide = {(one.namespace, one.direction, one.breadth): one.every_port for one in engine.wide_open()}
    assert wide == expected_wide_open(meaning)

    assert [one.policy.key for one in engine.redundant()] == expected_redundant(meaning)

    dead = expected_dead(meaning)
    reported = set()
    for one in engine.half_open():
        assert not isinstance(one, NotDecided)
        items = one.opener.rule.match.ports or (None,)
        reported |= {(one.opener.order, item) for item in (items if one.port is None else (one.port,))}
    assert reported == dead

    assert {one.opener.order: one.internet is not None for one in engine.ways_in()} == expected_ways_in(meaning)

    judged = {"b"} | {policy.namespace for policy in program.policies}
    assert {(one.namespace.name, one.direction) for one in engine.uncovered()} == {
        (name, direction) for name, direction in expected_uncovered(meaning) if name in judged
    }
    assert {(one.policy.key, one.udp_allowed) for one in engine.dns_blocked()} == expected_dns(meaning)
    split = {(one.subject.order, _place(one.subject, one.namespaces, one.pods)) for one in engine.split_peers()}
    assert split == expected_split(meaning)


@settings(max_examples=10, deadline=None)
@given(programs())
def test_superfluous_parts_of_rules_are_the_definitions(program: Program) -> None:
    engine, meaning = SymbolicEngine(program), Meaning(program)
    gone = {one.subject.order for one in engine.shadowed()}
    items = set()
    for part in engine.shadowed_items():
        assert not isinstance(part, NotDecided)
        kind = "peers" if isinstance(part.item, PodPeer | BlockPeer) else "ports"
        listed = getattr(part.subject.rule.match, kind)
        places = {n for n, one in enumerate(listed) if one is part.item}
        items |= {(part.subject.order, kind, n) for n in places}
    assert items == expected_items(meaning, gone)


def _place(of: RuleOf, one: PodPeer, other: PodPeer) -> int:
    pairs = list(pairwise(of.rule.match.peers))
    return next(n for n, pair in enumerate(pairs) if pair in ((one, other), (other, one)))
