"""Where a piece of input stands: files, and spans of their text.

Lines and columns count from 1, and columns count characters (code points), as editors show them.  What ends a line is
what YAML 1.1 and its readers say: LF, CR, both together, and Unicode's NEL, LS and PS; not form feeds and the like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One input text under the name that the user knows it by (`-` is standard input).

    `named`: the user named it, rather than a folder that it lies in.
    """

    path: str
    text: str = field(repr=False)
    named: bool = False

    def line(self, number: int) -> str:
        """The text of a line, without its end; empty beyond the end of the file."""
        lines = _lines(self.text)
        return lines[number - 1] if 0 < number <= len(lines) else ""


@lru_cache(maxsize=64)
def _lines(text: str) -> list[str]:
    """A text's lines, kept because findings come file by file, and each shows several lines."""
    return LINE_BREAK.split(text)


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a file from (line, column) up to, not including, (end_line, end_column)."""

    file: SourceFile
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{visible(self.file.path)}:{self.line}"

    @property
    def order(self) -> tuple[str, int, int]:
        """The key that sorts spans as a reader meets them."""
        return (self.file.path, self.line, self.column)


def visible(text: str) -> str:
    """A text from outside on one line, with an escape for each character that cannot be shown.

    A file's name, or a value that was refused, can hold what steers a terminal or forges a line of the output.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def position(text: str, offset: int) -> tuple[int, int]:
    """The line and column of an offset in a text."""
    line, start = 1, 0
    for end in LINE_BREAK.finditer(text, 0, offset):
        line, start = line + 1, end.end()
    return line, offset - start + 1


def whole_file(file: SourceFile) -> Span:
    """The span of diagnostics that concern a file and no place in it."""
    return Span(file, 1, 1, 1, 1)
