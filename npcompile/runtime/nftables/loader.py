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
from npcompile.runtime.nftables.image import Image, commands, read_artifact, read_kernel
from npcompile.runtime.programs import need, outputs

_PROGRAM = "nft"


@dataclass(frozen=True, slots=True, kw_only=True)
class NftablesLoader:
    """Our table, as a whole; other tables are none of its business."""

    target: str = "nftables"

    def usable(self) -> bool:
        """Whether nft is installed."""
        return shutil.which(_PROGRAM) is not None

    def delta(self, artifact: Stored | None) -> Delta:
        """What `apply` or `detach` would do; raises InputError."""
        need([_PROGRAM])
        return preview(self, _wanted(artifact))

    def between(self, old: Stored, new: Stored) -> Delta:
        """The transaction from one artifact to the other."""
        return Delta(steps=tuple(self.steps(_wanted(old), _wanted(new))))

    def apply(self, artifact: Stored) -> Delta:
        """Load an artifact; raises InputError, with nothing touched, or LoadError."""
        need([_PROGRAM])
        return load(self, _wanted(artifact), artifact)

    def detach(self) -> Delta:
        """Remove our table; raises as `apply` does."""
        need([_PROGRAM])
        return converge(self, None)

    def read(self) -> Image | None:
        """Our table, if there is one; raises ProgramError."""
        (tables,) = outputs([[_PROGRAM, "list", "tables", "inet"]])
        if f"table inet {TABLE}" not in tables.splitlines():
            return None
        return read_kernel(outputs([[_PROGRAM, "list", "table", "inet", TABLE]])[0])

    def wanted(self, state: Image | None) -> Image | None:
        """The table that is loaded."""
        return state

    def steps(self, state: Image | None, wanted: Image | None) -> Sequence[Step]:
        """One transaction, or nothing to do."""
        lines = [*commands(state, wanted)]
        text = "".join(f"{line}\n" for line in lines)
        return (Step(command=(_PROGRAM, "-f", "-"), text=text),) if lines else ()

    def warnings(self, state: Image | None) -> Sequence[Diagnostic]:
        """None."""
        return ()


def _wanted(artifact: Stored | None) -> Image | None:
    return None if artifact is None else read_artifact(artifact.files[FILE].decode())
