"""What docs/datapath.md says becomes of a frame, in Python: a parser of its own, the flows that are remembered, and the
reference evaluator for everything else.

Nothing here knows the C.  Time does not pass: flows live as long as the oracle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address
from npcompile.netset.ports import Protocol
from npcompile.runtime.bpf.events import Reason
from npcompile.semantics import Reason as Why
from npcompile.semantics import decide
from tests.kernel.frames import ACK, ICMP4, ICMP6, SCTP, SYN, TCP, UDP

R = Reason
PORTS = {TCP: 20, UDP: 8, SCTP: 16}  # the least that must be there
PROTOCOLS = {TCP: Protocol.TCP, UDP: Protocol.UDP, SCTP: Protocol.SCTP}
NEVER = frozenset({59, 135, 139, 140, 253, 254})  # extension headers that end the reading
ERRORS4 = frozenset({3, 4, 5, 11, 12})
REQUESTS = {ICMP4: {8: 8, 0: 8, 13: 13, 14: 13}, ICMP6: {128: 128, 129: 128}}  # of requests and answers

Key = tuple[Address, Address, int, int, int]  # pod, peer, pod's port, peer's port, protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """An IP packet; `body` is what is behind its headers, as far as the packet says that it goes."""

    src: Address
    dst: Address
    protocol: int
    hops: int
    body: bytes

    @property
    def icmp(self) -> int:
        """The number of the family's ICMP."""
        return ICMP4 if self.src.version == 4 else ICMP6


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A flow that a packet belongs to, and whether the packet is one that opens such flows."""

    key: Key
    opens: bool


def word(data: bytes, at: int) -> int:
    """Two bytes, as a number."""
    return int.from_bytes(data[at : at + 2])


def read_frame(frame: bytes) -> Packet | Reason:
    """A packet, or what becomes of the frame without one; ARP is told as such."""
    if len(frame) < 14:
        return R.TRUNCATED_FRAME
    match word(frame, 12):
        case 0x0800:
            return read4(frame[14:])
        case 0x86DD:
            return read6(frame[14:])
        case 0x0806:
            return R.ARP
        case 0x8100 | 0x88A8:
            return R.VLAN
        case _:
            return R.ETHERTYPE


def read4(data: bytes) -> Packet | Reason:
    """RFC 791."""
    if len(data) < 20:
        return R.TRUNCATED_IP
    header, total, fragment = 4 * (data[0] & 15), word(data, 2), word(data, 6)
    wrong = (
        (data[0] >> 4 != 4, R.IP_VERSION),
        (header < 20, R.IP_HEADER_LENGTH),
        (total < header, R.IP_LENGTH),
        (total > len(data), R.TRUNCATED_IP),
        (fragment & 0x1FFF, R.LATER_FRAGMENT),
        (fragment & 0x2000, R.FIRST_FRAGMENT),
        (data[9] == 0, R.PROTOCOL_ZERO),
        ({131, 137} & {*data[20:header]}, R.ROUTING_HEADER),  # what would start a source route
    )
    for is_so, reason in wrong:
        if is_so:
            return reason
    return Packet(
        src=ip_address(data[12:16]),
        dst=ip_address(data[16:20]),
        protocol=data[9],
        hops=data[8],
        body=data[header:total],
    )


def read6(data: bytes) -> Packet | Reason:
    """RFC 8200."""
    if len(data) < 40:
        return R.TRUNCATED_IP
    if data[0] >> 4 != 6:
        return R.IP_VERSION
    if word(data, 4) > len(data) - 40:
        return R.TRUNCATED_IP
    following, rest = data[6], data[40 : 40 + word(data, 4)]
    for place in range(4):
        if following == 43:
            return R.ROUTING_HEADER
        if following in NEVER or (following == 0 and place):
            return R.UNKNOWN_EXTENSION
        if following not in (0, 44, 60):
            src, dst = ip_address(data[8:24]), ip_address(data[24:40])
            return Packet(src=src, dst=dst, protocol=following, hops=data[7], body=rest)
        if len(rest) < 8:
            return R.TRUNCATED_TRANSPORT
        if following == 44:
            return R.LATER_FRAGMENT if word(rest, 2) & 0xFFF8 else R.FIRST_FRAGMENT
        size = 8 * (rest[1] + 1)
        if size > len(rest):
            return R.TRUNCATED_TRANSPORT
        following, rest = rest[0], rest[size:]
    return R.TOO_MANY_EXTENSIONS


def flow_of(packet: Packet, direction: Direction) -> Opened | Reason | None:
    """The flow that a packet belongs to; None: none; else why it is dropped unless something else is said of it."""
    pod, peer = (packet.src, packet.dst) if direction is Direction.EGRESS else (packet.dst, packet.src)
    body, protocol = packet.body, packet.protocol
    if protocol in PORTS:
        if len(body) < PORTS[protocol]:
            return R.TRUNCATED_TRANSPORT
        if protocol == TCP and not 20 <= 4 * (body[12] >> 4) <= len(body):
            return R.TCP_HEADER
        source, destination = word(body, 0), word(body, 2)
        if destination == 0:
            return R.PORT_ZERO
        own, other = (source, destination) if direction is Direction.EGRESS else (destination, source)
        opens = (protocol == TCP and body[13] & (SYN | ACK) == SYN) or (protocol == SCTP and body[12] == 1)
        return Opened(key=(pod, peer, own, other, protocol), opens=opens)
    if protocol != packet.icmp:
        return Opened(key=(pod, peer, 0, 0, protocol), opens=False)
    if len(body) < 8:
        return R.TRUNCATED_TRANSPORT
    request = REQUESTS[protocol].get(body[0])
    if request is None:
        return None
    return Opened(key=(pod, peer, word(body, 4), request, protocol), opens=request == body[0])


def is_error(packet: Packet) -> bool:
    """Whether it is an ICMP error: a message about another packet."""
    if packet.protocol != packet.icmp or len(packet.body) < 8:
        return False
    return packet.body[0] in ERRORS4 if packet.icmp == ICMP4 else packet.body[0] < 128


def quoted_flow(packet: Packet, direction: Direction) -> Key | None:
    """The flow of the packet that an error quotes, if it was sent by whom the error goes to."""
    data = packet.body[8:]
    if packet.icmp == ICMP4:
        if packet.body[0] == 5 and direction is Direction.EGRESS:
            return None  # a pod is no router
        size = 4 * (data[0] & 15) if data else 0
        if len(data) < 20 or data[0] >> 4 != 4 or size < 20 or word(data, 6) & 0x1FFF:
            return None
        protocol, src, dst, body = data[9], ip_address(data[12:16]), ip_address(data[16:20]), data[size:]
    else:
        if len(data) < 40 or data[0] >> 4 != 6 or data[6] not in (*PORTS, ICMP6):
            return None
        protocol, src, dst, body = data[6], ip_address(data[8:24]), ip_address(data[24:40]), data[40:]
    if src != packet.dst or (direction is Direction.EGRESS and dst != packet.src) or len(body) < 8:
        return None
    pod, peer = (dst, src) if direction is Direction.EGRESS else (src, dst)
    if protocol in PORTS:
        source, destination = word(body, 0), word(body, 2)
        own, other = (destination, source) if direction is Direction.EGRESS else (source, destination)
        return (pod, peer, own, other, protocol)
    if protocol == packet.icmp:
        request = REQUESTS[protocol].get(body[0])
        return None if request is None else (pod, peer, word(body, 4), request, protocol)
    return (pod, peer, 0, 0, protocol)


@dataclass(slots=True, kw_only=True)
class Remembered:
    """A flow: which way it was opened, whether by the own node, and under which program it was judged last."""

    direction: Direction
    own_node: bool
    program: int


@dataclass(slots=True, kw_only=True)
class Oracle:
    """A pod and its interface's flows: what is to become of the next frame under the last of its `programs`.

    `recheck`: a flow that was judged under an earlier one is judged again.
    """

    programs: list[Program]
    pod: Pod
    node: frozenset[Address]
    neighbours: frozenset[Address]  # of the node and its pods
    recheck: bool = False
    flows: dict[Key, Remembered] = field(default_factory=dict)
    _judged: dict[tuple[object, ...], Reason] = field(default_factory=dict)

    def decide(self, frame: bytes, direction: Direction, *, local: bool = False) -> Reason:
        """`local`: this host sends it.  A packet of a flow is told as ESTABLISHED, whichever way it goes."""
        packet = read_frame(frame)
        if packet is R.ARP:
            return self._arp(frame, direction)
        if isinstance(packet, Reason):
            return packet
        about = is_error(packet)
        if about:
            key = quoted_flow(packet, direction)
            if key in self.flows:
                return self._again(key) or R.RELATED
            flow: Opened | Reason | None = None
        else:
            flow = flow_of(packet, direction)
        if isinstance(flow, Opened) and self._answers(flow, direction):
            return self._again(flow.key) or R.ESTABLISHED
        if reason := self._addressed(packet, direction):
            return reason
        if isinstance(flow, Reason):
            return flow
        if about:
            return R.ICMP_ERROR
        reason = self._by_policy(packet, direction, local=local)
        if isinstance(flow, Opened) and reason.allows:
            own = reason is R.FROM_OWN_NODE
            self.flows[flow.key] = Remembered(direction=direction, own_node=own, program=len(self.programs))
        return reason

    def _again(self, key: Key | None) -> Reason | None:
        """Why a remembered flow goes on no longer, if it does not."""
        assert key is not None
        flow = self.flows[key]
        if not self.recheck or flow.program == len(self.programs):
            return None
        pod, peer, own, other, protocol = key
        out = flow.direction is Direction.EGRESS
        ends, port = ((pod, peer), other) if out else ((peer, pod), own)
        known = flow.own_node or (not out and peer in self.node)
        reason = R.FROM_OWN_NODE if known else self._judge(flow.direction, *ends, protocol, port)
        if not reason.allows:
            return reason
        flow.program = len(self.programs)
        return None

    def _answers(self, flow: Opened, direction: Direction) -> bool:
        found = self.flows.get(flow.key)
        if found is None:
            return False
        return not flow.opens or (flow.key[4] not in PORTS and found.direction is direction)

    def _arp(self, frame: bytes, direction: Direction) -> Reason:
        """RFC 826: hardware 1, protocol IPv4, sizes 6 and 4; the sender's address is at 14."""
        if direction is Direction.INGRESS:
            return R.ARP
        data = frame[14:]
        if len(data) < 28:
            return R.TRUNCATED_FRAME
        sender = ip_address(data[14:18])
        plain = data[:6] == bytes.fromhex("000108000604")
        return R.ARP if plain and (sender in self.pod.addresses or not int(sender)) else R.FORGED_NEIGHBOUR

    def _addressed(self, packet: Packet, direction: Direction) -> Reason | None:
        if packet.src.version == 6 and (reason := self._link(packet, direction)):
            return reason
        if direction is Direction.EGRESS and packet.src not in self.pod.addresses:
            return R.SPOOFED_SOURCE
        if direction is Direction.INGRESS and packet.dst not in self.pod.addresses:
            return R.FOREIGN_DESTINATION
        other = packet.dst if direction is Direction.EGRESS else packet.src
        return R.SAME_POD if other in self.pod.addresses else None

    def _link(self, packet: Packet, direction: Direction) -> Reason | None:
        """Neighbour discovery and multicast listeners."""
        body = packet.body
        if packet.protocol != ICMP6 or len(body) < 8:
            return None
        out = direction is Direction.EGRESS
        bare = packet.src.is_link_local or packet.src.is_unspecified
        if out and not bare and packet.src not in self.pod.addresses:
            return R.SPOOFED_SOURCE
        match body[0]:
            case 130 | 131 | 132 | 143:
                return R.MULTICAST_LISTENER if packet.hops == 1 and bare else None
            case 137:
                return R.FORGED_NEIGHBOUR
            case 133 | 134 | 135 | 136 as kind:
                if packet.hops != 255 or body[1] or (out and kind == 134):
                    return R.FORGED_NEIGHBOUR
                if out and not self._on_link(packet.dst):
                    return None
                if out and kind == 136:
                    target = ip_address(body[8:24]) if len(body) >= 24 else None
                    if target is None or not (target.is_link_local or target in self.pod.addresses):
                        return R.FORGED_NEIGHBOUR
                return R.NEIGHBOUR_DISCOVERY
        return None

    def _on_link(self, address: Address) -> bool:
        multicast = address.packed[0] == 0xFF and address.packed[1] & 15 == 2  # of the link's scope: RFC 4291, 2.7
        return multicast or address.is_link_local or address in self.neighbours

    def _by_policy(self, packet: Packet, direction: Direction, *, local: bool) -> Reason:
        if direction is Direction.INGRESS and (local or packet.src in self.node):
            return R.FROM_OWN_NODE
        port = word(packet.body, 2) if packet.protocol in PORTS else 0
        return self._judge(direction, packet.src, packet.dst, packet.protocol, port)

    def _judge(self, direction: Direction, src: Address, dst: Address, number: int, port: int) -> Reason:
        protocol = PROTOCOLS.get(number, Protocol.ICMP)
        asked = (len(self.programs), direction, src, dst, protocol, port)
        if asked not in self._judged:
            flow = Flow(
                src=self._end(src), dst=self._end(dst), protocol=protocol, port=port if protocol.has_ports else None
            )
            program = self.programs[-1]
            decision = decide(program.policies, program.cluster, flow)
            side = decision.egress if direction is Direction.EGRESS else decision.ingress
            self._judged[asked] = WORDS[side.reason]
        return self._judged[asked]

    def _end(self, address: Address) -> Endpoint:
        owner = next((pod for pod in self.programs[-1].cluster.pods if address in pod.addresses), None)
        return Endpoint(pod=owner, address=address)


WORDS: Mapping[Why, Reason] = {
    Why.RULE: R.ALLOWED_BY_RULE,
    Why.NO_RULE: R.NO_RULE,
    Why.NOT_ISOLATED: R.NOT_ISOLATED,
    Why.OWN_NODE: R.FROM_OWN_NODE,
    Why.SAME_POD: R.SAME_POD,
}
