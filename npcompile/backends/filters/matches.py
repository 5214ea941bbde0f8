"""What a line of a packet filter asks of a packet, and the sets that it asks about: values, before any text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from npcompile.netset.cidrs import Family, Network
from npcompile.netset.ports import Protocol


class SetKind(Enum):
    """What the members of a set are."""

    ADDRESSES = "addresses"
    NETWORKS = "networks"
    PORTS = "ports"


@dataclass(frozen=True, slots=True)
class Declared:
    """A port that a pod declares under some name, at the pod's address, which is a point as in `netset.cidrs`."""

    address: int
    protocol: Protocol
    number: int

    @property
    def order(self) -> tuple[int, str, int]:
        """Sorts those of one address family."""
        return (self.address, self.protocol.value, self.number)


Members = tuple[int, ...] | tuple[Network, ...] | tuple[Declared, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSet:
    """A set and its members, sorted; addresses are points as in `netset.cidrs`, networks are disjoint and never of
    length 0.

    `capacity`: how many members it is made for; None where the target's sets have no bound.  `isolates`: who is in it
    is filtered, so that it must never miss a member.
    """

    name: str
    kind: SetKind
    family: Family
    members: Members
    capacity: int | None = None
    isolates: bool = False


class Side(Enum):
    """Which end of a packet a match is about."""

    SOURCE = "src"
    DESTINATION = "dst"


@dataclass(frozen=True, slots=True)
class InSet:
    """The packet's address is in a set of its family; of a set of ports, its destination address and port are."""

    name: str
    kind: SetKind
    family: Family
    side: Side


@dataclass(frozen=True, slots=True)
class OfProtocol:
    """The packet is of a protocol.  ICMP is that of the packet's family here, not all port-less protocols."""

    protocol: Protocol


@dataclass(frozen=True, slots=True)
class ToPorts:
    """The packet is of a protocol, and its destination port in one of the ranges (first, last), which are sorted."""

    protocol: Protocol
    ranges: tuple[tuple[int, int], ...]


RuleMatch = InSet | OfProtocol | ToPorts

Allowance = tuple[str, tuple[RuleMatch, ...]]
"""A rule's id, and what it allows, or one alternative of it: packets for which all matches hold."""
