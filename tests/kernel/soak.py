"""What a long run counts and says: `NPCOMPILE_SOAK` is how many times as much is done as in CI."""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache

SOAK = int(os.environ.get("NPCOMPILE_SOAK", "1"))


@cache
def seed() -> str:
    """Always the same in CI; in a long run a new one, or that of `NPCOMPILE_SEED`."""
    return os.environ.get("NPCOMPILE_SEED") or ("ci" if SOAK == 1 else f"{random.SystemRandom().getrandbits(32):08x}")


@dataclass(slots=True)
class Tally:
    """Packets that were sent, each compared with what it was to come to."""

    name: str
    packets: int = 0
    passed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    _started: float = field(default_factory=time.monotonic)

    def count(self, reason: str, *, passed: bool) -> None:
        self.packets += 1
        self.passed += passed
        self.reasons[reason] += 1

    def tell(self) -> None:
        """One paragraph on stderr, of a long run; `pytest -s` shows it."""
        if SOAK == 1:
            return
        seconds = time.monotonic() - self._started
        each = ", ".join(f"{number:,} {reason}" for reason, number in self.reasons.most_common())
        print(
            f"\n{self.name}: {self.packets:,} packets, each verdict as expected; {self.passed:,} passed; "
            f"{seconds:.0f} s; NPCOMPILE_SEED={seed()}\n  {each}",
            file=sys.stderr,
        )
