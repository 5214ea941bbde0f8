"""Typed access to the fields of an object, which finds everything that is wrong with them.

As in the API server's strict decoding: field names are case-sensitive, unknown and duplicate ones are errors, and null
stands for an absent field (or, within a list, for the type's zero value).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from npcompile.diagnostics.model import Diagnostic, Note, RuleCode, diagnose
from npcompile.frontend import codes
from npcompile.frontend.nodes import Mapping, Node, Scalar, Sequence, is_plain, span_of
from npcompile.frontend.scalars import JSON_FLOAT, NULLS, BadScalarError, Value, key_of, resolve_plain, value_of
from npcompile.frontend.yaml_errors import template_diagnostic
from npcompile.source import SourceFile, Span

_LONGEST = 1000  # characters of a message
_EMPTY: dict[str, Node] = {}


@dataclass(slots=True)
class Problems:
    """Collects what is wrong in one file."""

    file: SourceFile
    found: list[Diagnostic] = field(default_factory=list)
    _known: set[Diagnostic] = field(default_factory=set)

    def add(
        self,
        node: Node,
        message: str,
        *,
        rule: RuleCode = codes.INVALID_VALUE,
        help: str = "",  # noqa: A002
        notes: tuple[Note, ...] = (),
    ) -> None:
        """Note a problem at a node, once.  What a template directive does to a value is not the value's fault."""
        if isinstance(node, Scalar) and "{{" in node.value:
            diagnostic = template_diagnostic(span_of(self.file, node))
        else:
            diagnostic = diagnose(rule, span_of(self.file, node), _shortened(message), help=help, notes=notes)
        if diagnostic not in self._known:
            self._known.add(diagnostic)
            self.found.append(diagnostic)

    def template(self, node: Node | None) -> None:
        """Note that a value that must be known here is a template directive, where it is one."""
        if isinstance(node, Scalar) and "{{" in node.value:
            self.add(node, "")

    def value(self, node: Scalar) -> Value:
        """A scalar's value; a tag that does not fit is a problem and gives None."""
        if is_plain(node):
            return resolve_plain(node.value)
        try:
            return value_of(node)
        except BadScalarError as error:
            self.add(node, str(error))
            return None


def _shortened(message: str) -> str:
    """A message about a value of any length."""
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"


class Fields:
    """One object's fields.  Take each by name; then `close` reports those that nobody asked for."""

    def __init__(self, problems: Problems, node: Node | None, path: str, *, what: str = "an object") -> None:
        self.problems, self.path, self.node = problems, path, node
        self._prefix = f"{path}." if path else ""
        self._values: dict[str, tuple[Scalar, Node]] = {}
        self._asked: list[str] = []
        if isinstance(node, Mapping):
            self._fill(node)
        elif node is not None and not (isinstance(node, Scalar) and self._is_null(node)):
            problems.add(node, f"`{path}` must be {what}, not {describe(problems, node)}")

    def _fill(self, node: Mapping) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            name = named_key(self.problems, key)
            if name is None:
                continue
            if name in self._values:
                report_duplicate(self.problems, key, name, self._values[name][0])
            else:
                self._values[name] = (key, value)

    def _is_null(self, node: Scalar) -> bool:
        return (node.value in NULLS or node.tag is not None) and self.problems.value(node) is None

    @property
    def span(self) -> Span | None:
        """The object's own span."""
        return None if self.node is None else span_of(self.problems.file, self.node)

    def take(self, name: str) -> Node | None:
        """A field's node; None when it is absent or null."""
        self._asked.append(name)
        entry = self._values.get(name)
        if entry is None:
            return None
        node = entry[1]
        return None if isinstance(node, Scalar) and self._is_null(node) else node

    def key_node(self, name: str) -> Scalar | None:
        """Where a field's name stands."""
        entry = self._values.get(name)
        return entry[0] if entry else None

    def object(self, name: str) -> Fields | None:
        """A field that is an object."""
        node = self.take(name)
        return None if node is None else Fields(self.problems, node, f"{self._prefix}{name}")

    def list(self, name: str) -> list[tuple[Node, str]] | None:
        """A field that is a list: its items with their paths; None when absent."""
        node = self.take(name)
        path = f"{self._prefix}{name}"
        if node is None:
            return None
        if not isinstance(node, Sequence):
            advice = "start each item with `- `" if isinstance(node, Mapping) else ""
            self.problems.add(node, f"`{path}` must be a list, not {describe(self.problems, node)}", help=advice)
            return None
        return [(item, f"{path}[{index}]") for index, item in enumerate(node.items)]

    def string(self, name: str) -> tuple[str, Scalar] | None:
        """A field that is a string, with its node."""
        node = self.take(name)
        return None if node is None else string(self.problems, node, f"{self._prefix}{name}")

    def integer(self, name: str, *, bits: int = 32) -> tuple[int, Scalar] | None:
        """A field that is a signed integer, with its node."""
        node = self.take(name)
        return None if node is None else integer(self.problems, node, f"{self._prefix}{name}", bits=bits)

    def boolean(self, name: str) -> bool | None:
        """A field that is a boolean."""
        node = self.take(name)
        if node is None:
            return None
        value = self.problems.value(node) if isinstance(node, Scalar) else None
        if isinstance(value, bool):
            return value
        path = f"{self._prefix}{name}"
        self.problems.add(node, f"`{path}` must be `true` or `false`, not {describe(self.problems, node)}")
        return None

    def close(self) -> None:
        """Report every field that was not asked for."""
        for name, (key, _) in self._values.items():
            if name not in self._asked:
                close = difflib.get_close_matches(name.lower(), [asked.lower() for asked in self._asked], n=1)
                right = next((asked for asked in self._asked if [asked.lower()] == close), None)
                known = "the fields here are " + ", ".join(f"`{asked}`" for asked in sorted(set(self._asked)))
                where = f" in `{self.path}`" if self.path else ""
                self.problems.add(
                    key, f"unknown field `{name}`{where}", rule=codes.UNKNOWN_FIELD,
                    help=f"did you mean `{right}`?" if right else known,
                )  # fmt: skip


def named_key(problems: Problems, key: Scalar) -> str | None:
    """A key's name as the API server sees it; a problem when it refuses the key."""
    try:
        name = key_of(key)
    except BadScalarError as error:
        problems.add(key, str(error))
        return None
    if name is None:
        problems.add(key, f"`{key.value or 'null'}` cannot be a key", help="quote it if it was meant as text")
    return name


def report_duplicate(problems: Problems, key: Scalar, name: str, first: Scalar) -> None:
    """A key stands twice in one mapping."""
    note = Note(text="it stands here already", span=span_of(problems.file, first))
    problems.add(key, f"duplicate key `{name}`", rule=codes.DUPLICATE_KEY, help="keep one of the two", notes=(note,))


def string(problems: Problems, node: Node, path: str) -> tuple[str, Scalar] | None:
    """A string, with its node; a null is the empty string, as in a Go value."""
    if isinstance(node, Scalar):
        value = problems.value(node)
        if isinstance(value, str):
            return value, node
        if value is None:
            return "", node
    quote = f'quote it: `"{node.value}"`' if isinstance(node, Scalar) else ""
    problems.add(node, f"`{path}` must be a string, not {describe(problems, node)}", help=quote)
    return None


def integer(problems: Problems, node: Node, path: str, *, bits: int = 32) -> tuple[int, Scalar] | None:
    """A signed integer, with its node.  `80.0` and `8e1` are 80 in YAML, and no integers in JSON."""
    if isinstance(node, Scalar):
        value = problems.value(node)
        if isinstance(value, float) and value.is_integer() and node.tag != JSON_FLOAT:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and -(1 << bits - 1) <= value < 1 << bits - 1:
            return value, node
    problems.add(node, f"`{path}` must be an integer, not {describe(problems, node)}")
    return None


def describe(problems: Problems, node: Node) -> str:
    """What a node is, for messages."""
    if isinstance(node, Mapping):
        return "an object"
    if isinstance(node, Sequence):
        return "a list"
    value = problems.value(node)
    match value:
        case None:
            return "null"
        case bool():
            return f"the boolean `{node.value}`"
        case int():
            return f"the number `{node.value}`"
        case float():
            return f"the number `{node.value}`" if math.isfinite(value) else f"`{node.value}`"
        case _:
            return f"the string `{value}`"


def string_map(
    problems: Problems, node: Node | None, path: str, *, nulls: bool = False
) -> Iterator[tuple[str, str, Scalar, Node]]:
    """A map of strings: key, value and their nodes.  With `nulls`, a null value is the empty string."""
    if node is None:
        return
    if not isinstance(node, Mapping):
        if not (isinstance(node, Scalar) and problems.value(node) is None):
            problems.add(node, f"`{path}` must be an object, not {describe(problems, node)}")
        return
    seen: dict[str, Scalar] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        name = named_key(problems, key)
        if name is None:
            continue
        if name in seen:
            report_duplicate(problems, key, name, seen[name])
            continue
        seen[name] = key
        if not nulls and isinstance(value, Scalar) and problems.value(value) is None:
            report_null_label(problems, value, f"{path}.{name}")
        text = string(problems, value, f"{path}.{name}")
        if text is not None:
            yield name, text[0], key, value


def report_null_label(problems: Problems, node: Node, path: str) -> None:
    """A label without a value: empty for the API server, whatever else may become of it on its way there."""
    problems.add(node, f"`{path}` has no value: taken as empty, as the API server does; `kubectl apply` drops the key",
                 rule=codes.NULL_LABEL, help='write `""` for the empty value, or remove the key')  # fmt: skip


def fields_of(problems: Problems, node: Node | None) -> dict[str, Node]:
    """The fields of an object of the inventory by their names; none for anything else.

    A key that stands twice is an error, but merge keys may bring what stands beside them: the last counts, as in
    kubectl.
    """
    if not isinstance(node, Mapping):
        return _EMPTY
    fields = {key.value: value for key, value in zip(node.keys, node.values, strict=True)}
    if len(fields) < len(node.keys) and not node.merges:
        first: dict[str, Scalar] = {}
        for key in node.keys:
            if first.setdefault(key.value, key) is not key:
                report_duplicate(problems, key, key.value, first[key.value])
    return fields


def refuse_unprintable(problems: Problems, node: Node, text: str) -> None:
    """Note that a name or label of the inventory, whose form is not checked otherwise, cannot be shown as it is."""
    if not text.isprintable():
        problems.add(node, "a name or label must not hold control characters")


def labels_of(problems: Problems, node: Node | None) -> dict[str, str]:
    """The labels of an object of the inventory: their keys as the API server sees them, and values that are numbers and
    the like as they are written.
    """
    labels: dict[str, str] = {}
    keys = {key.value: key for key in node.keys} if isinstance(node, Mapping) else {}
    seen: dict[str, Scalar] = {}
    for written, value in fields_of(problems, node).items():
        name = named_key(problems, keys[written])
        if name is None:
            continue
        if name in seen:
            report_duplicate(problems, keys[written], name, seen[name])
        seen[name] = keys[written]
        if not isinstance(value, Scalar):
            problems.add(value, f"label `{name}` must be a string, not {describe(problems, value)}")
            continue
        text = value.value
        refuse_unprintable(problems, value, name)
        refuse_unprintable(problems, value, text)
        if text in NULLS and is_plain(value):
            report_null_label(problems, value, name)
            text = ""
        elif "{{" in text:
            problems.template(value)
        labels[name] = text
    return labels
