"""Parsed text before anyone knows what it means: scalars, mappings and sequences that know their place.

Named tuples rather than dataclasses: a cluster's inventory makes a million of them, and they are the cheapest immutable
values that Python has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from npcompile.source import SourceFile, Span


class Mark(Protocol):
    """A place in a text, counted from 0: libyaml's own marks, or the JSON reader's."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


class Scalar(NamedTuple):
    """A leaf.  `plain`: written without quotes and without a tag, so that its text decides its type."""

    text: str
    plain: bool
    tag: str | None
    start: Mark
    end: Mark


class Mapping(NamedTuple):
    """Keys and values as written, duplicates included.  What merge keys (`<<`) bring stands in their place.

    `end` is None in YAML's block style: such a mapping ends with its last value.
    """

    keys: list[Scalar]
    values: list[Node]
    merges: bool
    start: Mark
    end: Mark | None


class Sequence(NamedTuple):
    """The items as written; `end` is None in YAML's block style."""

    items: list[Node]
    start: Mark
    end: Mark | None


Node = Scalar | Mapping | Sequence


class Document(NamedTuple):
    """One document of a file."""

    file: SourceFile
    root: Node


def span_of(file: SourceFile, node: Node) -> Span:
    """The span of a node, counted from 1."""
    start, end = node.start, _end_of(node)
    first, last = (start.line, start.column), (end.line, end.column)
    last = max(first, last)  # the last child may be an alias of something that stands before
    return Span(file, first[0] + 1, first[1] + 1, last[0] + 1, last[1] + 1)


def _end_of(node: Node) -> Mark:
    while node.end is None:
        children = node.values if isinstance(node, Mapping) else node.items
        if not children:
            return node.start
        node = children[-1]
    return node.end


def get(node: Node | None, *path: str) -> Node | None:
    """The value under a path of keys; None where a part is missing or no mapping.  The last of duplicates counts."""
    for name in path:
        if not isinstance(node, Mapping):
            return None
        found = None
        for key, value in zip(node.keys, node.values, strict=True):
            if key.text == name:
                found = value
        node = found
    return node


def items_of(node: Node | None) -> Iterator[Node]:
    """The items of a sequence; nothing for anything else."""
    return iter(node.items if isinstance(node, Sequence) else ())
