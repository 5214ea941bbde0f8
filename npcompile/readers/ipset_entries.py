"""What the entries of `add` and `del` lines stand for, by the type of their set."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from itertools import product
from typing import assert_never, cast

from npcompile.netset.cidrs import Address, Family, block, point, prefixes
from npcompile.netset.intervals import IntervalSet, union
from npcompile.readers.problems import RefusedError
from npcompile.readers.sets import AddressPortSet, AddressSet, IpSet, NetPairSet

# The kernel takes any number of addresses; more than this in one entry is nothing that we should write.
LARGEST_ENTRY = 1 << 16
_NUMBER = re.compile("0|[1-9][0-9]{0,9}")
PORT_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

Prefix = tuple[int, int]  # first and last address on the axis of `netset.cidrs`
Element = int | Prefix | tuple[int, int, int] | tuple[Prefix, Prefix]


class SetType(Enum):
    """The types of sets that are understood."""

    IP = "hash:ip"
    NET = "hash:net"
    IP_PORT = "hash:ip,port"
    NET_NET = "hash:net,net"


def elements(set_type: SetType, family: Family, entry: str) -> Iterable[Element]:
    """The elements that an entry adds, each once, in the kernel's order; Refused when it is not understood."""
    parts = entry.split(",")
    if len(parts) != set_type.value.count(",") + 1:
        raise RefusedError(f"`{entry}` is no entry of a {set_type.value} set")
    match set_type:
        case SetType.IP:
            return _addresses(family, entry)
        case SetType.NET:
            return _networks(family, entry)
        case SetType.IP_PORT:
            addresses, (protocol, ports) = _addresses(family, parts[0]), _ports(parts[1])
            if len(addresses) * len(ports) > LARGEST_ENTRY:
                raise RefusedError(f"`{entry}` are more than {LARGEST_ENTRY} elements")
            return ((address, protocol, port) for address, port in product(addresses, ports))
        case SetType.NET_NET:
            return [_pair(family, parts)]
        case _:
            assert_never(set_type)


def meaning(set_type: SetType, family: Family, members: set[Element]) -> IpSet:
    """A set of these elements, which `elements` made for the same type, as a value."""
    match set_type:
        case SetType.IP:
            points = cast(set[int], members)
            return AddressSet(family=family, addresses=union(IntervalSet.of(one, one) for one in points))
        case SetType.NET:
            networks = cast(set[Prefix], members)
            return AddressSet(family=family, addresses=union(IntervalSet.of(*one) for one in networks))
        case SetType.IP_PORT:
            return AddressPortSet(family=family, members=frozenset(cast(set[tuple[int, int, int]], members)))
        case SetType.NET_NET:
            return NetPairSet(family=family, pairs=frozenset(cast(set[tuple[Prefix, Prefix]], members)))
        case _:
            assert_never(set_type)


def _addresses(family: Family, text: str) -> range:
    """`ADDRESS`, and for IPv4 `ADDRESS/LENGTH` and `FIRST-LAST`, host bits ignored; 0.0.0.0 cannot be stored."""
    if family is Family.V6 or ("/" not in text and "-" not in text):
        first = last = _address(family, text.removesuffix("/128") if family is Family.V6 else text)
    elif "-" in text:
        first, last = _bounds(family, text)
    else:
        first, last = _prefix(family, text)
    if first == point(IPv4Address(0)) or first == point(IPv6Address(0)):
        raise RefusedError(f"`{text}` contains the null address, which sets of addresses cannot hold")
    if last - first >= LARGEST_ENTRY:
        raise RefusedError(f"`{text}` are more than {LARGEST_ENTRY} addresses")
    return range(first, last + 1)


def _networks(family: Family, text: str) -> Iterable[Prefix]:
    """`ADDRESS`, `ADDRESS/LENGTH` with a length of at least 1, and for IPv4 `FIRST-LAST`."""
    if "-" in text:
        if family is Family.V6:
            raise RefusedError(f"`{text}`: ranges exist in IPv4 only")
        first, last = _bounds(family, text)
        found = [(one.bounds[0], one.bounds[1] - 1) for one in map(block, prefixes(IntervalSet.of(first, last)))]
    else:
        found = [_prefix(family, text)]
    for low, high in found:
        if high - low + 1 == 1 << family.bits:
            raise RefusedError(f"`{text}`: a set of networks cannot hold all addresses as one prefix")
    return found


def _pair(family: Family, parts: list[str]) -> tuple[Prefix, Prefix]:
    """Two of `ADDRESS` or `ADDRESS/LENGTH`; length 0 is legal here."""
    first, second = (_prefix(family, part) for part in parts)
    return first, second


def _ports(text: str) -> tuple[int, range]:
    """`PORT` (of TCP) or `PROTOCOL:PORT` or `PROTOCOL:FIRST-LAST`, from 1 to 65535."""
    name, _, numbers = text.rpartition(":")
    protocol = PORT_PROTOCOLS.get(name or "tcp")
    first, _, last = numbers.partition("-")
    if protocol is None or (":" in text and not name) or (numbers.endswith("-")):
        raise RefusedError(f"`{text}` is no port that is understood: `tcp`, `udp` or `sctp`, and numbers")
    low, high = number(first, 1, 65535), number(last or first, 1, 65535)
    if low > high:
        raise RefusedError(f"`{text}` ends before it begins")
    return protocol, range(low, high + 1)


def _bounds(family: Family, text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    low, high = _address(family, first), _address(family, last)
    if low > high:
        raise RefusedError(f"`{text}` ends before it begins")
    return low, high


def _prefix(family: Family, text: str) -> Prefix:
    address, slash, length = text.partition("/")
    size = family.bits - (number(length, 0, family.bits) if slash else family.bits)
    first = _address(family, address) >> size << size
    return first, first + (1 << size) - 1


def _address(family: Family, text: str) -> int:
    return point(address_of(family, text))


def address_of(family: Family, text: str) -> Address:
    """An address in its usual form; Refused for anything else, such as leading zeros, zones or names."""
    if "%" not in text:
        try:
            return IPv6Address(text) if family is Family.V6 else IPv4Address(text)
        except AddressValueError:
            pass
    raise RefusedError(f"`{text}` is no IPv{family} address")


def number(text: str, low: int, high: int) -> int:
    """A decimal number within bounds, without sign or leading zeros, which C reads as octal."""
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise RefusedError(f"`{text}` is no number from {low} to {high}")
    return int(text)
