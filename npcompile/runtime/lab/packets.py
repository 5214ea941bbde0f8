"""Packets that the lab writes and reads itself: echo requests (RFC 792, RFC 4443) and SCTP handshakes (RFC 9260).

SCTP goes over raw sockets, so that it is tried where the kernel has no SCTP of its own; where it has, its ABORT is as
good an answer as our INIT ACK.  Each packet carries a token of 32 bits, not 0, and the answer carries it back.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache

from npcompile.netset.cidrs import Family

_ECHO = {Family.V4: (8, 0), Family.V6: (128, 129)}  # request, reply
_INIT, _INIT_ACK, _ABORT = 1, 2, 6
_STATE_COOKIE = struct.pack("!HHI", 7, 8, 0)
_SCTP_HEAD = struct.Struct("!HHII")
_INIT_CHUNK = struct.Struct("!BBHIIHHI")


@dataclass(frozen=True, slots=True)
class Heard:
    """A request or an answer, and its token.  The ports are 0 where there are none."""

    is_request: bool
    token: int
    sport: int = 0
    dport: int = 0


def payload(family: Family, datagram: bytes) -> bytes:
    """What a raw socket's datagram carries: those of IPv4 come with their header."""
    return datagram[(datagram[0] & 15) * 4 :] if family is Family.V4 and datagram else datagram


def echo_request(family: Family, identifier: int, token: int) -> bytes:
    """An echo request; the kernel sums ICMPv6 itself."""
    body = struct.pack("!BBHHHI", _ECHO[family][0], 0, 0, identifier, token & 0xFFFF, token)
    if family is Family.V6:
        return body
    total = sum(struct.unpack("!6H", body))
    total = (total & 0xFFFF) + (total >> 16)
    return body[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + body[4:]


def read_echo(family: Family, data: bytes) -> Heard | None:
    """An echo request or reply of ours."""
    if len(data) != 12 or data[0] not in _ECHO[family]:
        return None
    return Heard(data[0] == _ECHO[family][0], int.from_bytes(data[8:], "big"))


def sctp_init(sport: int, dport: int, token: int) -> bytes:
    """The first packet of an association; the token is its initiate tag."""
    return _sctp(sport, dport, 0, _INIT_CHUNK.pack(_INIT, 0, _INIT_CHUNK.size, token, 1 << 16, 1, 1, 1))


def sctp_answer(heard: Heard) -> bytes:
    """The INIT ACK to an INIT."""
    size = _INIT_CHUNK.size + len(_STATE_COOKIE)
    chunk = _INIT_CHUNK.pack(_INIT_ACK, 0, size, heard.token, 1 << 16, 1, 1, 1) + _STATE_COOKIE
    return _sctp(heard.dport, heard.sport, heard.token, chunk)


def read_sctp(data: bytes) -> Heard | None:
    """An INIT, or what answers one."""
    if len(data) < _SCTP_HEAD.size + 4:
        return None
    sport, dport, tag, _ = _SCTP_HEAD.unpack_from(data)
    match data[_SCTP_HEAD.size]:
        case 1 if len(data) >= _SCTP_HEAD.size + _INIT_CHUNK.size:
            return Heard(True, int.from_bytes(data[16:20], "big"), sport, dport)
        case 2 | 6:
            return Heard(False, tag, sport, dport)
    return None


def _sctp(sport: int, dport: int, tag: int, chunk: bytes) -> bytes:
    packet = _SCTP_HEAD.pack(sport, dport, tag, 0) + chunk
    return packet[:8] + struct.pack("<I", crc32c(packet)) + packet[12:]


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F6_3B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


def crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260, appendix A)."""
    crc, table = 0xFFFF_FFFF, _crc_table()
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF_FFFF
