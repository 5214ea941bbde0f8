"""Which of some ordered things are needed for what all of them achieve together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import or_

Missed = Callable[[int], int | None]
"""What the things of a bitset do not achieve: None if nothing, or else a bitset of all that would help with some part
of it, so that whatever achieves everything has one of those.
"""


def irredundant(own: Sequence[int], missed: Missed) -> list[int]:
    """The places of the things that are left when each in turn is dropped if the rest achieve everything.

    `own` has the bits of each thing, which together miss nothing.
    """
    later = list(accumulate(reversed(own), or_, initial=0))[::-1]
    found: list[int] = []
    kept, low = 0, 0
    while (needed := _first_needed(missed, kept, later, low)) is not None:
        found.append(needed)
        kept |= own[needed]
        low = needed + 1
    return found


def _first_needed(missed: Missed, kept: int, later: Sequence[int], low: int) -> int | None:
    """The least place, from `low` on, so that what is kept and what is later than it (`later[place + 1]`) misses
    something; None where what is kept misses nothing.

    The later the place, the less is achieved, so it is found by bisection; and what helps tells more: the last place
    that has some of it is not too late.
    """
    if (helping := missed(kept)) is None:
        return None
    high, narrow = _last_with(helping, later, len(later) - 2), False
    while low < high:
        narrow = not narrow
        middle = high - 1 if narrow else (low + high) // 2
        helping = missed(kept | later[middle + 1])
        if helping is None:
            low = middle + 1
        else:
            high = _last_with(helping, later, middle)
    return low


def _last_with(helping: int, later: Sequence[int], high: int) -> int:
    return next(place for place in range(high, -1, -1) if helping & later[place])
