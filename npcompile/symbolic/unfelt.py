"""Which policies decide sides of flows, and no verdict, whatever is in the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

import z3

from npcompile.ir.policy import Direction, Policy
from npcompile.questions import Example, NotDecided, RuleOf, Unfelt
from npcompile.symbolic import boxes, properties
from npcompile.symbolic.decode import Candidates
from npcompile.symbolic.removal import Removal
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError


def unfelt(session: Session, question: str) -> Iterator[Unfelt | NotDecided]:
    """Each policy is judged alone, beside all others."""
    for policy in sorted(session.program.policies, key=lambda policy: policy.key):
        removal, proof = Removal(session, policy), _Proof(session=session, policy=policy)
        try:
            if session.decided(removal.unfelt, proof.unfelt):
                closes = session.decided(removal.opens, proof.opens)
                examples = tuple(_examples(session, policy, removal, proof))
                yield Unfelt(policy=policy, closes=closes, examples=examples)
        except OutOfEffortError:
            yield NotDecided(question=question, policy=policy)


def changes_verdicts(session: Session, policy: Policy) -> bool:
    """Whether some verdict changes without a policy, as z3 sees it."""
    return _Proof(session=session, policy=policy).changes_verdicts()


def _examples(session: Session, policy: Policy, removal: Removal, proof: _Proof) -> Iterator[Example]:
    """In each direction the least flow whose side changes, if there is one."""
    for direction in (one for one in Direction if one in policy.directions):
        example = session.least(
            removal.flows(direction),
            partial(proof.changing, direction),
            direction,
            lambda: Candidates(subjects=session.subjects(policy), peers=session.neighbours(policy)),
            two_sided=True,
        )
        if example is not None:
            yield example


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Proof:
    """What `Removal` says, from z3."""

    session: Session
    policy: Policy

    def unfelt(self) -> bool:
        """Whether sides of flows change, and no verdict."""
        return self._changes_sides() and not self.changes_verdicts()

    def changes_verdicts(self) -> bool:
        """Whether some verdict changes.  What is easily seen is asked first: an address denies nothing, and nor does a
        pod that nothing isolates.
        """
        session, encoding = self.session, self.session.encoding
        for direction in self._directions():
            peer = encoding.peer(direction)
            for of in self._rules(self.policy, direction):
                closes = self._closes(of)
                easily = (z3.Not(peer.is_pod), encoding.in_names(peer, session.open_names(of)))
                if session.satisfiable(closes, z3.Or(*easily)):
                    return True
                if session.two_sided(closes, session.far_end_allows(of)).satisfiable():
                    return True
            opens = self._opens(direction)
            if session.satisfiable(opens, z3.Not(peer.is_pod)):
                return True
            if session.satisfiable(opens) and session.two_sided(opens, self._far_end_allows(direction)).satisfiable():
                return True
        return False

    def opens(self) -> bool:
        """Whether a side opens."""
        return any(self.session.satisfiable(self._opens(direction)) for direction in self._directions())

    def _changes_sides(self) -> bool:
        return any(self.session.satisfiable(*self.changing(direction)) for direction in self._directions())

    def changing(self, direction: Direction) -> Iterator[z3.BoolRef]:
        """The flows whose side changes in a direction."""
        closes = map(self._closes, self._rules(self.policy, direction))
        yield self.session.encoding.some((self._opens(direction), *closes))

    def _opens(self, direction: Direction) -> z3.BoolRef:
        rules = self._rules(self.policy, direction)
        return properties.closed_alone(self.session.encoding, direction, self.policy, self._others(), rules)

    def _closes(self, of: RuleOf) -> z3.BoolRef:
        box, direction, others = self.session.boxes.rule(of), of.rule.direction, self._others()
        rules = chain.from_iterable(self._rules(one, direction) for one in others)
        meeting = [other for other in rules if boxes.meet(box, self.session.boxes.rule(other))]
        return properties.rule_lost(self.session.encoding, of, others, meeting)

    def _far_end_allows(self, direction: Direction) -> z3.BoolRef:
        """Whether the other end allows the flow without the policy."""
        other = direction.opposite
        left = [one for one in self.session.program.policies if other in one.directions and one.key != self.policy.key]
        return self.session.encoding.allowed(other, left)

    def _others(self) -> list[Policy]:
        """The others that may have subjects in common with the policy."""
        policy, of = self.policy, self.session.boxes.subjects
        near = self.session.policies_of(policy.namespace)
        return [one for one in near if one.key != policy.key and boxes.labels_meet(of(one), of(policy))]

    def _directions(self) -> list[Direction]:
        return [direction for direction in Direction if direction in self.policy.directions]

    @staticmethod
    def _rules(policy: Policy, direction: Direction) -> list[RuleOf]:
        return [RuleOf(policy=policy, rule=rule) for rule in policy.rules_of(direction)]
