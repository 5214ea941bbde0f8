"""A YAML text cut at its document separators, so that some of its documents can be read without libyaml.

A line `---` ends a document whatever that holds: within quotes, brackets and block scalars libyaml refuses one.  So
pieces between such lines are read apart from one another, but for directives (`%`), which stand before a separator; a
reader of pieces must see none of them, and no error.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

_SEPARATOR = "---\n"


class Piece(NamedTuple):
    """The text after a separator, up to the next one; `line` is where it starts, counted from 0."""

    number: int
    line: int
    text: str


def cut(text: str) -> list[Piece]:
    """The pieces of a text, the one before the first separator as number 0."""
    texts = text.split("\n" + _SEPARATOR)
    pieces: list[Piece] = []
    line = 0
    for number, own in enumerate(texts):
        whole = own + "\n" if number < len(texts) - 1 else own
        pieces.append(Piece(number, line, whole))
        line += whole.count("\n") + 1
    return pieces


def excerpt(pieces: Iterable[Piece], kept: Container[int]) -> str:
    """A text that has some of the pieces, by number, each on its own lines.

    A comment and blank lines stand for what is left out: a comment also ends a block scalar that keeps blank lines.
    """
    return "".join(_excerpt(pieces, kept))


def _excerpt(pieces: Iterable[Piece], kept: Container[int]) -> Iterator[str]:
    for piece in pieces:
        text = _SEPARATOR + piece.text if piece.number else piece.text
        yield text if piece.number in kept else "#" + "\n" * text.count("\n")
