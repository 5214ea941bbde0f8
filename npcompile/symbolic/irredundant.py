"""Which of some ordered things are needed for what all of them achieve together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import or_
from typing import Protocol

Missed = Callable[[int], int | None]
"""What the things of a bitset do not achieve: None if nothing, or else a bitset of all that would help with some part
of it, so that whatever achieves everything has one of those.
"""


class Ordered(Protocol):
    """Things in order, each with some bits of a bitset that no other one has."""

    def since(self, place: int) -> int:
        """The bits of the things from a place on; none after the last."""
        ...

    def last(self, some: int) -> int:
        """The last place of a thing that has some of these bits."""
        ...


class Listed:
    """Things in order of which each has any bits."""

    def __init__(self, own: Sequence[int]) -> None:
        self._own = own
        self._since = list(accumulate(reversed(own), or_, initial=0))[::-1]

    def since(self, place: int) -> int:
        """The bits of the things from a place on."""
        return self._since[place]

    def last(self, some: int) -> int:
        """The last place of a thing that has some of these bits."""
        return next(place for place in range(len(self._own) - 1, -1, -1) if some & self._own[place])


def irredundant(things: Ordered, missed: Missed) -> list[int]:
    """The places of the things that are left when each in turn is dropped if the rest achieve everything.

    All of them do.
    """
    found: list[int] = []
    kept, low = 0, 0
    while (needed := _first_needed(things, missed, kept, low)) is not None:
        found.append(needed)
        low = needed + 1
        kept |= things.since(needed) & ~things.since(low)
    return found


def _first_needed(things: Ordered, missed: Missed, kept: int, low: int) -> int | None:
    """The least place, from `low` on, so that what is kept and what is later than it misses something; None where what
    is kept misses nothing.

    The later the place, the less is achieved, so it is found by bisection; and what helps tells more: the last place
    that has some of it is not too late.
    """
    if (helping := missed(kept)) is None:
        return None
    high, narrow = things.last(helping), False
    while low < high:
        narrow = not narrow
        middle = high - 1 if narrow else (low + high) // 2
        helping = missed(kept | things.since(middle + 1))
        if helping is None:
            low = middle + 1
        else:
            high = min(middle, things.last(helping))
    return low
