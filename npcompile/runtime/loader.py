"""What every target offers beyond its text: the whole interface between a loader and the rest of npcompile.

A loader acts on the network namespace of the calling thread.  The machine is one caller's; a lab, which has a namespace
for every node, enters each in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An artifact as it was read back from its directory: the bytes of its files by name, their digests checked against
    the manifest.
    """

    target: str
    files: Mapping[str, bytes]
    manifest: Mapping[str, object]


class Loader(Protocol):
    """Brings artifacts of one target into the kernel."""

    @property
    def target(self) -> str:
        """The word for the target on the command line."""
        ...

    def apply(self, artifact: Stored) -> None:
        """From whatever of ours is loaded to this artifact; what is not ours stays as it is."""
        ...

    def detach(self) -> None:
        """Remove everything of ours, and nothing else."""
        ...
