"""The number that the kernel counts up with every transaction of nf_tables, whoever makes it, in a network namespace.

By it what was read and what was done to it can be known to be all that happened.
"""

from __future__ import annotations

import socket
import struct

_NETFILTER = 12  # NETLINK_NETFILTER of linux/netlink.h
_REQUEST = 1  # NLM_F_REQUEST, likewise
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_FAMILY = struct.Struct("=BBH")  # struct nfgenmsg of linux/netfilter/nfnetlink.h
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr of linux/netlink.h: length, type
# linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h
_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_NEW, _GET = _SUBSYSTEM | 15, _SUBSYSTEM | 16  # NFT_MSG_NEWGEN, NFT_MSG_GETGEN
_ID = 1  # NFTA_GEN_ID, a number in network order

_LAST = 0xFFFF_FFFF


def generation() -> int | None:
    """The number now, in this thread's network namespace; None where the kernel does not tell."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as kernel:
        kernel.settimeout(1)
        try:
            kernel.send(_HEADER.pack(_HEADER.size + _FAMILY.size, _GET, _REQUEST, 0, 0) + _FAMILY.pack(0, 0, 0))
            return _told(kernel.recv(4096))
        except OSError:
            return None


def following(number: int) -> int:
    """The number after one more transaction; 0 is none."""
    return number + 1 if number < _LAST else 1


def _told(answer: bytes) -> int | None:
    if len(answer) < _HEADER.size or _HEADER.unpack_from(answer)[1] != _NEW:
        return None
    place = _HEADER.size + _FAMILY.size
    while place + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, place)
        if kind == _ID:
            return int.from_bytes(answer[place + _ATTRIBUTE.size : place + length], "big")
        place += max(_ATTRIBUTE.size, (length + 3) & ~3)  # attributes are aligned to 4 bytes
    return None
