"""Redundant policies, and shadowed parts of rules, by definition: what is allowed with and without each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from npcompile import semantics
from npcompile.ir.flow import Verdict
from npcompile.ir.policy import Direction, Match, Policy
from npcompile.questions import NotDecided, Redundant, RuleOf, Shadowed, ShadowedItem, Unfelt
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

    def check_unfelt(self, answers: Sequence[Unfelt | NotDecided]) -> None:
        """Exactly those without which a side of some flow that is not exempt changes, and no verdict does."""
        expected = []
        for policy in self._oracle.policies:
            rest = [one for one in self._oracle.policies if one is not policy]
            whole, without = self._judged(self._oracle.policies), self._judged(rest)
            if whole != without and _verdicts(whole) == _verdicts(without):
                expected.append((policy.key, any(without[side] - whole[side] for side in whole)))
        decided = [answer for answer in answers if isinstance(answer, Unfelt)]
        assert [(one.policy.key, one.closes) for one in decided] == expected
        assert len(decided) == len(answers)
        for answer in decided:
            rest = [one for one in self._oracle.policies if one.key != answer.policy.key]
            assert answer.examples
            for example in answer.examples:
                judged = semantics.decide(self._oracle.policies, self._oracle.cluster, example.flow)
                then = semantics.decide(rest, self._oracle.cluster, example.flow)
                assert judged.verdict is then.verdict is Verdict.DENY
                assert (judged.egress.allowed, judged.ingress.allowed) != (then.egress.allowed, then.ingress.allowed)

    def _judged(self, policies: Iterable[Policy]) -> Sides:
        """A_D of every pair of ends, exempt ones open."""
        ends, every = self._oracle.endpoints, frozenset(self._oracle.points)
        return {
            (direction, src, dst): every if self._oracle.exempt(direction, ends[src], ends[dst]) else allowed
            for (direction, src, dst), allowed in self._sides(policies).items()
        }

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


def _verdicts(sides: Sides) -> dict[tuple[int, int], frozenset[int]]:
    """Allow, of A_D."""
    other = {Direction.EGRESS: Direction.INGRESS, Direction.INGRESS: Direction.EGRESS}
    found: dict[tuple[int, int], frozenset[int]] = {}
    for (direction, src, dst), allowed in sides.items():
        found[src, dst] = allowed & sides.get((other[direction], src, dst), allowed)
    return found


def parts(match: Match) -> Iterator[tuple[str, int]]:
    """Where to look for superfluous parts, in the order in which they are removed."""
    yield from (("peers", number) for number in reversed(range(len(match.peers))))
    yield from (("ports", number) for number in reversed(range(len(match.ports))))


def split(match: Match, kind: str, number: int) -> tuple[Match, Match]:
    """A match by one part only, and one without it."""
    items = getattr(match, kind)
    return replace(match, **{kind: (items[number],)}), replace(match, **{kind: items[:number] + items[number + 1 :]})


def check_shadowed_items(
    oracle: Oracle, shadowed: Sequence[Shadowed | NotDecided], answers: Sequence[ShadowedItem | NotDecided]
) -> None:
    """Exactly the parts that are superfluous going backwards, and what covers them."""
    gone = {one.subject.order for one in shadowed if isinstance(one, Shadowed)}
    left = {of.order: (of, of.rule.match) for of in oracle.rules if of.order not in gone}
    expected: list[tuple[object, int, int]] = []
    by_place = {(one.subject.order, *_place(one)): one for one in answers if isinstance(one, ShadowedItem)}
    assert len(by_place) == len(answers)

    def flows(of: RuleOf, match: Match) -> set[Triple]:
        return oracle.item_flows(of, replace(of.rule, match=match))

    for order, (of, whole) in reversed(list(left.items())):
        rest = whole
        near = [one for one in left.values() if one[0].order != order and _together(one[0], of)]
        for kind, number in parts(whole):
            own, without = split(rest, kind, number)
            mine = flows(of, own)
            others = [(of, flows(of, without)), *((one, flows(one, match)) for one, match in near)]
            if getattr(without, kind) and mine and mine <= set().union(*(theirs for _, theirs in others)):
                rest = without
                expected.append((order, 0 if kind == "peers" else 1, number))
                answer = by_place[expected[-1]]
                _check_cover(answer.cover, mine, [(one.order, theirs) for one, theirs in others])
                oracle.check_matched(of, answer.example, replace(of.rule, match=own))
                oracle.replay(answer.example, **{of.rule.direction.value: True})
        left[order] = (of, rest)
    assert [(one.subject.order, *_place(one)) for one in answers if isinstance(one, ShadowedItem)] == sorted(expected)


def _place(answer: ShadowedItem) -> tuple[int, int]:
    match = answer.subject.rule.match
    for kind, items in enumerate((match.peers, match.ports)):
        for number, item in enumerate(items):
            if item is answer.item:
                return kind, number
    raise AssertionError


def _together(one: RuleOf, other: RuleOf) -> bool:
    return one.policy.namespace == other.policy.namespace and one.rule.direction is other.rule.direction


def _check_cover(cover: Sequence[RuleOf], own: set[Triple], others: Sequence[tuple[object, set[Triple]]]) -> None:
    by_order = dict(others)
    orders = [one.order for one in cover]
    alone = [order for order, theirs in others if own <= theirs]
    assert own <= set().union(*(by_order[order] for order in orders))
    assert orders == (alone[:1] or [order for order, _ in others if order in orders])
    for order in orders:
        assert not own <= set().union(*(by_order[one] for one in orders if one != order))
