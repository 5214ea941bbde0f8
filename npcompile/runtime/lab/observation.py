"""What became of a flow that was tried."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from npcompile.ir.flow import Verdict


class Observed(Enum):
    """What was seen.  ONE-WAY: the request arrived, and its answer did not come back; UNKNOWN: nothing can be said."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    ONE_WAY = "ONE-WAY"
    UNKNOWN = "UNKNOWN"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen, and, where that is neither ALLOW nor DENY, why."""

    observed: Observed
    reason: str = ""

    def differs(self, expected: Verdict) -> bool:
        """Whether the kernel did something else; never when nothing is known."""
        return self.observed is not Observed.UNKNOWN and self.observed.value != expected.value

    @property
    def is_known(self) -> bool:
        """Whether anything can be said."""
        return self.observed is not Observed.UNKNOWN
