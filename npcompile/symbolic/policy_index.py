"""Policies of one namespace, indexed by whom they isolate and what they match; and what changes without one of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from npcompile.ir.policy import Direction, Policy
from npcompile.questions import RuleOf
from npcompile.symbolic.bitsets import members
from npcompile.symbolic.covers import Box, Index, Steps, intersection, point_of
from npcompile.symbolic.irredundant import irredundant
from npcompile.symbolic.space import Space


class PolicyIndex:
    """Numbered policies, in order.  Sets of them are bitsets of boxes: for each direction that a policy applies to, its
    subjects and what its rules match.  `own` has those of each policy, none where it can have no subject.
    """

    def __init__(self, space: Space, policies: Sequence[Policy]) -> None:
        self._space = space
        self._policies = tuple(policies)
        self.numbers = {policy.key: number for number, policy in enumerate(policies)}
        self.own: list[int] = []
        self._owners: list[int] = []
        self._isolating = dict.fromkeys(Direction, 0)
        self._allowing = dict.fromkeys(Direction, 0)
        boxes: list[Box] = []
        for number in range(len(self._policies)):
            first = len(boxes)
            for direction in self.directions(number):
                for kind, found in (
                    (self._isolating, self.subjects(number)),
                    (self._allowing, self.matched(number, direction)),
                ):
                    kind[direction] |= (1 << len(boxes) + len(found)) - (1 << len(boxes))
                    boxes += found
            self.own.append((1 << len(boxes)) - (1 << first))
            self._owners += [number] * (len(boxes) - first)
        self._index = Index(boxes, space.universe)
        self.every = self._index.every

    def directions(self, number: int) -> list[Direction]:
        """The directions that a policy applies to."""
        return [direction for direction in Direction if direction in self._policies[number].directions]

    def subjects(self, number: int) -> Sequence[Box]:
        """The flows of a policy's subjects, as near ends."""
        subject = self._space.subject(self._policies[number])
        return () if subject is None else (subject,)

    def matched(self, number: int, direction: Direction) -> Sequence[Box]:
        """What a policy's rules of a direction match."""
        policy = self._policies[number]
        rules = (RuleOf(policy=policy, rule=rule) for rule in policy.rules_of(direction))
        return [box for of in rules for box in self._space.rule(of)]

    # Without a policy

    def opened(self, number: int, direction: Direction, boxes: Iterable[Box], steps: Steps) -> Iterator[Box]:
        """The parts of some of its subjects' flows that a policy closes alone: no other one isolates the near end, and
        its rules do not match them.
        """
        for box in boxes:
            yield from self._outside(box, self._keeping(number, direction), steps)

    def closed(self, number: int, direction: Direction, boxes: Iterable[Box], steps: Steps) -> Iterator[Box]:
        """The parts of some of the flows that its rules match that a policy opens alone: another one isolates the near
        end, and no rule of another one matches them.
        """
        others = self._isolating[direction] & ~self.own[number]
        for box in boxes:
            for part in self._outside(box, self._allowing[direction] & ~self.own[number], steps, others):
                yield from self._cut(part, others)

    def _outside(self, box: Box, among: int, steps: Steps, within: int | None = None) -> Iterator[Box]:
        """`Index.parts`, after one that is mostly found sooner, as few ask for more."""
        first = self._index.outside(box, among, steps, within)
        if first is not None:
            yield first
            yield from self._index.parts(box, among, steps, within)

    def changing(self, number: int, direction: Direction) -> Iterator[tuple[Box, Iterator[Box]]]:
        """All that `opened` and `closed` find, as boxes, each without others."""
        for box in self.subjects(number):
            yield box, self._meeting(box, self._keeping(number, direction))
        others = ~self.own[number]
        for box in self.matched(number, direction):
            for part in self._space.absorbed(self._cut(box, self._isolating[direction] & others)):
                yield part, self._meeting(part, self._allowing[direction] & others)

    def _keeping(self, number: int, direction: Direction) -> int:
        """What keeps a side from opening without a policy: who isolates beside it, and what its own rules match."""
        own = self.own[number]
        return self._isolating[direction] & ~own | self._allowing[direction] & own

    def _meeting(self, box: Box, among: int) -> Iterator[Box]:
        return (self._index.boxes[number] for number in members(self._index.meeting(box, among)))

    # Redundancy

    def cover(self, number: int, among: int, steps: Steps) -> list[int] | None:
        """Which of some others do all that a policy does, if they do: the first that does alone, or those that are left
        when each in turn is dropped if the rest suffice.
        """
        among &= ~self.own[number]
        if not self._suffices(number, among, steps):
            return None
        helping = self._missed(number, 0, steps)
        if helping is None:
            return []
        candidates = self._owning(helping & among)
        while candidates:
            single, *rest = candidates
            helping = self._missed(number, self.own[single], steps)
            if helping is None:
                return [single]
            candidates = [one for one in rest if helping & self.own[one]]
        return irredundant(_Left(self._owners, among), lambda kept: self._missed(number, kept, steps))

    def suffice(self, policy: Policy, others: Iterable[Policy], steps: Steps) -> bool:
        """Whether some others do all that a policy does."""
        among = 0
        for one in others:
            among |= self.own[self.numbers[one.key]]
        return self._suffices(self.numbers[policy.key], among, steps)

    def _suffices(self, number: int, among: int, steps: Steps) -> bool:
        opened = (self.opened(number, one, self.subjects(number), steps) for one in self.directions(number))
        return next(chain.from_iterable(opened), None) is None and self._missed(number, among, steps) is None

    def _missed(self, number: int, among: int, steps: Steps) -> int | None:
        """What some others do not do of all that a policy does for the subjects of any others, as the boxes any of
        which would help with a part of it; None where there is nothing.
        """
        for direction in self.directions(number):
            others = self._isolating[direction] & ~self.own[number]
            for boxes, doing in (
                (self.subjects(number), self._isolating[direction]),
                (self.matched(number, direction), self._allowing[direction]),
            ):
                for box in boxes:
                    missed = self._index.outside(box, among & doing, steps, others)
                    if missed is not None:
                        point = point_of(next(self._cut(missed, others)), self._space.universe)
                        return self._index.containing(point, doing & ~self.own[number])
        return None

    def _cut(self, box: Box, some: int) -> Iterator[Box]:
        """What a box has in common with each of some boxes of the index."""
        for other in self._meeting(box, some):
            both = intersection(box, other)
            if both is not None:
                yield both

    def _owning(self, boxes: int) -> list[int]:
        return sorted({self._owners[number] for number in members(boxes)})


class _Left:
    """The policies whose boxes are `among` those left, by number: an `Ordered`."""

    def __init__(self, owners: Sequence[int], among: int) -> None:
        self._owners, self._among = owners, among

    def since(self, place: int) -> int:
        """The boxes from those of a policy on."""
        first = bisect_left(self._owners, place)
        return self._among >> first << first

    def last(self, some: int) -> int:
        """The last policy that has some of these boxes."""
        return self._owners[(some & self._among).bit_length() - 1]
