"""Parsed text before anyone knows what it means: scalars, mappings and sequences that know their place.

A cluster's inventory makes a million of them.  So a scalar is libyaml's own event, as it comes, and the others are
named tuples, the cheapest immutable values that Python has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import yaml

from npcompile.source import SourceFile, Span

Scalar = yaml.ScalarEvent
"""A leaf: its text is `value`, and it has a `tag` if one is written.  Nobody ever changes one."""


class Mark(Protocol):
    """A place in a text, counted from 0: libyaml's own marks, or the JSON reader's."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


class Mapping(NamedTuple):
    """Keys and values as written, duplicates included.  What merge keys (`<<`) bring stands in their place.

    `end_mark` is None in YAML's block style: such a mapping ends with its last value.
    """

    keys: list[Scalar]
    values: list[Node]
    merges: bool
    start_mark: Mark
    end_mark: Mark | None


class Sequence(NamedTuple):
    """The items as written; `end_mark` is None in YAML's block style."""

    items: list[Node]
    start_mark: Mark
    end_mark: Mark | None


Node = Scalar | Mapping | Sequence


class Document(NamedTuple):
    """One document of a file."""

    file: SourceFile
    root: Node


def is_plain(scalar: Scalar) -> bool:
    """Whether a scalar is written without quotes and without a tag, so that its text decides its type."""
    return not scalar.style and scalar.tag is None


def span_of(file: SourceFile, node: Node) -> Span:
    """The span of a node, counted from 1."""
    start: Any = node.start_mark
    end: Any = end_of(node)
    # The last child may be an alias of something that stands before.
    last = max((end.line, end.column), (start.line, start.column))
    return Span(file, start.line + 1, start.column + 1, last[0] + 1, last[1] + 1)


def end_of(node: Node) -> object:
    """The mark where a node ends, which is its last child's in YAML's block style."""
    while node.end_mark is None and not isinstance(node, Scalar):
        children = node.values if isinstance(node, Mapping) else node.items
        if not children:
            return node.start_mark
        node = children[-1]
    return node.end_mark


def get(node: Node | None, *path: str) -> Node | None:
    """The value under a path of keys; None where a part is missing or no mapping.  The last of duplicates counts."""
    for name in path:
        if not isinstance(node, Mapping):
            return None
        found = None
        for key, value in zip(node.keys, node.values, strict=True):
            if key.value == name:
                found = value
        node = found
    return node


def items_of(node: Node | None) -> Iterator[Node]:
    """The items of a sequence; nothing for anything else."""
    return iter(node.items if isinstance(node, Sequence) else ())
