"""What the datapath tells about packets: the words of its reasons, and its events as values."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address

from npcompile.ir.flow import Verdict
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Address

EVENTS_LOST = 0  # among the counters by reason: events that the ring buffer had no room for
_FIRST_DROP = 32


class Reason(IntEnum):
    """Why a packet passed or was dropped; the numbers are those of `bpf_templates/reasons.h`."""

    ALLOWED_BY_RULE = 1
    NOT_ISOLATED = 2
    SAME_POD = 3
    FROM_OWN_NODE = 4
    ESTABLISHED = 5
    REPLY = 6
    RELATED = 7
    ARP = 8
    NEIGHBOUR_DISCOVERY = 9
    MULTICAST_LISTENER = 10
    NO_RULE = 32
    SERVICE_MIXED = 33
    SPOOFED_SOURCE = 34
    FOREIGN_DESTINATION = 35
    NO_ENDPOINT = 36
    VLAN = 37
    ETHERTYPE = 38
    TRUNCATED_FRAME = 39
    IP_VERSION = 40
    IP_HEADER_LENGTH = 41
    TRUNCATED_IP = 42
    IP_LENGTH = 43
    PROTOCOL_ZERO = 44
    FIRST_FRAGMENT = 45
    LATER_FRAGMENT = 46
    UNKNOWN_EXTENSION = 47
    TOO_MANY_EXTENSIONS = 48
    ROUTING_HEADER = 49
    TRUNCATED_TRANSPORT = 50
    TCP_HEADER = 51
    PORT_ZERO = 52
    ICMP_ERROR = 53
    FORGED_NEIGHBOUR = 54

    @property
    def allows(self) -> bool:
        """Whether a packet passes for this reason."""
        return self < _FIRST_DROP

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The verdict on a packet.

    `time`: nanoseconds of the monotonic clock.  `generation` says which artifact's numbers the others are.  `ruleset`
    and `rule` are 0 for none; `source` is None where the packet was not read as far as its addresses.
    """

    time: int
    generation: int
    ifindex: int
    endpoint: int
    identity: int
    peer_identity: int
    ruleset: int
    rule: int
    source: Address | None
    destination: Address | None
    source_port: int
    destination_port: int
    protocol: int
    direction: Direction
    verdict: Verdict
    reason: Reason


_HEAD = struct.Struct("=QQ6I16s16s")
_PORTS = struct.Struct("!HH")
_TAIL = struct.Struct("=BBBBII")
EVENT_SIZE = _HEAD.size + _PORTS.size + _TAIL.size


def decode(data: bytes) -> Event:
    """An event from the bytes of `struct event` in `bpf_templates/layout.h`."""
    *numbers, source, destination = _HEAD.unpack_from(data)
    source_port, destination_port = _PORTS.unpack_from(data, _HEAD.size)
    protocol, family, direction, allowed, reason, _ = _TAIL.unpack_from(data, _HEAD.size + _PORTS.size)
    time, generation, ifindex, endpoint, identity, peer_identity, ruleset, rule = numbers
    size = {4: 4, 6: 16}.get(family)
    return Event(
        time=time,
        generation=generation,
        ifindex=ifindex,
        endpoint=endpoint,
        identity=identity,
        peer_identity=peer_identity,
        ruleset=ruleset,
        rule=rule,
        source=None if size is None else ip_address(source[:size]),
        destination=None if size is None else ip_address(destination[:size]),
        source_port=source_port,
        destination_port=destination_port,
        protocol=protocol,
        direction=Direction.INGRESS if direction else Direction.EGRESS,
        verdict=Verdict.ALLOW if allowed else Verdict.DENY,
        reason=Reason(reason),
    )
