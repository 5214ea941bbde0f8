"""How a use case says how far it is; whoever runs it decides whether to show that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from npcompile.source import SourceFile


class Progress(Protocol):
    """Takes what is being done, and how much of how much is done; a total of 0 is not known."""

    def __call__(self, what: str, done: int = 0, total: int = 0) -> None: ...


def silent(what: str, done: int = 0, total: int = 0) -> None:
    """Shows nothing."""


def reading(sources: Sequence[SourceFile], progress: Progress) -> Iterator[SourceFile]:
    """The same files, one after another as they are read."""
    done, total = 0, sum(len(source.text) for source in sources)
    for source in sources:
        progress("reading", done, total)
        yield source
        done += len(source.text)
    progress("assembling")
