"""Network namespaces without names: each lives as long as a file descriptor of it is open.

So whatever ends the process that made them, SIGKILL included, the kernel removes them, and with them every link,
address, rule and set inside.  A folder that is this process's own goes in the same way.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# linux/sched.h, linux/mount.h
_CLONE_NEWNS, _CLONE_NEWNET = 0x0002_0000, 0x4000_0000
_MS_REC, _MS_PRIVATE = 0x4000, 0x4_0000
_OWN = "/proc/thread-self/ns/net"
_OWN_MOUNTS = "/proc/thread-self/ns/mnt"
_GRACE = 0.1  # seconds between asking a process to end and ending it
_PATIENCE = 3.0  # seconds, for somebody who only looks at a namespace


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

    def move(self) -> None:
        """Give it another path, which nobody knows."""
        old, self.fd = self.fd, fcntl.fcntl(self.fd, fcntl.F_DUPFD_CLOEXEC, self.fd)
        os.close(old)

    def close(self) -> None:
        """Let go of it; the kernel removes it when no process and no socket is in it."""
        os.close(self.fd)


@contextmanager
def own_folder(path: Path) -> Iterator[None]:
    """For this thread, and for what it starts, another folder at a path: empty, in memory, and gone with them.

    Raises OSError where that cannot be had.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = os.open(_OWN_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(_libc().unshare(_CLONE_NEWNS))
        try:
            _check(_libc().mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
            _check(_libc().mount(b"tmpfs", os.fsencode(path), b"tmpfs", ctypes.c_ulong(0), b"mode=700"))
            yield
        finally:
            _check(_libc().setns(home, _CLONE_NEWNS))
            os.fchdir(here)  # setns(2): a thread that enters mounts starts at their root
    finally:
        os.close(here)
        os.close(home)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def end_processes_in(namespaces: Collection[Namespace]) -> None:
    """End the processes in network namespaces that others could enter until now.

    The namespaces stay open meanwhile, so that their inodes are nobody else's, but are no longer where they were.  A
    process that has opened one before may be about to enter it, and is waited for.
    """
    for one in namespaces:
        one.move()
    inodes = {one.inode for one in namespaces}
    deadline = time.monotonic() + _PATIENCE
    number = signal.SIGTERM
    while time.monotonic() < deadline:
        pids = [pid for pid in map(_pid, Path("/proc").iterdir()) if pid not in (0, os.getpid())]
        inside = [pid for pid in pids if _inodes(f"{pid}/ns/net") & inodes]
        if not inside and not any(_inodes(f"{pid}/fd/*") & inodes for pid in pids):
            return
        for pid in inside:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(_GRACE)
        number = signal.SIGKILL


def _pid(entry: Path) -> int:
    return int(entry.name) if entry.name.isdecimal() else 0


def _inodes(pattern: str) -> set[int]:
    """Of the network namespaces that files of a process lead to; it may end meanwhile."""
    found: set[int] = set()
    paths: list[Path] = []
    with suppress(OSError):
        paths += Path("/proc").glob(pattern)
    for path in paths:
        with suppress(OSError):
            kind, _, inode = path.readlink().name.partition(":")
            found |= {int(inode.strip("[]"))} if kind == "net" else set()
    return found
