"""Which rules, and which parts of rules, are superfluous: covered by others of their direction, for every flow that
could exist.

Boxes decide it, exactly (`covers`); where that takes too many steps, z3 decides it from the rules that meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeVar

import z3

from npcompile.ir.policy import Direction, Match, NamedPort, Peer, PortItem
from npcompile.questions import NotDecided, RuleOf, Shadowed, ShadowedItem
from npcompile.symbolic import boxes
from npcompile.symbolic.boxes import RuleBox
from npcompile.symbolic.covers import Box, Steps, difference
from npcompile.symbolic.rule_index import RuleIndex
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError, Query

Order = tuple[str, str, str, int]
Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What a rule matches, or would if it had fewer peers or ports."""

    of: RuleOf
    match: Match


def shadowed(session: Session, question: str) -> Iterator[Shadowed | NotDecided]:
    """The ordered irredundant set: from the last rule to the first, a covered one no longer covers others."""
    for _, group in groupby(session.rules, key=lambda of: of.policy.namespace):
        rules = list(group)
        found: list[tuple[Order, Shadowed | NotDecided]] = []
        for direction in Direction:
            side = _Side(session, [of for of in rules if of.rule.direction is direction])
            for of in reversed(side.rules):
                try:
                    cover = side.cover(_Part(of=of, match=of.rule.match))
                    if cover is None:
                        continue
                    example = session.matched(of, of.rule.match)
                    shadowed_by = tuple(one.of for one in cover)
                    found.append((of.order, Shadowed(subject=of, cover=shadowed_by, example=example)))
                    side.drop(of)
                except OutOfEffortError:
                    found.append((of.order, NotDecided(question=question, policy=of.policy, rule=of.rule)))
        yield from (answer for _, answer in sorted(found, key=lambda one: one[0]))


def shadowed_items(session: Session, gone: Set[Order], question: str) -> Iterator[ShadowedItem | NotDecided]:
    """From the last rule that is not `gone` to the first, and in a rule through its peers before its port items: an
    item that is covered no longer covers others.
    """
    for _, group in groupby(session.rules, key=lambda of: of.policy.namespace):
        rules = [of for of in group if of.order not in gone]
        found: dict[Order, list[ShadowedItem | NotDecided]] = {}
        for direction in Direction:
            side = _Side(session, [of for of in rules if of.rule.direction is direction])
            for of in reversed(side.rules):
                if len(of.rule.match.peers) < 2 and len(of.rule.match.ports) < 2:
                    continue
                try:
                    match, answers = _items(side, of)
                    found[of.order] = [*answers]
                    if answers:
                        side.reduce(of, match)
                except OutOfEffortError:
                    found[of.order] = [NotDecided(question=question, policy=of.policy, rule=of.rule)]
        for _, answers_of_rule in sorted(found.items()):
            yield from answers_of_rule


def _items(side: _Side, of: RuleOf) -> tuple[Match, list[ShadowedItem]]:
    """What is left of a rule's match, and answers about the rest: peers, then port items, both in order."""
    match = of.rule.match
    found: list[ShadowedItem] = []
    for number, peer in reversed(list(enumerate(match.peers))):
        rest = replace(match, peers=_without(match.peers, number))
        answer = _item(side, of, peer, own=replace(match, peers=(peer,)), rest=rest) if rest.peers else None
        if answer is not None:
            found, match = [answer, *found], rest
    of_peers, found = found, []
    for number, item in reversed(list(enumerate(match.ports))):
        rest = replace(match, ports=_without(match.ports, number))
        answer = _item(side, of, item, own=replace(match, ports=(item,)), rest=rest) if rest.ports else None
        if answer is not None:
            found, match = [answer, *found], rest
    return match, [*of_peers, *found]


def _without(items: tuple[Thing, ...], number: int) -> tuple[Thing, ...]:
    return items[:number] + items[number + 1 :]


def _item(side: _Side, of: RuleOf, item: Peer | PortItem, *, own: Match, rest: Match) -> ShadowedItem | None:
    cover = side.cover(_Part(of=of, match=own), _Part(of=of, match=rest))
    if cover is None:
        return None
    return ShadowedItem(
        subject=of,
        item=item,
        own=own,
        cover=tuple(one.of for one in cover),
        left=tuple(one.match for one in cover),
        example=side.session.matched(of, own),
    )


class _Side:
    """The rules of one namespace and direction that may still cover others, each with what is left of its match."""

    def __init__(self, session: Session, rules: Sequence[RuleOf]) -> None:
        self.session = session
        self.rules = tuple(rules)
        self._index = RuleIndex(session.space, rules)
        self._left = {of.order: _Part(of=of, match=of.rule.match) for of in rules}
        self._among = self._index.every

    def drop(self, of: RuleOf) -> None:
        """Let a rule cover nothing any more."""
        self._among &= ~self._index.own[self._index.numbers[of.order]]
        del self._left[of.order]

    def reduce(self, of: RuleOf, match: Match) -> None:
        """Let a rule cover no more than this."""
        number = self._index.numbers[of.order]
        self._among &= ~self._index.own[number]
        self._index.replace(number, self.session.space.match(of.policy, of.rule.direction, match))
        self._among |= self._index.own[number]
        self._left[of.order] = _Part(of=of, match=match)

    def cover(self, part: _Part, rest: _Part | None = None) -> Sequence[_Part] | None:
        """Which rules cover a part of a rule that matches something, if they do: `rest` of the same rule, and others.

        The first that does alone, or those that are left when each in turn is dropped if the others suffice.
        """
        return self.session.decided(
            lambda steps: self._by_boxes(part, rest, steps), lambda: self._by_solver(part, rest)
        )

    def _by_boxes(self, part: _Part, rest: _Part | None, steps: Steps) -> Sequence[_Part] | None:
        target = self._boxes(part)
        own = self._boxes(rest) if rest is not None else ()
        universe = self.session.space.universe
        left = difference(target, own, universe, steps)
        among = self._among & ~self._index.own[self._index.numbers[part.of.order]]
        if not target or not self._index.covers(left, among, steps):
            return None
        if rest is not None and not left:
            cover = [rest]
        elif (single := self._index.single(target, among, steps)) is not None:
            cover = [self._left[self._index.rules[single].order]]
        else:
            needed = own and not self._index.covers(target, among, steps)
            numbers = self._index.irredundant(left if needed else target, among, steps)
            cover = [self._left[self._index.rules[number].order] for number in numbers]
            cover = [rest, *cover] if needed and rest is not None else cover
        return cover

    def _by_solver(self, part: _Part, rest: _Part | None) -> Sequence[_Part] | None:
        others = [one for order, one in self._left.items() if order != part.of.order]
        others = others if rest is None else [rest, *others]
        box = self._rule_box(part)
        meeting = [one for one in others if boxes.meet(box, self._rule_box(one))]
        named = any(isinstance(item, NamedPort) for item in part.match.ports)  # those are no bare address's
        if not meeting or not (named or boxes.may_cover(box, map(self._rule_box, meeting))):
            return None
        query = self.session.query(self._term(part))
        outside = [z3.Not(self._term(one)) for one in meeting]
        switches = query.switches(outside)
        if query.satisfiable(switches=switches) or not query.satisfiable():
            return None
        single = _single(query, outside)
        cover = _irredundant(query, switches) if single is None else [single]
        return [meeting[number] for number in cover]

    def _boxes(self, part: _Part) -> Sequence[Box]:
        return self.session.space.match(part.of.policy, part.of.rule.direction, part.match)

    def _rule_box(self, part: _Part) -> RuleBox:
        return self.session.boxes.match(part.of.policy, part.match)

    def _term(self, part: _Part) -> z3.BoolRef:
        return self.session.term(part.of, part.match)


def _single(query: Query, outside: Sequence[z3.BoolRef]) -> int | None:
    """The first that covers alone.  A flow outside of one refutes others without asking."""
    refuted: set[int] = set()
    for number, term in enumerate(outside):
        if number in refuted:
            continue
        if not query.satisfiable(term):
            return number
        refuted |= {later for later in range(number + 1, len(outside)) if query.holds(outside[later])}
    return None


def _irredundant(query: Query, switches: Sequence[z3.BoolRef]) -> list[int]:
    """All, less those that can be left out, tried in order."""
    kept = list(range(len(switches)))
    for number in range(len(switches)):
        rest = [one for one in kept if one != number]
        if not query.satisfiable(switches=[switches[one] for one in rest]):
            kept = rest
    return kept
