"""Policies without rules whose subjects other policies open to everyone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from npcompile.ir.policy import Direction, Policy
from npcompile.questions import DefeatedDeny, NotDecided
from npcompile.relation.answers.covers import irredundant
from npcompile.relation.boxes import Box, Effort, OutOfEffortError, subtract
from npcompile.relation.inventory import Inventory
from npcompile.relation.rules import BoxedRule


def defeated_denies(inventory: Inventory, effort: int) -> Iterator[DefeatedDeny | NotDecided]:
    """By policy and direction.  `effort` bounds the pieces of a difference that are looked at for each."""
    relation = inventory.relation
    rules: dict[tuple[str, Direction], list[BoxedRule]] = {}
    for rule in relation.rules:
        rules.setdefault((rule.of.policy.namespace, rule.direction), []).append(rule)
    for policy in sorted(relation.program.policies, key=lambda policy: policy.key):
        if policy.rules or not relation.subjects[policy.key]:
            continue
        for direction in (one for one in Direction if one in policy.directions):
            try:
                answer = _answer(inventory, policy, direction, rules.get((policy.namespace, direction), ()), effort)
            except OutOfEffortError:
                yield NotDecided(question="defeated-denies", policy=policy)
                continue
            if answer is not None:
                yield answer


def _answer(
    inventory: Inventory, policy: Policy, direction: Direction, rules: Sequence[BoxedRule], effort: int
) -> DefeatedDeny | None:
    relation, left = inventory.relation, Effort(effort)
    subjects = relation.subjects[policy.key]
    everything = relation.boxer.possible((Box(subjects, relation.boxer.everyone, relation.space.every),))
    near = [rule for rule in rules if rule.subjects & subjects]
    if not _open(everything, near, left):
        return None
    cover = irredundant(near, lambda some: _open(everything, some, left))
    assert cover
    boxes = [box._replace(subjects=box.subjects & subjects) for box in cover[0].possible if box.subjects & subjects]
    example = inventory.example(direction, boxes) or inventory.example(direction, boxes, exempt_too=True)
    assert example is not None
    return DefeatedDeny(policy=policy, direction=direction, rules=tuple(rule.of for rule in cover), example=example)


def _open(everything: Sequence[Box], rules: Sequence[BoxedRule], effort: Effort) -> bool:
    return not subtract(everything, (box for rule in rules for box in rule.boxes), effort)
