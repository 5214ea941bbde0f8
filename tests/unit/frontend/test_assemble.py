"""Objects that are defined twice."""

from __future__ import annotations

import pytest

from npcompile.diagnostics.model import Severity
from tests.unit.frontend.reading import cluster, policies, read, refusal, with_spec

POLICY = with_spec("{podSelector: {}}")
V1 = "apiVersion: v1\nkind: %s\nmetadata: {name: p%s}\n"
DEPLOYMENT = "apiVersion: %s\nkind: Deployment\nmetadata: {name: p}\nspec: {template: {spec: {hostNetwork: %s}}}\n"
OBJECTS = [
    (POLICY, with_spec("{podSelector: {}, ingress: [{}]}"), "Policy `default/p`"),
    (V1 % ("Pod", ""), V1 % ("Pod", ", labels: {a: b}"), "Pod `default/p`"),
    (V1 % ("Namespace", ""), V1 % ("Namespace", ", labels: {a: b}"), "Namespace `p`"),
    (V1 % ("Service", ""), V1 % ("Service", "") + "spec: {selector: {a: b}}\n", "Service `default/p`"),
    (
        V1 % ("Node", ""),
        V1 % ("Node", "") + "status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}\n",
        "Node `p`",
    ),
    (DEPLOYMENT % ("apps/v1", "false"), DEPLOYMENT % ("extensions/v1beta1", "true"), "Deployment `default/p`"),
]


@pytest.mark.parametrize(("first", "second", "what"), OBJECTS)
def test_the_same_twice_is_an_info(first: str, second: str, what: str) -> None:
    (found,) = read(first, first).diagnostics
    assert (found.severity, found.rule.code) == (Severity.INFO, "NPC012")
    assert found.message == f"{what} is defined twice, and means the same both times"
    assert [str(note.span) for note in found.notes] == ["a.yaml:1"]


@pytest.mark.parametrize(("first", "second", "what"), OBJECTS)
def test_two_versions_are_an_error_that_names_both_places(first: str, second: str, what: str) -> None:
    (found,) = refusal(first, second)
    assert found.rule.code == "NPC012"
    assert found.message == f"{what} is defined twice, and differently"
    assert (str(found.span), [str(note.span) for note in found.notes]) == ("b.yaml:1", ["a.yaml:1"])


def test_the_same_written_otherwise_is_the_same() -> None:
    first = with_spec("{podSelector: {matchLabels: {a: b, c: d}}}")
    second = with_spec("{podSelector: {matchLabels: {c: d, a: b}}, policyTypes: [Ingress], ingress: []}")
    assert len(policies(first, second)) == 1


def test_other_kinds_namespaces_and_groups_are_others() -> None:
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
    knative = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: p}\n"
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: p}\n"
    assert len(cluster(pod, pod.replace("name: p", "name: p, namespace: n"), service, knative).pods) == 2


def test_what_is_listed_thrice() -> None:
    assert len(read(POLICY, POLICY, POLICY).diagnostics) == 2
