"""Which policies can be removed, whatever is in the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby

import z3

from npcompile.ir.policy import Direction, Policy
from npcompile.questions import Example, NotDecided, Redundant, RuleOf
from npcompile.symbolic import boxes, properties
from npcompile.symbolic.covers import Box
from npcompile.symbolic.decode import Candidates
from npcompile.symbolic.flows import Flows
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError


def redundant(session: Session, question: str) -> Iterator[Redundant | NotDecided]:
    """By namespace, going from the last policy to the first, those without which nothing changes."""
    ordered = sorted(session.program.policies, key=lambda policy: policy.key)
    for _, group in groupby(ordered, key=lambda policy: policy.namespace):
        policies = list(group)
        left = list(policies)
        found: list[Redundant | NotDecided] = []
        for policy in reversed(policies):
            try:
                answer = _judge(session, policy, policies, left)
            except OutOfEffortError:
                found.append(NotDecided(question=question, policy=policy))
                continue
            if answer is not None:
                found.append(answer)
                left.remove(policy)
        yield from reversed(found)


def suffice(session: Session, policy: Policy, others: Sequence[Policy]) -> bool:
    """Whether others do all that a policy does."""
    policies = [one for one in session.program.policies if one.namespace == policy.namespace]
    return _judge_of(session, policy, policies).suffice(others)


def _judge_of(session: Session, policy: Policy, policies: Sequence[Policy]) -> _Judge:
    every = [one for one in policies if one is not policy and _meet(session, one, policy)]
    return _Judge(session=session, policy=policy, every=every)


def _judge(session: Session, policy: Policy, policies: Sequence[Policy], left: Sequence[Policy]) -> Redundant | None:
    if boxes.void(session.boxes.subjects(policy)):
        return None
    judge = _judge_of(session, policy, policies)
    cover = judge.cover([one for one in judge.every if any(one is other for other in left)])
    if cover is None:
        return None
    return Redundant(policy=policy, cover=tuple(cover), examples=tuple(_examples(session, policy)))


def _meet(session: Session, one: Policy, other: Policy) -> bool:
    return boxes.labels_meet(session.boxes.subjects(one), session.boxes.subjects(other))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judge:
    """A policy, and all others that may have subjects in common with it."""

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
        return all(self._isolate(direction, others) for direction in directions) and all(
            self._allow(of, others) for of in self._rules(self.policy)
        )

    def _isolate(self, direction: Direction, others: Sequence[Policy]) -> bool:
        """Whether the others isolate every subject but those of no other policy to whom everything is allowed."""
        if any(direction in one.directions and not one.subjects.requirements for one in others):
            return True
        session = self.session
        own = [of for of in self._rules(self.policy) if of.rule.direction is direction]

        def lost() -> Iterator[Flows]:
            selected = session.subject_boxes((self.policy,))
            without = session.subject_boxes(one for one in others if direction in one.directions)
            for box in session.space.join(selected, self._shared(direction)):
                yield Flows(box=box, without=without)
            for box in selected:
                yield Flows(box=box, without=(*without, *chain.from_iterable(map(session.space.rule, own))))

        def terms() -> Iterator[z3.BoolRef]:
            yield properties.isolation_lost(
                session.encoding, direction, self.policy, others=others, every=self.every, rules=own
            )

        return not session.some(lost(), terms)

    def _allow(self, of: RuleOf, others: Sequence[Policy]) -> bool:
        """Whether the others match all that a rule does, for the subjects of other policies."""
        session, direction = self.session, of.rule.direction
        box = session.boxes.rule(of)
        rules = [
            other
            for one in others
            for other in self._rules(one)
            if other.rule.direction is direction and boxes.meet(box, session.boxes.rule(other))
        ]

        def lost() -> Iterator[Flows]:
            without = tuple(chain.from_iterable(map(session.space.rule, rules)))
            for one in session.space.join(session.space.rule(of), self._shared(direction)):
                yield Flows(box=one, without=without)

        return not session.some(lost(), lambda: (properties.rule_lost(session.encoding, of, self.every, rules),))

    def _shared(self, direction: Direction) -> Sequence[Box]:
        """The subjects of the others that isolate in a direction."""
        return self.session.space.absorbed(
            self.session.subject_boxes(one for one in self.every if direction in one.directions)
        )

    def _rules(self, policy: Policy) -> list[RuleOf]:
        return [RuleOf(policy=policy, rule=rule) for rule in policy.rules]


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
