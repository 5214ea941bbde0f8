"""Whether boxes cover a box, decided exactly and without a solver.

A box is a product: for each axis that it restricts, a bitset of the values allowed there.  `A - B` is a disjoint union
of boxes, at most one for each axis that B restricts: on axis d, the values of A outside of B, with A cut to B on the
axes before d.  `Index.outside` follows this identity depth first, until a part meets none of the other boxes, or every
part lies within one; so its answers are exact.  A box that leaves one part only is taken away before any that leaves
several.  Bitsets with a bit for each box of the index say at once which of them a box meets, and which contain it, so
that most questions end with the first look.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from operator import or_
from typing import NamedTuple

from npcompile.symbolic.bitsets import bits, members, runs

Box = Mapping[int, int]  # by axis, the values allowed (never none); an axis that is left out is not restricted

_MANY = 32  # restrictions, or boxes, that are looked at one by one
_FEW = 8  # runs that are looked at one by one


class OutOfStepsError(Exception):
    """A question took more steps than allowed.  It is not decided: another method has to."""


@dataclass(slots=True)
class Steps:
    """How many boxes may still be looked at; spent as they are."""

    left: int

    def spend(self) -> None:
        """Raise OutOfStepsError when nothing is left."""
        self.left -= 1
        if self.left < 0:
            raise OutOfStepsError


def intersection(one: Box, other: Box) -> Box | None:
    """What is in both; None where nothing is."""
    found = dict(one)
    for axis, values in other.items():
        own = found.get(axis)
        common = values if own is None else own & values
        if not common:
            return None
        found[axis] = common
    return found


def minus(box: Box, other: Box, universe: Sequence[int]) -> list[Box]:
    """What is in one box and not in another, as disjoint boxes; `universe` has all values of each axis."""
    pieces: list[Box] = []
    inside = dict(box)
    for axis, values in other.items():
        own = inside.get(axis, universe[axis])
        common = own & values
        if not common:
            return [box]
        if common != own:
            pieces.append({**inside, axis: own ^ common})
            inside[axis] = common
    return pieces


def difference(boxes: Iterable[Box], others: Iterable[Box], universe: Sequence[int], steps: Steps) -> list[Box]:
    """What is in some of `boxes` and in none of `others`; disjoint where `boxes` are."""
    pieces = list(boxes)
    for other in others:
        if not pieces:
            break
        rest: list[Box] = []
        for piece in pieces:
            steps.spend()
            rest += minus(piece, other, universe)
        pieces = rest
    return pieces


def point_of(box: Box, universe: Sequence[int], *, last: bool = False) -> Box:
    """The point of a box with the first value of each axis, or with the last one."""
    every = enumerate(box.get(axis, values) for axis, values in enumerate(universe))
    return {axis: 1 << values.bit_length() - 1 if last else values & -values for axis, values in every}


def absorbed(boxes: Iterable[Box], universe: Sequence[int]) -> list[Box]:
    """Without those that are part of another one; of equal ones the first is left."""
    listed = list(boxes)
    if len(listed) > _MANY:
        return list(_maximal(listed, Index(listed, universe)))
    kept: list[Box] = []
    for box in listed:
        if any(not minus(box, other, universe) for other in kept):
            continue
        kept = [other for other in kept if minus(other, box, universe)]
        kept.append(box)
    return kept


def _maximal(boxes: Sequence[Box], index: Index) -> Iterator[Box]:
    """What `absorbed` leaves of the boxes of an index."""
    for number, box in enumerate(boxes):
        around = index.containing(box, index.every ^ 1 << number)
        if all(one > number and index.containing(boxes[one], 1 << number) for one in members(around)):
            yield box


class _Axis:
    """How the boxes of an index restrict one axis: those that do not (`free`), and the others by the values they allow.

    Asked about new values, it looks at the different restrictions one by one.  Those that are one run of values each
    (a range of ports, a block of addresses) it can sort instead: a run [a, b] meets those that begin at b at the latest
    and do not end before a, and lies within those that begin at a at the latest and do not end before b.
    """

    def __init__(self, free: int) -> None:
        self.free = free
        self._restricted: dict[int, int] = {}  # boxes by the values that they allow
        self._meeting: dict[int, int] = {}
        self._containing: dict[int, int] = {}
        self._sorted: _Runs | None = None

    @property
    def different(self) -> int:
        """The number of different restrictions."""
        return len(self._restricted)

    def add(self, restricted: Mapping[int, Sequence[int]], boxes: int) -> None:
        """Add a set of boxes, some of which restrict the axis: their numbers, by the values that they allow."""
        for values, numbers in restricted.items():
            found = bits(numbers)
            self._restricted[values] = self._restricted.get(values, 0) | found
            boxes ^= found
        self.free |= boxes
        self._meeting.clear()
        self._containing.clear()
        self._sorted = None

    def meets(self, values: int) -> int:
        """The boxes that allow some of these values."""
        if values not in self._meeting:
            found = self.free
            if (runs := self._runs_of(values)) is None:
                others = self._restricted
            else:
                others = self._runs.others
                for first, last in runs:
                    found |= self._runs.begun(last) & ~self._runs.ended(first)
            for other, boxes in others.items():
                if other & values:
                    found |= boxes
            self._meeting[values] = found
        return self._meeting[values]

    def contains(self, values: int) -> int:
        """The boxes that allow all of these values."""
        if values not in self._containing:
            found = self.free
            if (runs := self._runs_of(values)) is None:
                others = self._restricted
            else:
                others = self._runs.others
                found |= self._runs.begun(runs[0][0]) & ~self._runs.ended(runs[-1][1])
            for other, boxes in others.items():
                if not values & ~other:
                    found |= boxes
            self._containing[values] = found
        return self._containing[values]

    @property
    def _runs(self) -> _Runs:
        if self._sorted is None:
            self._sorted = _Runs(self._restricted)
        return self._sorted

    def _runs_of(self, values: int) -> list[tuple[int, int]] | None:
        """The few runs of some values, where it is worth it to look for runs."""
        if len(self._restricted) <= _MANY:
            return None
        found = list(islice(runs(values), _FEW + 1))
        return found if len(found) <= _FEW else None


class _Runs:
    """Restrictions that are one run of values each, sorted; and the `others`."""

    def __init__(self, restricted: Mapping[int, int]) -> None:
        self.others: dict[int, int] = {}
        starts: dict[int, int] = {}
        ends: dict[int, int] = {}
        for values, boxes in restricted.items():
            first, last = values & -values, values.bit_length() - 1
            if values + first & values:
                self.others[values] = boxes
            else:
                starts[first.bit_length() - 1] = starts.get(first.bit_length() - 1, 0) | boxes
                ends[last] = ends.get(last, 0) | boxes
        self._starts, self._ends = sorted(starts), sorted(ends)
        self._begun = list(accumulate((starts[one] for one in self._starts), or_, initial=0))
        self._ended = list(accumulate((ends[one] for one in self._ends), or_, initial=0))

    def begun(self, value: int) -> int:
        """The boxes whose run begins at a value at the latest."""
        return self._begun[bisect_right(self._starts, value)]

    def ended(self, value: int) -> int:
        """The boxes whose run ends before a value."""
        return self._ended[bisect_left(self._ends, value)]


class Index:
    """Boxes, numbered as they are added; sets of them are bitsets of their numbers."""

    def __init__(self, boxes: Iterable[Box], universe: Sequence[int]) -> None:
        self.boxes: list[Box] = []
        self.every = 0
        self._universe = universe
        self._axes: dict[int, _Axis] = {}
        self.add(boxes)

    def add(self, boxes: Iterable[Box]) -> int:
        """Add boxes, whose set is returned."""
        old, first = self.every, len(self.boxes)
        self.boxes += boxes
        self.every = (1 << len(self.boxes)) - 1
        restricted: dict[int, dict[int, list[int]]] = {axis: {} for axis in self._axes}
        for number, box in enumerate(self.boxes[first:], first):
            for axis, values in box.items():
                restricted.setdefault(axis, {}).setdefault(values, []).append(number)
        for axis, by_values in sorted(restricted.items()):
            self._axes.setdefault(axis, _Axis(old)).add(by_values, self.every ^ old)
        return self.every ^ old

    def meeting(self, box: Box, among: int) -> int:
        """Which of some boxes have something in common with a box."""
        for axis, values in box.items():
            if axis in self._axes and among:
                among &= self._axes[axis].meets(values)
        return among

    def containing(self, box: Box, among: int) -> int:
        """Which of some boxes contain a box."""
        for axis, known in self._axes.items():
            if among:
                among &= known.contains(box.get(axis, self._universe[axis]))
        return among

    def covers(self, boxes: Iterable[Box], among: int, steps: Steps) -> bool:
        """Whether some boxes of the index together contain everything in `boxes`."""
        return all(self.outside(box, among, steps) is None for box in boxes)

    def outside(self, box: Box, among: int, steps: Steps, within: int | None = None) -> Box | None:
        """A part of a box that is in none of some boxes of the index; None where there is none.

        `within`: one that has something in common with some of these, or none if nothing else is left.
        """
        near = self.meeting(box, among)
        corner, fewer = self._corner(box, near)
        if fewer != near and (found := next(self._search(corner, fewer, within, steps), None)) is not None:
            return found
        return next(self._search(box, near, within, steps), None)

    def parts(self, box: Box, among: int, steps: Steps, within: int | None = None) -> Iterator[Box]:
        """Disjoint parts of a box that make up all of it that is in none of some boxes of the index.

        `within`: without parts that have nothing in common with any of these.
        """
        return self._search(box, self.meeting(box, among), within, steps)

    def _corner(self, box: Box, near: int) -> tuple[Box, int]:
        """A part of a box that few boxes meet: on each axis that it does not restrict, the first value or the last one.

        Most boxes restrict some of those, and what is not covered is mostly found there.
        """
        corner = dict(box)
        for axis, known in self._axes.items():
            if axis not in box:
                every = self._universe[axis]
                first, last = every & -every, 1 << every.bit_length() - 1
                of_first, of_last = near & known.meets(first), near & known.meets(last)
                better = of_last.bit_count() < of_first.bit_count()
                corner[axis], near = (last, of_last) if better else (first, of_first)
        return corner, near

    def _search(self, box: Box, near: int, within: int | None, steps: Steps) -> Iterator[Box]:
        """`parts` outside of those that a box meets."""
        wanted = 0 if within is None else self.meeting(box, within)
        stack = [_Look(box, near, wanted, {}, self._axes)]
        while stack:
            steps.spend()
            piece, near, wanted, before, changed = stack.pop()
            if within is not None and not wanted:
                continue
            if not near:
                yield piece
                continue
            dividing = self._dividing(piece, near, before, changed)
            once, twice, thrice = _at_least(dividing.values())
            if near & ~once:
                continue  # that box contains the piece
            if single := once & ~twice:
                rest = self._rest(piece, single, dividing)
                pieces, axes = ([] if rest is None else [rest]), list(dividing)
            else:
                divider = self.boxes[(twice & ~thrice or near).bit_length() - 1]
                pieces, axes = minus(piece, divider, self._universe), list(divider)
            looks = []
            for child in pieces:
                left, differing = near, [axis for axis in axes if child.get(axis) != piece.get(axis)]
                still = wanted
                for axis in differing:
                    meeting = self._axes[axis].meets(child[axis])
                    left &= meeting
                    still &= meeting
                looks.append(_Look(child, left, still, dividing, differing))
            looks.sort(key=lambda look: -look.near.bit_count())  # the least crowded is looked at first
            stack += looks

    def _dividing(self, piece: Box, near: int, before: Mapping[int, int], changed: Iterable[int]) -> dict[int, int]:
        """By axis, the boxes that do not contain a piece there; on all axes but some those of `before` do not."""
        found = {axis: left for axis, boxes in before.items() if (left := boxes & near)}
        for axis in changed:
            known = self._axes[axis]
            left = near & ~known.contains(piece.get(axis, self._universe[axis]))
            found.pop(axis, None)
            if left:
                found[axis] = left
        return found

    def _rest(self, piece: Box, single: int, dividing: Mapping[int, int]) -> Box | None:
        """What is left of a piece by boxes that contain it on all axes but one each; None where nothing is."""
        rest = dict(piece)
        for axis, boxes in dividing.items():
            left = rest.get(axis, self._universe[axis])
            for number in members(boxes & single):
                left &= ~self.boxes[number][axis]
                rest[axis] = left
            if not left:
                return None
        return rest


class _Look(NamedTuple):
    """A piece and the boxes that it meets, those that it must not be in and those that it must meet some of; but for
    the axes that changed, `before` has those that do not contain it.
    """

    piece: Box
    near: int
    wanted: int
    before: Mapping[int, int]
    changed: Iterable[int]


def _at_least(sets: Iterable[int]) -> tuple[int, int, int]:
    """What is in one of some sets at least, in two, and in three."""
    once = twice = thrice = 0
    for one in sets:
        thrice |= twice & one
        twice |= once & one
        once |= one
    return once, twice, thrice
