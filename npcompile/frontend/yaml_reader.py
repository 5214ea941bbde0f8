"""YAML text to nodes with places.

Nodes are built from libyaml's events with a stack of our own: its composer recurses in C and overflows on deep nesting,
and its constructor forgets places.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import yaml

from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.frontend import codes
from npcompile.frontend.nodes import Document, Mapping, Node, Scalar, Sequence
from npcompile.source import SourceFile, Span

MAX_DEPTH = 200
MAX_ALIASED = 100_000  # nodes that aliases may add to one document

_SEPARATOR = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_TEMPLATE = re.compile(r"\{\{")

_Frame = tuple[list[Node], bool, tuple[int, int], str | None, bool]


class _RefusedError(Exception):
    """The builder met something that it does not take."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic


def read_yaml(file: SourceFile) -> tuple[list[Document], list[Diagnostic]]:
    """Every document of a file, empty ones left out, and what is wrong with those that cannot be read."""
    try:
        return [Document(file, root) for root in _documents(file, file.text)], []
    except _RefusedError as refused:
        first = refused.diagnostic
    except yaml.YAMLError as error:
        first = _syntax_error(file, error)
    return _document_by_document(file, first)


def _document_by_document(file: SourceFile, first: Diagnostic) -> tuple[list[Document], list[Diagnostic]]:
    """After an error: read each document on its own, so that one bad document does not hide what is wrong with others.

    Blank lines stand for the text before each document, so that places stay those of the file.
    """
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(file.text)), len(file.text)]
    documents, diagnostics = [], []
    for start, end in itertools.pairwise(starts):
        text = "\n" * file.text.count("\n", 0, start) + file.text[start:end]
        try:
            documents += [Document(file, root) for root in _documents(file, text)]
        except _RefusedError as refused:
            diagnostics.append(refused.diagnostic)
        except yaml.YAMLError as error:
            diagnostics.append(_syntax_error(file, error))
    return documents, diagnostics or [first]


def _documents(file: SourceFile, text: str) -> Iterator[Node]:
    builder = _Builder(file)
    parser = yaml.CSafeLoader(text)
    try:
        while True:
            # `type` rather than `match`: this loop runs once a token.  The stubs give events optional marks.
            event: Any = parser.get_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                builder.scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                builder.open(event, is_mapping=kind is yaml.MappingStartEvent)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                builder.close(event)
            elif kind is yaml.AliasEvent:
                builder.alias(event)
            elif kind is yaml.DocumentEndEvent:
                root = builder.finish()
                if not (isinstance(root, Scalar) and root.plain and root.text == ""):
                    yield root
            elif kind is yaml.StreamEndEvent:
                return
    finally:
        parser.dispose()


class _Builder:
    """Nodes from events, one document at a time."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self._reset()

    def _reset(self) -> None:
        self.top: list[Node] = []
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.open_anchors: dict[str, tuple[int, int]] = {}
        self.count = 0
        self.aliased = 0

    def scalar(self, event: Any) -> None:
        mark, end = event.start_mark, event.end_mark
        tag = event.tag
        node = Scalar(
            event.value, tag is None and event.implicit[0], tag, (mark.line, mark.column), (end.line, end.column)
        )
        self.count += 1
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, 1)
        self.top.append(node)

    def open(self, event: Any, *, is_mapping: bool) -> None:
        mark = event.start_mark
        if len(self.stack) >= MAX_DEPTH:
            raise _RefusedError(
                diagnose(codes.LIMITS, self._here(event), f"nested deeper than {MAX_DEPTH} levels",
                         help="no Kubernetes object nests so deeply; look for an unclosed bracket")
            )  # fmt: skip
        self.stack.append((self.top, is_mapping, (mark.line, mark.column), event.anchor, bool(event.flow_style)))
        if event.anchor is not None:
            self.anchors.pop(event.anchor, None)
            self.open_anchors[event.anchor] = (self.count, self.aliased)
        self.count += 1
        self.top = []

    def close(self, event: Any) -> None:
        children = self.top
        self.top, is_mapping, start, anchor, flow = self.stack.pop()
        end = (event.end_mark.line, event.end_mark.column)
        if not flow:
            # libyaml ends a block collection where the next token starts; people see it end with its last child.
            end = children[-1].end if children else start
        node: Node = self._mapping(children, start, end) if is_mapping else Sequence(children, start, end)
        if anchor is not None:
            count, aliased = self.open_anchors.pop(anchor)
            self.anchors[anchor] = (node, self.count - count + self.aliased - aliased)
        self.top.append(node)

    def alias(self, event: Any) -> None:
        found = self.anchors.get(event.anchor)
        if found is None:
            inside = event.anchor in self.open_anchors
            why = "refers to a node that contains it" if inside else "has no anchor before it"
            raise _RefusedError(diagnose(codes.SYNTAX, self._here(event), f"alias `*{event.anchor}` {why}"))
        node, size = found
        self.aliased += size
        if self.aliased > MAX_ALIASED:
            raise _RefusedError(
                diagnose(codes.LIMITS, self._here(event), f"aliases expand to more than {MAX_ALIASED} nodes",
                         help="write the repeated part out, or less often")
            )  # fmt: skip
        self.top.append(node)

    def finish(self) -> Node:
        root = self.top[0]
        self._reset()
        return root

    def _mapping(self, children: list[Node], start: tuple[int, int], end: tuple[int, int]) -> Mapping:
        entries: list[tuple[Scalar, Node]] = []
        merged: list[Node] = []
        for key, value in zip(children[::2], children[1::2], strict=True):
            if not isinstance(key, Scalar):
                raise _RefusedError(self._odd_key(key))
            if key.plain and key.text == "<<":
                merged += value.items if isinstance(value, Sequence) else [value]
            else:
                entries.append((key, value))
        if merged:
            own = {key.text for key, _ in entries}
            for source in merged:
                if not isinstance(source, Mapping):
                    raise _RefusedError(diagnose(codes.SYNTAX, self._span(source), "a merge key needs a mapping"))
                added = [(key, value) for key, value in source.entries if key.text not in own]
                own.update(key.text for key, _ in added)
                entries += added
        return Mapping(entries, start, end)

    def _odd_key(self, key: Node) -> Diagnostic:
        if _TEMPLATE.search(self.file.line(key.start[0] + 1)):
            return template_diagnostic(self._span(key))
        return diagnose(codes.SYNTAX, self._span(key), "a mapping or a list cannot be a key",
                        help="quote it if it was meant as text")  # fmt: skip

    def _span(self, node: Node) -> Span:
        return Span(self.file, node.start[0] + 1, node.start[1] + 1, node.end[0] + 1, node.end[1] + 1)

    def _here(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        return Span(self.file, start.line + 1, start.column + 1, end.line + 1, end.column + 1)


def template_diagnostic(span: Span) -> Diagnostic:
    """The file is a template, not a manifest."""
    return diagnose(codes.TEMPLATE, span, "an unrendered template (`{{`), not a manifest",
                    help="render it first: `helm template CHART | npcompile check -`")  # fmt: skip


def _syntax_error(file: SourceFile, error: yaml.YAMLError) -> Diagnostic:
    """libyaml's complaint, in our words and with its place."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    position = getattr(error, "position", None)
    if mark is not None:
        line, column = mark.line + 1, mark.column + 1
    elif isinstance(position, int):
        line = file.text.count("\n", 0, position) + 1
        column = position - file.text.rfind("\n", 0, position)
    else:
        line = column = 1
    span = Span(file, line, column, line, column + 1)
    if template := _TEMPLATE.search(file.text):
        at = file.text.count("\n", 0, template.start()) + 1
        begin = template.start() - file.text.rfind("\n", 0, template.start())
        return template_diagnostic(Span(file, at, begin, at, begin + 2))
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
    context = getattr(error, "context", None)
    text = file.line(line)
    tab = "\t" in text[: len(text) - len(text.lstrip())]
    return diagnose(codes.SYNTAX, span, f"not YAML: {problem}" + (f" {context}" if context else ""),
                    help="indent with spaces: YAML takes no tabs there" if tab else "")  # fmt: skip
