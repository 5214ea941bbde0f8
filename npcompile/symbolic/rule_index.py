"""Rules of one namespace and direction, indexed by what they match, and the covers that can be made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from npcompile.questions import RuleOf
from npcompile.symbolic.bitsets import members
from npcompile.symbolic.covers import Box, Index, Steps, point_of
from npcompile.symbolic.irredundant import Listed, irredundant
from npcompile.symbolic.space import Space


class RuleIndex:
    """Numbered rules, in order.  Sets of their boxes are bitsets; `own` has those of each rule."""

    def __init__(self, space: Space, rules: Sequence[RuleOf]) -> None:
        self._universe = space.universe
        self.rules = tuple(rules)
        self.numbers = {of.order: number for number, of in enumerate(self.rules)}
        of_rules = [space.rule(of) for of in self.rules]
        self._index = Index((box for found in of_rules for box in found), space.universe)
        self._owners = [number for number, found in enumerate(of_rules) for _ in found]
        ends = list(accumulate(map(len, of_rules), initial=0))
        self.own = [(1 << after) - (1 << first) for first, after in pairwise(ends)]
        self.every = self._index.every
        self._several = sum(own for own in self.own if own.bit_count() > 1)

    def replace(self, number: int, boxes: Sequence[Box]) -> None:
        """Give a rule other boxes than it had; the old ones are in no rule's set any more."""
        self.own[number] = self._index.add(boxes)
        self._owners += [number] * len(boxes)
        self._several |= self.own[number] if len(boxes) > 1 else 0

    def covers(self, boxes: Iterable[Box], among: int, steps: Steps) -> bool:
        """Whether some boxes together contain others."""
        return self._index.covers(boxes, among, steps)

    def single(self, boxes: Sequence[Box], among: int, steps: Steps) -> int | None:
        """The first rule, of whose boxes those among some contain `boxes`, which must not be empty."""
        candidates: set[int] | None = None
        for box in boxes:
            near = self._index.meeting(box, among)
            found = self._owning(self._index.containing(box, near))
            found |= self._reaching(box, near & self._several)
            candidates = found if candidates is None else candidates & found
        return next((n for n in sorted(candidates or ()) if self.covers(boxes, among & self.own[n], steps)), None)

    def irredundant(self, boxes: Sequence[Box], among: int, steps: Steps) -> list[int]:
        """Of rules that cover `boxes`, those that are left when each in turn is dropped if the rest suffice."""
        near = 0
        for box in boxes:
            near |= self._index.meeting(box, among)
        owners = sorted(self._owning(near))
        things = Listed([near & self.own[one] for one in owners])
        return [owners[place] for place in irredundant(things, lambda kept: self._missed(boxes, kept, near, steps))]

    def _missed(self, boxes: Iterable[Box], kept: int, near: int, steps: Steps) -> int | None:
        """The boxes of `near` that contain some point of what those that are kept do not cover, if there is any."""
        for box in boxes:
            if (missed := self._index.outside(box, kept, steps)) is not None:
                return self._index.containing(point_of(missed, self._universe), near)
        return None

    def _reaching(self, box: Box, near: int) -> set[int]:
        """Of the rules of some boxes those that contain two of the box's points: all that contain the box do."""
        ends = point_of(box, self._universe), point_of(box, self._universe, last=True)
        first, last = (self._owning(self._index.containing(one, near)) for one in ends)
        return first & last

    def _owning(self, boxes: int) -> set[int]:
        return {self._owners[number] for number in members(boxes)}
