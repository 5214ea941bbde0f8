"""What every target offers beyond its text: the whole interface between a loader and the rest of npcompile.

A loader acts on the network namespace of the calling thread.  The machine is one caller's; a lab, which has a namespace
for every node, enters each in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from npcompile.diagnostics.model import Diagnostic, RuleCode, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An artifact as it was read back from its directory: the bytes of its files by name, their digests checked against
    the manifest.
    """

    target: str
    files: Mapping[str, bytes]
    manifest: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is done to the kernel: a program, and what it reads from its standard input.

    `last`: it only removes what has no effect any more, so that its failure leaves nothing half.
    """

    command: tuple[str, ...]
    text: str
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What leads from what is loaded to what is wanted, in order, and what there is to say about it.

    `cut`: how many established connections were deleted, which the artifact does not allow and asks to recheck.
    """

    steps: tuple[Step, ...]
    diagnostics: tuple[Diagnostic, ...] = ()
    cut: int = 0


class Loader(Protocol):
    """Brings artifacts of one target into the kernel.

    At every moment of `apply` and `detach`, for each flow on the node, what both the old and the new state allow is
    allowed, and nothing is that neither allows.  A step that fails is rolled back; after a kill at any moment the next
    call carries on.
    """

    @property
    def target(self) -> str:
        """The word for the target on the command line."""
        ...

    def usable(self) -> bool:
        """Whether this machine has the programs that the loader runs.  Where not, none of its artifacts are loaded."""
        ...

    def is_loaded(self) -> bool:
        """Whether anything of ours filters here; raises ProgramError where the kernel's programs do not tell."""
        ...

    def delta(self, artifact: Stored | None) -> Delta:
        """What `apply` would do now, or, without an artifact, `detach`; touches nothing."""
        ...

    def apply(self, artifact: Stored) -> Delta:
        """From whatever of ours is loaded to this artifact; what is not ours stays as it is.  Returns what was done."""
        ...

    def detach(self) -> Delta:
        """Remove everything of ours, and nothing else."""
        ...


MACHINE = RuleCode(code="NPC711", slug="machine", severity=Severity.ERROR)
"""This machine cannot load the artifact: not root, a program is missing or does not answer, the artifact is another
node's, or another `apply` is at work.  Nothing was touched."""

STEP_FAILED = RuleCode(code="NPC712", slug="step-failed", severity=Severity.ERROR)
"""A step of `apply` failed.  What was loaded before is loaded again, unless the message says that this failed, too."""

ELSEWHERE = RuleCode(code="NPC713", slug="loaded-elsewhere", severity=Severity.WARNING)
"""Rules of ours are loaded by another target, or in the other back end of iptables, too: a flow passes only if both
allow it.  Remove those that are meant no more, with `npcompile apply --detach`."""

LEFT_BEHIND = RuleCode(code="NPC714", slug="left-behind", severity=Severity.WARNING)
"""A set or a pinned map of ours that has no effect any more could not be removed yet, since rules of others still ask
it, or the kernel has not let go of it.  The next `apply` tries again."""


class LoadError(Exception):
    """A step failed; `restored`: what was loaded before is loaded again.  Else the message says what is known."""

    def __init__(self, message: str, *, restored: bool = False) -> None:
        self.restored = restored
        super().__init__(message)
