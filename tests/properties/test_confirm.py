"""An inventory's answer is confirmed exactly where it holds over a universe that stands for all that could exist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import assert_never

from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.ir.cluster import ContainerPort, Namespace, Pod
from npcompile.ir.labels import NAMESPACE_NAME
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import (
    Breadth,
    DefeatedDeny,
    HalfOpen,
    NotDecided,
    NoWayIn,
    Redundant,
    RuleOf,
    Shadowed,
    ShadowedItem,
    Unfelt,
    Universal,
    WayIn,
    WideOpen,
)
from npcompile.relation.engine import RelationEngine
from npcompile.symbolic.confirm import Confirmation
from npcompile.symbolic.prover import Prover
from tests.properties.symbolic_oracle import (
    Superfluous,
    changes_verdicts,
    expected_ways_in,
    opened,
    part_of_rule,
    through,
)
from tests.properties.symbolic_universe import CELLS, POINTS, VALUES, Meaning, closing, programs

ADDRESSES = ("1.0.0.7", "10.0.0.7", "10.0.0.135", "fd00::7", None)
EFFORT = 20_000_000


@st.composite
def inventories(draw: st.DrawFn) -> Program:
    """A program of the universe's policies, and a few pods."""
    program = draw(st.one_of(programs(), closing()))
    places = draw(st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=4, unique=True))
    pods = []
    for number, address in enumerate(places):
        app = draw(st.sampled_from(VALUES))
        declared = draw(st.sampled_from((None, 80, 81)))
        ports = () if declared is None else (ContainerPort(name="http", protocol=Protocol.TCP, number=declared),)
        pods.append(
            Pod(
                namespace=draw(st.sampled_from(("a", "a", "b"))),
                name=f"pod{number}",
                labels={} if app is None else {"app": app},
                addresses=() if address is None else (ip_address(address),),
                ports=ports,
            )
        )
    spaces = {"a": Namespace(name="a", labels={NAMESPACE_NAME: "a"}, listed=False), **program.cluster.namespaces}
    inhabitants = tuple(sorted(pods, key=lambda pod: pod.key))
    return replace(program, cluster=replace(program.cluster, namespaces=spaces, pods=inhabitants))


def universal(program: Program, engine: RelationEngine) -> list[Universal]:
    """All answers that may hold for every pod that could exist."""
    found: list[Universal] = []
    for question in (
        engine.shadowed,
        engine.shadowed_items,
        engine.redundant,
        engine.unfelt,
        engine.half_open,
        engine.wide_open,
        engine.defeated_denies,
    ):
        for answer in question():
            assert not isinstance(answer, NotDecided)
            if not isinstance(answer, HalfOpen) or answer.fully:
                found.append(answer)
    return [*found, *_no_ways_in(program, engine)]


def _no_ways_in(program: Program, engine: RelationEngine) -> Iterator[NoWayIn]:
    opening = {answer.opener.order for answer in engine.ways_in() if isinstance(answer, WayIn)}
    for policy in program.policies:
        for rule in policy.rules_of(Direction.INGRESS):
            of = RuleOf(policy=policy, rule=rule)
            if of.order not in opening:
                yield NoWayIn(rules=(of,))


@settings(max_examples=40, deadline=None)
@given(inventories())
def test_confirmed_by_definition(program: Program) -> None:
    meaning, confirmation = Meaning(program), Confirmation(program, EFFORT)
    alone = Prover(replace(program, cluster=replace(program.cluster, pods=(), nodes={}, services=())), EFFORT)
    for answer in universal(program, RelationEngine(program)):
        expected = _holds(meaning, answer)
        assert confirmation.holds(answer) == expected, answer
        assert alone.holds(answer) == expected, f"z3 without the boxes: {answer}"


def _holds(meaning: Meaning, answer: Universal) -> bool:
    program = meaning.universe.program
    match answer:
        case Shadowed(subject=of, cover=cover):
            whole = [[meaning.matched(one, pair) for pair in meaning.pairs] for one in (of, *cover)]
            return _within(whole[0], whole[1:])
        case ShadowedItem(subject=of, own=own, cover=cover, left=left):
            others = [part_of_rule(program, one, match) for one, match in zip(cover, left, strict=True)]
            return _within(part_of_rule(program, of, own), others)
        case Redundant(policy=policy, cover=others):
            return Superfluous(meaning).with_only(policy, others)
        case Unfelt(policy=policy):
            return not changes_verdicts(meaning, policy)
        case HalfOpen(opener=of, port=item):
            return through(meaning, of, item) == (False, True)
        case DefeatedDeny(policy=policy, direction=direction, rules=rules):
            return opened(meaning, policy, direction, rules)
        case WideOpen():
            return _open(meaning, answer)
        case NoWayIn(rules=rules):
            return expected_ways_in(meaning).keys().isdisjoint(of.order for of in rules)
        case _:
            assert_never(answer)


def _within(masks: list[int], others: list[list[int]]) -> bool:
    return all(not mask & ~_union([other[n] for other in others]) for n, mask in enumerate(masks))


def _open(meaning: Meaning, answer: WideOpen) -> bool:
    """Whether everyone of the kind is matched at the example's subject and port."""
    places = meaning.universe.places
    kinds = {
        Breadth.IPV4: [n for n, place in enumerate(places) if place.pod is None and place.cell != len(CELLS) - 1],
        Breadth.IPV6: [n for n, place in enumerate(places) if place.pod is None and place.cell == len(CELLS) - 1],
        Breadth.PODS: [n for n, place in enumerate(places) if place.pod is not None],
    }
    flow, ingress = answer.example.flow, answer.direction is Direction.INGRESS
    pod = flow.dst.pod if ingress else flow.src.pod
    assert pod is not None
    subjects = (
        n
        for n, place in enumerate(places)
        if place.pod is not None and place.cell is None
        if place.pod.namespace == pod.namespace and dict(place.pod.labels) == dict(pod.labels)
    )
    subject = next(subjects)
    point = POINTS.index((Protocol.ICMP, None)) if answer.every_port else _class_of(flow.protocol, flow.port)
    declared = any(port.number == flow.port and port.protocol is flow.protocol for port in pod.ports)
    if ingress and declared and not answer.every_port:
        point += len(POINTS)
    pairs = [(peer, subject) if ingress else (subject, peer) for peer in kinds[answer.breadth]]
    return all(_union([meaning.matched(of, pair) for of in answer.rules]) >> point & 1 for pair in pairs)


def _class_of(protocol: Protocol, port: int | None) -> int:
    """The point that no policy tells apart from a port."""
    others = {Protocol.TCP: 9, Protocol.UDP: 54, Protocol.SCTP: 80, Protocol.ICMP: None}
    return POINTS.index((protocol, port)) if (protocol, port) in POINTS else POINTS.index((protocol, others[protocol]))


def _union(masks: list[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found
