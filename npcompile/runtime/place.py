"""Where loaders write down what the kernel does not keep for them, apart for each network namespace."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

PLACE = Path("/run/npcompile")
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h


def namespace_number() -> int:
    """That of the network namespace which the calling thread is in; the kernel gives no two of them the same, ever.

    Raises OSError where it gives none (before Linux 5.14).
    """
    with socket.socket(socket.AF_UNIX) as here:
        return int.from_bytes(here.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
