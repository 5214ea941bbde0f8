"""The excerpt of the format for people."""

from __future__ import annotations

import pytest

from npcompile.diagnostics.model import RuleCode, Severity, diagnose
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
