"""YAML text to nodes with places.

Nodes are built from libyaml's events with a stack of our own: its composer recurses in C and overflows on deep nesting,
and its constructor forgets places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from npcompile.diagnostics.model import Diagnostic, RuleCode, diagnose
from npcompile.frontend import codes
from npcompile.frontend.nodes import Document, Mapping, Node, Scalar, Sequence, is_plain, span_of
from npcompile.frontend.yaml_errors import UNCLOSED, RefusedError, syntax_error, template_diagnostic, unreadable
from npcompile.source import LINE_BREAK, SourceFile, Span, whole_file

MAX_DEPTH = 200
MAX_ALIASED = 100_000  # nodes that aliases may add to one document
MAX_ERRORS = 100  # documents of one file that may be bad before the rest is left unread

_SEPARATOR = re.compile("---(?=[ \t\r\n\x85\u2028\u2029]|\\Z)")
_ODD_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\/")

_MappingStart, _MappingEnd = yaml.MappingStartEvent, yaml.MappingEndEvent
_SequenceStart, _SequenceEnd = yaml.SequenceStartEvent, yaml.SequenceEndEvent


def read_yaml(file: SourceFile, excerpt: str | None = None) -> Iterator[Document | Diagnostic]:
    """Every document of a file, or of an excerpt that has its lines where they stand in the file.  Empty documents are
    left out, and those that cannot be read come as what is wrong with them.

    After an error, reading goes on with the next document, so that one bad document does not hide what is wrong with
    others.  Blank lines then stand for the text before it, so that places stay those of the file.
    """
    text: str | None = file.text.removeprefix("\ufeff") if excerpt is None else excerpt
    for _ in range(MAX_ERRORS):
        if text is None:
            return
        reader = _Reader(file, text)
        try:
            yield from reader.documents()
        except RefusedError as refused:
            yield refused.diagnostic
        except yaml.reader.ReaderError:
            yield unreadable(file, text)  # found while reading ahead: what came before it is lost, too
            return
        except UnicodeEncodeError:
            yield diagnose(codes.ENCODING, whole_file(file), "not Unicode text: it has half of a surrogate pair")
            return
        except yaml.YAMLError as error:
            yield syntax_error(file, error, reader.line)
        else:
            return
        text = _from_next_document(text, reader.line)


def _from_next_document(text: str, line: int) -> str | None:
    """The text from the first separator after a line (from 0) on, at its place; None when there is none."""
    for number, end in enumerate(LINE_BREAK.finditer(text), 1):
        if number > line and _SEPARATOR.match(text, end.end()):
            return "\n" * number + text[end.end() :]
    return None


class _Reader:
    """Nodes from events, one document at a time."""

    def __init__(self, file: SourceFile, text: str) -> None:
        self.file, self.text = file, text
        self.line = 0  # where the document that is being read starts
        self.anchors: dict[str, Node | None] = {}  # None: still open
        self.sizes: dict[str, int] = {}
        self.aliased = 0
        self.merges = "<<" in text
        self.odd_escapes = "\\/" in text

    def documents(self) -> Iterator[Document]:  # noqa: PLR0912
        """Every document that is not empty; raises RefusedError and libyaml's errors.

        One function, although a long one: it runs once for everything that is written, and calls are what costs.
        """
        parser = yaml.CSafeLoader(self.text)
        next_event, make = parser.get_event, tuple.__new__
        frames: list[tuple[list[Node], Any]] = []  # around the open collection: its siblings, and its parent's event
        nodes: list[Node] = []  # the children of the open collection
        opened: Any = None  # the event that opened it
        odd_escapes = self.odd_escapes
        node: Node
        try:
            while True:
                event: Any = next_event()  # the stubs give events optional marks
                kind = type(event)
                if kind is Scalar:
                    nodes.append(event)
                    if event.anchor is not None or odd_escapes:
                        self._check_scalar(event)
                elif kind is _MappingStart or kind is _SequenceStart:
                    if len(frames) >= MAX_DEPTH:
                        raise self._too_deep(event)
                    if type(opened) is _MappingStart and len(nodes) % 2 == 0:
                        raise self._odd_key(event)
                    if event.anchor is not None:
                        self._define(event.anchor, None)
                    frames.append((nodes, opened))
                    nodes, opened = [], event
                elif kind is _MappingEnd or kind is _SequenceEnd:
                    # libyaml ends a block collection where the next token starts; people see its last child's end.
                    start, end = opened.start_mark, event.end_mark if opened.flow_style else None
                    if kind is _SequenceEnd:
                        node = make(Sequence, (nodes, start, end))
                    elif self.merges:
                        node = self._merged(nodes, start, end)
                    else:
                        node = make(Mapping, (nodes[::2], nodes[1::2], False, start, end))
                    if opened.anchor is not None and self.anchors[opened.anchor] is None:
                        self._define(opened.anchor, node)
                    nodes, opened = frames.pop()
                    nodes.append(node)
                elif kind is yaml.AliasEvent:
                    nodes.append(self._alias(event, as_key=type(opened) is _MappingStart and len(nodes) % 2 == 0))
                elif kind is yaml.DocumentStartEvent:
                    self._start(event)
                elif kind is yaml.DocumentEndEvent:
                    root = nodes.pop()
                    if not (isinstance(root, Scalar) and root.value == "" and is_plain(root)):
                        yield Document(self.file, root)
                    self.line = event.end_mark.line
                elif kind is yaml.StreamEndEvent:
                    return
        finally:
            parser.dispose()

    def _start(self, event: Any) -> None:
        """A document's start.  kubectl cuts files at separators before any YAML reader sees them: it takes no
        directives, and after `---` only a comment.
        """
        self.anchors.clear()
        self.sizes.clear()
        self.aliased = 0
        if not event.explicit:
            return
        self.line = event.end_mark.line
        if event.version is not None or event.tags:
            raise self._refused(event, "a directive (`%`), which kubectl does not take", "remove it")
        end = event.end_mark.index
        rest = LINE_BREAK.split(self.text[end : end + 200], maxsplit=1)[0].strip(" \t")
        if rest and rest[0] != "#":
            raise self._refused(event, "text after `---`, which kubectl does not take", "start it on a line of its own")

    def _define(self, anchor: str, node: Node | None) -> None:
        """Bind an anchor, for what follows.  One that is bound again within its own node stays with that."""
        self.anchors[anchor] = node
        self.sizes.pop(anchor, None)

    def _check_scalar(self, event: Any) -> None:
        """What few scalars need: an anchor; and libyaml knows the escape `\\/` of YAML 1.2, which the API server's
        reader refuses.
        """
        if event.anchor is not None:
            self._define(event.anchor, event)
        if self.odd_escapes and event.style == '"' and "/" in event.value:
            start, end = event.start_mark.index, event.end_mark.index
            if _ODD_ESCAPE.search(self.text, start, end):
                raise self._refused(event, "not YAML: `\\/` is no escape of YAML 1.1", "write `/`")

    def _alias(self, event: Any, *, as_key: bool) -> Node:
        name = event.anchor
        node = self.anchors.get(name)
        if node is None:
            why = "refers to a node that contains it" if name in self.anchors else "has no anchor before it"
            raise self._refused(event, f"alias `*{name}` {why}", "")
        if as_key and not isinstance(node, Scalar):
            raise self._odd_key(event)
        if name not in self.sizes:
            self.sizes[name] = _size(node, MAX_ALIASED)
        self.aliased += self.sizes[name]
        if self.aliased > MAX_ALIASED:
            raise self._refused(event, f"aliases expand to more than {MAX_ALIASED} nodes",
                                "write the repeated part out, or less often", codes.LIMITS)  # fmt: skip
        return node

    def _merged(self, children: list[Node], start: Any, end: Any) -> Node:
        """A mapping that may have merge keys.  As in the API server's reader, what is merged stands where the merge key
        stands, and of a list of mappings the first has the last word.
        """
        keys: list[Scalar] = []
        values: list[Node] = []
        merges = False
        for key, value in zip(children[::2], children[1::2], strict=True):
            assert isinstance(key, Scalar)
            if not (key.value == "<<" and is_plain(key)):
                keys.append(key)
                values.append(value)
                continue
            merges = True
            for source in reversed(value.items) if isinstance(value, Sequence) else (value,):
                if not isinstance(source, Mapping):
                    raise RefusedError(
                        diagnose(codes.SYNTAX, span_of(self.file, source), "a merge key (`<<`) needs a mapping")
                    )
                keys += source.keys
                values += source.values
        return Mapping(keys, values, merges, start, end)

    def _too_deep(self, event: Any) -> RefusedError:
        return self._refused(event, f"nested deeper than {MAX_DEPTH} levels", UNCLOSED, codes.LIMITS)

    def _odd_key(self, event: Any) -> RefusedError:
        span = self._span(event)
        text = self.file.line(span.line)
        for column in (span.column - 1, span.column):  # libyaml may have read the first of two braces as a mapping
            if column > 0 and text.startswith("{{", column - 1):
                return RefusedError(template_diagnostic(Span(self.file, span.line, column, span.line, column + 2)))
        return self._refused(event, "a mapping or a list cannot be a key", "quote it if it was meant as text")

    def _refused(self, event: Any, message: str, advice: str, rule: RuleCode = codes.SYNTAX) -> RefusedError:
        return RefusedError(diagnose(rule, self._span(event), message, help=advice))

    def _span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        return Span(self.file, start.line + 1, start.column + 1, end.line + 1, end.column + 1)


def _size(node: Node, most: int) -> int:
    """The number of nodes in a tree, counted no further than `most` + 1."""
    count, waiting = 0, [node]
    while waiting and count <= most:
        one = waiting.pop()
        count += 1
        if isinstance(one, Mapping):
            count += len(one.keys)
            waiting += one.values
        elif isinstance(one, Sequence):
            waiting += one.items
    return count
