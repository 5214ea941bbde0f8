"""`npcompile rule`: every code is documented, and none is used twice."""

from __future__ import annotations

import re
from pathlib import Path

from npcompile.driver.rules import documented_rules
from tests.commands import ROOT, npcompile

CODE = re.compile(r'code="(NPC\d+)"')


def written_codes() -> list[str]:
    files = sorted(Path(ROOT, "npcompile").rglob("*.py"))
    return [code for file in files for code in CODE.findall(file.read_text(encoding="utf-8"))]


def test_codes_are_unique_and_listed() -> None:
    written = written_codes()
    assert len(written) == len(set(written))
    assert set(documented_rules()) == set(written)


def test_every_rule_is_documented() -> None:
    slugs = set()
    for code, one in documented_rules().items():
        assert len(one.text) > 40, code
        slugs.add(one.rule.slug)
    assert len(slugs) == len(documented_rules())


def test_a_rule_by_code_and_by_slug() -> None:
    by_code, by_slug = npcompile("rule", "npc101"), npcompile("rule", "shadowed-rule")
    assert by_code == by_slug
    assert by_code.out.startswith("NPC101 shadowed-rule (warning, proved)\n\nEvery flow that the rule matches")


def test_an_unknown_rule() -> None:
    result = npcompile("rule", "NPC999")
    assert result.code == 2
    assert "there is no rule `NPC999`" in result.err
