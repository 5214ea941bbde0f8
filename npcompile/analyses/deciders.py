"""Which rules decide that flows pass: of all that match, the least one (section 4.17 of the design)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from npcompile.ir.policy import Direction
from npcompile.questions import RuleOf
from npcompile.relation.bits import lowest, members
from npcompile.relation.relation import Relation
from npcompile.relation.sides import Profile, Row


class Flows(NamedTuple):
    """Flows on some ports between every two of some identities, all of them allowed; as bitsets."""

    src: int
    dst: int
    ports: int


@dataclass(frozen=True, slots=True)
class Deciders:
    """Answers for one program."""

    relation: Relation
    _rules: dict[tuple[Direction, tuple[str, str]], list[int]] = field(default_factory=dict, repr=False)
    _known: dict[tuple[Direction, int, int, int], tuple[int, bool]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for place, rule in enumerate(self.relation.rules):
            self._rules.setdefault((rule.direction, rule.of.policy.key), []).append(place)

    def of(self, flows: Iterable[Flows]) -> tuple[tuple[RuleOf, ...], tuple[Direction, ...]]:
        """Every rule that decides some of the flows, and the directions in which some need none: no policy isolates."""
        found, unisolated = 0, set()
        for src, dst, ports in flows:
            for direction in Direction:
                ends = (src, dst) if direction is Direction.EGRESS else (dst, src)
                rules, some_open = self._side(direction, *ends, ports)
                found |= rules
                if some_open:
                    unisolated.add(direction)
        return (
            tuple(self.relation.rules[place].of for place in members(found)),
            tuple(direction for direction in Direction if direction in unisolated),
        )

    def _side(self, direction: Direction, subjects: int, peers: int, ports: int) -> tuple[int, bool]:
        key = (direction, subjects, peers, ports)
        if key not in self._known:
            side = self.relation.sides[direction]
            ordinary = subjects & self.relation.pods
            profiles = {id(one): one for n in members(ordinary & side.isolated) for one in [side.profiles[n]]}
            found = 0
            for profile in profiles.values():
                found |= self._of_profile(direction, profile, peers, ports)
            self._known[key] = (found, bool(ordinary & ~side.isolated))
        return self._known[key]

    def _of_profile(self, direction: Direction, profile: Profile, peers: int, ports: int) -> int:
        found, one = 0, 1 << lowest(profile.members)
        left = [Row(peers, ports)]  # disjoint, without a rule as yet
        for policy in profile.policies:
            for place in self._rules.get((direction, policy.key), ()):
                for box in self.relation.rules[place].boxes:
                    if box.subjects & one and any(row.peers & box.peers and row.ports & box.ports for row in left):
                        found |= 1 << place
                        left = [rest for row in left for rest in _without(row, Row(box.peers, box.ports))]
                if not left:
                    return found
        return found


def _without(row: Row, other: Row) -> Iterator[Row]:
    peers, ports = row.peers & ~other.peers, row.ports & ~other.ports
    if peers:
        yield Row(peers, row.ports)
    if ports and row.peers & other.peers:
        yield Row(row.peers & other.peers, ports)
