"""Who reaches whom on which ports, and by which rules: the whole connectivity of a program.

The relation stays factored.  Of each direction, subjects to which the same peers and ports are open are one half,
whatever policies say so; a group of sources meets the halves of the destinations only when its edges are asked for, and
what comes of that are products of identities, never pairs of pods.  Every two identities are in one product at most,
so counting the pairs of the products that two groups share tells whether a port is open between all of their pairs or
only between some.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import groupby, product
from typing import NamedTuple

from npcompile.analyses.deciders import Deciders, Flows
from npcompile.analyses.parties import ExternalParty, Group, Outside, Party, a_pair, apart, paired, pairs, real
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Family
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import Protocol
from npcompile.questions import RuleOf
from npcompile.relation.bits import lowest, members
from npcompile.relation.relation import Relation
from npcompile.relation.sides import Row


class Holds(Enum):
    """For which pairs of its two groups an edge's ports are open."""

    ALL = "all"
    SOME = "some"  # at least one, and each of its ports not for all

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Ports that are open from one party to another.

    `family`: set where the edges of the two address families differ.  `rules` are all that decide some flow of the
    edge, in the order of answers; `unisolated` the directions in which some flow needs no rule because no policy
    isolates its pod.  `example` is a flow of the edge, and `classes` are the identities of its ends.
    """

    src: Party
    dst: Party
    ports: IntervalSet
    holds: Holds
    family: Family | None
    rules: tuple[RuleOf, ...]
    unisolated: tuple[Direction, ...]
    example: Flow
    classes: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """What a map leaves out, on the far side of what was asked for: how many classes of sources reach some destination,
    or of destinations are reached by some source, and of each other class a flow that is denied.
    """

    connected: int
    denied: tuple[Flow, ...]


_REMEMBERED = 256  # halves: sources in a row often have the same


class _Half(NamedTuple):
    """Subjects to which the same is open: disjoint peers, each with all of its ports."""

    subjects: int
    rows: tuple[Row, ...]


_Kind = tuple[Holds, int]


class _Verdict(NamedTuple):
    """The ports that are open between all pairs, and the others that are open at all."""

    every: int
    some: int

    def kinds(self) -> Iterator[_Kind]:
        """Both, where there are any."""
        if self.every:
            yield Holds.ALL, self.every
        if self.some:
            yield Holds.SOME, self.some


class _Finding(NamedTuple):
    """What an edge of two groups says, and all edges of groups that are shaped alike: the ports that are open for which
    pairs.  The example is between two `classes`.  `outside` is the party at the end that is outside.
    """

    holds: Holds
    ports: IntervalSet
    family: Family | None
    rules: tuple[RuleOf, ...]
    unisolated: tuple[Direction, ...]
    classes: tuple[int, int]
    protocol: Protocol
    port: int | None
    outside: Party | None = None


class Reach:
    """The map from some groups to some groups."""

    def __init__(self, relation: Relation, sources: Sequence[Group], targets: Sequence[Group]) -> None:
        self._relation = relation
        self._sources, self._targets = tuple(sources), tuple(targets)
        self._outside = Outside(relation)
        self._deciders = Deciders(relation)
        inhabited = relation.pods | relation.hosts
        self._families = tuple(
            (family, bits) for family, bits in zip(Family, relation.families, strict=True) if bits & inhabited
        )
        self._leaving = _halves(relation, Direction.EGRESS)
        self._entering = _halves(relation, Direction.INGRESS)
        self._of_half = lru_cache(_REMEMBERED)(self._leave)
        self._parts: dict[int, tuple[tuple[int, int], ...]] = {}  # only remembers
        self._holders: dict[int, list[int]] = {}
        for place, group in enumerate(self._targets):
            for number in members(group.bits):
                self._holders.setdefault(number, []).append(place)

    def edges(self) -> Iterator[Edge]:
        """Every edge, by source, destination, family, and what holds for all before what holds for some."""
        for _, group in groupby(self._sources, key=lambda src: (src.shape, src.external)):
            known: dict[tuple[tuple[int, int], ...], tuple[_Finding, ...]] = {}
            openings: dict[int, list[Flows]] = {}
            for src in group:
                openings = openings or self._from(src.bits)
                for place in sorted(openings):
                    dst = self._targets[place]
                    if not paired(src, dst):
                        continue
                    alike = apart(src, dst)
                    findings = known.get(dst.shape) if alike else None
                    if findings is None:
                        findings = tuple(self._findings(src, dst, openings[place]))
                    if alike:
                        known[dst.shape] = findings
                    yield from (self._edge(src, dst, finding) for finding in findings)

    def _from(self, bits: int) -> dict[int, list[Flows]]:
        """What is open from some sources, by the place of the group that it is open to; families aside."""
        found: dict[int, list[Flows]] = {}
        for opening in self._join(bits):
            for place, part in self._split(opening.dst):
                found.setdefault(place, []).append(Flows(opening.src, part, opening.ports))
        return found

    def _join(self, bits: int) -> Iterator[Flows]:
        """What both directions let some sources do."""
        for place, leaving in enumerate(self._leaving):
            if leaving.subjects & bits:
                for flows in self._of_half(place):
                    if flows.src & bits:
                        yield Flows(flows.src & bits, flows.dst, flows.ports)

    def _leave(self, place: int) -> tuple[Flows, ...]:
        """What both directions let the subjects of a half do."""
        leaving = self._leaving[place]
        return tuple(
            Flows(allowed & leaving.subjects, targets & entering.subjects, ports & numbers)
            for entering in self._entering
            for allowed, numbers in entering.rows
            if allowed & leaving.subjects
            for targets, ports in leaving.rows
            if targets & entering.subjects and ports & numbers
        )

    def _split(self, targets: int) -> tuple[tuple[int, int], ...]:
        """Some destinations by the groups that they are in."""
        if targets not in self._parts:
            parts: dict[int, int] = {}
            for number in members(targets):
                for place in self._holders.get(number, ()):
                    parts[place] = parts.get(place, 0) | 1 << number
            self._parts[targets] = tuple(parts.items())
        return self._parts[targets]

    def _findings(self, src: Group, dst: Group, openings: Iterable[Flows]) -> Iterator[_Finding]:
        by_family = [
            (family, inside, total, [half for one in openings for half in _inside(one, inside)])
            for family, inside in self._families
            if (total := pairs(src, dst, src.bits & inside, dst.bits & inside))
        ]
        if src.external or dst.external:
            yield from self._with_outside(src, dst, [(inside, found) for _, inside, _, found in by_family])
            return
        verdicts = [_verdict(src, dst, total, found) for _, _, total, found in by_family]
        if len(set(verdicts)) == 1:
            together = [one for *_, found in by_family for one in found]
            for kind in verdicts[0].kinds():
                yield self._finding(src, dst, kind, together)
            return
        for (family, _, _, found), verdict in zip(by_family, verdicts, strict=True):
            for kind in verdict.kinds():
                yield self._finding(src, dst, kind, found, family=family)

    def _with_outside(self, src: Group, dst: Group, found: Iterable[tuple[int, list[Flows]]]) -> Iterator[_Finding]:
        """Addresses for which the same holds are one party, of both families where both have them."""
        outside = src if src.external else dst
        rows: dict[_Kind, tuple[int, list[Flows]]] = {}
        possible = 0
        for inside, openings in found:
            possible |= outside.bits & inside
            for identities, cut in _cut(openings, of_src=src.external):
                ends = (identities, dst.bits & inside) if src.external else (src.bits & inside, identities)
                for kind in _verdict(src, dst, pairs(src, dst, *ends), cut).kinds():
                    before, others = rows.get(kind, (0, []))
                    rows[kind] = (before | identities, [*others, *cut])
        for kind, (identities, together) in sorted(rows.items(), key=lambda row: _order(row[0], row[1][0])):
            single = isinstance(outside.party, ExternalParty) and outside.party.cidrs
            party = outside.party if single else self._outside.party(identities, possible)
            yield self._finding(src, dst, kind, together, outside=party)

    def _finding(
        self, src: Group, dst: Group, kind: _Kind, openings: Iterable[Flows], *,
        family: Family | None = None, outside: Party | None = None,
    ) -> _Finding:  # fmt: skip
        holds, ports = kind
        used = [
            Flows(sources, targets, one.ports & ports)
            for one in openings
            if one.ports & ports
            for sources, targets in real(src, dst, one.src, one.dst)
        ]
        space, first = self._relation.space, used[0]
        return _Finding(
            holds,
            space.ports(ports),
            family,
            *self._deciders.of(used),
            (lowest(first.src), lowest(first.dst)),
            *space.first(first.ports),
            outside,
        )

    def _edge(self, src: Group, dst: Group, finding: _Finding) -> Edge:
        one, other = a_pair(self._relation, src, dst, *finding.classes)
        return Edge(
            src=finding.outside if finding.outside and src.external else src.party,
            dst=finding.outside if finding.outside and dst.external else dst.party,
            ports=finding.ports,
            holds=finding.holds,
            family=finding.family,
            rules=finding.rules,
            unisolated=finding.unisolated,
            example=Flow(src=one, dst=other, protocol=finding.protocol, port=finding.port),
            classes=finding.classes,
        )

    def closing(self, direction: Direction) -> Closing:
        """What the edges leave out: into the destinations, by classes of sources, or out of the sources."""
        into = direction is Direction.INGRESS
        connected, ports = 0, 0
        candidates: dict[int, tuple[Endpoint, Endpoint]] = {}
        for src in self._sources:
            for place, openings in self._from(src.bits).items():
                for one, (_, inside) in product(openings, self._families):
                    for sources, targets in real(src, self._targets[place], one.src & inside, one.dst & inside):
                        connected |= sources if into else targets
                        ports |= one.ports
        for group in self._sources if into else self._targets:
            for number in members(group.bits):
                if number not in candidates and (pair := self._any_pair(group, number, direction)):
                    candidates[number] = pair
        flows = (
            _flow(self._relation, *pair, ports or self._relation.space.every)
            for number, pair in candidates.items()
            if not connected >> number & 1
        )
        return Closing(connected=connected.bit_count(), denied=tuple(flows))

    def _any_pair(self, group: Group, number: int, direction: Direction) -> tuple[Endpoint, Endpoint] | None:
        """An identity of a group with any other end: as the source of what comes in, or as where it goes out to."""
        bit, companions = 1 << number, self._relation.companions(number)
        into = direction is Direction.INGRESS
        for other in self._targets if into else self._sources:
            src, dst = (group, other) if into else (other, group)
            ends = (bit, other.bits & companions) if into else (other.bits & companions, bit)
            if paired(src, dst):
                for sources, targets in real(src, dst, *ends):
                    return a_pair(self._relation, src, dst, lowest(sources), lowest(targets))
        return None


def _flow(relation: Relation, src: Endpoint, dst: Endpoint, ports: int) -> Flow:
    protocol, port = relation.space.first(ports)
    return Flow(src=src, dst=dst, protocol=protocol, port=port)


def _inside(opening: Flows, family: int) -> Iterator[Flows]:
    """What of an opening is between addresses of a family."""
    src, dst = opening.src & family, opening.dst & family
    if src and dst:
        yield Flows(src, dst, opening.ports)


def _verdict(src: Group, dst: Group, total: int, openings: Iterable[Flows]) -> _Verdict:
    """Of so many pairs of two groups; openings that none of them can use do not count."""
    every, some, left = -1, 0, total
    for one in openings:
        number = pairs(src, dst, one.src, one.dst)
        if number:
            every &= one.ports
            some |= one.ports
            left -= number
    return _Verdict(0 if left else every & some, some if left else some & ~every)


def _cut(openings: Iterable[Flows], *, of_src: bool) -> list[tuple[int, list[Flows]]]:
    """Split the outside addresses wherever an opening does."""
    cuts: list[tuple[int, list[Flows]]] = []
    for one in openings:
        rest = one.src if of_src else one.dst
        after: list[tuple[int, list[Flows]]] = []
        for identities, known in cuts:
            inside = identities & rest
            rest &= ~inside
            if inside:
                after.append((inside, [*known, one]))
            if identities ^ inside:
                after.append((identities ^ inside, known))
        cuts = [*after, (rest, [one])] if rest else after
    return [
        (inside, [one._replace(src=inside) if of_src else one._replace(dst=inside) for one in known])
        for inside, known in cuts
    ]


def _order(kind: _Kind, identities: int) -> tuple[int, bool, int]:
    return lowest(identities), kind[0] is Holds.SOME, kind[1]


def _halves(relation: Relation, direction: Direction) -> tuple[_Half, ...]:
    """Everyone, by what this direction's policies open to them."""
    everyone = (1 << len(relation.order)) - 1
    side = relation.sides[direction]
    subjects: dict[frozenset[Row], int] = {frozenset({Row(everyone, relation.space.every)}): everyone & ~side.isolated}
    for profile in {id(profile): profile for profile in side.profiles.values()}.values():
        rows = frozenset(profile.rows)
        subjects[rows] = subjects.get(rows, 0) | profile.members
    halves = [_Half(bits, _disjoint(rows)) for rows, bits in subjects.items() if bits]
    return tuple(sorted(halves, key=lambda half: lowest(half.subjects)))


def _disjoint(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Each peer in one row only."""
    peers_of: dict[int, int] = {}
    for peers, ports in sorted(rows):
        rest = peers
        after: dict[int, int] = {}
        for known, others in peers_of.items():
            for bits, having in ((others & peers, known | ports), (others & ~peers, known)):
                if bits:
                    after[having] = after.get(having, 0) | bits
            rest &= ~others
        if rest:
            after[ports] = after.get(ports, 0) | rest
        peers_of = after
    return tuple(Row(peers, ports) for ports, peers in peers_of.items() if ports)
