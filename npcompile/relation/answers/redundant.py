"""Policies that can be removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from npcompile.ir.policy import Direction
from npcompile.questions import Example, NotDecided, Redundant
from npcompile.relation.answers.covers import irredundant
from npcompile.relation.answers.isolating import Isolating, by_namespace, neighbours
from npcompile.relation.bits import members
from npcompile.relation.boxes import Box, Effort, OutOfEffortError, subtract
from npcompile.relation.inventory import Inventory


def redundant(inventory: Inventory, effort: int) -> Iterator[Redundant | NotDecided]:
    """By namespace, going from the last policy to the first, those without which nothing changes.  `effort` bounds the
    pieces of a difference that are looked at for one policy.
    """
    for group in by_namespace(inventory):
        yield from reversed(list(_in_group(inventory, group, effort)))


def _in_group(inventory: Inventory, group: Sequence[Isolating], effort: int) -> Iterator[Redundant | NotDecided]:
    """Answers about one namespace, the last policy's first."""
    left = (1 << len(group)) - 1
    for place, near in reversed(list(enumerate(neighbours(group)))):
        one = group[place]
        every = [group[other] for other in members(near)]
        others = [group[other] for other in members(near & left)]
        judge = _Judge(inventory=inventory, one=one, every=every, effort=Effort(effort))
        try:
            cover = judge.cover(others)
        except OutOfEffortError:
            yield NotDecided(question="redundant", policy=one.policy)
            continue
        if cover is not None:
            left &= ~(1 << place)
            examples = tuple(_examples(inventory, one))
            yield Redundant(policy=one.policy, cover=tuple(other.policy for other in cover), examples=examples)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judge:
    """A policy, and all others that have subjects in common with it."""

    inventory: Inventory
    one: Isolating
    every: Sequence[Isolating]
    effort: Effort

    def cover(self, others: Sequence[Isolating]) -> Sequence[Isolating] | None:
        """Which of `others` do all that the policy does, if they do: the first that does alone, or those that are left
        when each in turn is dropped if the rest suffice.
        """
        return irredundant(others, self._suffice) if self._suffice(others) else None

    def _suffice(self, others: Sequence[Isolating]) -> bool:
        return all(self._suffice_for(direction, others) for direction in self.one.rules)

    def _suffice_for(self, direction: Direction, others: Sequence[Isolating]) -> bool:
        shared = alone = self.one.subjects
        for other in self.every:
            alone &= ~other.isolates(direction)
        isolated = 0
        for other in others:
            isolated |= other.isolates(direction)
        if shared & ~alone & ~isolated:
            return False
        return self._allows_everything(direction, alone) and self._covered(direction, shared & ~alone, others)

    def _allows_everything(self, direction: Direction, subjects: int) -> bool:
        relation = self.inventory.relation
        everything = Box(subjects, relation.boxer.everyone, relation.space.every)
        possible = relation.boxer.possible((everything,)) if subjects else ()
        return not subtract(possible, self.one.boxes(direction), self.effort)

    def _covered(self, direction: Direction, subjects: int, others: Sequence[Isolating]) -> bool:
        for rule in self.one.rules[direction]:
            own = [box._replace(subjects=box.subjects & subjects) for box in rule.possible]
            pieces = [box for box in own if not box.empty]
            meeting = (box for other in others for box in other.boxes(direction) if any(map(box.meets, pieces)))
            if subtract(pieces, meeting, self.effort):
                return False
        return True


def _examples(inventory: Inventory, one: Isolating) -> Iterator[Example]:
    relation = inventory.relation
    for direction, rules in one.rules.items():
        anything = relation.boxer.possible((Box(one.subjects, relation.plain, relation.space.every),))
        for boxes in (anything, *(rule.possible for rule in rules)):
            example = inventory.example(direction, boxes) or inventory.example(direction, boxes, exempt_too=True)
            if example is not None:
                yield example
