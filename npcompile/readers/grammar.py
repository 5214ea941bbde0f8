"""Texts to statements, by the lark grammars in `grammar/`.

Each terminal of these grammars holds the blanks before it and looks ahead for the blank behind it, so that words end
where the loaders end them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from npcompile import resources
from npcompile.readers.problems import Problems

if TYPE_CHECKING:
    from lark import Lark, Token, Tree


# Lines that lark reads at once: enough to be fast, few enough to keep its tokens from piling up.
_BLOCK = 2000


@dataclass(frozen=True, slots=True)
class Statement:
    """One line that says something: the name of its rule in the grammar, its number, and its terminals."""

    kind: str
    line: int
    tokens: list[Token]


def statements(grammar: str, problems: Problems) -> Iterator[Statement]:
    """The statements of a file; lines that the grammar does not know are added to `problems`."""
    from lark.exceptions import UnexpectedInput

    parser = _parser(grammar)
    lines = problems.file.text.split("\n")
    for start in range(0, len(lines), _BLOCK):
        block = lines[start : start + _BLOCK]
        try:
            found = list(_parse(parser, block, start))
        except UnexpectedInput:
            # The grammars are regular line by line: reading each line by itself finds every place that is wrong.
            found = list(_line_by_line(parser, block, start, problems))
        yield from found


def _line_by_line(parser: Lark, lines: list[str], before: int, problems: Problems) -> Iterator[Statement]:
    from lark.exceptions import UnexpectedInput

    for number, line in enumerate(lines, start=before):
        try:
            yield from _parse(parser, [line], number)
        except UnexpectedInput as error:
            column = min(max(error.column, 1), len(line) + 1)
            rest = line[column - 1 :].strip()
            said = f"not understood: `{_shortened(rest)}`" if rest else f"`{_shortened(line)}` is not complete"
            problems.add(number + 1, said, column=column)


def _parse(parser: Lark, lines: list[str], before: int) -> Iterator[Statement]:
    """The statements of some lines that stand behind `before` others."""
    tree: Tree[Token] = parser.parse("\n".join([*lines, ""]))
    for child in tree.children:
        if not isinstance(child, str):  # `start` holds rules only, and they hold tokens only
            tokens = [token for token in child.children if isinstance(token, str)]
            yield Statement(str(child.data), before + (tokens[0].line or 0), tokens)


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def _parser(grammar: str) -> Lark:
    from lark import Lark

    return Lark(
        resources.text("grammar", f"{grammar}.lark"), parser="lalr", propagate_positions=False, maybe_placeholders=False
    )
