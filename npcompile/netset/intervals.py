"""Finite unions of integer intervals."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IntervalSet:
    """A set of integers as its boundaries: `bounds` is strictly increasing, x is in the set iff an odd number of
    boundaries are <= x.  So `(a, b, c, d)` is [a, b) and [c, d), and equal sets are equal values.
    """

    bounds: tuple[int, ...] = ()

    @staticmethod
    def of(first: int, last: int) -> IntervalSet:
        """The integers from first to last, both included."""
        return IntervalSet((first, last + 1)) if first <= last else EMPTY

    def __contains__(self, value: int) -> bool:
        return bisect_right(self.bounds, value) % 2 == 1

    def __bool__(self) -> bool:
        return bool(self.bounds)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The maximal intervals in order, as (first, last), both included."""
        starts, ends = self.bounds[::2], self.bounds[1::2]
        return ((start, end - 1) for start, end in zip(starts, ends, strict=True))

    def __or__(self, other: IntervalSet) -> IntervalSet:
        if not self.bounds or self is other:
            return other
        if not other.bounds:
            return self
        return _combine(self, other, lambda a, b: a or b)

    def __and__(self, other: IntervalSet) -> IntervalSet:
        if not self.bounds or self is other:
            return self
        if not other.bounds:
            return other
        return _combine(self, other, lambda a, b: a and b)

    def __sub__(self, other: IntervalSet) -> IntervalSet:
        if not self.bounds or not other.bounds:
            return self
        return _combine(self, other, lambda a, b: a and not b)

    def __le__(self, other: IntervalSet) -> bool:
        """Subset."""
        return not (self - other)

    def isdisjoint(self, other: IntervalSet) -> bool:
        """Whether no integer is in both."""
        return not (self & other)

    def aligned(self) -> Iterator[tuple[int, int]]:
        """The unique smallest list of disjoint blocks that make up the set, in order: (start, n) is the 2**n integers
        from start, which is a multiple of 2**n.
        """
        for first, last in self:
            start = first
            while start <= last:
                size = (last - start + 1).bit_length() - 1
                if start:
                    size = min(size, (start & -start).bit_length() - 1)
                yield start, size
                start += 1 << size

    @property
    def first(self) -> int:
        """The least member; the set must not be empty."""
        return self.bounds[0]

    @property
    def size(self) -> int:
        """The number of members."""
        return sum(self.bounds[1::2]) - sum(self.bounds[::2])


EMPTY = IntervalSet()


def _combine(a: IntervalSet, b: IntervalSet, keep: Callable[[bool, bool], bool]) -> IntervalSet:
    """Sweep over both boundaries, emitting one wherever `keep(in a, in b)` changes."""
    in_a = in_b = kept = False
    cuts_a, cuts_b = frozenset(a.bounds), frozenset(b.bounds)
    bounds = []
    for cut in sorted(cuts_a | cuts_b):
        in_a ^= cut in cuts_a
        in_b ^= cut in cuts_b
        if keep(in_a, in_b) != kept:
            kept = not kept
            bounds.append(cut)
    return IntervalSet(tuple(bounds))


def union(sets: Iterable[IntervalSet]) -> IntervalSet:
    """The union of any number of sets, in one sweep."""
    return covered([span for one in sets for span in one])


def covered(spans: Iterable[tuple[int, int]]) -> IntervalSet:
    """The integers in any of some intervals (first, last), both included and neither empty."""
    bounds: list[int] = []
    for first, last in sorted(spans):
        if bounds and first <= bounds[-1]:
            bounds[-1] = max(bounds[-1], last + 1)
        else:
            bounds += (first, last + 1)
    return IntervalSet(tuple(bounds))
