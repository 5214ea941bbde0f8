"""Sets of IP addresses, on one axis of integers.

IPv4 owns the points below 2**128 (its addresses are the first 2**32 of them) and IPv6 those from 2**128 on.
Prefixes of either family stay aligned there, so one `IntervalSet` holds addresses of both and still splits into CIDR
prefixes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from npcompile.netset.intervals import IntervalSet, union

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_V6 = 1 << 128


class Family(IntEnum):
    """An address family, by its IP version."""

    V4 = 4
    V6 = 6

    @property
    def bits(self) -> int:
        """The width of its addresses."""
        return 32 if self is Family.V4 else 128


def family_of(value: Address | Network) -> Family:
    """The family of an address or a network."""
    return Family.V4 if value.version == 4 else Family.V6


def point(address: Address) -> int:
    """An address' place on the axis."""
    return int(address) if isinstance(address, IPv4Address) else int(address) + _V6


def at(value: int) -> Address:
    """The inverse of `point`."""
    return IPv6Address(value - _V6) if value >= _V6 else IPv4Address(value)


def text_at(value: int) -> str:
    """The text of an address by its place on the axis: for many of them, as `ipaddress` takes three times as long."""
    if value >= _V6:
        return str(at(value))
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def block(network: Network) -> IntervalSet:
    """The addresses of a network."""
    return IntervalSet.of(point(network.network_address), point(network.broadcast_address))


EVERY_V4 = block(IPv4Network("0.0.0.0/0"))
EVERY_V6 = block(IPv6Network("::/0"))
EVERY_ADDRESS = EVERY_V4 | EVERY_V6


def every_address(family: Family) -> IntervalSet:
    """All addresses of a family."""
    return EVERY_V4 if family is Family.V4 else EVERY_V6


def block_except(network: Network, excepts: Iterable[Network]) -> IntervalSet:
    """An ipBlock: the addresses of `network` that are in none of `excepts`."""
    return block(network) - union(block(one) for one in excepts)


def prefixes(addresses: IntervalSet) -> Iterator[Network]:
    """The unique smallest list of disjoint prefixes that make up a set, in order."""
    for start, size in addresses.aligned():
        yield IPv6Network((start - _V6, 128 - size)) if start >= _V6 else IPv4Network((start, 32 - size))


def enclosing(addresses: IntervalSet) -> Network:
    """The smallest network that holds a set, which is not empty and of one family."""
    first, last = at(addresses.bounds[0]), at(addresses.bounds[-1] - 1)
    length = first.max_prefixlen - (int(first) ^ int(last)).bit_length()
    return ip_network(f"{first}/{length}", strict=False)


SPECIAL = union(
    block(network)
    for network in (
        IPv4Network("0.0.0.0/8"),
        IPv4Network("127.0.0.0/8"),
        IPv4Network("169.254.0.0/16"),
        IPv4Network("224.0.0.0/3"),
        IPv6Network("::/8"),
        IPv6Network("fe80::/10"),
        IPv6Network("ff00::/8"),
    )
)
"""The addresses that no host has on a network: loopback, link-local, multicast and reserved ones."""


def is_special(address: Address) -> bool:
    """Whether an address is one that no host has on a network."""
    return point(address) in SPECIAL


def representative(addresses: IntervalSet) -> Address:
    """The canonical member of a set that is not empty: its lowest address that a host may have on a network, or, where
    only loopback, link-local, multicast and reserved ones are in it, its lowest.
    """
    return at(((addresses - SPECIAL) or addresses).first)
