"""Pods that are known from others like them are what libyaml makes of them, and so is everything that is said of them.

`whole` reads every document with libyaml; what it finds is compared, places included, with what `load` finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic
from npcompile.frontend import load
from npcompile.frontend.inventory import PodObject
from npcompile.frontend.pods_alike import read_yaml_with_pods
from npcompile.frontend.yaml_reader import read_yaml
from npcompile.source import SourceFile, Span

REALWORLD = Path(__file__).resolve().parents[3] / "shared" / "realworld"

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: web-0
  namespace: shop
  labels: {app: web, tier: "front"}
  annotations:
    note: |
      kind: Pod
      a: b
  ownerReferences:
  - kind: ReplicaSet
    name: web
    controller: true
spec:
  nodeName: node-1
  containers:
  - name: main
    args:
    - serve
    ports:
    - {containerPort: 80, name: http, protocol: TCP}
  - image: a/b:1
status: {phase: Running, hostIP: 10.9.0.1, podIP: "10.0.0.1", podIPs: [{ip: 10.0.0.1}]}
"""
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
POLICY = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {}}\n"

WORDS = (
    "web-0", "web-1", "x", "null", "~", "true", "no", "80", "81", "0x50", "8e1", "1_0", "99999", "-1", "http", "UDP",
    "10.0.0.1", "10.0.0.2", "10.0.0.300", "fd00::1", "::ffff:10.0.0.1", "Failed", "Running", "Pod", "Node", "v1",
    "a b", "a:b", "a: b", "a:", "a #b", "#", "-", "- a", "---", "...", "|", "|+", "{", "[a", "a, b", "a,b", "}", "*a",
    "&a b", "*b", "!!str 1", '"1"', "'1'", '"a"', '""', '"a', "a\"", '"a: b"', '"a\\nb"', "{{ x }}", "'{{ x }}'", "é",
    "", "a\u2028b", "a\x85b", "a\tb", "%a", "@", "?", "? a", "<<", "=", "x" * 300, "1." * 40,
)  # fmt: skip
LINES = (
    "  name: web-9", "kind: Pod", "  labels: {app: web}", "    app: a", "#", "# kind: Pod", "", "  nodeName: n",
    "  podIP: 10.0.0.9", "  <<: {name: merged}", "---", "...", "%YAML 1.1", "--- # more", "--- a", "\t", "}", "- a",
    "  hostNetwork: true", "\ufeff", "    - {containerPort: 1}", "metadata: &m {name: q}", "spec: *m", "\x85", "\r",
)  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A pod's document: the model, some of whose values or lines are others."""
    lines = POD.split("\n")[:-1]
    for _ in range(draw(st.integers(0, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 5)):
            case 0:
                del lines[number]
                lines = lines or [""]
            case 1:
                lines.insert(number, draw(st.sampled_from(LINES)))
            case 2:
                lines.insert(number, draw(st.sampled_from(lines)))
            case _:
                key, colon, value = lines[number].rpartition(draw(st.sampled_from((": ", ": ", "- "))))
                tail = draw(st.sampled_from(("", value[-1:], ", " + value, " # why"))) if colon else ""
                lines[number] = key + colon + draw(st.sampled_from(WORDS)) + tail
    return "\n".join(lines) + "\n"


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Many documents, most of them pods, with many like others among them."""
    some = draw(st.lists(documents() | st.sampled_from((POD, NAMESPACE, POLICY)), min_size=1, max_size=4))
    chosen = draw(
        st.lists(st.sampled_from([*some, POD.replace("web-0", "web-7").replace("0.1", "0.7")]), min_size=3, max_size=9)
    )
    separator = draw(st.sampled_from(("---\n", "---\n", "---\n", "--- # b\n", "...\n---\n", "---\r\n", "---\n---\n")))
    start = draw(st.sampled_from(("", "", "---\n", "# Source: a\n", "\ufeff", "%TAG ! a\n---\n")))
    end = draw(st.sampled_from(("", "", "\n\n", "---\n", "...\n", "%YAML 1.1\n", "x")))
    return start + separator.join(chosen) + end


def whole(file: SourceFile) -> Iterator[object]:
    """Everything that is known of a text without the shapes of pods."""
    with patch("npcompile.frontend.load.read_yaml_with_pods", read_yaml):
        return known(file)


def alike(file: SourceFile) -> Iterator[object]:
    """The same with them, however few pods there are."""
    with patch("npcompile.frontend.pods_alike._FEW", 2):
        return known(file)


def known(file: SourceFile) -> Iterator[object]:
    try:
        loaded = load([file])
    except InputError as error:
        return iter(error.diagnostics)
    program = loaded.program
    parts = (*program.policies, *program.cluster.pods, *program.cluster.services, *program.cluster.namespaces.values())
    places = [place(part.span) for part in (*parts, *program.cluster.nodes.values())]
    return iter((repr(program), *places, *loaded.diagnostics))


def place(span: Span | None) -> Sequence[int]:
    return (span.line, span.column, span.end_line, span.end_column) if span else ()


@given(texts())
@example("---\n".join([POD] * 3))
@example("---\n".join(POD.replace("web-0", name) for name in ("a", "null", "true", "b: c", "d #", "e")))
@example("---\n".join(POD.replace("app: web", f"app: {name}") for name in ("a", "b, c: d", "b}, x: {y: z", "")))
def test_any_pods(text: str) -> None:
    file = SourceFile(path="a.yaml", text=text)
    assert list(alike(file)) == list(whole(file))


@pytest.mark.parametrize("number", range(len(POD.split("\n")) - 1))
def test_each_value(number: int) -> None:
    """Each line's value replaced in one of several pods that are alike, as the first and in the middle."""
    lines = POD.split("\n")
    key, colon, value = lines[number].rpartition(": ")
    close = value[-1:] if value[-1:] in "}]" else ""
    others = [POD.replace("web-0", f"web-{index}").replace("0.0.1", f"0.1.{index}") for index in range(4)]
    for word in WORDS:
        odd = "\n".join([*lines[:number], f"{key}{colon}{word}{close}", *lines[number + 1 :]])
        for at in (0, 2):
            file = SourceFile(path="a.yaml", text="---\n".join([*others[:at], odd, *others[at:]]))
            assert list(alike(file)) == list(whole(file))


SIDECAR = POD.replace(
    "  - image: a/b:1\n", "  initContainers:\n  - restartPolicy: RESTART\n    ports:\n    - containerPort: 81\n"
)
KEPT = POD.replace("metadata:", "metadata:\n  finalizers: &f [x]", 1) + "last: *f\n"
SERIES = {
    "values that matter because of others": [
        SIDECAR.replace("RESTART", restart).replace("81", port).replace("web-0", f"web-{port}")
        for restart, port in (("Never", "81"), ("Never", "82"), ("Always", "83"), ("Always", "84"), ("Never", "85"))
    ],
    "other line breaks": [POD.replace("kind: Pod\n", "kind: Pod\n# a\x85# b\n", 1)] * 4,
    "an alias at the end": [KEPT.replace("web-0", name) for name in ("a", "longer", "b", "longest")],
    "a key that is an alias": [POD.replace("app: web", f"a: &x {word}, *x : b") for word in ("k", "m", "k", "n")],
}


@pytest.mark.parametrize("name", SERIES)
def test_series(name: str) -> None:
    file = SourceFile(path="a.yaml", text="---\n".join([NAMESPACE, *SERIES[name]]))
    assert list(alike(file)) == list(whole(file))


@pytest.mark.parametrize("path", sorted(REALWORLD.rglob("*.y*ml")), ids=lambda path: str(path.relative_to(REALWORLD)))
def test_real_files(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for file in (SourceFile(path=str(path), text=text), SourceFile(path=str(path), text=f"{text}\n---\n" * 3)):
        assert list(alike(file)) == list(whole(file))


def test_most_are_known() -> None:
    """What it is for: one pod of a shape is read by libyaml, and any other is not."""
    text = "---\n".join(
        [NAMESPACE, *(POD.replace("web", f"w{n % 3}").replace("-0", f"-{n}") for n in range(50)), POLICY]
    )
    found = list(read_yaml_with_pods(SourceFile(path="a.yaml", text=text)))
    assert not any(isinstance(one, Diagnostic) for one in found)
    assert sum(isinstance(one, PodObject) for one in found) == 49
