"""Where a piece of input stands: files, and spans of their text.

Lines and columns count from 1, and columns count characters, as editors show them.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One input text under the name that the user knows it by (`-` is standard input)."""

    path: str
    text: str = field(repr=False)

    def line(self, number: int) -> str:
        """The text of a line, without its end; empty beyond the end of the file."""
        lines = self.text.splitlines()
        return lines[number - 1] if 0 < number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a file from (line, column) up to, not including, (end_line, end_column)."""

    file: SourceFile
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file.path}:{self.line}"

    @property
    def order(self) -> tuple[str, int, int]:
        """The key that sorts spans as a reader meets them."""
        return (self.file.path, self.line, self.column)


def whole_file(file: SourceFile) -> Span:
    """The span of diagnostics that concern a file and no place in it."""
    return Span(file, 1, 1, 1, 1)
