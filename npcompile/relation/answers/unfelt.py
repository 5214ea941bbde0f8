"""Policies that decide sides of flows, and no verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from npcompile.ir.policy import Direction
from npcompile.questions import Example, NotDecided, Unfelt
from npcompile.relation.answers.isolating import Isolating, by_namespace, neighbours
from npcompile.relation.bits import members
from npcompile.relation.boxes import Box, Effort, OutOfEffortError, subtract
from npcompile.relation.examples import other_side
from npcompile.relation.inventory import Inventory

Sides = Mapping[Direction, Sequence[Box]]


def unfelt(inventory: Inventory, effort: int) -> Iterator[Unfelt | NotDecided]:
    """Each policy is judged alone, beside all others.  `effort` bounds the pieces of differences that are looked at for
    one.
    """
    for group in by_namespace(inventory):
        for one, near in zip(group, neighbours(group), strict=True):
            try:
                removal = _removal(inventory, one, [group[other] for other in members(near)], Effort(effort))
                examples = () if removal.felt() else tuple(removal.examples())
            except OutOfEffortError:
                yield NotDecided(question="unfelt", policy=one.policy)
                continue
            if examples:
                yield Unfelt(policy=one.policy, closes=any(removal.gained.values()), examples=examples)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Removal:
    """What the sides of flows are without a policy: closed where they were open (`lost`), or the reverse (`gained`)."""

    inventory: Inventory
    lost: Sides
    gained: Sides
    effort: Effort

    def felt(self) -> bool:
        """Whether some flow passes with the policy and not without, or the reverse: it is lost at an end, and passed
        the other; or it is gained at an end, and passes the other, where it was not lost, or was gained, too.
        """
        for direction, gained in self.gained.items():
            if self.inventory.anything_passes(direction, self.lost[direction]):
                return True
            other = other_side(direction)
            staying = subtract(gained, _seen_from_there(self.lost.get(other, ())), self.effort)
            if self.inventory.anything_passes(direction, staying):
                return True
            if self._some_in_both(gained, list(_seen_from_there(self.gained.get(other, ())))):
                return True
        return False

    def examples(self) -> Iterator[Example]:
        """In each direction a flow whose side changes, if there is one."""
        for direction, gained in self.gained.items():
            example = self.inventory.example(direction, [*self.lost[direction], *gained])
            if example is not None:
                yield example

    def _some_in_both(self, boxes: Iterable[Box], others: Sequence[Box]) -> bool:
        apart = self.inventory.roster.apart
        return any(
            one.meets(other) and apart(one.subjects & other.subjects, one.peers & other.peers)
            for one in boxes
            for other in others
        )


def _removal(inventory: Inventory, one: Isolating, others: Sequence[Isolating], effort: Effort) -> _Removal:
    relation = inventory.relation
    lost, gained = {}, {}
    for direction, rules in one.rules.items():
        alone = one.subjects
        for other in others:
            alone &= ~other.isolates(direction)
        shared = one.subjects & ~alone
        everything = Box(alone, relation.boxer.everyone, relation.space.every)
        open_then = relation.boxer.possible((everything,)) if alone else ()
        gained[direction] = subtract(open_then, one.boxes(direction), effort)
        own = (box._replace(subjects=box.subjects & shared) for rule in rules for box in rule.possible)
        pieces = [box for box in own if not box.empty]
        meeting = (box for other in others for box in other.boxes(direction) if any(map(box.meets, pieces)))
        lost[direction] = subtract(pieces, meeting, effort)
    return _Removal(inventory=inventory, lost=lost, gained=gained, effort=effort)


def _seen_from_there(boxes: Iterable[Box]) -> Iterator[Box]:
    """The same flows as those of the other end."""
    return (Box(box.peers, box.subjects, box.ports) for box in boxes)
