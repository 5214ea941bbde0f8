"""Why an artifact cannot be read: every place at once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, RuleCode, Severity, diagnose
from npcompile.source import SourceFile, Span

NOT_UNDERSTOOD = RuleCode(code="NPC706", slug="artifact-not-understood", severity=Severity.ERROR)
"""An artifact says something that its loader would refuse, or that npcompile does not know: nothing can be said of it,
and so it is never called right."""

# Other than tab and newline none of these has a place in an artifact, and programs differ on which of them end a line.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class ReadingError(InputError):
    """An artifact that its loader would refuse, or that says something which the reader does not know."""


class RefusedError(Exception):
    """A piece of an artifact that is not understood, on its way to the `Problems` of the file."""


def not_understood(message: str) -> Diagnostic:
    """A problem of an artifact as a whole, in no line of it."""
    return diagnose(NOT_UNDERSTOOD, None, message)


class Problems:
    """The problems of one file, as they are found."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self._lines = file.text.split("\n")
        self._found: list[Diagnostic] = []

    def add(self, line: int, message: str, *, column: int = 1) -> None:
        """Note a problem with a line, from the first word at or behind a column to its end; both count from 1."""
        text = self._lines[line - 1] if line <= len(self._lines) else ""
        blanks = len(text[column - 1 :]) - len(text[column - 1 :].lstrip(" \t"))
        start = column + blanks
        span = Span(self.file, line, start, line, max(start, len(text) + 1))
        self._found.append(diagnose(NOT_UNDERSTOOD, span, message))

    def raise_any(self) -> None:
        """Raise a ReadingError of all problems, if there are any."""
        if self._found:
            raise ReadingError(sorted(self._found, key=lambda diagnostic: diagnostic.order))


def decode(data: bytes, path: str, *, longest_line: int) -> Problems:
    """The text of a file (`.file`), and the problems that it has as text.

    `longest_line`: in bytes, without its end; the loaders cut longer ones into several.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        readable = SourceFile(path=path, text=data.decode(errors="replace"))
        problems = Problems(readable)
        problems.add(data.count(b"\n", 0, error.start) + 1, "this is not UTF-8 text")
        problems.raise_any()
        raise
    problems = Problems(SourceFile(path=path, text=text))
    for number in _lines_with(_CONTROL, text):
        problems.add(number, "a control character")
    for number, line in enumerate(data.split(b"\n"), start=1):
        if len(line) > longest_line:
            problems.add(number, f"the line is longer than {longest_line} bytes")
    return problems


def _lines_with(pattern: re.Pattern[str], text: str) -> Iterable[int]:
    return sorted({text.count("\n", 0, found.start()) + 1 for found in pattern.finditer(text)})
