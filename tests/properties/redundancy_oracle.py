"""Redundant policies by definition: both sides of every flow, with and without each policy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from npcompile import semantics
from npcompile.ir.policy import Direction, Policy
from npcompile.questions import NotDecided, Redundant
from tests.properties.relation_oracle import Oracle, Triple

Sides = dict[tuple[Direction, int, int], frozenset[int]]


class RedundancyOracle:
    """The policies of an oracle's program, and what each allows explicitly."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        flows = {of.order: oracle.item_flows(of) for of in oracle.rules}
        self._flows: dict[tuple[tuple[str, str], Direction], set[Triple]] = {}
        for policy in oracle.policies:
            for direction in policy.directions:
                own = (flows[of.order] for of in oracle.rules if of.policy is policy and of.rule.direction is direction)
                self._flows[policy.key, direction] = set().union(*own)
        self._subjects = {
            policy.key: {
                place
                for place, end in enumerate(oracle.endpoints)
                if end.pod is not None and semantics.selects(policy, end.pod)
            }
            for policy in oracle.policies
        }

    def check(self, answers: Sequence[Redundant | NotDecided]) -> None:
        """Exactly those that are superfluous going backwards; without any of them, and all, nothing changes."""
        left, expected = list(self._oracle.policies), []
        for policy in reversed(self._oracle.policies):
            others = [one for one in left if one is not policy]
            if self._subjects[policy.key] and self._superfluous(policy, others):
                left, expected = others, [(policy, others), *expected]
        decided = [answer for answer in answers if isinstance(answer, Redundant)]
        assert [one.policy.key for one in decided] == [policy.key for policy, _ in expected]
        assert len(decided) == len(answers)
        whole = self._sides(self._oracle.policies)
        assert self._sides(left) == whole
        for answer, (policy, others) in zip(decided, expected, strict=True):
            assert self._sides([one for one in self._oracle.policies if one is not policy]) == whole
            self._check_cover(answer, others)
            self._check_examples(answer)
        for policy in left:
            rest = [one for one in self._oracle.policies if one is not policy]
            if self._subjects[policy.key] and self._sides(rest) == whole:  # then because of those that are reported
                assert self._sides([one for one in left if one is not policy]) != whole or self._of_several(policy)

    def _of_several(self, policy: Policy) -> bool:
        """Whether another policy isolates a subject of a policy in the same direction."""
        return any(
            self._subjects[one.key] & self._subjects[policy.key] and one.directions & policy.directions
            for one in self._oracle.policies
            if one is not policy
        )

    def _superfluous(self, policy: Policy, others: Sequence[Policy]) -> bool:
        return all(
            self._superfluous_for(policy, direction, subject, others)
            for direction in policy.directions
            for subject in self._subjects[policy.key]
        )

    def _superfluous_for(self, policy: Policy, direction: Direction, subject: int, others: Sequence[Policy]) -> bool:
        def isolates(one: Policy) -> bool:
            return direction in one.directions and subject in self._subjects[one.key]

        own = self._of(policy, direction, subject)
        if not any(isolates(one) for one in self._oracle.policies if one is not policy):
            return len(own) == len(self._ends(direction, subject)) * len(self._oracle.points)
        covered = set().union(*(self._of(one, direction, subject) for one in others))
        return any(map(isolates, others)) and own <= covered

    def _of(self, policy: Policy, direction: Direction, subject: int) -> set[Triple]:
        end = 0 if direction is Direction.EGRESS else 1
        return {flow for flow in self._flows.get((policy.key, direction), ()) if flow[end] == subject}

    def _ends(self, direction: Direction, subject: int) -> list[tuple[int, int]]:
        end = 0 if direction is Direction.EGRESS else 1
        return [pair for pair in self._oracle.sides(direction) if pair[end] == subject]

    def _sides(self, policies: Iterable[Policy]) -> Sides:
        """A_D of every pair of ends under some policies, exemptions aside."""
        listed = list(policies)
        found: Sides = {}
        for direction in Direction:
            allowed: dict[tuple[int, int], set[int]] = {}
            for policy in listed:
                for src, dst, point in self._flows.get((policy.key, direction), ()):
                    allowed.setdefault((src, dst), set()).add(point)
            isolated = set().union(*(self._subjects[one.key] for one in listed if direction in one.directions))
            for pair in self._oracle.sides(direction):
                subject = pair[0] if direction is Direction.EGRESS else pair[1]
                everything = subject not in isolated
                found[direction, *pair] = frozenset(self._oracle.points if everything else allowed.get(pair, ()))
        return found

    def _check_cover(self, answer: Redundant, others: Sequence[Policy]) -> None:
        cover = list(answer.cover)
        assert all(any(one is other for other in others) for one in cover)
        assert self._superfluous(answer.policy, cover)
        assert cover == sorted(cover, key=lambda policy: policy.key)
        alone = [one for one in others if self._superfluous(answer.policy, [one])]
        if not self._superfluous(answer.policy, []):
            assert cover == (alone[:1] or cover)
        for one in cover:
            assert not self._superfluous(answer.policy, [other for other in cover if other is not one])

    def _check_examples(self, answer: Redundant) -> None:
        assert answer.examples
        rest = [one for one in self._oracle.policies if one is not answer.policy]
        for example in answer.examples:
            judged = semantics.decide(self._oracle.policies, self._oracle.cluster, example.flow)
            without = semantics.decide(rest, self._oracle.cluster, example.flow)
            assert judged.egress.allowed == without.egress.allowed
            assert judged.ingress.allowed == without.ingress.allowed
