"""Rules of one namespace and direction, indexed by what they match, and the covers that can be made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from operator import or_

from npcompile.questions import RuleOf
from npcompile.symbolic.covers import Box, Index, Steps, members
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
        later = list(accumulate((near & self.own[one] for one in reversed(owners)), or_, initial=0))[::-1]
        found: list[int] = []
        kept, low = 0, 0
        while (needed := self._first_needed(boxes, kept, later, low, steps)) is not None:
            found.append(owners[needed])
            kept |= near & self.own[owners[needed]]
            low = needed + 1
        return found

    def _first_needed(
        self, boxes: Sequence[Box], kept: int, later: Sequence[int], low: int, steps: Steps
    ) -> int | None:
        """The least place, from `low` on, so that what is kept and what is later than it (`later[place + 1]`) does not
        cover; None where what is kept does.

        The later the place, the less is covered, so it is found by bisection; and what is not covered tells more: the
        last one that contains some point of it is not too late.
        """
        high, narrow = len(later) - 2, False
        if (missed := self._outside(boxes, kept, steps)) is None:
            return None
        high = self._last_with(missed, later, high)
        while low < high:
            narrow = not narrow
            middle = high - 1 if narrow else (low + high) // 2
            missed = self._outside(boxes, kept | later[middle + 1], steps)
            if missed is None:
                low = middle + 1
            else:
                high = self._last_with(missed, later, middle)
        return low

    def _outside(self, boxes: Iterable[Box], among: int, steps: Steps) -> Box | None:
        return next((missed for box in boxes if (missed := self._index.outside(box, among, steps)) is not None), None)

    def _last_with(self, missed: Box, later: Sequence[int], high: int) -> int:
        """The last place up to `high` whose rule contains a point of a box."""
        every = (missed.get(axis, values) for axis, values in enumerate(self._universe))
        containing = self._index.containing({axis: values & -values for axis, values in enumerate(every)}, later[0])
        return next(place for place in range(high, -1, -1) if containing & later[place])

    def _reaching(self, box: Box, near: int) -> set[int]:
        """Of the rules of some boxes those that contain two of the box's points: all that contain the box do."""
        every = [box.get(axis, values) for axis, values in enumerate(self._universe)]
        lowest = {axis: values & -values for axis, values in enumerate(every)}
        highest = {axis: 1 << values.bit_length() - 1 for axis, values in enumerate(every)}
        first, last = (self._owning(self._index.containing(one, near)) for one in (lowest, highest))
        return first & last

    def _owning(self, boxes: int) -> set[int]:
        return {self._owners[number] for number in members(boxes)}
