"""Network namespaces without names: each lives as long as a file descriptor of it is open.

So whatever ends the process that made them, SIGKILL included, the kernel removes them, and with them every link,
address, rule and set inside.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# linux/sched.h
_CLONE_NEWNET = 0x4000_0000
_OWN = "/proc/thread-self/ns/net"


def has_ipv6() -> bool:
    """Whether this kernel speaks IPv6."""
    return Path("/proc/sys/net/ipv6").exists()


class Namespace:
    """A new network namespace, until it is closed.  Raises OSError where none can be made."""

    def __init__(self) -> None:
        home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc().unshare(_CLONE_NEWNET))
            try:
                self.fd = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
            finally:
                _check(_libc().setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)

    @property
    def path(self) -> str:
        """Where other processes find it, as long as this one runs and keeps it open."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @property
    def inode(self) -> int:
        """What tells it from other namespaces."""
        return os.fstat(self.fd).st_ino

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread in the namespace.  A socket or a process that is made here stays there."""
        home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc().setns(self.fd, _CLONE_NEWNET))
            try:
                yield
            finally:
                _check(_libc().setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)

    def sysctl(self, values: dict[str, int | str]) -> None:
        """Set kernel parameters, by their paths below /proc/sys, of this namespace only."""
        with self.entered():
            for name, value in values.items():
                Path("/proc/sys", name).write_text(f"{value}\n", encoding="ascii")

    def close(self) -> None:
        """Let go of it; the kernel removes it when no process and no socket is in it."""
        os.close(self.fd)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
