"""Two versions of a program, and what becomes of a flow between them."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Version(IntEnum):
    """The two sides of a comparison, as places in a `Both`."""

    OLD = 0
    NEW = 1

    @property
    def other(self) -> Version:
        """The side that this one is compared with."""
        return Version.OLD if self is Version.NEW else Version.NEW

    def __str__(self) -> str:
        return self.name


class Both(NamedTuple, Generic[T]):
    """Something of each version."""

    old: T
    new: T


class Change(Enum):
    """What became of a flow."""

    OPENED = "opened"  # only the new version allows it
    CLOSED = "closed"  # only the old version allows it

    @property
    def passing(self) -> Version:
        """The version that allows it."""
        return Version.NEW if self is Change.OPENED else Version.OLD

    def __str__(self) -> str:
        return self.value
