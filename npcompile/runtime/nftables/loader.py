"""The target `nftables` in this kernel: every change is one transaction of `nft -f`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from npcompile.backends.nftables.names import TABLE
from npcompile.backends.nftables.target import FILE
from npcompile.diagnostics.model import Diagnostic
from npcompile.runtime.converge import converge, load, preview
from npcompile.runtime.loader import Delta, Step, Stored
from npcompile.runtime.nf_tables import INET, following, generation, may_have_table
from npcompile.runtime.nftables.image import (
    Image,
    after,
    commands,
    from_note,
    is_made_anew,
    read_artifact,
    read_kernel,
    to_note,
)
from npcompile.runtime.noted import Note
from npcompile.runtime.programs import ProgramError, need, outputs

_PROGRAM = "nft"
_ROUNDS = 3  # others may change their tables while we look at ours


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Our table, if there is one, and the generation that it was read in; None: others changed something meanwhile.

    `noted`: whether an earlier apply has noted that.
    """

    table: Image | None
    generation: int | None = None
    noted: bool = False


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
        return preview(self, lambda: _wanted(artifact))

    def between(self, old: Stored, new: Stored) -> Delta:
        """The transaction from one artifact to the other."""
        return Delta(steps=tuple(self.steps(State(table=_wanted(old)), _wanted(new))))

    def apply(self, artifact: Stored) -> Delta:
        """Load an artifact; raises InputError, with nothing touched, or LoadError."""
        need([_PROGRAM])
        return load(self, lambda: _wanted(artifact), artifact)

    def detach(self) -> Delta:
        """Remove our table; raises as `apply` does."""
        need([_PROGRAM])
        return converge(self, lambda: None)

    @contextmanager
    def reading(self, *, noted: bool) -> Iterator[Callable[[], State]]:
        """Our table, if there is one."""
        now, note = generation(), Note.of_thread(self.target)
        held = note.read(now, from_note) if noted and now is not None and note is not None else None
        if held is not None:
            yield lambda: State(table=held, generation=now, noted=True)
        else:
            yield _read

    def note(self, state: State) -> None:
        """The table."""
        note = Note.of_thread(self.target)
        if note is None or state.noted:
            return
        if state.table is None:
            note.remove()
        elif state.generation is not None:
            note.write(state.generation, to_note(state.table))

    def expected(self, before: State, steps: Sequence[Step]) -> State | None:
        """What the transaction makes of the table.  None where that is made anew: it is read, so that it is known to be
        told as it was written.
        """
        (step,) = steps
        if before.table is None or before.generation is None or is_made_anew(step.text):
            return None
        return State(table=after(before.table, step.text), generation=following(before.generation))

    def reread(self, before: State, steps: Sequence[Step], expected: State | None) -> State:
        """As expected, where ours was the only transaction of nf_tables: the kernel takes all of one or nothing."""
        return expected if expected is not None and expected.generation == generation() else _read()

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


def _read() -> State:
    for _ in range(_ROUNDS):
        before, table = generation(), _read_table()
        if before is not None and before == generation():
            return State(table=table, generation=before)
    return State(table=table)


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
