"""What the process says to its caller, and which of several wins."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes, the contract of every command."""

    CLEAN = 0
    FINDINGS = 1
    BAD_INPUT = 2
    UNDECIDED = 3


_PRECEDENCE = (Exit.BAD_INPUT, Exit.FINDINGS, Exit.UNDECIDED)


def worst(codes: Iterable[Exit]) -> Exit:
    """Of several outcomes, the one to exit with: 2, then 1, then 3."""
    seen = set(codes)
    return next((code for code in _PRECEDENCE if code in seen), Exit.CLEAN)
