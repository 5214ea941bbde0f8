"""Ports as prefixes, what the target refuses and says, and that it needs few entries."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.backends.bpf import BpfTarget
from npcompile.backends.bpf.limits import MOST_ENTRIES, refuse_size
from npcompile.backends.bpf.lower import lower
from npcompile.backends.bpf.numbers import read_numbers, write_numbers
from npcompile.backends.bpf.prefixes import PortPrefix, port_prefixes
from npcompile.backends.target import Options
from npcompile.diagnostics.errors import InputError
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
from npcompile.ir.program import Program
from npcompile.source import SourceFile
from tests.bpf_service import ALIKE, MIXED, SERVICE
from tests.commands import ROOT
from tests.strategies import programs

LAST = 65535


@pytest.mark.parametrize("section", MOST_ENTRIES)
def test_more_than_the_loader_has_room_for_is_refused(section: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tables, _ = lower(load(read_sources([str(ROOT / "examples" / "payments")])).program, Options())
    refuse_size(tables)
    monkeypatch.setitem(MOST_ENTRIES, section, len(getattr(tables, section)) - 1)
    with pytest.raises(InputError, match=f"of `{section}`, and a map has room for"):
        refuse_size(tables)


def matching(prefixes: tuple[PortPrefix, ...], port: int) -> PortPrefix | None:
    """The longest prefix that holds a port."""
    found = [one for one in prefixes if port >> (16 - one.bits) == one.port >> (16 - one.bits)]
    return max(found, key=lambda one: one.bits, default=None)


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    cuts = sorted(draw(st.sets(st.integers(0, LAST + 1), min_size=2, max_size=7)))
    rules = [draw(st.sampled_from((None, 1, 2, 3))) for _ in cuts[1:]]
    return [(a, b - 1, rule) for a, b, rule in zip(cuts, cuts[1:], rules, strict=False) if rule is not None]


@given(spans(), st.data())
def test_the_longest_prefix_tells_the_rule(allowed: list[tuple[int, int, int]], data: st.DataObject) -> None:
    prefixes = port_prefixes(allowed)
    edges = [port for first, last, _ in allowed for port in (first - 1, first, last, last + 1) if 0 <= port <= LAST]
    for port in (*edges, data.draw(st.integers(0, LAST))):
        expected = next((rule for first, last, rule in allowed if first <= port <= last), None)
        found = matching(prefixes, port)
        assert (found.rule if found else None) == expected


@pytest.mark.parametrize(
    ("allowed", "inherited", "count"),
    [
        ([(1, LAST, 1)], None, 16),
        ([(1, LAST - 1, 1)], None, 30),
        ([(0, LAST, 1)], None, 1),
        ([(0, LAST, 1)], 1, 0),
        ([(0, 79, 1), (80, 80, 2), (81, LAST, 1)], None, 2),
        ([(0, 79, 1), (80, 80, 2), (81, LAST, 1)], 1, 1),
        ([], None, 0),
    ],
)
def test_prefixes_are_the_fewest(allowed: list[tuple[int, int, int]], inherited: int | None, count: int) -> None:
    assert len(port_prefixes(allowed, inherited)) == count


def program(text: str) -> Program:
    return load([SourceFile(path="in.yaml", text=text)]).program


TWICE = """
{apiVersion: v1, kind: Pod, metadata: {name: client, namespace: a, labels: {app: client}}, status: {podIP: 10.0.0.1}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: a, labels: {app: web}}
spec:
  containers:
  - {name: new, ports: [{name: http, containerPort: 8080}]}
  - {name: old, ports: [{name: http, containerPort: 8000}]}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: a}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: a}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {}}], ports: [{port: 8080}]}]
"""


def test_of_a_target_port_that_is_declared_twice_the_first_is_the_backend() -> None:
    artifact = BpfTarget().emit(program(TWICE), Options())
    assert artifact.diagnostics == ()
    assert b'"protocol": "tcp", "ports": "80", "rule": 1' in artifact.files["maps.json"]


def test_a_service_that_is_reached_in_part_is_closed_and_said_to_be() -> None:
    artifact = BpfTarget().emit(program(SERVICE), Options())
    (said,) = artifact.diagnostics
    assert said.rule.code == "NPC720"
    assert "`a/web` tcp/80 is closed to pods that may reach it in part" in said.message
    assert b'"ports": "80", "rule": "service-mixed"' in artifact.files["maps.json"]


def test_a_service_all_of_whose_backends_are_allowed_is_open() -> None:
    artifact = BpfTarget().emit(program(SERVICE.replace(MIXED, ALIKE)), Options())
    assert artifact.diagnostics == ()
    assert b"service-mixed" not in artifact.files["maps.json"]


def test_what_it_refuses_is_refused_at_once() -> None:
    clashing = program(SERVICE.replace("10.96.0.1", "10.0.0.1"))
    with pytest.raises(InputError) as refused:
        BpfTarget().emit(clashing, Options(accept=True, node="nowhere"))
    assert sorted(one.rule.code for one in refused.value.diagnostics) == ["NPC703", "NPC705", "NPC705"]


def test_one_pod_more_is_one_address_and_one_endpoint_more() -> None:
    example = load(read_sources([str(ROOT / "examples" / "payments")])).program
    api = next(pod for pod in example.cluster.pods if pod.name.startswith("payments-api"))
    more = replace(api, name="payments-api-more", addresses=(ip_address("10.9.9.9"),))
    grown = replace(example, cluster=replace(example.cluster, pods=(*example.cluster.pods, more)))
    (before, _), (after, _) = lower(example, Options()), lower(grown, Options())
    assert (before.classes, before.policy, before.rulesets) == (after.classes, after.policy, after.rulesets)
    assert len(after.addresses) == len(before.addresses) + 1


def test_pods_of_other_nodes_are_peers_only() -> None:
    example = load(read_sources([str(ROOT / "examples" / "payments")])).program
    nodes = sorted({pod.node for pod in example.cluster.pods if pod.node})
    for node in nodes:
        tables, _ = lower(example, Options(node=node))
        assert {one.pod.node for one in tables.endpoints} == {node}
        assert len(tables.rulesets) <= len(lower(example, Options())[0].rulesets)


@settings(max_examples=30)
@given(programs(bound=True), programs(bound=True))
def test_with_a_lock_what_means_the_same_keeps_its_number(before: Program, after: Program) -> None:
    _, earlier = lower(before, Options())
    tables, numbers = lower(after, Options(), earlier)
    fresh, _ = lower(after, Options())
    for kind, kept in numbers.items():
        assert {key: kept[key] for key in kept if key in earlier[kind]} == {
            key: number for key, number in earlier[kind].items() if key in kept
        }
    for name in ("endpoints", "addresses", "networks", "rulesets", "classes", "policy", "rules"):
        assert len(getattr(tables, name)) == len(getattr(fresh, name))


@settings(max_examples=30)
@given(programs(bound=True))
def test_numbers_are_read_as_they_were_written(program: Program) -> None:
    artifact = BpfTarget().emit(program, Options())
    numbers = artifact.files["numbers.json"]
    assert write_numbers(read_numbers(numbers)) == numbers
    assert BpfTarget().emit(program, Options(earlier=artifact.files)).files == artifact.files


NONE: dict[str, object] = {"endpoints": {}, "identities": {}, "rulesets": {}, "classes": {}, "rules": {}}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"version": 1},
        {"version": 2, **NONE},
        {"version": 1, **NONE, "endpoints": {"a": 0}},
        {"version": 1, **NONE, "endpoints": {"a": True}},
        {"version": 1, **NONE, "endpoints": {"a": 1, "b": 1}},
        {"version": 1, **NONE, "classes": {"r/a": 2, "r/b": 2}},
    ],
)
def test_a_lock_that_holds_no_numbers_is_refused(document: object) -> None:
    with pytest.raises(InputError, match="numbers of an earlier artifact"):
        read_numbers(json.dumps(document).encode())
