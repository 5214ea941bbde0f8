"""Rules that other rules make superfluous."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from npcompile.ir.policy import Direction
from npcompile.questions import NotDecided, Shadowed
from npcompile.relation.answers.covers import irredundant
from npcompile.relation.bits import members
from npcompile.relation.boxes import Effort, OutOfEffortError, subtract
from npcompile.relation.inventory import Inventory
from npcompile.relation.rules import BoxedRule


def shadowed(inventory: Inventory, effort: int) -> Iterator[Shadowed | NotDecided]:
    """Rules whose flows the others all match, leaving one of those that shadow each other.  `effort` bounds the pieces
    of a difference that are looked at for one rule.
    """
    groups: dict[tuple[str, Direction], list[BoxedRule]] = {}
    for rule in inventory.relation.rules:
        if rule.possible:
            groups.setdefault((rule.of.policy.namespace, rule.direction), []).append(rule)
    answers = [answer for rules in groups.values() for answer in _in_group(inventory, rules, effort)]
    answers.sort(key=lambda answer: answer[0])
    return (answer for _, answer in answers)


def _in_group(
    inventory: Inventory, rules: Sequence[BoxedRule], effort: int
) -> Iterator[tuple[tuple[str, str, str, int], Shadowed | NotDecided]]:
    """Answers about one namespace and direction, the last rule's first: of duplicates the first stays."""
    at: dict[int, int] = {}  # for each subject the rules that have it
    for place, rule in enumerate(rules):
        for subject in members(rule.subjects):
            at[subject] = at.get(subject, 0) | 1 << place
    left = (1 << len(rules)) - 1
    for place in reversed(range(len(rules))):
        rule = rules[place]
        near = 0
        for subject in members(rule.subjects):
            near |= at[subject]
        others = [rules[other] for other in members(near & left & ~(1 << place))]
        try:
            cover = _cover(rule, [other for other in others if _meet(rule, other)], Effort(effort))
        except OutOfEffortError:
            yield rule.of.order, NotDecided(question="shadowed", policy=rule.of.policy, rule=rule.of.rule)
            continue
        if cover:
            left &= ~(1 << place)
            yield rule.of.order, _shadowed(inventory, rule, cover)


def _shadowed(inventory: Inventory, rule: BoxedRule, cover: Sequence[BoxedRule]) -> Shadowed:
    example = inventory.example(rule.direction, rule.possible)
    if example is None:  # a rule may match only flows that need no rule
        example = inventory.example(rule.direction, rule.possible, exempt_too=True)
    assert example is not None
    return Shadowed(subject=rule.of, cover=tuple(other.of for other in cover), example=example)


def _meet(rule: BoxedRule, other: BoxedRule) -> bool:
    if not rule.peers & other.peers:
        return False
    return any(box.meets(theirs) for box in rule.possible for theirs in other.boxes)


def _cover(rule: BoxedRule, others: Sequence[BoxedRule], effort: Effort) -> Sequence[BoxedRule]:
    return irredundant(others, lambda some: _covers(rule, some, effort)) or []


def _covers(rule: BoxedRule, others: Sequence[BoxedRule], effort: Effort) -> bool:
    """Whether `others` match all that the rule matches."""
    return not subtract(rule.possible, (box for other in reversed(others) for box in other.boxes), effort)
