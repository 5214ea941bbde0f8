"""Port sets as bitsets over elementary intervals.

The (protocol, port) axis of `netset.ports` is cut wherever a port set that matters begins or ends.  No policy can tell
two points between neighbouring cuts apart, so every port set is a union of those pieces, and its bitset (the lowest
piece first) does in nanoseconds what interval sets do in microseconds.  At the relation's surface port sets are
`IntervalSet`s.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from npcompile.netset.intervals import IntervalSet, union
from npcompile.netset.ports import EVERY_PORT, Protocol, at
from npcompile.relation.bits import lowest, members


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PortSpace:
    """The pieces, as [start, end) each, in order."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    every: int  # all pieces, as a bitset
    _sets: dict[int, IntervalSet] = field(default_factory=dict, repr=False)  # only remembers

    def bits(self, ports: IntervalSet) -> int:
        """The pieces of a port set.  ValueError where it begins or ends within one."""
        found = 0
        for first, last in ports:
            low, high = bisect_left(self.starts, first), bisect_left(self.starts, last + 1)
            if low >= high or self.starts[low] != first or self.ends[high - 1] != last + 1:
                raise ValueError(f"no cut at {first} or {last + 1}")
            found |= (1 << high) - (1 << low)
        return found

    def ports(self, bits: int) -> IntervalSet:
        """The inverse of `bits`; equal sets are the same object."""
        if bits not in self._sets:
            pieces = (IntervalSet.of(self.starts[piece], self.ends[piece] - 1) for piece in members(bits))
            self._sets[bits] = union(pieces)
        return self._sets[bits]

    def piece(self, one: int) -> int:
        """The piece that a point lies in, as a bitset."""
        return 1 << bisect_right(self.starts, one) - 1

    def first_point(self, bits: int) -> int:
        """The least point of a port set that is not empty."""
        return self.starts[lowest(bits)]

    def first(self, bits: int) -> tuple[Protocol, int | None]:
        """The least protocol and port of a port set that is not empty."""
        return at(self.first_point(bits))


def port_space(sets: Iterable[IntervalSet]) -> PortSpace:
    """The pieces into which the boundaries of some port sets cut all ports."""
    cuts = sorted({*EVERY_PORT.bounds}.union(*(ports.bounds for ports in sets)))
    pieces = [(start, end) for start, end in pairwise(cuts) if start in EVERY_PORT]
    return PortSpace(
        starts=tuple(start for start, _ in pieces),
        ends=tuple(end for _, end in pieces),
        every=(1 << len(pieces)) - 1,
    )
