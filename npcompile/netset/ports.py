"""Sets of (protocol, destination port), on one axis of integers.

Each protocol owns a block of 65,536 points and a port is its offset there, so that one `IntervalSet` holds ports of
every protocol.  A port-less protocol is the single point at its block's start.  Ports run from 1 to 65535, as in the
Kubernetes API; ICMP stands for every protocol without ports (no NetworkPolicy can tell them apart).
"""

from __future__ import annotations

from enum import Enum

from npcompile.netset.intervals import IntervalSet, union

FIRST_PORT, LAST_PORT = 1, 65535
_BLOCK = 1 << 16


class Protocol(Enum):
    """What a flow is carried by; the values are the API's words, and `icmp` covers ICMPv6 and the port-less rest."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"
    ICMP = "ICMP"

    __hash__ = object.__hash__  # members are singletons, and much used as keys: Enum's own hashes the name

    @property
    def has_ports(self) -> bool:
        """Whether its flows carry a destination port."""
        return self is not Protocol.ICMP

    def __str__(self) -> str:
        return self.value.lower()


_ORDER = tuple(Protocol)
_INDEX = {protocol: index for index, protocol in enumerate(_ORDER)}


def point(protocol: Protocol, port: int | None) -> int:
    """A flow's place on the axis; `port` is None for a port-less protocol."""
    return _INDEX[protocol] * _BLOCK + (port or 0)


def at(value: int) -> tuple[Protocol, int | None]:
    """The inverse of `point`."""
    protocol = _ORDER[value // _BLOCK]
    return protocol, value % _BLOCK if protocol.has_ports else None


def port_range(protocol: Protocol, first: int, last: int) -> IntervalSet:
    """The ports from first to last of a protocol that has them."""
    return IntervalSet.of(point(protocol, first), point(protocol, last))


def all_ports(protocol: Protocol) -> IntervalSet:
    """Every port of a protocol; the one point of a port-less protocol."""
    if not protocol.has_ports:
        return IntervalSet.of(point(protocol, None), point(protocol, None))
    return port_range(protocol, FIRST_PORT, LAST_PORT)


EVERY_PORT = union(all_ports(protocol) for protocol in Protocol)


def describe(ports: IntervalSet) -> str:
    """For people: `tcp/80,443 udp/53`, `tcp/1000-2000`, `icmp`, `tcp/*`, `any port`."""
    if ports == EVERY_PORT:
        return "any port"
    words = []
    for protocol in Protocol:
        own = ports & all_ports(protocol)
        if not own:
            continue
        if own == all_ports(protocol):
            words.append(f"{protocol}/*" if protocol.has_ports else str(protocol))
            continue
        spans = ((first % _BLOCK, last % _BLOCK) for first, last in own)
        words.append(f"{protocol}/" + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans))
    return " ".join(words) or "no port"
