"""YAML from anywhere is read or refused, with its place; nothing else ever happens."""

from __future__ import annotations

import pytest

from npcompile.frontend.nodes import Document, Mapping, Node, Sequence
from npcompile.frontend.yaml_reader import MAX_ALIASED, MAX_DEPTH, MAX_ERRORS, read_yaml
from npcompile.source import SourceFile
from tests.unit.frontend.reading import HEAD, line, policies, read, refused, with_spec

POLICY = with_spec("{podSelector: {}}")


def outline(node: Node) -> object:
    """A node as Python values, keys in pairs."""
    match node:
        case Mapping():
            return [(key.value, outline(value)) for key, value in zip(node.keys, node.values, strict=True)]
        case Sequence():
            return [outline(item) for item in node.items]
        case _:
            return node.value


def documents(text: str) -> list[object]:
    """The documents of a text, and its errors as lines."""
    found = read_yaml(SourceFile(path="a.yaml", text=text))
    return [outline(one.root) if isinstance(one, Document) else line(one) for one in found]


# --- structure -------------------------------------------------------------------------------------------------------


def test_collections_and_scalars() -> None:
    assert documents("a: [1, {b: c}]\nd:\n- e\n- f: g\n") == [[("a", ["1", [("b", "c")]]), ("d", ["e", [("f", "g")]])]]


def test_empty_documents_are_left_out() -> None:
    assert documents("---\n---\n# comment\n---\na\n---\n''\n...\n") == ["a", ""]


@pytest.mark.parametrize("text", ["", "\n", "  \n", "# only a comment\n", "---\n", "\ufeff", "\ufeff# c", "---\n---\n"])
def test_nothing(text: str) -> None:
    assert documents(text) == []
    assert policies(text) == ()


def test_duplicate_keys_are_kept_for_those_who_read_them() -> None:
    assert documents("{a: 1, a: 2}") == [[("a", "1"), ("a", "2")]]


def test_an_alias_is_its_anchor() -> None:
    assert documents("{a: &x [1], b: *x, *y : 1, c: &y k}") == ["1:20 NPC001 alias `*y` has no anchor before it"]
    assert documents("{a: &x [1], b: *x}") == [[("a", ["1"]), ("b", ["1"])]]
    assert documents("{a: &x 1, a2: &x 2, b: *x, *x : c}") == [[("a", "1"), ("a2", "2"), ("b", "2"), ("2", "c")]]


def test_anchors_end_with_their_document() -> None:
    assert documents("a: &x 1\n---\nb: *x\n") == [[("a", "1")], "3:4 NPC001 alias `*x` has no anchor before it"]


def test_an_anchor_that_is_bound_again() -> None:
    assert documents("[&a 1, *a, &a [2], *a]") == [["1", "1", ["2"], ["2"]]]
    assert documents("[&a [&a 1, *a], *a]") == [[["1", "1"], "1"]]
    assert documents("[&a [&a [1], *a], *a]") == [[[["1"], ["1"]], ["1"]]]
    again = "&a x, *a, &a [" + "x, " * 1000 + "]" + ", *a" * 200
    assert str(documents(f"[{again}]")[0]).endswith(f"NPC003 aliases expand to more than {MAX_ALIASED} nodes")


def test_merge_keys_stand_in_their_place() -> None:
    assert documents("{z: &m {a: 1, b: 2}, y: {a: 0, <<: *m, b: 3}}") == [
        [("z", [("a", "1"), ("b", "2")]), ("y", [("a", "0"), ("a", "1"), ("b", "2"), ("b", "3")])]
    ]


def test_the_first_of_merged_mappings_has_the_last_word() -> None:
    assert documents("<<: [{a: 1}, {a: 2}]") == [[("a", "2"), ("a", "1")]]


@pytest.mark.parametrize("value", ["1", "[1]", "[[]]", "~"])
def test_only_mappings_merge(value: str) -> None:
    assert documents(f"a: {{<<: {value}}}")[0].endswith("NPC001 a merge key (`<<`) needs a mapping")  # type: ignore[attr-defined]


def test_a_quoted_merge_key_is_a_key() -> None:
    assert documents("'<<': {a: 1}") == [[("<<", [("a", "1")])]]


# --- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "name"),
    [("\n", "LF"), ("\r\n", "CRLF"), ("\r", "CR"), ("\x85", "NEL"), ("\u2028", "LS"), ("\u2029", "PS")],
)
def test_every_line_end_of_yaml_ends_a_line(end: str, name: str) -> None:
    text = (POLICY + "extra: 1\n").replace("\n", end)
    (error,) = refused(text)
    assert error.startswith("5:1 NPC006"), name
    assert SourceFile(path="a", text=text).line(5) == "extra: 1"
    assert SourceFile(path="a", text=text).line(2) == "kind: NetworkPolicy"
    assert SourceFile(path="a", text=text).line(7) == ""


def test_a_line_separator_within_a_text_counts_too() -> None:
    text = f"# one{chr(0x2028)}# two\n{POLICY}extra: 1\n"
    assert refused(text)[0].startswith("7:1 ")
    assert SourceFile(path="a", text=text).line(7) == "extra: 1"


@pytest.mark.parametrize("sign", ["\x0b", "\x0c", "\x1c", "\x1e"])
def test_what_only_python_takes_for_a_line_end_does_not_count(sign: str) -> None:
    text = f"# a{sign}b\nx"
    assert SourceFile(path="a", text=text).line(2) == "x"
    assert documents(text)[0] == f"1:4 NPC001 not YAML: the control character U+{ord(sign):04X} is not allowed"


def test_columns_count_characters() -> None:
    assert refused(
        HEAD + 'metadata: {name: p, annotations: {a: "ä\U0001f600"}, Labels: {}}\nspec: {podSelector: {}}\n'
    ) == ["3:45 NPC006 unknown field `Labels` in `metadata`"]


def test_a_byte_order_mark_takes_no_column() -> None:
    assert refused("\ufeff{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: A}}") == [
        refused("{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: A}}")[0]
    ]


def test_block_collections_end_with_their_last_child() -> None:
    (policy,) = policies(
        HEAD + "metadata:\n  name: p\nspec:\n  podSelector: {}\n  ingress:\n  - ports:\n    - port: 80\n\n\n"
    )
    span = policy.rules[0].span
    assert span is not None
    assert (span.line, span.column, span.end_line, span.end_column) == (8, 5, 9, 15)


def test_a_collection_that_ends_with_an_alias_does_not_end_before_it_starts() -> None:
    text = (
        f"{HEAD}metadata: {{name: p}}\nspec:\n  podSelector: &s {{matchLabels: {{a: b}}}}\n"
        "  ingress:\n  - from:\n    - podSelector: *s\n"
    )
    (policy,) = policies(text)
    span = policy.rules[0].match.peers[0].span
    assert span is not None
    assert (span.line, span.column, span.end_line, span.end_column) == (8, 7, 8, 7)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_one_bad_document_does_not_hide_the_others() -> None:
    first, second = POLICY.replace("name: p", "name: P"), POLICY.replace("name: p", "name: Q")
    text = f"{POLICY}---\na: [\n---\n{first}---\n\ta: 1\n---\n{second}"
    assert [error.split(" ", 2)[:2] for error in refused(text)] == [
        ["7:1", "NPC001"], ["10:18", "NPC008"], ["13:1", "NPC001"], ["17:18", "NPC008"]
    ]  # fmt: skip


def test_text_after_the_end_of_a_document() -> None:
    assert documents("a: 1\n...\nb: 2\n---\nc: 3\n") == [
        [("a", "1")], "3:1 NPC001 not YAML: did not find expected <document start>", [("c", "3")]
    ]  # fmt: skip


def test_errors_are_bounded() -> None:
    assert len(documents("---\na: [\n" * 1000)) == MAX_ERRORS


@pytest.mark.parametrize("separator", ["--- a: 1", "--- {a: 1}", "--- !!map", "--- |", "--- \t&x"])
def test_only_a_comment_may_follow_a_separator(separator: str) -> None:
    assert documents(f"{separator}\n  b: 2\n")[0] == "1:1 NPC001 text after `---`, which kubectl does not take"
    assert documents("---  # comment\na: 1\n--- \nb: 1\n") == [[("a", "1")], [("b", "1")]]


@pytest.mark.parametrize("directive", ["%YAML 1.1", "%YAML 1.2", "%TAG ! tag:x,2000:"])
def test_directives_are_refused(directive: str) -> None:
    assert "NPC001" in str(documents(f"{directive}\n---\na: 1\n")[0])


def test_a_tab_is_named() -> None:
    (found,) = read_yaml(SourceFile(path="a.yaml", text="a:\n\tb: 1\n"))
    assert not isinstance(found, Document)
    assert (line(found).split(" ")[0], found.help) == ("2:1", "indent with spaces: YAML takes no tabs there")


@pytest.mark.parametrize("key", ["? [a]\n: 1", "? {a: b}\n: 1", "{[a]: 1}", "{a: &x [1], *x : 1}"])
def test_a_collection_is_no_key(key: str) -> None:
    assert str(documents(key)[0]).endswith("NPC001 a mapping or a list cannot be a key")


def test_the_escape_of_yaml_1_2() -> None:
    assert documents('a: "x\\/y"') == ["1:4 NPC001 not YAML: `\\/` is no escape of YAML 1.1"]
    assert documents("a: \"x\\\\/y\"\nb: 'x\\/y'") == [[("a", "x\\/y"), ("b", "x\\/y")]]


@pytest.mark.parametrize(
    ("sign", "name"),
    [("\0", "U+0000"), ("\x07", "U+0007"), ("\x7f", "U+007F"), ("\x9f", "U+009F"), ("\uffff", "U+FFFF")],
)
def test_control_characters(sign: str, name: str) -> None:
    assert documents(f"a: 1\n# ä{sign}\n") == [f"2:4 NPC001 not YAML: the control character {name} is not allowed"]


def test_half_a_surrogate_pair() -> None:
    assert documents("a: \ud800") == ["1:1 NPC002 not Unicode text: it has half of a surrogate pair"]


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["[" * 50_000, "{" * 50_000, "{a: " * 50_000, "- " * 50_000, "? " * 50_000, "[" * 250 + "]" * 250]
)
def test_deep_nesting(text: str) -> None:
    (found,) = documents(text)
    assert "NPC0" in str(found)


def test_the_deepest_that_is_read() -> None:
    assert isinstance(documents("[" * MAX_DEPTH + "]" * MAX_DEPTH)[0], list)
    assert documents("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) == ["1:201 NPC003 nested deeper than 200 levels"]


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED_LAUGHS = "a: &a {k: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("text", [LAUGHS, MERGED_LAUGHS])
def test_billion_laughs(text: str) -> None:
    assert str(documents(text)[0]).endswith(f"NPC003 aliases expand to more than {MAX_ALIASED} nodes")


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: *a}", "a: &a {<<: *a}", "&a [[[{x: *a}]]]"])
def test_recursive_aliases(text: str) -> None:
    assert str(documents(text)[0]).endswith("NPC001 alias `*a` refers to a node that contains it")


def test_one_line_of_ten_megabytes() -> None:
    assert (
        read(
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata: {{a: {'x' * 10_000_000}}}\n"
        ).program.policies
        == ()
    )


def test_a_scalar_of_a_megabyte_is_not_said_back() -> None:
    (error,) = refused(POLICY.replace("name: p", f"name: {'a' * 1_000_000}"))
    assert error.startswith("3:18 NPC008 name `aaa")
    assert error.endswith("it must be at most 253 characters long")
    assert len(error) < 1100
