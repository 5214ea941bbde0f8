"""Whether what an inventory's answer says holds for every pod and namespace that could exist, too.

Each answer is asked about alone: a few rules and policies, one solver.  What costs more than it tells is not asked:
that is never wrong, since a missing confirmation says nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import z3

from npcompile.ir.policy import PortItem
from npcompile.ir.program import Program
from npcompile.questions import (
    DefeatedDeny,
    HalfOpen,
    NoWayIn,
    Redundant,
    RuleOf,
    Shadowed,
    ShadowedItem,
    Universal,
    WideOpen,
)
from npcompile.symbolic import breadth, defeats, properties, redundancy
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError

_SHARE = 10  # a check may use up this part of the effort


class Confirmation:
    """A `Confirmer` about one program.  `effort` bounds what is spent on all answers together, in z3's resource units:
    those that come when it is used up are not confirmed.
    """

    def __init__(self, program: Program, effort: int) -> None:
        # What could exist does not depend on what does, but for the namespaces of the input.
        cluster = replace(program.cluster, pods=(), nodes={}, services=())
        program = replace(program, cluster=cluster)
        self._session = Session(program, effort=max(1, effort // _SHARE), seed=0, with_boxes=False)
        self._effort = effort

    def holds(self, answer: Universal) -> bool:
        """Whether an answer holds for all that could exist, as far as could be shown."""
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
        """Most rules are alive for some pod that is easily seen: in a namespace where nothing isolates it, or among
        those for whom a rule of the other end meets this one.
        """
        session, of = self._session, answer.opener
        if session.open_names(of):
            return False
        policies = session.far_policies(of)
        if session.far_rules(_on(of, answer.port), policies):
            return False
        closed = {policy.namespace for policy in policies if not policy.subjects.requirements}
        isolating = [one for one in policies if not one.subjects.requirements or one.namespace not in closed]
        return not session.satisfiable(
            properties.between_pods(session.encoding, of, answer.port),
            properties.far_end_allows(session.encoding, of, isolating, []),
        )


def _on(of: RuleOf, port: PortItem | None) -> RuleOf:
    """A rule with one of its port items only."""
    if port is None:
        return of
    return RuleOf(policy=of.policy, rule=replace(of.rule, match=replace(of.rule.match, ports=(port,))))
