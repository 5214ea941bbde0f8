"""What the texts about a map have in common."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from npcompile.analyses.parties import ExternalParty, Group, Party, PodParty
from npcompile.analyses.reach import Edge
from npcompile.driver.map import Map
from npcompile.netset.ports import describe

described = cache(describe)


def counted(number: int, noun: str) -> str:
    """`1 class`, `2 classes`, `3 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}es" if noun[-1] == "s" else f"{number} {noun}s"


def note(found: Map) -> str:
    """What may change the map once all pods have addresses; empty where nothing can."""
    if not found.unbound:
        return ""
    who = f"{counted(found.unbound, 'pod')} {'has' if found.unbound == 1 else 'have'} no address yet"
    return f"note: {who}; rules with an ipBlock do not match them here, and may when they have one\n"


def holding(edge: Edge) -> str:
    """For which pairs an edge's ports are open."""
    return f"{edge.holds} IPv{edge.family.value}" if edge.family else str(edge.holds)


def pods_of(sides: Iterable[Group]) -> list[PodParty]:
    """Those of some groups that are pods."""
    return [group.party for group in sides if isinstance(group.party, PodParty)]


def any_outside(sides: Iterable[Group]) -> bool:
    """Whether addresses outside are among some groups."""
    return any(group.external for group in sides)


def with_internet(edge: Edge) -> bool:
    """Whether an end is the internet as a whole."""
    return any(isinstance(end, ExternalParty) and end.internet for end in (edge.src, edge.dst))


def source(edge: Edge) -> Party:
    """Where an edge comes from."""
    return edge.src


def destination(edge: Edge) -> Party:
    """Where an edge leads to."""
    return edge.dst
