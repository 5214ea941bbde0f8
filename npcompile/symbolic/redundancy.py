"""Which policies can be removed, whatever is in the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import z3

from npcompile.ir.policy import Direction, Policy
from npcompile.questions import Example, NotDecided, Redundant, RuleOf
from npcompile.symbolic import boxes, properties
from npcompile.symbolic.covers import Steps
from npcompile.symbolic.decode import Candidates
from npcompile.symbolic.policy_index import PolicyIndex
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError


def redundant(session: Session, question: str) -> Iterator[Redundant | NotDecided]:
    """By namespace, going from the last policy to the first, those without which nothing changes."""
    for namespace in session.namespaces:
        policies, index = session.policies_of(namespace), session.policy_index(namespace)
        left = index.every
        found: list[Redundant | NotDecided] = []
        for number, policy in reversed(list(enumerate(policies))):
            if not index.own[number]:
                continue
            try:
                cover = _cover(session, policies, index, number, left)
                if cover is not None:
                    examples = tuple(_examples(session, policy))
                    found.append(Redundant(policy=policy, cover=tuple(cover), examples=examples))
                    left &= ~index.own[number]
            except OutOfEffortError:
                found.append(NotDecided(question=question, policy=policy))
        yield from reversed(found)


def _cover(
    session: Session, policies: Sequence[Policy], index: PolicyIndex, number: int, left: int
) -> Sequence[Policy] | None:
    def by_boxes(steps: Steps) -> Sequence[Policy] | None:
        found = index.cover(number, left, steps)
        return None if found is None else [policies[one] for one in found]

    def by_solver() -> Sequence[Policy] | None:
        judge = _judge(session, policies[number])
        return judge.cover([one for one in judge.every if index.own[index.numbers[one.key]] & left])

    return session.decided(by_boxes, by_solver)


def suffice(session: Session, policy: Policy, others: Sequence[Policy]) -> bool:
    """Whether others do all that a policy does, as z3 sees it."""
    return _judge(session, policy).suffice(others)


def _judge(session: Session, policy: Policy) -> _Judge:
    own, near = session.boxes.subjects(policy), session.policies_of(policy.namespace)
    every = [one for one in near if one.key != policy.key and boxes.labels_meet(session.boxes.subjects(one), own)]
    return _Judge(session=session, policy=policy, every=every)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judge:
    """A policy, and all others that may have subjects in common with it, before z3."""

    session: Session
    policy: Policy
    every: Sequence[Policy]

    def cover(self, others: Sequence[Policy]) -> Sequence[Policy] | None:
        """Which of `others` do all that the policy does, if they do: the first that does alone, or those that are left
        when each in turn is dropped if the rest suffice.
        """
        if not self.suffice(others):
            return None
        if self.suffice([]):
            return []
        for other in others:
            if self.suffice([other]):
                return [other]
        kept = list(others)
        for other in others:
            rest = [one for one in kept if one is not other]
            if self.suffice(rest):
                kept = rest
        return kept

    def suffice(self, others: Sequence[Policy]) -> bool:
        """Whether others do all that the policy does."""
        directions = [direction for direction in Direction if direction in self.policy.directions]
        lost = [
            *(term for direction in directions for term in self._isolation_lost(direction, others)),
            *(self._rule_lost(of, others) for of in self._rules(self.policy)),
        ]  # asked about at once, as starting a query takes longer than most answers
        return not lost or not self.session.satisfiable(self.session.encoding.some(lost))

    def _isolation_lost(self, direction: Direction, others: Sequence[Policy]) -> Iterator[z3.BoolRef]:
        """Unsatisfiable iff the others isolate every subject but those of no other policy to whom everything is
        allowed; no term where one of them isolates everyone.
        """
        if not any(_is_for_everyone(one, direction) for one in others):
            own = [of for of in self._rules(self.policy) if of.rule.direction is direction]
            yield properties.isolation_lost(
                self.session.encoding, direction, self.policy, others=others, every=self.every, rules=own
            )

    def _rule_lost(self, of: RuleOf, others: Sequence[Policy]) -> z3.BoolRef:
        """Unsatisfiable iff the others match all that a rule does, for the subjects of other policies."""
        box = self.session.boxes.rule(of)
        rules = [
            other
            for one in others
            for other in self._rules(one)
            if other.rule.direction is of.rule.direction and boxes.meet(box, self.session.boxes.rule(other))
        ]
        everyone = [one for one in self.every if _is_for_everyone(one, of.rule.direction)]
        return properties.rule_lost(self.session.encoding, of, everyone[:1] or self.every, rules)

    def _rules(self, policy: Policy) -> list[RuleOf]:
        return [RuleOf(policy=policy, rule=rule) for rule in policy.rules]


def _is_for_everyone(policy: Policy, direction: Direction) -> bool:
    """Whether a policy isolates every pod of its namespace."""
    return direction in policy.directions and not policy.subjects.requirements


def _examples(session: Session, policy: Policy) -> Iterator[Example]:
    for direction in (one for one in Direction if one in policy.directions):
        example = session.least(
            session.from_outside(session.subject_boxes((policy,))),
            partial(_outside, session, policy, direction),
            direction,
            lambda: Candidates(subjects=session.subjects(policy)),
            outside=True,
        )
        if example is not None:
            yield example
        for of in (RuleOf(policy=policy, rule=rule) for rule in policy.rules_of(direction)):
            if session.matches_something(of):
                yield session.matched(of, of.rule.match)


def _outside(session: Session, policy: Policy, direction: Direction) -> Iterator[z3.BoolRef]:
    yield session.encoding.selects(policy, session.encoding.subject(direction))
    yield session.decoder.outside(session.encoding.peer(direction))
