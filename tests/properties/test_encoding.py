"""The z3 encoding says what the reference evaluator says, and enumerating labels loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import z3
from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.ir.cluster import Cluster
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.labels import NAMESPACE_NAME, Labels
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.semantics import decide
from npcompile.symbolic.boxes import Boxes
from npcompile.symbolic.encode import Encoding
from npcompile.symbolic.ends import constants
from npcompile.symbolic.vocabulary import Layout, Vocabulary
from tests.strategies import TRANSPORTS, endpoints, paired, programs_with_flow

_CONTEXT = z3.Context()


def encoded(program: Program, flow: Flow) -> tuple[bool, bool]:
    """What the encoding says of the egress and of the ingress side of a flow."""
    vocabulary = Vocabulary.of(program)
    boxes = Boxes(vocabulary, program.cluster)
    encoding = Encoding(vocabulary, boxes, constants(vocabulary, program.cluster, flow, _CONTEXT), _CONTEXT)
    terms = [z3.simplify(encoding.allowed(d, program.policies)) for d in (Direction.EGRESS, Direction.INGRESS)]
    assert all(z3.is_true(term) or z3.is_false(term) for term in terms), terms
    return z3.is_true(terms[0]), z3.is_true(terms[1])


def evaluated(program: Program, flow: Flow) -> tuple[bool, bool]:
    """What the reference evaluator says of them."""
    decision = decide(program.policies, program.cluster, flow)
    return decision.egress.allowed, decision.ingress.allowed


def some_flows(program: Program) -> Iterator[Flow]:
    """A few flows across a program's endpoints: making a program takes longer than judging a flow."""
    ends = endpoints(program)
    pairs = [(src, dst) for src in ends for dst in ends if paired(src, dst)]
    for number, (src, dst) in enumerate(pairs[:: max(1, len(pairs) // 4)]):
        yield Flow(src=src, dst=dst, protocol=TRANSPORTS[number % 2], port=(80, 53)[number % 2])


@settings(max_examples=220, deadline=None)
@given(programs_with_flow())
def test_encoding_is_the_semantics(example: tuple[Program, Flow]) -> None:
    program, drawn = example
    for flow in (drawn, *some_flows(program)):
        assert encoded(program, flow) == evaluated(program, flow)


def _renamed(layout: Layout, labels: Labels, word: str) -> dict[str, str]:
    """Another value in place of each that no selector mentions, and another key in place of such a key."""
    changed = {}
    for key, value in labels.items():
        if key == NAMESPACE_NAME:
            changed[key] = value
        elif key not in layout.domains:
            changed[f"{key}-{word}"] = word
        else:
            changed[key] = value if value in layout.domains[key].indices else f"unmentioned-{word}"
    return changed


@settings(max_examples=100, deadline=None)
@given(programs_with_flow(), st.sampled_from(("v", "w")))
def test_unmentioned_labels_are_alike(example: tuple[Program, Flow], word: str) -> None:
    program, flow = example
    vocabulary = Vocabulary.of(program)

    def pod_changed(end: Endpoint) -> Endpoint:
        if end.pod is None:
            return end
        return replace(end, pod=replace(end.pod, labels=_renamed(vocabulary.pod_labels, end.pod.labels, word)))

    namespaces = {
        name: replace(namespace, labels=_renamed(vocabulary.namespace_labels, namespace.labels, word))
        for name, namespace in program.cluster.namespaces.items()
    }
    cluster = Cluster(namespaces=namespaces, pods=program.cluster.pods, nodes=program.cluster.nodes)
    changed = replace(flow, src=pod_changed(flow.src), dst=pod_changed(flow.dst))
    assert evaluated(replace(program, cluster=cluster), changed) == evaluated(program, flow)
