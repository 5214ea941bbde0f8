"""Every check's documentation ends with a bad and a good example, and both are what they are called."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from textwrap import dedent

import pytest

from npcompile.analyses.checks.registry import CHECKS
from npcompile.analyses.claims import Check
from tests.commands import Result, npcompile

# `Bad:` and `Good:`, each on a line of its own, with the options that it needs in brackets: (`--cni cilium`).  A good
# one without takes those of the bad one.
ENDING = re.compile(
    r"\n\nBad(?: \(`(?P<options>[^`]*)`\))?:\n\n(?P<bad>(?:    .*\n|\n)+?)"
    r"\nGood(?: \(`(?P<others>[^`]*)`\))?:\n\n(?P<good>(?:    .*\n|\n)+)\Z"
)
# Findings about which no packet can tell: there is nothing that matches, or only the text is at fault.
WITHOUT_WITNESS = frozenset({"NPC110", "NPC403", *(f"NPC{number}" for number in (*range(410, 423), *range(501, 509)))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What a check's documentation ends with."""

    bad: str
    good: str
    options: tuple[str, ...]
    good_options: tuple[str, ...]


def examples_of(check: Check) -> Examples:
    text = inspect.cleandoc(check.__doc__ or "") + "\n"
    found = ENDING.search(text)
    assert found, f"{check.RULE.code}: its module docstring must end with a `Bad:` and a `Good:` example"
    options = tuple((found["options"] or "").split())
    others = tuple((found["others"] or found["options"] or "").split())
    return Examples(bad=dedent(found["bad"]), good=dedent(found["good"]), options=options, good_options=others)


def checked(check: Check, text: str, options: tuple[str, ...]) -> Result:
    arguments = ("--select", check.RULE.code, "--fail-on", "info", "--output-format", "json", *options)
    return npcompile("check", "-", *arguments, stdin=text.encode())


def code_of(check: Check) -> str:
    return check.RULE.code


@pytest.mark.parametrize("check", CHECKS, ids=code_of)
def test_the_bad_example_is_reported(check: Check) -> None:
    examples = examples_of(check)
    result = checked(check, examples.bad, examples.options)
    assert result.code == 1, result.out + result.err
    found = result.json["diagnostics"]
    assert {one["code"] for one in found} == {check.RULE.code}
    assert all(one["line"] for one in found)
    if check.RULE.code not in WITHOUT_WITNESS:
        assert all(one["witness"]["verdict"] in ("ALLOW", "DENY") for one in found)


@pytest.mark.parametrize("check", CHECKS, ids=code_of)
def test_the_good_example_is_not(check: Check) -> None:
    examples = examples_of(check)
    result = checked(check, examples.good, examples.good_options)
    assert result.code == 0, result.out + result.err
    assert result.json["diagnostics"] == []


@pytest.mark.parametrize("ending", ["", "\n\nBad:\n\n    a: 1\n", "\n\nGood:\n\n    a: 1\n"])
def test_a_check_without_examples_is_noticed(ending: str) -> None:
    class Bare:
        __doc__ = f"A check.{ending}"
        RULE = CHECKS[0].RULE
        check = CHECKS[0].check

    with pytest.raises(AssertionError, match="must end with"):
        examples_of(Bare())


def test_the_examples_are_printed_as_they_are() -> None:
    printed = npcompile("rule", "NPC101").out
    assert "\nBad:\n\n    apiVersion: networking.k8s.io/v1\n" in printed
    assert "\nGood:\n\n    apiVersion: networking.k8s.io/v1\n" in printed
