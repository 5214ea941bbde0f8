"""Frames as bytes, right ones and wrong ones: every header is a function that takes what is behind it."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from tests.kernel.wire import checksum

ICMP4, TCP, UDP, ICMP6, SCTP = 1, 6, 17, 58, 132
SYN, RST, ACK, FIN = 2, 4, 16, 1


def ethernet(kind: int, payload: bytes) -> bytes:
    return bytes.fromhex("020000000001020000000002") + struct.pack("!H", kind) + payload


def arp(sender: str, target: str, operation: int) -> bytes:
    """A request (1) or a reply (2), for Ethernet and IPv4."""
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    ends = [bytes([2, 0, 0, 0, 0, number]) + ip_address(one).packed for number, one in enumerate((sender, target), 1)]
    return ethernet(0x0806, fixed + b"".join(ends))


def ipv4(
    src: str,
    dst: str,
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    words: int | None = None,
    length: int | None = None,
    fragment: int = 0,
    version: int = 4,
    ttl: int = 64,
) -> bytes:
    """`words`, `length` and `version` may lie; `fragment` is the field with flags and offset."""
    size = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH4s4s",
        version << 4 | (size // 4 if words is None else words),
        0,
        size + len(payload) if length is None else length,
        1,
        fragment,
        ttl,
        protocol,
        0,
        ip_address(src).packed,
        ip_address(dst).packed,
    )
    summed = checksum(head + options)
    return ethernet(0x0800, head[:10] + struct.pack("!H", summed) + head[12:] + options + payload)


def ipv6(
    src: str, dst: str, following: int, payload: bytes, *, length: int | None = None, hops: int = 64, version: int = 6
) -> bytes:
    head = struct.pack("!IHBB", version << 28, len(payload) if length is None else length, following, hops)
    return ethernet(0x86DD, head + ip_address(src).packed + ip_address(dst).packed + payload)


def ip(src: str, dst: str, protocol: int, payload: bytes) -> bytes:
    """IPv4 or IPv6, as the addresses are."""
    return (ipv6 if ":" in src else ipv4)(src, dst, protocol, payload)


def ports(source: int, destination: int) -> bytes:
    return struct.pack("!HH", source, destination)


def tcp(source: int, destination: int, flags: int = SYN, words: int = 5) -> bytes:
    return ports(source, destination) + struct.pack("!IIBBHHH", 1, 0, words << 4, flags, 1024, 0, 0)


def udp(source: int, destination: int, payload: bytes = b"hello") -> bytes:
    return ports(source, destination) + struct.pack("!HH", 8 + len(payload), 0) + payload


def sctp(source: int, destination: int, chunk: int = 1) -> bytes:
    return ports(source, destination) + struct.pack("!II", 0, 0) + struct.pack("!BBH", chunk, 0, 20) + bytes(16)


def icmp(kind: int, code: int = 0, identifier: int = 77, payload: bytes = b"") -> bytes:
    return struct.pack("!BBHHH", kind, code, 0, identifier, 1) + payload


def icmp_error(kind: int, quoted: bytes, code: int = 0) -> bytes:
    """`quoted` is a frame: its IP packet is what the error is about."""
    return struct.pack("!BBHI", kind, code, 0, 0) + quoted[14:]


def extension(following: int, size: int = 8) -> bytes:
    """A hop-by-hop or destination options header that is all padding."""
    return bytes([following, size // 8 - 1, 1, size - 4]) + bytes(size - 4)


def transport(protocol: int, port: int | None, source: int = 40000) -> bytes:
    """What opens a flow of a protocol."""
    match protocol:
        case 6:
            return tcp(source, port or 0)
        case 17:
            return udp(source, port or 0)
        case 132:
            return sctp(source, port or 0)
        case 1:
            return icmp(8, identifier=source)
        case 58:
            return icmp(128, identifier=source)
        case _:
            return bytes(16)
