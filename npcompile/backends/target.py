"""What every target offers: the whole interface between a backend and the rest of npcompile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from npcompile.diagnostics.model import Diagnostic
from npcompile.ir.cluster import Pod
from npcompile.ir.policy import Direction, Policy, Rule
from npcompile.ir.program import Program


class Established(Enum):
    """What becomes of connections that exist when a policy no longer allows them."""

    KEEP = "keep"  # they go on
    RECHECK = "recheck"  # whoever loads the artifact deletes them from connection tracking


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user may choose; a target refuses those that it does not know.

    `node`: emit what that node needs only.  `accept`: an allowed packet is accepted, instead of left to foreign rules.
    `mark`: the bit of the packet mark that the target may use; None: its own choice.  `established` is for who loads
    the artifact: it is recorded.  `earlier`: the files of an earlier artifact of the target, by name, whose numbers
    this one is to keep.
    """

    node: str | None = None
    accept: bool = False
    mark: int | None = None
    established: Established = Established.KEEP
    earlier: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOrigin:
    """A short rule id of the artifact, and the policy and rule that it stands for; without a rule, the policy's
    isolating of its subjects.
    """

    id: str
    policy: Policy
    direction: Direction
    rule: Rule | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What a target makes of a program.

    `files`: by name, the bytes to load.  `rules`: what the ids in them and in `isolating` mean, sorted by id.
    `isolating`: by the name of what stands for a profile in the files, the ids of the policies that isolate its pods.
    `unbound`: endpoints without an address, which the artifact names nowhere although its rules are complete.  `load`:
    the commands that load the files, in order.  `diagnostics`: what the target does otherwise than one might expect.
    """

    target: str
    files: Mapping[str, bytes]
    rules: tuple[RuleOrigin, ...] = ()
    isolating: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unbound: tuple[Pod, ...] = ()
    load: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    summary: Mapping[str, int] = field(default_factory=dict)


class Target(Protocol):
    """A kind of artifact.  `emit` is a pure function: same program and options, same bytes."""

    @property
    def name(self) -> str:
        """The word for it on the command line."""
        ...

    @property
    def whole_services(self) -> bool:
        """Whether what a pod sends to a Service passes only where its policies allow every backend: the target judges
        it before a backend is chosen.
        """
        ...

    def refused(self, options: Options) -> Iterable[Diagnostic]:
        """What it cannot do of what was chosen, or does not know: nothing is ignored."""
        ...

    def emit(self, program: Program, options: Options) -> Artifact:
        """Lower a program; raises InputError when the target cannot express it, or refuses the options."""
        ...
