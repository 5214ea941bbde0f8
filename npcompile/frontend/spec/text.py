"""The text of an assertion file: its sentences by layout, places in it, and the problems found there."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from npcompile.diagnostics.model import Diagnostic, RuleCode, diagnose
from npcompile.source import LINE_BREAK, SourceFile, Span

_SPACES = re.compile(r'("[^"]*")|(?:#[^\r\n\x85\u2028\u2029]*|\s)+')
_BLANKS = " \t"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A piece of a text, from the offset `start`, that must be one sentence."""

    start: int
    text: str


class Problems:
    """A file, and what is wrong with it."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.found: list[Diagnostic] = []
        self._starts = [0, *(end.end() for end in LINE_BREAK.finditer(file.text))]

    def add(self, rule: RuleCode, start: int, end: int, message: str, help: str = "") -> None:  # noqa: A002
        """Note a problem with the text from one offset up to another."""
        self.found.append(diagnose(rule, self.span(start, end), message, help=help))

    def span(self, start: int, end: int) -> Span:
        """The text from one offset up to another."""
        return Span(self.file, *self._place(start), *self._place(end))

    def _place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def sentences(text: str) -> Iterator[Sentence]:
    """Each line that says something begins one; lines that are indented deeper than its first go on with it."""
    start, end, depth = 0, 0, None
    for first, last in _lines(text):
        line = text[first:last]
        content = line.lstrip(_BLANKS)
        if not content or content.startswith("#"):
            continue
        indent = len(line) - len(content)
        if depth is None or indent <= depth:
            if depth is not None:
                yield Sentence(start, text[start:end])
            start, depth = first + indent, indent
        end = last
    if depth is not None:
        yield Sentence(start, text[start:end])


def _lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for found in LINE_BREAK.finditer(text):
        yield start, found.start()
        start = found.end()
    yield start, len(text)


def squeezed(text: str) -> str:
    """A piece of a sentence on one line, without comments."""
    return _SPACES.sub(lambda found: found[1] or " ", text).strip()
