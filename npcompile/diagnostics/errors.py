"""The two ways in which npcompile gives up."""

from __future__ import annotations

from collections.abc import Iterable

from npcompile.diagnostics.model import Diagnostic


class InputError(Exception):
    """The user's input or usage cannot be worked with; carries every diagnostic that says so.  Exit code 2."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("; ".join(d.message for d in self.diagnostics))


class InternalError(Exception):
    """npcompile contradicts itself (a witness that does not replay, a reader that rejects what we wrote).

    Never caught to go on: whatever was about to be said or written is withheld.
    """
