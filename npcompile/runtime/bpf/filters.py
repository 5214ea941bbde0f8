"""Which filters an interface has, of whomever: asked of the kernel without a library, as it is asked of every interface
of a node each time, and a question takes the library longer than all else that a change of policy does.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_TRAFFIC = struct.Struct("=BxxxiIII")  # struct tcmsg: family, ifindex, handle, parent, info
_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_GET_FILTERS = 46  # RTM_GETTFILTER
_REQUEST, _DUMP = 0x1, 0x300  # NLM_F_REQUEST, NLM_F_DUMP
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
    body = _TRAFFIC.pack(socket.AF_UNSPEC, ifindex, 0, parent, 0)
    kernel.send(_HEADER.pack(_HEADER.size + len(body), _GET_FILTERS, _REQUEST | _DUMP, 1, 0) + body)
    return frozenset((info >> 16, handle) for _, _, handle, _, info in _answers(kernel))


def _answers(kernel: socket.socket) -> Iterator[tuple[int, ...]]:
    while True:
        part = kernel.recv(_ROOM)
        at = 0
        while at < len(part):
            length, kind, *_ = _HEADER.unpack_from(part, at)
            if kind in (_ERROR, _DONE):
                (code,) = struct.unpack_from("=i", part, at + _HEADER.size)
                if code:
                    raise OSError(-code, f"look at the filters: {os.strerror(-code)}")
                return
            yield _TRAFFIC.unpack_from(part, at + _HEADER.size)
            at += (length + _ALIGNED - 1) // _ALIGNED * _ALIGNED
