"""z3's part of `confirm`: each answer is asked about alone, with the rules and policies that it names."""

from __future__ import annotations

from typing import assert_never

import z3

from npcompile.ir.program import Program
from npcompile.questions import (
    DefeatedDeny,
    HalfOpen,
    NoWayIn,
    Redundant,
    RuleOf,
    Shadowed,
    ShadowedItem,
    Unfelt,
    Universal,
    WideOpen,
)
from npcompile.symbolic import breadth, defeats, properties, redundancy, unfelt
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError

_SHARE = 10  # a check may use up this part of the effort


class Prover:
    """Shows of answers that they hold for all that could exist, about a program without pods.

    `effort` bounds what is spent on all of them together, in z3's resource units.
    """

    def __init__(self, program: Program, effort: int) -> None:
        self._session = Session(program, effort=max(1, effort // _SHARE), seed=0, with_boxes=False)
        self._effort = effort

    def holds(self, answer: Universal) -> bool:
        """Whether an answer was shown to hold."""
        if self._session.spent >= self._effort:
            return False
        try:
            return self._holds(answer)
        except OutOfEffortError:
            return False

    def _holds(self, answer: Universal) -> bool:
        session = self._session
        match answer:
            case Shadowed(subject=of, cover=cover):
                outside = (z3.Not(session.encoding.explicit(one)) for one in cover)
                return not session.satisfiable(session.encoding.explicit(of), *outside)
            case ShadowedItem(subject=of, own=own, cover=cover, left=left):
                outside = (z3.Not(session.term(one, match)) for one, match in zip(cover, left, strict=True))
                return not session.satisfiable(session.term(of, own), *outside)
            case Redundant(policy=policy, cover=others):
                return redundancy.suffice(session, policy, others)
            case Unfelt(policy=policy):
                return not unfelt.changes_verdicts(session, policy)
            case HalfOpen():
                return answer.fully and self._dead(answer)
            case DefeatedDeny(policy=policy, direction=direction, rules=rules):
                return defeats.opens(session, policy, direction, rules)
            case WideOpen():
                return breadth.is_open(session, answer)
            case NoWayIn(rules=rules):
                return not any(self._lets_in(of) for of in rules)
            case _:
                assert_never(answer)

    def _lets_in(self, of: RuleOf) -> bool:
        session = self._session
        return session.two_sided(session.encoding.explicit(of), session.far_end_allows(of)).satisfiable()

    def _dead(self, answer: HalfOpen) -> bool:
        session, of = self._session, answer.opener
        if session.is_easily_alive(of, answer.port):
            return False
        policies = session.far_policies(of)
        closed = {policy.namespace for policy in policies if not policy.subjects.requirements}
        isolating = [one for one in policies if not one.subjects.requirements or one.namespace not in closed]
        return not session.satisfiable(
            properties.between_pods(session.encoding, of, answer.port),
            properties.far_end_allows(session.encoding, of, isolating, []),
        )
