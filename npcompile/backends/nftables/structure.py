"""What the target lowers to: one table of both families as values, before any text.

A line's matches are a conjunction.  A match that names a family's addresses never holds for the other's packets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from npcompile.backends.filters.matches import FilterSet, InSet, Side
from npcompile.netset.cidrs import Family
from npcompile.netset.ports import Protocol


@dataclass(frozen=True, slots=True)
class Transport:
    """The packet is of one of the protocols, and, unless `ranges` is None, its destination port in one of them."""

    protocols: tuple[Protocol, ...]
    ranges: tuple[tuple[int, int], ...] | None = None


class Tracked(Enum):
    """What connection tracking says of a packet that answers another."""

    REPLY = "ct state established"
    ERROR = "meta l4proto { icmp, ipv6-icmp } ct state related"


@dataclass(frozen=True, slots=True)
class OfIcmpV6Types:
    """An ICMPv6 message of one of the types."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ToItself:
    """The packet's source and destination are one address, of a set of pairs."""

    set: str
    family: Family


Match = InSet | Transport | Tracked | OfIcmpV6Types | ToItself


@dataclass(frozen=True, slots=True)
class Jump:
    """Go through a chain and come back."""

    chain: str


@dataclass(frozen=True, slots=True)
class Goto:
    """Go through a chain and come back to where this chain was jumped to."""

    chain: str


@dataclass(frozen=True, slots=True)
class Look:
    """Go to the chain that a verdict map has for the packet's address at one side; if it has none, go on."""

    map: str
    family: Family
    side: Side


class Action(Enum):
    """Verdicts that need no argument."""

    ACCEPT = "accept"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One rule of a chain.  `rule` is the id of the policy rule it comes from."""

    matches: tuple[Match, ...] = ()
    action: Action | Jump | Goto | Look
    rule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain; `hook` is where the kernel calls it, None: it is called from others only."""

    name: str
    lines: tuple[Line, ...]
    hook: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictMap:
    """The chain to go to, by address (a point as in `netset.cidrs`); sorted by address."""

    name: str
    family: Family
    chains: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSet:
    """Addresses (points as in `netset.cidrs`), sorted, each of which stands for the pair of itself and itself."""

    name: str
    family: Family
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A program, lowered.  Sets are sorted by family and name."""

    chains: tuple[Chain, ...]
    sets: tuple[FilterSet, ...]
    pairs: tuple[PairSet, ...]
    maps: tuple[VerdictMap, ...]
