"""Frames that an attacker would send: right ones of every kind, and what becomes of them under a few changes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from tests.kernel import frames as f

FLAGS = (f.SYN, f.SYN | f.ACK, f.ACK, f.FIN | f.ACK, f.RST, f.RST | f.ACK, 0, 0xFF, f.SYN | f.FIN, f.SYN | f.RST, f.FIN)
INTERESTING = (0, 1, 4, 5, 6, 7, 8, 17, 43, 44, 50, 51, 58, 59, 60, 64, 127, 128, 132, 135, 137, 253, 254, 255)
TYPES = (0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0x9100, 0x8847, 0x0000, 0x05DC)
Change = Callable[[random.Random, bytearray], None]


def addressed(chosen: random.Random, ends: Sequence[str]) -> tuple[str, str]:
    """Two addresses of one family."""
    src = chosen.choice(ends)
    return src, chosen.choice([one for one in ends if (":" in one) == (":" in src)])


def right(chosen: random.Random, ends: Sequence[str], ports: Sequence[int]) -> bytes:
    """A well-formed frame between two of the addresses."""
    src, dst = addressed(chosen, ends)
    if chosen.random() < 0.1:
        return neighbourly(chosen, src, dst)
    protocol, payload = inside(chosen, src, dst, ports)
    if ":" in src and chosen.random() < 0.25:
        chain, following = payload, protocol
        for _ in range(chosen.randint(1, 4)):
            kind = chosen.choice((60, 60, 60, 0, 44, 43, 51, 50, 135))
            size = chosen.choice((8, 8, 16, 64))
            chain = (bytes([following, 0, *chosen.choice((b"\0\0", b"\0\1", b"\0\x08"))]) + bytes(4) + chain) if (
                kind == 44
            ) else f.extension(following, size) + chain  # fmt: skip
            following = kind
        return f.ipv6(src, dst, chosen.choice((0, following, following)), chain)
    if ":" not in src and chosen.random() < 0.25:
        options = bytes(chosen.choice((1, 7, 68, 131, 137, 148, *range(8))) for _ in range(4 * chosen.randint(1, 10)))
        return f.ipv4(src, dst, protocol, payload, options=options)
    return f.ip(src, dst, protocol, payload)


def inside(chosen: random.Random, src: str, dst: str, ports: Sequence[int]) -> tuple[int, bytes]:
    """A protocol and what is behind the IP header."""
    source, destination = chosen.choice(ports), chosen.choice(ports)
    icmp = f.ICMP6 if ":" in src else f.ICMP4
    kinds = (128, 129, 1, 2, 3, 4, 137, 200) if ":" in src else (8, 0, 13, 14, 3, 5, 11, 12, 10)
    match chosen.randrange(9):
        case 0 | 1 | 2:
            return f.TCP, f.tcp(source, destination, chosen.choice(FLAGS))
        case 3 | 4:
            return f.UDP, f.udp(source, destination)
        case 5:
            return f.SCTP, f.sctp(source, destination, chosen.choice((1, 1, 2, 0, 10)))
        case 6:
            return icmp, f.icmp(chosen.choice(kinds), chosen.choice((0, 0, 1)), source, chosen.randbytes(16))
        case 7:
            # An error from `src`, mostly about what `dst` has sent.
            quoted_src, quoted_dst = (dst, src) if chosen.random() < 0.8 else (src, dst)
            quoted = f.ip(quoted_src, quoted_dst, *chosen.choice((
                (f.TCP, f.tcp(source, destination)), (f.UDP, f.udp(source, destination)),
                (icmp, f.icmp(kinds[0], identifier=source)), (47, bytes(16)),
            )))  # fmt: skip
            return icmp, f.icmp_error(chosen.choice((1, 2, 3, 4) if ":" in src else (3, 4, 5, 11, 12)), quoted)
        case _:
            return chosen.choice((2, 4, 41, 47, 50, 51, 103, 136, 255)), chosen.randbytes(24)


@dataclass(frozen=True, slots=True)
class Talk:
    """Two ends and their ports; of a protocol without ports, an identifier."""

    protocol: int
    ends: tuple[str, str]
    ports: tuple[int, int]

    def sent(self, chosen: random.Random, way: int) -> bytes:
        """A packet from the first end (0) or from the second (1)."""
        src, dst = self.ends[way], self.ends[1 - way]
        source, destination = self.ports[way], self.ports[1 - way]
        match self.protocol:
            case f.TCP:
                # Most belong to a flow that goes on.
                flags = f.ACK if chosen.random() < 0.8 else chosen.choice((f.SYN, f.SYN, *FLAGS))
                payload = f.tcp(source, destination, flags)
            case f.UDP:
                payload = f.udp(source, destination)
            case f.SCTP:
                payload = f.sctp(source, destination, chosen.choice((1, 2, 0)))
            case f.ICMP4:
                payload = f.icmp(chosen.choice((8, 0, 8, 0, 13, 14)), identifier=self.ports[0])
            case f.ICMP6:
                payload = f.icmp(chosen.choice((128, 129)), identifier=self.ports[0])
            case _:
                payload = chosen.randbytes(16)
        return f.ip(src, dst, self.protocol, payload)

    def error(self, chosen: random.Random, ends: Sequence[str]) -> bytes:
        """An ICMP error that may be about this, sent by whom and to whom it should be or not."""
        way = chosen.randrange(2)
        quoted = bytearray(self.sent(chosen, way))
        six = ":" in self.ends[0]
        if not six and chosen.random() < 0.3:
            quoted = bytearray(quoted[:14] + bytes([0x40 | 5 + 2]) + quoted[15:34] + bytes(8) + quoted[34:])
        if not six and chosen.random() < 0.1:
            quoted[20:22] = chosen.choice((b"\0\1", b"\x20\0", b"\x1f\xff"))
        del quoted[chosen.choice((14 + 28, 14 + 48, 200, 200, 200, 14 + 27, 14 + 47, 14 + 19)) :]
        family = [one for one in ends if (":" in one) == six]
        to = self.ends[way] if chosen.random() < 0.85 else chosen.choice(family)
        by = self.ends[1 - way] if chosen.random() < 0.6 else chosen.choice(family)
        kind = chosen.choice((1, 2, 3, 4, 0, 100) if six else (3, 3, 4, 5, 11, 12))
        return f.ip(by, to, f.ICMP6 if six else f.ICMP4, f.icmp_error(kind, bytes(quoted)))

    def packet(self, chosen: random.Random, ends: Sequence[str]) -> bytes:
        """One that belongs to it, or seems to."""
        return self.error(chosen, ends) if chosen.random() < 0.3 else self.sent(chosen, chosen.randrange(2))


def neighbourly(chosen: random.Random, src: str, dst: str) -> bytes:
    """ARP, neighbour discovery, multicast listeners."""
    if ":" not in src:
        return f.arp(chosen.choice((src, src, dst, "0.0.0.0")), dst, chosen.choice((1, 2)))
    source = chosen.choice((src, src, "::", "fe80::1"))
    destination = chosen.choice((dst, "ff02::1", "ff02::2", "ff02::1:ff00:1", "fe80::2", "ff05::2"))
    target = ip_address(chosen.choice((src, dst, "fe80::7", "ff02::1"))).packed
    kind = chosen.choice((133, 134, 135, 136, 136, 137, 130, 131, 132, 143))
    hops = chosen.choice((1, 255, 255, 64) if kind > 132 else (1, 1, 255))
    payload = f.icmp(kind, chosen.choice((0, 0, 0, 1)), payload=target + chosen.randbytes(8))
    return f.ipv6(source, destination, f.ICMP6, payload[: chosen.choice((64, 64, 24, 23, 8, 7))], hops=hops)


def flip(chosen: random.Random, frame: bytearray) -> None:
    """Any byte, anything."""
    if len(frame) > 12:
        frame[chosen.randrange(12, len(frame))] = chosen.randrange(256)


def edge(chosen: random.Random, frame: bytearray) -> None:
    """A byte of the headers, to a number that means something somewhere."""
    if len(frame) > 14:
        frame[chosen.randrange(14, min(len(frame), 96))] = chosen.choice(INTERESTING)


def lengths(chosen: random.Random, frame: bytearray) -> None:
    """A length that lies: IPv4's total, IPv6's payload."""
    at = 16 if frame[12:14] == b"\x08\x00" else 18
    if len(frame) >= at + 2:
        told = int.from_bytes(frame[at : at + 2])
        frame[at : at + 2] = (max(0, told + chosen.choice((-20, -12, -8, -4, -1, 1, 4, 1000))) & 0xFFFF).to_bytes(2)
        if chosen.random() < 0.1:
            frame[at : at + 2] = b"\0\0"


def shape(chosen: random.Random, frame: bytearray) -> None:
    """A header of another size, or another protocol, than what follows is."""
    if len(frame) < 54:
        return
    if frame[12:14] != b"\x08\0":
        frame[20] = chosen.choice(INTERESTING)
        return
    match chosen.randrange(3):
        case 0:
            frame[14] = 0x40 | chosen.choice((4, 6, 6, 7, 10, 15))
        case 1:
            frame[23] = chosen.choice((6, 17, 132, 1, 47))
        case _:
            at = 14 + 4 * (frame[14] & 15) + 12  # TCP's data offset
            if at < len(frame):
                frame[at] = chosen.choice((0, 1, 4, 4, 6, 8, 15)) << 4


def cut(chosen: random.Random, frame: bytearray) -> None:
    """The end is missing."""
    del frame[chosen.randrange(14, max(15, len(frame))) :]


def pad(chosen: random.Random, frame: bytearray) -> None:
    """More than the packet says."""
    frame += chosen.randbytes(chosen.choice((1, 4, 8, 20, 60)))


def fragment(chosen: random.Random, frame: bytearray) -> None:
    """IPv4's flags and offset."""
    if frame[12:14] == b"\x08\x00" and len(frame) > 22:
        frame[20:22] = chosen.choice((0x2000, 0x2000, 0x2000, 0x4000, 0x8000, 1, 0x2001, 0x1FFF)).to_bytes(2)


def tag(chosen: random.Random, frame: bytearray) -> None:
    """One tag of a virtual network, or two."""
    for _ in range(chosen.choice((1, 1, 2))):
        frame[12:12] = chosen.choice((b"\x81\0", b"\x88\xa8", b"\x91\0")) + b"\0\5"


def retype(chosen: random.Random, frame: bytearray) -> None:
    """Another ethertype."""
    frame[12:14] = chosen.choice(TYPES).to_bytes(2)


CHANGES: tuple[Change, ...] = (
    flip, edge, edge, edge, lengths, lengths, shape, shape, shape, cut, pad, fragment, fragment, tag, retype,
)  # fmt: skip


def hostile(chosen: random.Random, ends: Sequence[str], ports: Sequence[int], talks: Sequence[Talk]) -> bytes:
    """Random bytes; else a right frame, often of one of the conversations, under no change, a few, or many."""
    if chosen.random() < 0.03:
        return chosen.randbytes(12) + chosen.choice(TYPES[:3]).to_bytes(2) + chosen.randbytes(chosen.randint(0, 120))
    if chosen.random() < 0.5:
        frame = bytearray(chosen.choice(talks).packet(chosen, ends))
    else:
        frame = bytearray(right(chosen, ends, ports))
    for _ in range(chosen.choice((0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 6))):
        chosen.choice(CHANGES)(chosen, frame)
    return bytes(frame)
