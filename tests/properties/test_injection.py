"""Whatever names an input has, artifacts say the same and hold nothing of them.

The front end refuses most of these names; the emitters must not rely on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Options
from npcompile.ir.flow import Flow
from npcompile.ir.program import Program
from npcompile.readers.artifact import read_artifact
from npcompile.readers.passage import passage
from npcompile.semantics import decide
from tests.commands import npcompile
from tests.strategies import KEYS, NAMESPACES, NODE_ADDRESSES, PORT_NAMES, VALUES, programs_with_flow

FILTERS = ("iptables", "nftables")
NAMES = (
    *NAMESPACES,
    *KEYS,
    *(value for value in VALUES if value),
    *PORT_NAMES,
    *NODE_ADDRESSES,
    *(f"np{i}" for i in range(4)),
)
# Each has something that ends a word, a line, a string or a command in one of the languages that are emitted.
ATTACKS = (
    "x\n-A FORWARD -j ACCEPT\n",
    "COMMIT\n*nat\n",
    'x" -j ACCEPT -m comment --comment "y',
    "$(reboot) `reboot` ; reboot # & | > /x",
    '"; accept comment "',
    "} ; flush ruleset ; add table inet x {",
    "@all . tcp . 1",
    "\\\" \\' \\n \\0",
    "*/ return 1; /*",
    "../../../etc/passwd",
    "-exist",
    "\0\r\n\t\v\x1b[2J",
    "\u2028\u202e\ufeff\u00e4\U0001f600",
    "{{ 7 * 7 }} {% for x in y %}",
    "x" * 300,
)
# All that a line of an artifact is made of.  Backslashes, semicolons within rules and quotes within comments are not.
LINES = {
    "ipset.restore": re.compile(r"(create|add|flush|swap|destroy) [a-z0-9:., /-]+"),
    "iptables.restore": re.compile(r'[*:A-Za-z0-9., \[\]/!-]+("(np:[a-z2-7]{10}|[0-9, ]+)"[A-Za-z -]*)?'),
    "nftables.nft": re.compile(r'(add|delete) [a-z0-9@:., {};_-]+( comment "np:[a-z2-7]{10}")?'),
}
LINES["ip6tables.restore"] = LINES["iptables.restore"]


@st.composite
def hostile(draw: st.DrawFn) -> dict[str, str]:
    """A name for each that the programs of `tests.strategies` use, no two alike."""
    pieces = st.one_of(st.sampled_from(ATTACKS), st.text(max_size=12))
    ends = draw(st.lists(pieces, min_size=len(NAMES), max_size=len(NAMES)))
    return {name: f"{end}{number}" for number, (name, end) in enumerate(zip(NAMES, ends, strict=True))}


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A value of the IR with other names in it."""
    match value:
        case str():
            return names.get(value, value)
        case Enum():
            return value
        case tuple() | frozenset():
            return type(value)(renamed(one, names) for one in value)
        case Mapping():
            return {renamed(key, names): renamed(one, names) for key, one in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{field.name: renamed(getattr(value, field.name), names) for field in fields(value)})
        case _:
            return value


@pytest.mark.parametrize("target", FILTERS)
@settings(max_examples=80)
@given(example=programs_with_flow(bound=True), names=hostile())
def test_hostile_names_change_no_verdict_and_reach_no_line(
    target: str, example: tuple[Program, Flow], names: dict[str, str]
) -> None:
    program, flow = (renamed(part, names) for part in example)
    artifact = TARGETS[target].emit(program, Options())
    for name, data in artifact.files.items():
        for line in data.decode("ascii").splitlines():
            assert LINES[name].fullmatch(line), line
    loaded = read_artifact(target, artifact.files)
    verdict = decide(example[0].policies, example[0].cluster, example[1]).verdict
    assert decide(program.policies, program.cluster, flow).verdict is verdict
    assert passage(lambda _: loaded, program.cluster, flow).verdict is verdict


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=40)
@given(example=programs_with_flow(bound=True), names=hostile())
def test_every_text_is_of_its_language(target: str, example: tuple[Program, Flow], names: dict[str, str]) -> None:
    program = renamed(example[0], names)
    for name, data in TARGETS[target].emit(program, Options()).files.items():
        text = data.decode()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u2028\u202e]", text)
        if name.endswith(".json"):
            json.loads(text)


@pytest.mark.parametrize("target", FILTERS)
def test_a_hostile_path_stays_in_the_manifest(tmp_path: Path, target: str) -> None:
    source = tmp_path / 'x" -j ACCEPT\n;.yaml'
    source.write_text(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: shop, name: p}\n"
        "spec: {podSelector: {}, ingress: [{}]}\n---\n"
        "{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web}, status: {podIP: 10.0.0.1}}\n",
        encoding="utf-8",
    )
    result = npcompile("emit", source, "--target", target, "-o", tmp_path / "out")
    assert result.code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert {origin["file"] for origin in manifest["rules"].values()} == {str(source)}
    for name in manifest["files"]:
        for line in (tmp_path / "out" / name).read_text(encoding="ascii").splitlines():
            assert LINES[name].fullmatch(line), line
