"""The design's heart: evaluator, z3 encoding and the reader of the emitted bytes say the same of every flow.

None of the three calls another.  The artifact is read from its text as a node would load it.
"""

from __future__ import annotations

from ipaddress import ip_address

import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.backends.iptables import lower
from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Options
from npcompile.ir.cluster import Cluster, ContainerPort, Namespace, Pod
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.labels import EVERYTHING, NAMESPACE_NAME
from npcompile.ir.policy import Direction, Match, NamedPort, Policy, PortRange, Rule
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.readers.artifact import read_artifact
from npcompile.readers.passage import Rulesets, passage
from npcompile.semantics import decide
from npcompile.symbolic.boxes import Boxes
from npcompile.symbolic.encode import Encoding
from npcompile.symbolic.ends import constants
from npcompile.symbolic.vocabulary import Vocabulary
from tests.strategies import programs_with_flow

_CONTEXT = z3.Context()


def emitted(program: Program, target: str, options: Options | None = None) -> Rulesets:
    """The program's artifact, as the target's reader understands it."""
    return read_artifact(target, TARGETS[target].emit(program, options or Options()).files)


def encoded(program: Program, flow: Flow) -> Verdict:
    """What the z3 encoding says."""
    vocabulary = Vocabulary.of(program)
    boxes = Boxes(vocabulary, program.cluster)
    encoding = Encoding(vocabulary, boxes, constants(vocabulary, program.cluster, flow, _CONTEXT), _CONTEXT)
    sides = [z3.simplify(encoding.allowed(direction, program.policies)) for direction in Direction]
    return Verdict.ALLOW if all(z3.is_true(side) for side in sides) else Verdict.DENY


FILTERS = ("iptables", "nftables")


@settings(max_examples=250)
@given(programs_with_flow(bound=True))
def test_every_description_agrees(example: tuple[Program, Flow]) -> None:
    program, flow = example
    verdict = decide(program.policies, program.cluster, flow).verdict
    assert encoded(program, flow) is verdict
    for target in FILTERS:
        loaded = emitted(program, target)
        found = passage(lambda _, loaded=loaded: loaded, program.cluster, flow)  # type: ignore[misc]
        assert found.verdict is verdict, target
        assert [outcome.mark for _, outcome in found.outcomes if not outcome.dropped and outcome.mark] == []


@settings(max_examples=150)
@given(programs_with_flow(bound=True), st.integers(0, 3))
def test_looking_profiles_up_in_two_steps_changes_no_verdict(example: tuple[Program, Flow], most: int) -> None:
    program, flow = example
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower, "MOST_IN_ONE_DISPATCH", 0)
        patch.setattr(lower, "MOST_IN_DISPATCH", most)
        loaded = emitted(program, "iptables")
    found = passage(lambda _: loaded, program.cluster, flow)
    assert found.verdict is decide(program.policies, program.cluster, flow).verdict


@settings(max_examples=100)
@given(programs_with_flow(bound=True))
def test_accepting_changes_no_verdict(example: tuple[Program, Flow]) -> None:
    program, flow = example
    verdict = decide(program.policies, program.cluster, flow).verdict
    loaded = emitted(program, "iptables", Options(accept=True))
    assert passage(lambda _: loaded, program.cluster, flow).verdict is verdict


@pytest.mark.parametrize("target", FILTERS)
@settings(max_examples=120)
@given(example=programs_with_flow(bound=True))
def test_what_a_node_needs_is_enough_on_each_node(target: str, example: tuple[Program, Flow]) -> None:
    program, flow = example
    verdict = decide(program.policies, program.cluster, flow).verdict
    loaded = {node: emitted(program, target, Options(node=node)) for node in program.cluster.nodes}
    for anywhere in loaded.values():
        # Pods without a node are filtered by every node's artifact, so any will do for them.
        found = passage(lambda node, other=anywhere: loaded.get(node, other), program.cluster, flow)  # type: ignore[misc]
        assert found.verdict is verdict


@pytest.mark.parametrize("target", FILTERS)
@settings(max_examples=60)
@given(example=programs_with_flow(bound=True))
def test_a_node_filters_nothing_but_its_own_pods(target: str, example: tuple[Program, Flow]) -> None:
    program, flow = example
    nodes = {end.pod.node for end in (flow.src, flow.dst) if end.pod is not None}
    for node in set(program.cluster.nodes) - nodes if None not in nodes else ():
        loaded = emitted(program, target, Options(node=node))
        assert passage(lambda _, loaded=loaded: loaded, program.cluster, flow).verdict is Verdict.ALLOW  # type: ignore[misc]


@pytest.mark.parametrize("target", FILTERS)
@settings(max_examples=60)
@given(
    declared=st.lists(st.sets(st.sampled_from((80, 81, 8080)), max_size=2), min_size=1, max_size=3),
    beside=st.sets(st.sampled_from((80, 8080)), max_size=1),
)
def test_a_named_port_is_each_pods_own(target: str, declared: list[set[int]], beside: set[int]) -> None:
    """Where all pods of a policy declare it alike it is written as a number, and only there."""
    pods = tuple(
        Pod(
            namespace="a",
            name=f"p{place}",
            labels={},
            addresses=(ip_address(f"10.0.0.{place + 1}"),),
            ports=tuple(ContainerPort(name="http", protocol=Protocol.TCP, number=number) for number in sorted(numbers)),
        )
        for place, numbers in enumerate(declared)
    )
    ports = (
        NamedPort(protocol=Protocol.TCP, name="http"),
        *(PortRange(protocol=Protocol.TCP, first=number, last=number) for number in beside),
    )
    rule = Rule(direction=Direction.INGRESS, index=0, match=Match(ports=ports))
    isolating = Policy(
        namespace="a", name="p", subjects=EVERYTHING, directions=frozenset({Direction.INGRESS}), rules=(rule,)
    )
    cluster = Cluster(namespaces={"a": Namespace(name="a", labels={NAMESPACE_NAME: "a"})}, pods=pods)
    program = Program(policies=(isolating,), cluster=cluster)
    loaded = emitted(program, target)
    for pod, numbers in zip(pods, declared, strict=True):
        for number in (80, 81, 8080):
            dst = Endpoint(pod=pod, address=pod.addresses[0])
            flow = Flow(src=Endpoint(address=ip_address("192.0.2.1")), dst=dst, protocol=Protocol.TCP, port=number)
            verdict = Verdict.ALLOW if number in numbers | beside else Verdict.DENY
            assert decide(program.policies, cluster, flow).verdict is verdict
            assert passage(lambda _: loaded, cluster, flow).verdict is verdict
