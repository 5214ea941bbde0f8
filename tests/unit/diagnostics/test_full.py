"""The excerpt of the format for people."""

from __future__ import annotations

import pytest

from npcompile.diagnostics.model import Note, RuleCode, Severity, diagnose
from npcompile.diagnostics.render.concise import render_concise
from npcompile.diagnostics.render.full import render_full
from npcompile.source import SourceFile, Span

RULE = RuleCode(code="NPC001", slug="syntax", severity=Severity.ERROR)


@pytest.mark.parametrize("column", [1, 41, 900, 5000])
def test_of_a_long_line_the_marked_part_is_shown(column: int) -> None:
    text = "x" * (column - 1) + "here" + "y" * 5000
    span = Span(SourceFile(path="long.json", text=text), 1, column, 1, column + 4)
    lines = render_full([diagnose(RULE, span, "wrong")], {}).split("\n")
    shown, underline = lines[2], lines[3]
    assert len(shown) < 300
    assert [shown[place] for place, sign in enumerate(underline) if sign == "^"] == list("here")


def test_a_mark_as_long_as_its_line_ends_where_the_excerpt_does() -> None:
    text = "x" * 5000
    span = Span(SourceFile(path="long.json", text=text), 1, 1, 1, 5001)
    shown, underline = render_full([diagnose(RULE, span, "wrong")], {}).split("\n")[2:4]
    assert len(shown) == len(underline)


def test_what_steers_a_terminal_or_forges_a_line_is_escaped() -> None:
    """In the file's name, the message, a note, the help and the line that is shown."""
    odd = "\x1b[31m\n::error::forged\u202e"
    span = Span(SourceFile(path=f"{odd}.yaml", text="key:\t\x1b]0;x\x07 here"), 1, 13, 1, 17)
    found = diagnose(RULE, span, f"not `{odd}`", help=odd, label=odd, notes=(Note(text=odd),))
    for text in (render_full([found], {}), render_concise([found], {})):
        assert all(line.isprintable() for line in text.replace("\t", " ").split("\n"))
        assert not any(line.startswith("::") for line in text.split("\n"))
        assert r"not `\x1b[31m\n::error::forged\u202e`" in text
    shown, underline = render_full([found], {}).split("\n")[2:4]
    assert shown == "1 | key:\t\N{REPLACEMENT CHARACTER}]0;x\N{REPLACEMENT CHARACTER} here"
    assert underline.index("^") == shown.index("here")


def test_a_place_is_on_one_line() -> None:
    assert str(Span(SourceFile(path="a\nb.yaml", text=""), 3, 1, 3, 1)) == r"a\nb.yaml:3"
