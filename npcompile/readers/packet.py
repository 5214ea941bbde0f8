"""Packets, and whether a single match holds for one: as the kernel's match extensions have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from npcompile.netset.cidrs import Address, Family, family_of, point
from npcompile.readers.rules import (
    AddressMatch,
    IcmpMatch,
    InterfaceMatch,
    MarkMatch,
    Match,
    PortMatch,
    ProtocolMatch,
    SameAddressMatch,
    SetMatch,
    State,
    StateMatch,
    Way,
)
from npcompile.readers.sets import AddressPortSet, AddressSet, End, IpSet, NetPairSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A packet at a hook.  Both addresses are of one family, and it is no later fragment.

    `protocol` is the IP protocol's number.  Ports are None where the protocol has none, `icmp` is (type, code) of ICMP
    and ICMPv6.  An interface that it does not have, or whose name nobody asks for, is empty.
    """

    src: Address
    dst: Address
    protocol: int
    sport: int | None = None
    dport: int | None = None
    icmp: tuple[int, int] | None = None
    state: State = State.NEW
    in_interface: str = ""
    out_interface: str = ""
    mark: int = 0

    @property
    def family(self) -> Family:
        """IPv4 or IPv6."""
        return family_of(self.dst)

    def address(self, end: End) -> Address:
        """The address at one end."""
        return self.src if end is End.SRC else self.dst

    def port(self, end: End) -> int | None:
        """The port at one end."""
        return self.sport if end is End.SRC else self.dport


def holds(match: Match, packet: Packet, sets: Mapping[str, IpSet]) -> bool:
    """Whether a match holds, its negation included."""
    return _plainly_holds(match, packet, sets) != match.negated


def _plainly_holds(match: Match, packet: Packet, sets: Mapping[str, IpSet]) -> bool:
    match match:
        case AddressMatch():
            return packet.address(match.end) in match.network
        case ProtocolMatch():
            return packet.protocol == match.number
        case InterfaceMatch():
            name = packet.in_interface if match.way is Way.IN else packet.out_interface
            return name.startswith(match.name) if match.prefix else name == match.name
        case SetMatch():
            return contains(sets[match.name], packet, match.ends)
        case PortMatch():
            port = packet.port(match.end)
            return port is not None and port in match.ports
        case IcmpMatch():
            return packet.icmp is not None and packet.icmp[0] == match.type and match.code in {None, packet.icmp[1]}
        case StateMatch():
            return packet.state in match.states
        case MarkMatch():
            return packet.mark & match.mask == match.value
        case SameAddressMatch():
            return packet.src == packet.dst
        case _:
            assert_never(match)


def contains(one: IpSet, packet: Packet, ends: tuple[End, ...]) -> bool:
    """Whether a packet is in a set, whose dimensions are taken from `ends` in order: never, if these are too few."""
    if packet.family is not one.family or len(ends) < one.dimension:
        return False
    first = point(packet.address(ends[0]))
    match one:
        case AddressSet():
            return first in one.addresses
        case AddressPortSet():
            return (first, packet.protocol, packet.port(ends[1])) in one.members
        case NetPairSet():
            second = point(packet.address(ends[1]))
            return any(a[0] <= first <= a[1] and b[0] <= second <= b[1] for a, b in one.pairs)
        case _:
            assert_never(one)
