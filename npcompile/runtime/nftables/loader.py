"""The target `nftables` in this kernel: every change is one transaction of `nft -f`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from npcompile.backends.nftables.names import TABLE
from npcompile.backends.nftables.target import FILE
from npcompile.diagnostics.model import Diagnostic
from npcompile.runtime.converge import converge, load, preview
from npcompile.runtime.loader import Delta, Step, Stored
from npcompile.runtime.nf_tables import INET, following, generation, may_have_table
from npcompile.runtime.nftables.image import Image, after, commands, is_made_anew, read_artifact, read_kernel
from npcompile.runtime.programs import ProgramError, need, outputs

_PROGRAM = "nft"
_ROUNDS = 3  # others may change their tables while we look at ours


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Our table, if there is one, and the generation that it was read in; None: others changed something meanwhile."""

    table: Image | None
    generation: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NftablesLoader:
    """Our table, as a whole; other tables are none of its business."""

    target: str = "nftables"

    def usable(self) -> bool:
        """Whether nft is installed."""
        return shutil.which(_PROGRAM) is not None

    def is_loaded(self) -> bool:
        """Whether there is our table."""
        return may_have_table(INET, TABLE) and _read_table() is not None

    def delta(self, artifact: Stored | None) -> Delta:
        """What `apply` or `detach` would do; raises InputError."""
        need([_PROGRAM])
        return preview(self, _wanted(artifact))

    def between(self, old: Stored, new: Stored) -> Delta:
        """The transaction from one artifact to the other."""
        return Delta(steps=tuple(self.steps(State(table=_wanted(old)), _wanted(new))))

    def apply(self, artifact: Stored) -> Delta:
        """Load an artifact; raises InputError, with nothing touched, or LoadError."""
        need([_PROGRAM])
        return load(self, _wanted(artifact), artifact)

    def detach(self) -> Delta:
        """Remove our table; raises as `apply` does."""
        need([_PROGRAM])
        return converge(self, None)

    def read(self) -> State:
        """Our table, if there is one; raises ProgramError."""
        for _ in range(_ROUNDS):
            before, table = generation(), _read_table()
            if before is not None and before == generation():
                return State(table=table, generation=before)
        return State(table=table)

    def reread(self, before: State, steps: Sequence[Step]) -> State:
        """Where ours was the only transaction of nf_tables since `before`, what it made of the table: the kernel takes
        all of one or nothing.  A table that was made anew is read, so that it is known to be told as it was written.
        """
        (step,) = steps
        if before.table is None or before.generation is None or is_made_anew(step.text):
            return self.read()
        expected = following(before.generation)
        if generation() != expected:
            return self.read()
        return State(table=after(before.table, step.text), generation=expected)

    def wanted(self, state: State) -> Image | None:
        """The table that is loaded."""
        return state.table

    def steps(self, state: State, wanted: Image | None) -> Sequence[Step]:
        """One transaction, or nothing to do."""
        lines = [*commands(state.table, wanted)]
        text = "".join(f"{line}\n" for line in lines)
        return (Step(command=(_PROGRAM, "-f", "-"), text=text),) if lines else ()

    def warnings(self, state: State) -> Sequence[Diagnostic]:
        """None."""
        return ()


def _read_table() -> Image | None:
    if not may_have_table(INET, TABLE):
        return None
    try:
        (text,) = outputs([[_PROGRAM, "list", "table", "inet", TABLE]])
    except ProgramError:
        if may_have_table(INET, TABLE):
            raise
        return None  # it went just now
    return read_kernel(text)


def _wanted(artifact: Stored | None) -> Image | None:
    return None if artifact is None else read_artifact(artifact.files[FILE].decode())
