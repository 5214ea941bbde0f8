"""What the target lowers to: chains, lines and sets as values, before any text.

A line's matches are a conjunction.  Chains are per address family, because iptables' tables are; each family's sets
are its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from npcompile.backends.target import RuleOrigin
from npcompile.ir.cluster import Pod
from npcompile.netset.cidrs import Address, Family, Network
from npcompile.netset.ports import Protocol


class SetKind(Enum):
    """Types of ipset, by the kernel's names."""

    ADDRESSES = "hash:ip"
    NETWORKS = "hash:net"
    PORTS = "hash:ip,port"


@dataclass(frozen=True, slots=True)
class Declared:
    """A port that a pod declares under some name, at the pod's address."""

    address: Address
    protocol: Protocol
    number: int

    @property
    def order(self) -> tuple[int, str, int]:
        """Sorts those of one address family."""
        return (int(self.address), self.protocol.value, self.number)


Members = tuple[Address, ...] | tuple[Network, ...] | tuple[Declared, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IpSet:
    """A set and its members, sorted.  `isolates`: who is in it is filtered, so that it must never miss a member."""

    name: str
    kind: SetKind
    family: Family
    maxelem: int
    members: Members
    isolates: bool = False


class Side(Enum):
    """Which end of a packet a set is asked about."""

    SOURCE = "src"
    DESTINATION = "dst"


class State(Enum):
    """States of connection tracking."""

    ESTABLISHED = "ESTABLISHED"
    RELATED = "RELATED"


@dataclass(frozen=True, slots=True)
class InSet:
    """The packet's address is in a set; of a set of ports, its destination address and port are."""

    name: str
    kind: SetKind
    side: Side


@dataclass(frozen=True, slots=True)
class OfProtocol:
    """The packet is of a protocol.  ICMP is ICMP itself here (ICMPv6 in the IPv6 table), not all port-less ones."""

    protocol: Protocol


@dataclass(frozen=True, slots=True)
class ToPorts:
    """The packet is of a protocol, and its destination port in one of the ranges (first, last): 15 slots at most."""

    protocol: Protocol
    ranges: tuple[tuple[int, int], ...]


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
class Marked:
    """Our bit of the packet mark is set."""


Match = InSet | OfProtocol | ToPorts | InState | OfIcmpV6Type | ToItself | Marked


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
    """A program, lowered.  `sets` is sorted by name, `origins` by id; `mark` is our bit of the packet mark."""

    mark: int
    sets: tuple[IpSet, ...]
    tables: tuple[Table, ...]
    origins: tuple[RuleOrigin, ...]
    unbound: tuple[Pod, ...]
    profiles: int
    policies: int
