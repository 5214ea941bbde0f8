"""Why the flows of a box pass in one version, and not in the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import z3

from npcompile.ir.policy import Direction
from npcompile.ir.versions import Version
from npcompile.questions import Blocker, Passing, RuleOf, SurpriseExample
from npcompile.symbolic.pair_question import Condition, Found


class Causes:
    """The causes of one box."""

    def __init__(self, found: Found) -> None:
        self._found, self._question = found, found.question
        self._sides = found.question.pair.sides

    def passing(self, version: Version) -> Passing:
        """Every rule that decides some of the flows, the first that matches, and where no rule is needed.

        What passes by no rule of an end is not isolated there, if the end is a pod.
        """
        rules: list[RuleOf] = []
        open_: list[Direction] = []
        for direction, side in self._sides[version].items():
            firsts, others = self._found.first_of([self._question.explicit(version, of) for of in side.rules])
            rules += (side.rules[place] for place in firsts)
            if others and not self._subjects_are_outside(direction):
                open_.append(direction)
        return Passing(rules=tuple(rules), not_isolated=tuple(open_), own_node=False)

    def blockers(self, version: Version) -> Iterator[Blocker]:
        """The least policy that isolates each of the ends that deny."""
        for direction, side in self._sides[version].items():
            selected = [self._question.selected(version, direction, policy) for policy in side.policies]
            firsts, _ = self._found.first_of(selected, lacks=[self._question.allowed(version, direction)])
            yield from (Blocker(direction=direction, policy=side.policies[place]) for place in firsts)

    def surprise(self) -> SurpriseExample | None:
        """The first flow that a newly isolated end denies, and that a rule of the other end's allows."""
        question = self._question
        for direction in (Direction.INGRESS, Direction.EGRESS):
            rules = [question.explicit(Version.NEW, of) for of in self._sides.new[direction.opposite].rules]
            has = [_any(rules, question.versions.encodings.new.some)]
            lacks = [question.isolated(Version.OLD, direction), question.allowed(Version.NEW, direction)]
            if rules and self._found.some(has, lacks):
                return SurpriseExample(direction=direction, example=self._found.example(direction, has, lacks))
        return None

    def _subjects_are_outside(self, direction: Direction) -> bool:
        pair = self._question.pair
        return (pair.source if direction is Direction.EGRESS else pair.target).outside


def _any(conditions: list[Condition], some: Callable[[Iterable[z3.BoolRef]], z3.BoolRef]) -> Condition:
    """What has at least one of some conditions."""
    return Condition(
        lambda steps: [box for condition in conditions for box in condition.boxes(steps)],
        lambda: some(condition.term() for condition in conditions),
    )
