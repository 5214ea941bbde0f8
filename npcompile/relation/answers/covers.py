"""Which of several things suffice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Thing = TypeVar("Thing")


def irredundant(things: Sequence[Thing], suffice: Callable[[Sequence[Thing]], bool]) -> list[Thing] | None:
    """Those of some things that suffice: none, or the first that does alone, or those that are left when each in turn
    is dropped if the rest suffice.  None where all of them do not.
    """
    if suffice([]):
        return []
    for thing in things:
        if suffice([thing]):
            return [thing]
    if not suffice(things):
        return None
    kept = list(things)
    for thing in things:
        rest = [one for one in kept if one is not thing]
        if suffice(rest):
            kept = rest
    return kept
