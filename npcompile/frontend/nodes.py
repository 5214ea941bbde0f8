"""Parsed text before anyone knows what it means: scalars, mappings and sequences that know their place.

Named tuples rather than dataclasses: a cluster's inventory makes a million of them, and they are the cheapest immutable
values that Python has.  Places count from 0, as libyaml's marks do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from npcompile.source import SourceFile, Span

Place = tuple[int, int]  # (line, column), from 0


class Scalar(NamedTuple):
    """A leaf.  `plain`: written without quotes and without a tag, so that its text decides its type."""

    text: str
    plain: bool
    tag: str | None
    start: Place
    end: Place


class Mapping(NamedTuple):
    """Keys and values as written, duplicates included; merge keys (`<<`) have been merged."""

    entries: list[tuple[Scalar, Node]]
    start: Place
    end: Place


class Sequence(NamedTuple):
    """The items as written."""

    items: list[Node]
    start: Place
    end: Place


Node = Scalar | Mapping | Sequence


class Document(NamedTuple):
    """One document of a file."""

    file: SourceFile
    root: Node


def span_of(file: SourceFile, node: Node) -> Span:
    """The span of a node, counted from 1."""
    return Span(file, node.start[0] + 1, node.start[1] + 1, node.end[0] + 1, node.end[1] + 1)


def get(node: Node | None, *path: str) -> Node | None:
    """The value under a path of keys; None where a part is missing or no mapping.  The last of duplicates counts."""
    for name in path:
        if not isinstance(node, Mapping):
            return None
        node = next((value for key, value in reversed(node.entries) if key.text == name), None)
    return node


def items_of(node: Node | None) -> Iterator[Node]:
    """The items of a sequence; nothing for anything else."""
    return iter(node.items if isinstance(node, Sequence) else ())
