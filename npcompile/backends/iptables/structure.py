"""What the target lowers to: chains, lines and sets as values, before any text.

A line's matches are a conjunction.  Chains are per address family, because iptables' tables are; each family's sets
are its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from npcompile.backends.filters.inventory import Profile
from npcompile.backends.filters.matches import FilterSet, RuleMatch
from npcompile.netset.cidrs import Family


class State(Enum):
    """States of connection tracking."""

    ESTABLISHED = "ESTABLISHED"
    RELATED = "RELATED"


@dataclass(frozen=True, slots=True)
class InState:
    """Connection tracking says so."""

    state: State


@dataclass(frozen=True, slots=True)
class OfIcmpV6Type:
    """An ICMPv6 message of one type."""

    number: int


@dataclass(frozen=True, slots=True)
class ToItself:
    """The packet's source address is its destination address."""


@dataclass(frozen=True, slots=True)
class Unmarked:
    """Our bit of the packet mark is not set."""


Match = RuleMatch | InState | OfIcmpV6Type | ToItself | Unmarked


@dataclass(frozen=True, slots=True)
class Jump:
    """Go through a chain and come back."""

    chain: str


@dataclass(frozen=True, slots=True)
class Goto:
    """Go through a chain and come back to where this chain was called."""

    chain: str


class Action(Enum):
    """What needs no argument."""

    RETURN = "RETURN"
    DROP = "DROP"
    ACCEPT = "ACCEPT"
    MARK = "mark"  # set our bit of the packet mark
    CLEAR = "clear"  # clear it


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chain.  `rule` is the id of the policy rule it comes from."""

    matches: tuple[Match, ...] = ()
    action: Action | Jump | Goto
    rule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain of ours."""

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A chain of the table filter that sends its packets to one of ours first."""

    builtin: str
    chain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Our part of one family's table `filter`."""

    family: Family
    chains: tuple[Chain, ...]
    hooks: tuple[Hook, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruleset:
    """A program, lowered.  `sets` is sorted by family and name; `mark` is our bit of the packet mark; `profiles` tells
    whose pods a set holds.
    """

    mark: int
    sets: tuple[FilterSet, ...]
    profiles: tuple[tuple[str, Profile], ...]
    tables: tuple[Table, ...]
