"""Which rules are superfluous: covered by other rules of their direction, for every flow that could exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import z3

from npcompile.questions import NotDecided, RuleOf, Shadowed
from npcompile.symbolic import boxes
from npcompile.symbolic.properties import outside_of
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError, Query


def shadowed(session: Session, question: str) -> Iterator[Shadowed | NotDecided]:
    """The ordered irredundant set: from the last rule to the first, a covered one no longer covers others."""
    for _, group in groupby(session.rules, key=lambda of: of.order[:1]):
        rules = list(group)
        kept = dict.fromkeys(range(len(rules)))
        found: list[Shadowed | NotDecided] = []
        for number in reversed(range(len(rules))):
            of = rules[number]
            others = [rules[one] for one in kept if one != number and rules[one].rule.direction is of.rule.direction]
            try:
                answer = _judge(session, of, others)
            except OutOfEffortError:
                found.append(NotDecided(question=question, policy=of.policy, rule=of.rule))
                continue
            if answer is not None:
                found.append(answer)
                del kept[number]
        yield from reversed(found)


def _judge(session: Session, of: RuleOf, others: Sequence[RuleOf]) -> Shadowed | None:
    """Whether others cover a rule, and which of them are needed for it."""
    box = session.boxes.rule(of)
    meeting = [one for one in others if boxes.meet(box, session.boxes.rule(one))]
    if not meeting or not boxes.may_cover(box, map(session.boxes.rule, meeting)):
        return None
    query = session.query(session.encoding.explicit(of))
    outside = [outside_of(session.encoding, one) for one in meeting]
    switches = query.switches(outside)
    if query.satisfiable(switches=switches) or not query.satisfiable():
        return None
    single = _single(query, outside)
    cover = _irredundant(query, switches) if single is None else [single]
    example = session.example(query, of)
    return Shadowed(subject=of, cover=tuple(meeting[number] for number in cover), example=example)


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
