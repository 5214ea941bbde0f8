"""Which isolated pods are open to everyone, and what denies nothing therefore, by definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from npcompile import semantics
from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import BlockPeer, Direction
from npcompile.netset.cidrs import Family
from npcompile.netset.ports import Protocol, point
from npcompile.questions import Breadth, DefeatedDeny, DefeatedExcept, NotDecided, WideOpen
from tests.properties.relation_oracle import Oracle
from tests.strategies import paired

PORTLESS = point(Protocol.ICMP, None)


def check_wide_open(oracle: Oracle, answers: Sequence[WideOpen | NotDecided]) -> None:
    """Exactly the namespaces, directions and kinds with such a pod; the rules named suffice, and all are needed."""
    expected = []
    for namespace in sorted({pod.namespace for pod in oracle.cluster.pods}):
        for direction in (Direction.INGRESS, Direction.EGRESS):
            for breadth in Breadth:
                open_on = [
                    points
                    for place, end in enumerate(oracle.endpoints)
                    if end.pod is not None and end.pod.namespace == namespace and not end.pod.host_network
                    for points in [_open_on(oracle, place, direction, breadth)]
                    if points
                ]
                if open_on:
                    expected.append((namespace, direction, breadth, any(points == oracle.points for points in open_on)))
    decided = [answer for answer in answers if isinstance(answer, WideOpen)]
    assert [(one.namespace, one.direction, one.breadth, one.every_port) for one in decided] == expected
    assert len(decided) == len(answers)
    for answer in decided:
        _check_rules(oracle, answer)
        oracle.check_matched(answer.rules[0], answer.example)
        oracle.replay(answer.example, **{answer.direction.value: True})


def _open_on(oracle: Oracle, place: int, direction: Direction, breadth: Breadth) -> set[int]:
    """The points on which explicit rules match all of a kind."""
    everyone = _everyone(oracle, place, breadth)
    if not everyone:
        return set()
    found = set(oracle.points)
    for peer in everyone:
        found &= _explicit(oracle, direction).get((place, peer), set())
    return found


def _explicit(oracle: Oracle, direction: Direction) -> dict[tuple[int, int], set[int]]:
    """What rules match, by subject and peer."""
    key = ("explicit", direction)
    memo = oracle.__dict__.setdefault("memo", {})
    if key not in memo:
        found: dict[tuple[int, int], set[int]] = {}
        for of in oracle.rules:
            if of.rule.direction is direction:
                for src, dst, at_point in oracle.item_flows(of):
                    ends = (src, dst) if direction is Direction.EGRESS else (dst, src)
                    found.setdefault(ends, set()).add(at_point)
        memo[key] = found
    result: dict[tuple[int, int], set[int]] = memo[key]
    return result


def _everyone(oracle: Oracle, place: int, breadth: Breadth) -> list[int]:
    subject = oracle.endpoints[place]
    assert subject.pod is not None
    others = [(number, end) for number, end in enumerate(oracle.endpoints) if paired(subject, end)]
    if breadth is Breadth.PODS:
        pods = [
            (number, end.pod)
            for number, end in others
            if end.pod is not None
            and not end.pod.host_network
            and (end.pod.key != subject.pod.key or subject.pod.template)
        ]
        elsewhere = any(pod.namespace != subject.pod.namespace for _, pod in pods)
        return [number for number, _ in pods] if elsewhere else []
    family = Family.V4 if breadth is Breadth.IPV4 else Family.V6
    return [number for number, end in others if _is_address(end) and end.family is family]


def _is_address(end: Endpoint) -> bool:
    return end.pod is None or end.pod.host_network


def _check_rules(oracle: Oracle, answer: WideOpen) -> None:
    flow = answer.example.flow
    subject = flow.dst if answer.direction is Direction.INGRESS else flow.src
    place = oracle.endpoints.index(subject)
    everyone = _everyone(oracle, place, answer.breadth)
    at_point = PORTLESS if answer.every_port else point(flow.protocol, flow.port)
    matched = []
    for of in answer.rules:
        assert of.policy.namespace == answer.namespace
        assert subject.pod is not None
        assert semantics.selects(of.policy, subject.pod)
        ends = oracle.item_flows(of)
        direct = answer.direction is Direction.EGRESS
        matched.append(
            {peer for peer in everyone if ((place, peer) if direct else (peer, place)) + (at_point,) in ends}
        )
    assert set().union(*matched) == set(everyone)
    for number in range(len(matched)):
        assert set().union(*matched[:number], *matched[number + 1 :]) != set(everyone)


def check_defeated_denies(oracle: Oracle, answers: Sequence[DefeatedDeny | NotDecided]) -> None:
    """Exactly the policies without rules of which every subject is open to everyone on all points."""
    expected = []
    for policy in oracle.policies:
        subjects = [n for n, end in enumerate(oracle.endpoints) if end.pod and semantics.selects(policy, end.pod)]
        for direction in (one for one in Direction if one in policy.directions):
            pairs = [
                (subject, peer)
                for subject in subjects
                for peer, end in enumerate(oracle.endpoints)
                if paired(oracle.endpoints[subject], end)
            ]
            explicit = _explicit(oracle, direction)
            if subjects and not policy.rules and all(explicit.get(pair) == oracle.points for pair in pairs):
                expected.append((policy.key, direction))
    decided = [answer for answer in answers if isinstance(answer, DefeatedDeny)]
    assert [(one.policy.key, one.direction) for one in decided] == expected
    assert len(decided) == len(answers)
    for answer in decided:
        oracle.check_matched(answer.rules[0], answer.example)
        oracle.replay(answer.example, **{answer.direction.value: True})


def check_defeated_excepts(oracle: Oracle, answers: Sequence[DefeatedExcept | NotDecided]) -> None:
    """Exactly the excepts of which another rule matches a flow that is not exempt; the first such rule is named."""
    expected = []
    for of in oracle.rules:
        direction = of.rule.direction
        for peer in (one for one in of.rule.match.peers if isinstance(one, BlockPeer)):
            for excepted in peer.excepts:
                match = replace(of.rule.match, peers=(BlockPeer(cidr=excepted),))
                flows = {
                    (src, dst, at_point)
                    for src, dst, at_point in oracle.item_flows(of, replace(of.rule, match=match))
                    if not oracle.exempt(direction, oracle.endpoints[src], oracle.endpoints[dst])
                }
                for other in oracle.rules:
                    same = other.policy.namespace == of.policy.namespace and other.rule.direction is direction
                    if same and other.order != of.order and flows & oracle.item_flows(other):
                        expected.append((of.order, peer, excepted, other.order))
                        break
    decided = [answer for answer in answers if isinstance(answer, DefeatedExcept)]
    assert [(one.subject.order, one.peer, one.excepted, one.opener.order) for one in decided] == expected
    assert len(decided) == len(answers)
    for answer in decided:
        match = replace(answer.subject.rule.match, peers=(BlockPeer(cidr=answer.excepted),))
        oracle.check_matched(answer.subject, answer.example, replace(answer.subject.rule, match=match))
        oracle.check_matched(answer.opener, answer.example)
        oracle.replay(answer.example, **{answer.subject.rule.direction.value: True})
