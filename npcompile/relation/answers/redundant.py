"""Policies that can be removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from npcompile.ir.policy import Direction, Policy
from npcompile.questions import Example, NotDecided, Redundant
from npcompile.relation.answers.covers import irredundant
from npcompile.relation.bits import members
from npcompile.relation.boxes import Box, Effort, OutOfEffortError, subtract
from npcompile.relation.inventory import Inventory
from npcompile.relation.rules import BoxedRule


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Isolating:
    """A policy with subjects, and the rules by its directions."""

    policy: Policy
    subjects: int
    rules: Mapping[Direction, Sequence[BoxedRule]]

    def isolates(self, direction: Direction) -> int:
        """Whom it isolates in a direction."""
        return self.subjects if direction in self.rules else 0

    def boxes(self, direction: Direction) -> Iterator[Box]:
        """What it allows in a direction."""
        return (box for rule in self.rules.get(direction, ()) for box in rule.boxes)


def redundant(inventory: Inventory, effort: int) -> Iterator[Redundant | NotDecided]:
    """By namespace, going from the last policy to the first, those without which nothing changes.  `effort` bounds the
    pieces of a difference that are looked at for one policy.
    """
    groups: dict[str, list[_Isolating]] = {}
    for one in _isolating(inventory):
        groups.setdefault(one.policy.namespace, []).append(one)
    for _, group in sorted(groups.items()):
        yield from reversed(list(_in_group(inventory, group, effort)))


def _isolating(inventory: Inventory) -> Iterator[_Isolating]:
    relation = inventory.relation
    rules: dict[tuple[str, str], list[BoxedRule]] = {}
    for rule in relation.rules:
        rules.setdefault(rule.of.policy.key, []).append(rule)
    for policy in sorted(relation.program.policies, key=lambda policy: policy.key):
        own = rules.get(policy.key, ())
        if subjects := relation.subjects[policy.key]:
            by_direction = {
                direction: [rule for rule in own if rule.direction is direction]
                for direction in Direction
                if direction in policy.directions
            }
            yield _Isolating(policy=policy, subjects=subjects, rules=by_direction)


def _in_group(inventory: Inventory, group: Sequence[_Isolating], effort: int) -> Iterator[Redundant | NotDecided]:
    """Answers about one namespace, the last policy's first."""
    at: dict[int, int] = {}  # for each subject the policies that have it
    for place, one in enumerate(group):
        for subject in members(one.subjects):
            at[subject] = at.get(subject, 0) | 1 << place
    left = (1 << len(group)) - 1
    for place in reversed(range(len(group))):
        one = group[place]
        near = 0
        for subject in members(one.subjects):
            near |= at[subject]
        every = [group[other] for other in members(near & ~(1 << place))]
        others = [group[other] for other in members(near & left & ~(1 << place))]
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
    one: _Isolating
    every: Sequence[_Isolating]
    effort: Effort

    def cover(self, others: Sequence[_Isolating]) -> Sequence[_Isolating] | None:
        """Which of `others` do all that the policy does, if they do: the first that does alone, or those that are left
        when each in turn is dropped if the rest suffice.
        """
        return irredundant(others, self._suffice) if self._suffice(others) else None

    def _suffice(self, others: Sequence[_Isolating]) -> bool:
        return all(self._suffice_for(direction, others) for direction in self.one.rules)

    def _suffice_for(self, direction: Direction, others: Sequence[_Isolating]) -> bool:
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

    def _covered(self, direction: Direction, subjects: int, others: Sequence[_Isolating]) -> bool:
        for rule in self.one.rules[direction]:
            own = [box._replace(subjects=box.subjects & subjects) for box in rule.possible]
            pieces = [box for box in own if not box.empty]
            meeting = (box for other in others for box in other.boxes(direction) if any(map(box.meets, pieces)))
            if subtract(pieces, meeting, self.effort):
                return False
        return True


def _examples(inventory: Inventory, one: _Isolating) -> Iterator[Example]:
    relation = inventory.relation
    for direction, rules in one.rules.items():
        anything = relation.boxer.possible((Box(one.subjects, relation.plain, relation.space.every),))
        for boxes in (anything, *(rule.possible for rule in rules)):
            example = inventory.example(direction, boxes) or inventory.example(direction, boxes, exempt_too=True)
            if example is not None:
                yield example
