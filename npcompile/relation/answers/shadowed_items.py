"""Peers and port items of rules that the rest of the rule and other rules make superfluous."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeVar

from npcompile.ir.policy import Direction, Match, Peer, PortItem
from npcompile.questions import Example, NotDecided, RuleOf, ShadowedItem
from npcompile.relation.answers.covers import irredundant
from npcompile.relation.bits import members
from npcompile.relation.boxes import Box, Effort, OutOfEffortError, subtract
from npcompile.relation.inventory import Inventory
from npcompile.relation.rules import BoxedRule

Order = tuple[str, str, str, int]
Thing = TypeVar("Thing")


def shadowed_items(inventory: Inventory, gone: Set[Order], effort: int) -> Iterator[ShadowedItem | NotDecided]:
    """By rule, without those that are `gone`: going from the last to the first, and in a rule through its peers before
    its port items, an item that is covered no longer covers others.  `effort` bounds the pieces of a difference that
    are looked at for one rule.
    """
    groups: dict[tuple[str, Direction], list[BoxedRule]] = {}
    for rule in inventory.relation.rules:
        if rule.possible and rule.of.order not in gone:
            groups.setdefault((rule.of.policy.namespace, rule.direction), []).append(rule)
    answers = {
        rule.of.order: found
        for rules in groups.values()
        if any(_divisible(rule) for rule in rules)
        for rule, found in _in_group(inventory, rules, effort)
    }
    return (answer for _, found in sorted(answers.items()) for answer in found)


def _divisible(rule: BoxedRule) -> bool:
    return len(rule.of.rule.match.peers) > 1 or len(rule.of.rule.match.ports) > 1


def _in_group(
    inventory: Inventory, rules: Sequence[BoxedRule], effort: int
) -> Iterator[tuple[BoxedRule, list[ShadowedItem | NotDecided]]]:
    """Answers about the rules of one namespace and direction."""
    at: dict[int, int] = {}  # for each subject the rules that have it
    for place, rule in enumerate(rules):
        for subject in members(rule.subjects):
            at[subject] = at.get(subject, 0) | 1 << place
    current = list(rules)
    for place in reversed(range(len(rules))):
        rule = rules[place]
        if not _divisible(rule):
            continue
        near = 0
        for subject in members(rule.subjects):
            near |= at[subject]
        others = [current[other] for other in members(near & ~(1 << place))]
        judge = _Judge(inventory=inventory, rule=rule, others=others, effort=Effort(effort))
        found: list[ShadowedItem | NotDecided] = []
        try:
            current[place], answers = judge.judge()
            found += answers
        except OutOfEffortError:
            found.append(NotDecided(question="shadowed-items", policy=rule.of.policy, rule=rule.of.rule))
        yield rule, found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """What is left of a rule, and its flows."""

    of: RuleOf
    left: Match
    boxes: Sequence[Box]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judge:
    """A rule, and what is left of the others that have subjects in common with it."""

    inventory: Inventory
    rule: BoxedRule
    others: Sequence[BoxedRule]
    effort: Effort

    def judge(self) -> tuple[BoxedRule, list[ShadowedItem]]:
        """What is left of the rule, and answers about the rest: peers, then port items, both in order."""
        match = self.rule.of.rule.match
        found: list[ShadowedItem] = []
        for number, peer in reversed(list(enumerate(match.peers))):
            rest = replace(match, peers=_without(match.peers, number))
            answer = self._answer(peer, replace(match, peers=(peer,)), rest) if rest.peers else None
            if answer is not None:
                found, match = [answer, *found], rest
        of_peers, found = found, []
        for number, item in reversed(list(enumerate(match.ports))):
            rest = replace(match, ports=_without(match.ports, number))
            answer = self._answer(item, replace(match, ports=(item,)), rest) if rest.ports else None
            if answer is not None:
                found, match = [answer, *found], rest
        return self._matching(match), [*of_peers, *found]

    def _matching(self, match: Match) -> BoxedRule:
        rule = self.rule
        reduced = replace(rule.of.rule, match=match)
        return self.inventory.relation.boxer.boxed(rule.of.policy, rule.subjects, reduced)

    def _answer(self, item: Peer | PortItem, own: Match, rest: Match) -> ShadowedItem | None:
        possible = self._matching(own).possible
        if not possible:
            return None
        parts = [_Part(of=self.rule.of, left=rest, boxes=self._matching(rest).boxes)]
        parts += [_Part(of=one.of, left=one.of.rule.match, boxes=one.boxes) for one in self.others]
        meeting = [part for part in parts if any(box.meets(theirs) for box in possible for theirs in part.boxes)]
        cover = irredundant(meeting, lambda some: self._cover(possible, some))
        if cover is None:
            return None
        return ShadowedItem(
            subject=self.rule.of,
            item=item,
            own=own,
            cover=tuple(part.of for part in cover),
            left=tuple(part.left for part in cover),
            example=self._example(possible),
        )

    def _cover(self, possible: Sequence[Box], parts: Sequence[_Part]) -> bool:
        return not subtract(possible, (box for part in parts for box in part.boxes), self.effort)

    def _example(self, possible: Sequence[Box]) -> Example:
        direction = self.rule.direction
        example = self.inventory.example(direction, possible)
        if example is None:  # an item may match only flows that need no rule
            example = self.inventory.example(direction, possible, exempt_too=True)
        assert example is not None
        return example


def _without(items: tuple[Thing, ...], number: int) -> tuple[Thing, ...]:
    return items[:number] + items[number + 1 :]
