"""Whatever is thrown at the front end, it reads or it refuses: nothing but InputError ever comes out."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from npcompile.diagnostics.errors import InputError
from npcompile.frontend import decode, load
from npcompile.source import SourceFile
from tests.unit.frontend.reading import with_spec

PATHS = st.sampled_from(("a.yaml", "a.json", "-"))
RECORDED = Path(__file__).parents[2] / "oracles/apiserver/answers.jsonl"
MANIFESTS = [json.loads(line)["manifest"] for line in RECORDED.read_text(encoding="utf-8").strip().split("\n")][::7]
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: x}, ownerReferences: [{kind: Job, name: j}]}
spec: {nodeName: n1, containers: [{ports: [{containerPort: 80, name: http}]}]}
status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}], hostIP: 10.9.0.1}
"""
SIGNS = st.sampled_from(
    [*"{}[]:,-?*&!|>'\"%@`#~ \n\t\r\0", "<<: ", "---\n", "{{ x }}", "\x85", "\u2028", "\ud800", "\ufeff"]
)


def read(text: str, path: str = "a.yaml") -> None:
    """Read a text, and show every diagnostic."""
    file = SourceFile(path=path, text=text)
    try:
        diagnostics = load([file]).diagnostics
    except InputError as error:
        diagnostics = error.diagnostics
        assert diagnostics
    for one in diagnostics:
        if one.span:
            assert one.span.line >= 1
            assert one.span.column >= 1
            assert (one.span.line, one.span.column) <= (one.span.end_line, one.span.end_column)
            file.line(one.span.line)


@given(st.text(st.characters()), PATHS)
@example("apiVersion: [\ud800", "-")
@example("apiVersion: &a\n- *a", "-")
def test_any_text(text: str, path: str) -> None:
    read(text, path)
    read(f"apiVersion: v1\nkind: Pod\n{text}", path)


@given(
    st.lists(SIGNS | st.sampled_from(("apiVersion", "kind", "NetworkPolicy", "a", "1")), max_size=40).map("".join),
    PATHS,
)
def test_texts_of_yamls_own_signs(text: str, path: str) -> None:
    read(text, path)


@given(st.binary())
@example(b"\xef\xbb\xbf\xff")
def test_any_bytes(data: bytes) -> None:
    try:
        read(decode("a.yaml", data).text)
    except InputError as error:
        assert error.diagnostics


@given(st.data())
def test_mutated_manifests(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([*MANIFESTS, POD, POD + "---\n" + with_spec("{podSelector: {}}")]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + data.draw(SIGNS | st.text(st.characters(), max_size=3)) + text[end:]
    read(text, data.draw(PATHS))


WORDS = (
    *("metadata", "name", "spec", "status", "podIPs", "ip", "ports", "labels", "items", "podSelector", "ingress"),
    *("from", "ipBlock", "cidr", "template", "containers", "ownerReferences", "selector", "matchLabels"),
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(("10.0.0.0/8", "In", "TCP", "a"))
TREES = st.recursive(
    LEAVES | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(
    (
        *(("v1", kind) for kind in ("Pod", "Service", "Node", "Namespace", "List", "PodList", "ReplicationController")),
        *(("networking.k8s.io/v1", "NetworkPolicy"), ("apps/v1", "Deployment"), ("batch/v1", "CronJob")),
    )
)


@given(KINDS, TREES, TREES, TREES)
def test_objects_of_any_shape(kind: tuple[str, str], metadata: object, spec: object, status: object) -> None:
    tree = {"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": spec, "status": status, "items": spec}
    read(json.dumps(tree), "a.json")
    read(json.dumps(tree), "a.yaml")
