"""What the kernel says of nf_tables at once, in this thread's network namespace: its generation and its tables.

The generation is a number that counts up with every transaction, whoever makes it.  By it what was read and what was
done to it can be known to be all that happened.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

INET, IPV4, IPV6 = 1, 2, 10  # NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6 of linux/netfilter.h

FIRST = 1
"""Where the generation starts: nobody has made a transaction yet."""
_LAST = 0xFFFF_FFFF

_NETFILTER = 12  # NETLINK_NETFILTER of linux/netlink.h, as all up to _HEADER and _ATTRIBUTE
_REQUEST, _DUMP = 1, 0x300  # NLM_F_REQUEST, NLM_F_DUMP
_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR
_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_NUMBER = struct.Struct("=i")  # the error of struct nlmsgerr
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_FAMILY = struct.Struct("=BBH")  # struct nfgenmsg of linux/netfilter/nfnetlink.h: family, version, resource
_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES, likewise
# linux/netfilter/nf_tables.h: enum nf_tables_msg_types, and an attribute of each message.
_NEW_TABLE, _GET_TABLE, _TABLE_NAME = _SUBSYSTEM | 0, _SUBSYSTEM | 1, 1
_GET_CHAIN, _CHAIN_TABLE, _CHAIN_NAME = _SUBSYSTEM | 4, 1, 3
_NEW_GENERATION, _GET_GENERATION, _GENERATION_ID = _SUBSYSTEM | 15, _SUBSYSTEM | 16, 1


def generation() -> int | None:
    """The generation now, all of which can be read; None where the kernel does not tell.

    A transaction is counted a moment before what it did can be read.  But sockets are closed between transactions only
    (since Linux 5.12, as tables may belong to one), and ours is closed here: who reads next reads all of it.
    """
    try:
        answers = list(_ask(_GET_GENERATION, _REQUEST))
    except OSError:
        return None
    numbers = [told[_GENERATION_ID] for kind, _, told in answers if kind == _NEW_GENERATION and _GENERATION_ID in told]
    return int.from_bytes(numbers[0], "big") if numbers else None


def following(number: int) -> int:
    """The generation after one more transaction; 0 is none."""
    return number + 1 if number < _LAST else FIRST


def may_have_table(family: int, name: str) -> bool:
    """Whether there is a table of that family and name; yes, too, where the kernel does not tell."""
    try:
        answers = list(_ask(_GET_TABLE, _REQUEST | _DUMP))
    except OSError:
        return True
    wanted = name.encode() + b"\0"
    return any(
        kind == _NEW_TABLE and of == family and attributes.get(_TABLE_NAME) == wanted
        for kind, of, attributes in answers
    )


def may_have_chain(family: int, table: str, name: str) -> bool:
    """Whether there is a chain of that name; yes, too, where the kernel does not tell."""
    attributes = b"".join(_attribute(kind, one) for kind, one in ((_CHAIN_TABLE, table), (_CHAIN_NAME, name)))
    try:
        return bool(list(_ask(_GET_CHAIN, _REQUEST, family, attributes)))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _ask(
    message: int, flags: int, family: int = 0, attributes: bytes = b""
) -> Iterator[tuple[int, int, dict[int, bytes]]]:
    """What the kernel answers: type, family, and attributes of each message; raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as kernel:
        kernel.settimeout(1)
        body = _FAMILY.pack(family, 0, 0) + attributes
        kernel.send(_HEADER.pack(_HEADER.size + len(body), message, flags, 0, 0) + body)
        more = True
        while more:
            answer = kernel.recv(1 << 16)
            more = flags & _DUMP != 0
            while len(answer) >= _HEADER.size:
                length, kind, marks, _, _ = _HEADER.unpack_from(answer)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    number = -_NUMBER.unpack_from(answer, _HEADER.size)[0]
                    raise OSError(number, os.strerror(number))
                if kind >> 8 != _SUBSYSTEM >> 8 or marks & _INTERRUPTED:
                    raise OSError("no answer to what was asked")
                body = answer[_HEADER.size : length]
                yield kind, _FAMILY.unpack_from(body)[0], dict(_attributes(body[_FAMILY.size :]))
                answer = answer[_aligned(length) :]


def _attribute(kind: int, text: str) -> bytes:
    value = text.encode() + b"\0"
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(_aligned(length) - length)


def _attributes(text: bytes) -> Iterator[tuple[int, bytes]]:
    while len(text) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(text)
        yield kind, text[_ATTRIBUTE.size : length]
        text = text[max(_aligned(length), _ATTRIBUTE.size) :]


def _aligned(length: int) -> int:
    """Messages and attributes start at multiples of 4 bytes."""
    return (length + 3) & ~3
