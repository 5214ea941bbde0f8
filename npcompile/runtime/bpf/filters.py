"""Which filters an interface has, of whomever, and which qdisc they are at.

It is asked of the kernel without a library: of every interface of a node each time, and a question takes the library
longer than all else that a change of policy does.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_TRAFFIC = struct.Struct("=BxxxiIII")  # struct tcmsg: family, ifindex, handle, parent, info
_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_GET_QDISC, _GET_FILTERS = 38, 46  # RTM_GETQDISC, RTM_GETTFILTER
_REQUEST, _ECHO, _DUMP = 0x1, 0x8, 0x300  # NLM_F_REQUEST, NLM_F_ECHO, NLM_F_DUMP
_HOOKS = 0xFFFFFFF1  # TC_H_CLSACT
_KIND = 1  # TCA_KIND
_ALIGNED = 4  # bytes that a message is padded to
_ROOM = 1 << 16  # bytes; the kernel fills no more in one part


@contextmanager
def netlink() -> Iterator[socket.socket]:
    """A connection to the kernel's side of this thread's network namespace."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as made:
        made.bind((0, 0))
        yield made


def filters(kernel: socket.socket, ifindex: int, parent: int) -> frozenset[tuple[int, int]]:
    """Priority and handle of each filter at a hook; handle 0 stands for all of a priority.  None of an interface that
    is not there.
    """
    _ask(kernel, _GET_FILTERS, _DUMP, ifindex, parent)
    return frozenset((info >> 16, handle) for _, _, handle, _, info in _answers(kernel))


def qdisc(kernel: socket.socket, ifindex: int) -> str:
    """The kind of the qdisc that an interface's hooks belong to, which must be there."""
    _ask(kernel, _GET_QDISC, _ECHO, ifindex, _HOOKS)
    part = kernel.recv(_ROOM)
    end, kind, *_ = _HEADER.unpack_from(part)
    if kind == _ERROR:
        raise _failure(part, 0)
    at = _HEADER.size + _TRAFFIC.size
    while at < end:
        length, name = _ATTRIBUTE.unpack_from(part, at)
        if name == _KIND:
            return part[at + _ATTRIBUTE.size : at + length].rstrip(b"\0").decode()
        at += _padded(length)
    raise OSError(errno.EPROTO, "look at the qdisc: the kernel gives no kind")


def _ask(kernel: socket.socket, what: int, how: int, ifindex: int, parent: int) -> None:
    body = _TRAFFIC.pack(socket.AF_UNSPEC, ifindex, 0, parent, 0)
    kernel.send(_HEADER.pack(_HEADER.size + len(body), what, _REQUEST | how, 1, 0) + body)


def _answers(kernel: socket.socket) -> Iterator[tuple[int, ...]]:
    while True:
        part = kernel.recv(_ROOM)
        at = 0
        while at < len(part):
            length, kind, *_ = _HEADER.unpack_from(part, at)
            if kind in (_ERROR, _DONE):
                if (failed := _failure(part, at)).errno:
                    raise failed
                return
            yield _TRAFFIC.unpack_from(part, at + _HEADER.size)
            at += _padded(length)


def _failure(part: bytes, at: int) -> OSError:
    """What a message says of success, which is the number 0, or of failure."""
    (code,) = struct.unpack_from("=i", part, at + _HEADER.size)
    return OSError(-code, f"look at the filters: {os.strerror(-code)}")


def _padded(length: int) -> int:
    return (length + _ALIGNED - 1) // _ALIGNED * _ALIGNED
