"""JSON is read as JSON, with places."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npcompile.frontend.json_reader import looks_like_json, read_json
from npcompile.frontend.nodes import Mapping, Node, Sequence
from npcompile.frontend.scalars import value_of
from npcompile.source import SourceFile
from tests.unit.frontend.reading import line, policies, refused

POLICY = '{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": %s}'


def python_of(node: Node) -> object:
    """A node as the Python value that `json` makes."""
    match node:
        case Mapping():
            return {key.value: python_of(value) for key, value in zip(node.keys, node.values, strict=True)}
        case Sequence():
            return [python_of(item) for item in node.items]
        case _:
            return value_of(node)


def values(text: str) -> list[object]:
    """The values of a text, and its error as a line."""
    documents, problem = read_json(SourceFile(path="a.json", text=text))
    return [python_of(one.root) for one in documents] + ([line(problem)] if problem else [])


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(TREES, st.sampled_from((None, 1, "\t")), st.booleans())
def test_reads_what_json_writes(tree: object, indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps(tree, indent=indent, ensure_ascii=ascii_only)
    assert values(text) == [tree]


def test_several_values() -> None:
    assert values('{"a": 1} [2]\n"x"') == [{"a": 1}, [2], "x"]


def test_surrogates() -> None:
    assert values(r'["\ud83d\ude00", "\ud83d", "\ude00x"]') == [["\U0001f600", "\ufffd", "\ufffdx"]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "1:2 NPC001 not JSON: expected a key in double quotes, found the end of the text"),
        ("{'a': 1}", "1:2 NPC001 not JSON: expected a key in double quotes, found `'`"),
        ('{"a" 1}', "1:6 NPC001 not JSON: expected `:`, found `1`"),
        ('{"a": 1,}', "1:9 NPC001 not JSON: expected a key in double quotes, found `}`"),
        ('{"a": 1\n "b": 2}', '2:2 NPC001 not JSON: expected `,`, found `"`'),
        ("[1, 2", "1:6 NPC001 not JSON: expected `,`, found the end of the text"),
        ("[1,]", "1:4 NPC001 not JSON: expected a value, found `]`"),
        ("[+1]", "1:2 NPC001 not JSON: expected a value, found `+`"),
        ("[01]", "1:3 NPC001 not JSON: expected `,`, found `1`"),
        ("[NaN]", "1:2 NPC001 not JSON: expected a value, found `N`"),
        ('["a\tb"]', "1:4 NPC001 not JSON: invalid control character"),
        ('["a', "1:2 NPC001 not JSON: unterminated string"),
        (r'["\x"]', r"1:3 NPC001 not JSON: invalid \escape"),
        ("{} // c", "1:4 NPC001 not JSON: expected a value, found `/`"),
        ("[" * 201 + "]" * 201, "1:201 NPC003 nested deeper than 200 levels"),
        ("[" * 50_000, "1:201 NPC003 nested deeper than 200 levels"),
        ('{"a":' * 50_000, "1:1001 NPC003 nested deeper than 200 levels"),
    ],
)
def test_what_is_not_json(text: str, problem: str) -> None:
    assert values(text)[-1] == problem


def test_places() -> None:
    text = (POLICY % '{"podSelector": {},\r\n "x": 1,\n\u2028"y": 2}').replace("\u2028", "")
    assert refused(text, path="a.json") == [
        "2:2 NPC006 unknown field `x` in `spec`",
        "3:1 NPC006 unknown field `y` in `spec`",
    ]


def test_a_line_separator_in_a_string_ends_a_line_as_in_yaml() -> None:
    text = (POLICY % "{}").replace('"p"', '"p", "annotations": {"a": "\u2028"}')[:-1] + ',\n"x": 1}'
    assert refused(text, path="a.json") == ["3:1 NPC006 unknown field `x`"]
    assert refused(text, path="a.yaml") == ["3:1 NPC006 unknown field `x`"]


def test_duplicate_keys() -> None:
    assert refused(POLICY % '{"podSelector": {}, "podSelector": {}}') == ["1:120 NPC007 duplicate key `podSelector`"]


@pytest.mark.parametrize("number", ["80.0", "8e1"])
def test_numbers_with_a_fraction_are_integers_in_yaml_only(number: str) -> None:
    spec = f'{{"podSelector": {{}}, "ingress": [{{"ports": [{{"port": {number}}}]}}]}}'
    assert refused(POLICY % spec) == [
        f"1:152 NPC008 `spec.ingress[0].ports[0].port` must be an integer, not the number `{number}`"
    ]
    assert len(policies(f"# YAML\n{POLICY % spec}")) == 1


def test_a_yaml_file_that_looks_like_json_is_read_as_yaml() -> None:
    text = POLICY % "{podSelector: {},}"
    assert len(policies(text, path="a.yaml")) == 1
    assert refused(text, path="a.json") == ["1:101 NPC001 not JSON: expected a key in double quotes, found `p`"]


@pytest.mark.parametrize(
    ("text", "expected"), [("{", True), (" \n[", True), ("", False), ("a: {}", False), ("# {", False)]
)
def test_looks_like_json(text: str, expected: bool) -> None:
    assert looks_like_json(text) is expected
