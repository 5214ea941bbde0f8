"""Replaying the engine's examples through the reference evaluator: what each answer claims of its flow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from npcompile.ir.cluster import Cluster
from npcompile.ir.flow import Endpoint, Verdict
from npcompile.ir.policy import Direction, PodPeer
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import (
    DefeatedDeny,
    DefeatedExcept,
    DnsBlocked,
    Example,
    HalfOpen,
    NotDecided,
    Redundant,
    RuleOf,
    Shadowed,
    ShadowedItem,
    SplitPeer,
    Uncovered,
    Unfelt,
    Vacuous,
    WayIn,
    WideOpen,
)
from npcompile.semantics import Decision, Reason, Side, decide, peer_matches, port_matches, rule_matches, selects
from npcompile.symbolic.engine import SymbolicEngine

Answer = (
    Shadowed
    | ShadowedItem
    | Redundant
    | Unfelt
    | Vacuous
    | HalfOpen
    | Uncovered
    | WayIn
    | DnsBlocked
    | SplitPeer
    | NotDecided
)


def answers(engine: SymbolicEngine) -> Iterator[Answer]:
    """The answers to all questions."""
    yield from engine.vacuous()
    yield from engine.shadowed()
    yield from engine.shadowed_items()
    yield from engine.redundant()
    yield from engine.unfelt()
    yield from engine.wide_open()
    yield from engine.defeated_excepts()
    yield from engine.defeated_denies()
    yield from engine.half_open()
    yield from engine.uncovered()
    yield from engine.ways_in()
    yield from engine.dns_blocked()
    yield from engine.split_peers()


def cluster_of(program: Program, example: Example) -> Cluster:
    """The cluster that an example is judged in."""
    invented = {namespace.name: namespace for namespace in example.invented}
    return replace(program.cluster, namespaces={**program.cluster.namespaces, **invented})


def replayed(program: Program, example: Example) -> Decision:
    """What the evaluator says of an example, which must be well-formed."""
    flow, cluster = example.flow, cluster_of(program, example)
    pods = [end.pod for end in (flow.src, flow.dst) if end.pod is not None]
    assert pods, "one end is a pod"
    assert len({pod.key for pod in pods}) == len(pods), "the ends are distinct"
    assert flow.src.address is None or flow.src.address != flow.dst.address
    keys = {pod.key: pod for pod in program.cluster.pods}
    for end in (flow.src, flow.dst):
        if end.pod is not None:
            assert keys.get(end.pod.key, end.pod) == end.pod, "a real pod, or an unused name"
            assert not end.pod.host_network
            assert end.address in (end.pod.addresses or (None,))
    names = {pod.namespace for pod in pods}
    for namespace in example.invented:
        known = program.cluster.namespaces.get(namespace.name)
        assert namespace.name in names
        assert known is None or not known.listed
    return decide(program.policies, cluster, flow)


def check(program: Program, answer: Answer) -> None:
    """Assert what an answer claims of its example."""
    match answer:
        case Shadowed(subject=of, cover=cover, example=example):
            assert replayed(program, example)
            assert matched(program, of, example)
            assert any(matched(program, one, example) for one in cover)
            assert cover
            assert of not in cover
        case ShadowedItem(subject=of, cover=cover, example=example):
            near, _ = sides(replayed(program, example), of.rule.direction)
            assert near.allowed
            assert matched(program, of, example)
            assert any(matched(program, one, example) for one in cover)
        case DefeatedDeny(policy=policy, direction=direction, rules=rules, example=example):
            near, _ = sides(replayed(program, example), direction)
            subject, _ = ends(example, direction)
            assert near.reason is Reason.RULE
            assert matched(program, rules[0], example)
            assert subject.pod is not None
            assert selects(policy, subject.pod)
        case DefeatedExcept(subject=of, excepted=excepted, opener=opener, example=example):
            near, _ = sides(replayed(program, example), of.rule.direction)
            _, peer = ends(example, of.rule.direction)
            assert near.reason is Reason.RULE
            assert peer.address in excepted
            assert matched(program, opener, example)
        case WideOpen(direction=direction, rules=rules, example=example):
            near, _ = sides(replayed(program, example), direction)
            assert near.reason is Reason.RULE
            assert matched(program, rules[0], example)
        case Redundant(policy=policy, examples=examples):
            rest = tuple(one for one in program.policies if one is not policy)
            assert examples
            for example in examples:
                judged, without = replayed(program, example), replayed(replace(program, policies=rest), example)
                assert judged.egress.allowed == without.egress.allowed
                assert judged.ingress.allowed == without.ingress.allowed
        case Unfelt(policy=policy, examples=examples):
            rest = tuple(one for one in program.policies if one is not policy)
            assert examples
            for example in examples:
                judged, without = replayed(program, example), replayed(replace(program, policies=rest), example)
                assert judged.verdict is without.verdict is Verdict.DENY
                assert (judged.egress.allowed, judged.ingress.allowed) != (
                    without.egress.allowed,
                    without.ingress.allowed,
                )
        case HalfOpen(opener=of, port=port, blocker=blocker, example=example):
            decision = replayed(program, example)
            near, far = sides(decision, of.rule.direction)
            assert matched(program, of, example)
            assert near.allowed
            assert far.reason is Reason.NO_RULE
            assert far.policy == blocker
            assert port is None or port_matches(port, example.flow)
            assert example.flow.src.pod is not None
            assert example.flow.dst.pod is not None
        case Uncovered(namespace=namespace, direction=direction, pods=pods, example=example):
            decision = replayed(program, example)
            near, far = sides(decision, direction)
            subject, peer = ends(example, direction)
            assert near.reason is Reason.NOT_ISOLATED
            assert far.reason is Reason.NOT_A_POD
            assert pods == (subject.pod,)
            assert pods[0].namespace == namespace.name
            _is_outside(program, peer)
        case WayIn(opener=of, example=example, internet=internet):
            for one in (example, internet) if internet else (example,):
                decision = replayed(program, one)
                assert decision.egress.allowed
                assert decision.ingress.reason is Reason.RULE
                assert matched(program, of, one)
            if internet is not None:
                _is_outside(program, internet.flow.src)
        case DnsBlocked(policy=policy, pods=pods, udp_allowed=udp, example=example):
            decision = replayed(program, example)
            assert decision.egress.reason is Reason.NO_RULE
            assert example.flow.port == 53
            assert example.flow.protocol is (Protocol.TCP if udp else Protocol.UDP)
            assert pods == (example.flow.src.pod,)
            assert selects(policy, pods[0])
        case SplitPeer(subject=of, namespaces=spaces, pods=pods, example=example):
            near, _ = sides(replayed(program, example), of.rule.direction)
            assert near.reason is Reason.RULE
            assert matched(program, of, example)
            _, peer = ends(example, of.rule.direction)
            cluster = cluster_of(program, example)
            both = PodPeer(namespaces=spaces.namespaces, pods=pods.pods)
            assert any(peer_matches(cluster, of.policy, one, peer) for one in (spaces, pods))
            assert not peer_matches(cluster, of.policy, both, peer)
        case Vacuous() | NotDecided():
            pass


def ends(example: Example, direction: Direction) -> tuple[Endpoint, Endpoint]:
    """The subject's end and the other one."""
    flow = example.flow
    return (flow.dst, flow.src) if direction is Direction.INGRESS else (flow.src, flow.dst)


def sides(decision: Decision, direction: Direction) -> tuple[Side, Side]:
    """The side of a direction and the other one."""
    both = (decision.ingress, decision.egress)
    return both if direction is Direction.INGRESS else (both[1], both[0])


def matched(program: Program, of: RuleOf, example: Example) -> bool:
    """Whether a rule allows the flow of an example explicitly."""
    subject, peer = ends(example, of.rule.direction)
    return (
        subject.pod is not None
        and selects(of.policy, subject.pod)
        and rule_matches(cluster_of(program, example), of.policy, of.rule, peer, example.flow)
    )


def _is_outside(program: Program, end: Endpoint) -> None:
    known = {address for pod in program.cluster.pods for address in pod.addresses}
    known |= {address for node in program.cluster.nodes.values() for address in node.addresses}
    assert end.pod is None
    assert end.address not in known
