"""One sentence to its tree, by the grammar in `grammar/spec.lark`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from npcompile import resources
from npcompile.frontend.spec import codes
from npcompile.frontend.spec.expected import said
from npcompile.frontend.spec.text import Problems, Sentence

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

DEEPEST = 40  # what is read of a tree calls itself as deep as parentheses nest
_OPENING = frozenset({"_LPAR", "NS_OPEN", "POD_OPEN"})


def parse(sentence: Sentence, problems: Problems) -> Tree[Token] | None:
    """The tree of a sentence, or None and the problem with it: the first, as what follows may be a consequence."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    reading = _parser().parse_interactive(sentence.text)
    last: Token | None = None
    nesting = _Nesting()
    try:
        for token in reading.iter_parse():
            last = token
            if nesting.after(token.type) > DEEPEST:
                at = sentence.start + (token.start_pos or 0)
                problems.add(
                    codes.SYNTAX, at, at + 1, "parentheses and `!` nest too deeply", "use `let` to name a part"
                )
                return None
        return _whole(reading.feed_eof(last))  # type: ignore[no-untyped-call]
    except UnexpectedToken as error:
        at = len(sentence.text) if error.token.type == "$END" else error.token.start_pos or 0
    except UnexpectedCharacters as error:
        at = error.pos_in_stream or 0
    if last is not None and not sentence.text[at:]:
        at, text = last.end_pos or at, sentence.text[: last.end_pos]
    else:
        text = sentence.text
    accepted: set[str] = reading.accepts()  # type: ignore[no-untyped-call]
    length, message, advice = said(accepted, text, at)
    start = sentence.start + at
    problems.add(codes.SYNTAX, start, start + length, message, advice)
    return None


class _Nesting:
    """How deep parentheses and `!` nest."""

    def __init__(self) -> None:
        self._open: list[int] = []  # the depth round each open parenthesis
        self._depth = 0

    def after(self, kind: str) -> int:
        """The depth after another terminal."""
        if kind in _OPENING:
            self._depth += 1
            self._open.append(self._depth)
        elif kind == "_NOT":
            self._depth += 1
        elif kind == "_RPAR" and self._open:
            self._open.pop()
        if kind not in _OPENING and kind != "_NOT":
            self._depth = self._open[-1] if self._open else 0
        return self._depth


def _whole(result: Tree[Token] | None) -> Tree[Token]:
    assert result is not None, "the grammar's start is a rule"
    return result


@cache
def _parser() -> Lark:
    from lark import Lark

    text = resources.text("grammar", "spec.lark")
    return Lark(text, parser="lalr", propagate_positions=True, maybe_placeholders=False)
