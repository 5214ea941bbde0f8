"""Pods that the standard library's scanner reads are what the reader of places makes of them, and so is everything that
is said of them.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from npcompile.frontend.json_pods import PodDecoder
from npcompile.source import SourceFile
from tests.properties.test_pods_alike import REALWORLD, known

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-0",
        "labels": {"app": "web", "tier": "a b"},
        "annotations": {"n": "x\ny"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": True}],
    },
    "spec": {
        "hostNetwork": False,
        "containers": [{"name": "c", "ports": [{"containerPort": 80, "name": "http"}], "f": 1.5, "n": None}],
    },
    "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "hostIP": "10.9.0.1"},
}
OTHERS = (
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": {}},
    {"apiVersion": "v1", "kind": "List", "items": [POD]},
    {"kind": "Pod"},
    {},
)  # fmt: skip
WORDS = (
    "1", "80", "81", "0", "-1", "01", "8e1", "80.0", "1.", "NaN", "Infinity", "-Infinity", "true", "false", "null",
    "nul", '""', '"a"', '"10.0.0.2"', '"10.0.0.300"', '"fd00::1"', '"{{ x }}"', '"null"', '"v1"', '"Pod"', '"Node"',
    '"TCP"',
    '"a\\n"', '"\\u0041"', '"\\ud83d\\ude00"', '"\\ud800"', '"é"', '"\ud800"', '"\x01"', '"\\x"', "'a'", "a", "{}",
    "[]",
    '{"a": 1, "a": 2}', '{"ip": "10.0.0.3"}', '[{"ip": "10.0.0.4"}]', "[" * 150 + "]" * 150, "[" * 250 + "]" * 250, "",
    "1" * 5000, '"x', "{", "]", "// c", "\u2028", "\t", ",",
)  # fmt: skip


def known_to(file: SourceFile, *, lean: bool) -> list[object]:
    if lean:
        return list(known(file))
    with patch.object(PodDecoder, "pod", lambda *_: None):
        return list(known(file))


def same(text: str) -> None:
    for path in ("a.json", "a.yaml"):
        file = SourceFile(path=path, text=text)
        assert known_to(file, lean=True) == known_to(file, lean=False)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A list of pods, some of whose tokens are others."""
    items = draw(st.lists(st.sampled_from((POD, POD, POD, *OTHERS)), min_size=1, max_size=4))
    named = [
        {**one, "metadata": {**one["metadata"], "name": f"n{n}"}} if one is POD else one for n, one in enumerate(items)
    ]
    kind = draw(st.sampled_from(("List", "List", "PodList", "Pod")))
    text = json.dumps({"apiVersion": "v1", "items": named, "kind": kind}, indent=draw(st.sampled_from((None, 1))))
    chance = random.Random(draw(st.integers(0, 1 << 30)))
    for _ in range(draw(st.integers(0, 3))):
        start = chance.randrange(len(text))
        end = min([at for at in (text.find(sign, start + 1) for sign in ",:}]") if at > 0], default=len(text))
        start = max(text.rfind(sign, 0, start) for sign in ",:{[") + 1
        text = text[:start] + draw(st.sampled_from(WORDS)) + text[end:]
    return text


@given(texts())
@example(json.dumps({"apiVersion": "v1", "items": [POD, *OTHERS], "kind": "List"}))
def test_any_list(text: str) -> None:
    same(text)


@pytest.mark.parametrize("path", sorted(REALWORLD.rglob("*.json")), ids=lambda path: str(path.relative_to(REALWORLD)))
def test_real_files(path: Path) -> None:
    same(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("word", WORDS)
def test_each_value(word: str) -> None:
    """Each value of a pod replaced, next to one as it was."""
    whole = json.dumps(POD)
    for token in (
        '"v1"',
        '"Pod"',
        '"web-0"',
        '"web"',
        '"a b"',
        "true",
        "false",
        "80",
        "null",
        "1.5",
        '"10.0.0.1"',
        '"http"',
    ):
        other = whole.replace(token, word).replace("web-0", "web-1")
        same(f'{{"apiVersion": "v1", "kind": "List", "items": [{whole}, {other}]}}')


@pytest.mark.parametrize("key", ["name", "labels", "app", "metadata", "kind", "containerPort", "podIPs", "f"])
def test_a_key_twice(key: str) -> None:
    whole = json.dumps(POD)
    at = whole.index(f'"{key}"')
    same(f'{{"apiVersion": "v1", "kind": "List", "items": [{whole[:at]}"{key}": 1, {whole[at:]}]}}')


def test_pods_are_read_by_the_scanner() -> None:
    """What it is for."""
    text = json.dumps({"apiVersion": "v1", "items": [POD, POD], "kind": "List"})
    found = []
    pod = PodDecoder.pod

    def noted(self: PodDecoder, *arguments: object) -> object:
        found.append(pod(self, *arguments))  # type: ignore[arg-type]
        return found[-1]

    with patch.object(PodDecoder, "pod", noted):
        list(known(SourceFile(path="a.json", text=text)))
    assert len(found) == 2
    assert all(found)
