"""Which rules decide that flows pass: of all that match, the least one (section 4.17 of the design)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from npcompile.ir.policy import Direction
from npcompile.questions import RuleOf
from npcompile.relation.bits import lowest, members
from npcompile.relation.relation import Relation
from npcompile.relation.rules import BoxedRule
from npcompile.relation.sides import Profile, Row


class Flows(NamedTuple):
    """Flows on some ports between every two of some identities, all of them allowed; as bitsets."""

    src: int
    dst: int
    ports: int


class Deciders:
    """Answers for one program."""

    def __init__(self, relation: Relation) -> None:
        self._relation = relation
        self._sides = tuple(_Side(relation, direction) for direction in Direction)
        self._named: dict[int, tuple[RuleOf, ...]] = {}  # only remembers

    def of(self, flows: Iterable[Flows]) -> tuple[tuple[RuleOf, ...], tuple[Direction, ...]]:
        """Every rule that decides some of the flows, and the directions in which some need none: no policy isolates."""
        found, unisolated = 0, []
        together = list(flows)
        for side in self._sides:
            some_open = False
            for one in together:
                rules, is_open = side.of(one)
                found |= rules
                some_open |= is_open
            unisolated += [side.direction] if some_open else []
        if found not in self._named:
            self._named[found] = tuple(self._relation.rules[place].of for place in members(found))
        return self._named[found], tuple(unisolated)


class _Side:
    """The rules of one direction."""

    def __init__(self, relation: Relation, direction: Direction) -> None:
        self.direction = direction
        self._pods = relation.pods
        self._side = relation.sides[direction]
        self._by_policy: dict[tuple[str, str], list[tuple[int, BoxedRule]]] = {}
        for place, rule in enumerate(relation.rules):
            if rule.direction is direction:
                self._by_policy.setdefault(rule.of.policy.key, []).append((place, rule))
        self._rows: dict[int, list[tuple[int, tuple[Row, ...]]]] = {}  # only remember, both
        self._known: dict[tuple[int, int, int], tuple[int, bool]] = {}

    def of(self, flows: Flows) -> tuple[int, bool]:
        """The deciding rules, as a bitset of their places, and whether some pod is not isolated."""
        subjects, peers = (flows.src, flows.dst) if self.direction is Direction.EGRESS else (flows.dst, flows.src)
        key = (subjects, peers, flows.ports)
        if key not in self._known:
            found, ordinary = 0, subjects & self._pods
            left = ordinary & self._side.isolated
            while left:
                profile = self._side.profiles[lowest(left)]
                found |= self._least(profile, peers, flows.ports)
                left &= ~profile.members
            self._known[key] = (found, bool(ordinary & ~self._side.isolated))
        return self._known[key]

    def _least(self, profile: Profile, peers: int, ports: int) -> int:
        found, left = 0, [Row(peers, ports)]  # disjoint, without a rule as yet
        for place, rows in self._rules_of(profile):
            for row in rows:
                if any(one.peers & row.peers and one.ports & row.ports for one in left):
                    found |= 1 << place
                    left = [rest for one in left for rest in _without(one, row)]
            if not left:
                break
        return found

    def _rules_of(self, profile: Profile) -> list[tuple[int, tuple[Row, ...]]]:
        """The rules of a profile, the least first, each with its place."""
        one = profile.members & -profile.members
        if one not in self._rows:
            self._rows[one] = [
                (place, tuple(Row(box.peers, box.ports) for box in rule.boxes if box.subjects & one))
                for policy in profile.policies
                for place, rule in self._by_policy.get(policy.key, ())
            ]
        return self._rows[one]


def _without(row: Row, other: Row) -> Iterator[Row]:
    peers, ports = row.peers & ~other.peers, row.ports & ~other.ports
    if peers:
        yield Row(peers, row.ports)
    if ports and row.peers & other.peers:
        yield Row(row.peers & other.peers, ports)
