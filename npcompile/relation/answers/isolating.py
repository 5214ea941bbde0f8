"""Policies that select something, by namespace: what the answers about whole policies have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from npcompile.ir.policy import Direction, Policy
from npcompile.relation.bits import members
from npcompile.relation.boxes import Box
from npcompile.relation.inventory import Inventory
from npcompile.relation.rules import BoxedRule


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Isolating:
    """A policy with subjects, and the rules by its directions."""

    policy: Policy
    subjects: int
    rules: Mapping[Direction, Sequence[BoxedRule]]

    def isolates(self, direction: Direction) -> int:
        """Whom it isolates in a direction."""
        return self.subjects if direction in self.rules else 0

    def boxes(self, direction: Direction) -> Iterator[Box]:
        """What it allows in a direction."""
        return (box for rule in self.rules.get(direction, ()) for box in rule.boxes)


def by_namespace(inventory: Inventory) -> Iterator[Sequence[Isolating]]:
    """The policies with subjects, in the order of their keys."""
    groups: dict[str, list[Isolating]] = {}
    for one in _isolating(inventory):
        groups.setdefault(one.policy.namespace, []).append(one)
    yield from groups.values()


def neighbours(group: Sequence[Isolating]) -> Iterator[int]:
    """For each policy of a namespace the others that have subjects in common with it, as a bitset of their places."""
    at: dict[int, int] = {}  # for each subject the policies that have it
    for place, one in enumerate(group):
        for subject in members(one.subjects):
            at[subject] = at.get(subject, 0) | 1 << place
    for place, one in enumerate(group):
        near = 0
        for subject in members(one.subjects):
            near |= at[subject]
        yield near & ~(1 << place)


def _isolating(inventory: Inventory) -> Iterator[Isolating]:
    relation = inventory.relation
    rules: dict[tuple[str, str], list[BoxedRule]] = {}
    for rule in relation.rules:
        rules.setdefault(rule.of.policy.key, []).append(rule)
    for policy in sorted(relation.program.policies, key=lambda policy: policy.key):
        own = rules.get(policy.key, ())
        if subjects := relation.subjects[policy.key]:
            by_direction = {
                direction: [rule for rule in own if rule.direction is direction]
                for direction in Direction
                if direction in policy.directions
            }
            yield Isolating(policy=policy, subjects=subjects, rules=by_direction)
