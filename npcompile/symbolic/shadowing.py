"""Which rules, and which parts of rules, are superfluous: covered by others of their direction, for every flow that
could exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeVar

import z3

from npcompile.ir.policy import Match, Peer, PortItem
from npcompile.questions import NotDecided, RuleOf, Shadowed, ShadowedItem
from npcompile.symbolic import boxes
from npcompile.symbolic.boxes import RuleBox
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError, Query

Order = tuple[str, str, str, int]
Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """What a rule matches, or would if it had fewer peers or ports."""

    of: RuleOf
    match: Match
    box: RuleBox
    term: z3.BoolRef


def shadowed(session: Session, question: str) -> Iterator[Shadowed | NotDecided]:
    """The ordered irredundant set: from the last rule to the first, a covered one no longer covers others."""
    for _, group in groupby(session.rules, key=lambda of: of.order[:1]):
        rules = [_whole(session, of) for of in group]
        kept = dict.fromkeys(range(len(rules)))
        found: list[Shadowed | NotDecided] = []
        for number in reversed(range(len(rules))):
            of = rules[number].of
            others = [rules[one] for one in kept if one != number and rules[one].of.rule.direction is of.rule.direction]
            try:
                covered = _covered(session, rules[number], others)
                if covered is not None:
                    query, cover = covered
                    example = session.example(query, of)
                    found.append(Shadowed(subject=of, cover=tuple(one.of for one in cover), example=example))
                    del kept[number]
            except OutOfEffortError:
                found.append(NotDecided(question=question, policy=of.policy, rule=of.rule))
        yield from reversed(found)


def shadowed_items(session: Session, gone: Set[Order], question: str) -> Iterator[ShadowedItem | NotDecided]:
    """From the last rule that is not `gone` to the first, and in a rule through its peers before its port items: an
    item that is covered no longer covers others.
    """
    for _, group in groupby(session.rules, key=lambda of: of.order[:1]):
        current = {of.order: _whole(session, of) for of in group if of.order not in gone}
        found: dict[Order, list[ShadowedItem | NotDecided]] = {}
        for order, part in reversed(current.items()):
            of = part.of
            if len(of.rule.match.peers) < 2 and len(of.rule.match.ports) < 2:
                continue
            others = [one for one in current.values() if one is not part]
            others = [one for one in others if one.of.rule.direction is of.rule.direction]
            try:
                match, answers = _items(session, part.of, others)
                current[order], found[order] = _part(session, of, match), [*answers]
            except OutOfEffortError:
                found[order] = [NotDecided(question=question, policy=of.policy, rule=of.rule)]
        for _, answers_of_rule in sorted(found.items()):
            yield from answers_of_rule


def _items(session: Session, of: RuleOf, others: Sequence[_Part]) -> tuple[Match, list[ShadowedItem]]:
    """What is left of a rule's match, and answers about the rest: peers, then port items, both in order."""
    match = of.rule.match
    found: list[ShadowedItem] = []
    for number, peer in reversed(list(enumerate(match.peers))):
        rest = replace(match, peers=_without(match.peers, number))
        own = replace(match, peers=(peer,))
        answer = _item(session, of, peer, own=own, others=_around(session, of, rest, others)) if rest.peers else None
        if answer is not None:
            found, match = [answer, *found], rest
    of_peers, found = found, []
    for number, item in reversed(list(enumerate(match.ports))):
        rest = replace(match, ports=_without(match.ports, number))
        own = replace(match, ports=(item,))
        answer = _item(session, of, item, own=own, others=_around(session, of, rest, others)) if rest.ports else None
        if answer is not None:
            found, match = [answer, *found], rest
    return match, [*of_peers, *found]


def _around(session: Session, of: RuleOf, rest: Match, others: Sequence[_Part]) -> list[_Part]:
    return [_part(session, of, rest), *others]


def _without(items: tuple[Thing, ...], number: int) -> tuple[Thing, ...]:
    return items[:number] + items[number + 1 :]


def _item(
    session: Session, of: RuleOf, item: Peer | PortItem, *, own: Match, others: Sequence[_Part]
) -> ShadowedItem | None:
    covered = _covered(session, _part(session, of, own), others)
    if covered is None:
        return None
    query, cover = covered
    return ShadowedItem(
        subject=of,
        item=item,
        own=own,
        cover=tuple(one.of for one in cover),
        left=tuple(one.match for one in cover),
        example=session.example(query, of),
    )


def _whole(session: Session, of: RuleOf) -> _Part:
    return _part(session, of, of.rule.match)


def _part(session: Session, of: RuleOf, match: Match) -> _Part:
    return _Part(of=of, match=match, box=session.boxes.match(of.policy, match), term=session.term(of, match))


def _covered(session: Session, part: _Part, others: Sequence[_Part]) -> tuple[Query, list[_Part]] | None:
    """Whether others cover a part that matches something, and which of them are needed for it; a query for what the
    part matches.
    """
    meeting = [one for one in others if boxes.meet(part.box, one.box)]
    if not meeting or not boxes.may_cover(part.box, (one.box for one in meeting)):
        return None
    query = session.query(part.term)
    outside = [z3.Not(one.term) for one in meeting]
    switches = query.switches(outside)
    if query.satisfiable(switches=switches) or not query.satisfiable():
        return None
    single = _single(query, outside)
    cover = _irredundant(query, switches) if single is None else [single]
    query.satisfiable()  # the examples start from the flow that was found last
    return query, [meeting[number] for number in cover]


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
