"""Phrases that several checks say."""

from __future__ import annotations

from collections.abc import Sequence

from npcompile.diagnostics.model import Note
from npcompile.ir.cluster import Pod
from npcompile.ir.policy import Direction
from npcompile.ir.printer import rule_text
from npcompile.questions import RuleOf

OTHER = {Direction.INGRESS: Direction.EGRESS, Direction.EGRESS: Direction.INGRESS}
_SHOWN = 3


def named(rule: RuleOf) -> str:
    """A rule by its policy and place in it."""
    return f"`{rule_text(rule.policy, rule.rule)}`"


def place(rule: RuleOf, text: str) -> Note:
    """A note at a rule."""
    return Note(text=text, span=rule.rule.span or rule.policy.span)


def some(pods: Sequence[Pod]) -> str:
    """A few pods by name, and how many more there are."""
    names = ", ".join(f"`{pod}`" for pod in pods[:_SHOWN])
    return names if len(pods) <= _SHOWN else f"{names} and {len(pods) - _SHOWN} more"


def count(number: int, noun: str) -> str:
    """`1 rule`, `2 rules`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
