"""Pods that are written alike: libyaml reads the first, and the others are known from it.

Pods are most of a cluster's text, and those of a workload differ in a few values only.  So a pod's document is cut into
values and the text between them.  Documents with the same text between the values have the same nodes but for the
values, because

- a value that may differ is a whole scalar of the document that libyaml read, between `: ` or `- ` (and a quote) and a
  line's end, `,`, `}` or `]` (after the same quote); all others must be equal;
- it starts and ends with a letter or digit, and has nothing in it that could end a scalar or start anything else: where
  one such text is a scalar, any other one is, too.

The values go to the same readers as libyaml's nodes do.  These find holes in place of scalars, which know the value of
the document at hand, but not its place.  Whoever asks for a place has something to report; such a document is no pod of
this shape, and is left to libyaml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

from npcompile.frontend.fields import Problems, fields_of
from npcompile.frontend.inventory import PodObject, host_of, pod_fields, pod_of, traits_of
from npcompile.frontend.nodes import Mapping, Node, Scalar, end_of, get
from npcompile.frontend.nodes import Sequence as SequenceNode
from npcompile.frontend.pieces import Piece
from npcompile.frontend.placeless import NOWHERE, UnforeseenError
from npcompile.source import SourceFile, Span

_WORD = r"[A-Za-z0-9][A-Za-z0-9_./@+:-]*+(?<=[A-Za-z0-9])"
_VALUE = re.compile(rf'((?<=[:-] ){_WORD}(?=[\n,}}\]])|(?<=[:-] "){_WORD}(?="[\n,}}\]]))')

Values = Sequence[str]
_T = TypeVar("_T")


def values_of(text: str) -> tuple[Values, str]:
    """The values in a document's text, and the text between them as one."""
    parts = _VALUE.split(text)
    return parts[1::2], "\0".join(parts[::2])


class PodShape:
    """What pods of one shape have in common."""

    def __init__(self, file: SourceFile, root: Mapping, place: _Place, hollow: _Hollow) -> None:
        self._file, self._place, self._problems, self._hand = file, place, Problems(file), hollow.hand
        copy = hollow.mapping(root)
        self._fields = pod_fields(self._problems, copy, fields_of(self._problems, copy))
        values = hollow.hand.values
        self._equal = _getter(number for number in range(len(values)) if number not in hollow.holes)
        self._words = self._equal(values)
        self._traits = _Remembered(hollow.hand, lambda: traits_of(self._problems, self._fields))
        self._host = _Remembered(hollow.hand, lambda: host_of(self._problems, self._fields))

    def read(self, piece: Piece, values: Values) -> PodObject | None:
        """The pod of a document with the same text between its values; None when libyaml has to read it."""
        if self._equal(values) != self._words:
            return None
        self._hand.values = values
        try:
            return pod_of(self._problems, self._fields, self._traits.now(), self._host.now(), self._span(piece))
        except UnforeseenError:
            return None

    def _span(self, piece: Piece) -> Span:
        place = self._place
        end = len(piece.text) - place.behind
        end_column = end - piece.text.rfind("\n", 0, end)
        line = piece.line + 1
        return Span(self._file, line + place.first_line, place.column + 1, line + place.last_line, end_column)


def learn(file: SourceFile, root: Node, piece: Piece) -> PodShape | None:
    """The shape of a pod that libyaml read from a piece; None for a document that cannot stand for others."""
    if not isinstance(root, Mapping) or [_word(root, name) for name in _KIND] != ["v1", "Pod"]:
        return None
    hollow = _Hollow(piece, [get(root, name) for name in _KIND])
    first: Any = root.start_mark
    end = hollow.offset(end_of(root))
    place = _Place(
        first_line=first.line - piece.line,
        column=first.column,
        last_line=piece.text.count("\n", 0, end),
        behind=len(piece.text) - end,
    )
    try:
        shape = PodShape(file, root, place, hollow)
    except UnforeseenError:
        return None
    return shape if end >= hollow.end else None  # it ends with an alias of something before


_KIND = ("apiVersion", "kind")


def _word(node: Node, name: str) -> str | None:
    found = get(node, name)
    return found.value if isinstance(found, Scalar) else None


class _Place(NamedTuple):
    """Where a pod stands in its document: its lines, its first column, and how much text there is behind it."""

    first_line: int
    column: int
    last_line: int
    behind: int


class _Hand:
    """The values of the document at hand, and the numbers of those that were asked for."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.asked: set[int] = set()


class _Remembered(Generic[_T]):
    """What a reader makes of the document at hand, remembered by the values that it asked for."""

    def __init__(self, hand: _Hand, read: Callable[[], _T]) -> None:
        self._hand, self._read = hand, read
        self._asked: set[int] = set()
        self._key = _getter(())
        self._known: dict[Values, _T] = {}

    def now(self) -> _T:
        known = self._known.get(self._key(self._hand.values))
        if known is None:
            self._hand.asked.clear()
            known = self._read()
            if not self._hand.asked <= self._asked:
                self._asked |= self._hand.asked
                self._key = _getter(self._asked)
                self._known.clear()
            self._known[self._key(self._hand.values)] = known
        return known


class _Hole(Scalar):
    """A scalar with a value of the document at hand."""

    def __init__(self, hand: _Hand, number: int, like: Scalar) -> None:
        super().__init__(None, None, like.implicit, "", NOWHERE, NOWHERE, like.style)
        self._hand, self._number = hand, number

    @property
    def value(self) -> str:
        self._hand.asked.add(self._number)
        return self._hand.values[self._number]

    @value.setter
    def value(self, _: str) -> None:
        """It has none of its own."""


class _Hollow:
    """Copies the nodes of a document, without places, and with holes for scalars that are one of its values."""

    def __init__(self, piece: Piece, fixed: Iterable[Node | None]) -> None:
        found = list(_VALUE.finditer(piece.text))
        self.hand = _Hand([match[1] for match in found])
        self.holes: set[int] = set()
        self.end = 0  # of the last hole
        self._numbers = {match.span(1): number for number, match in enumerate(found)}
        self._line = piece.line
        self._lines = [0, *(match.end() for match in re.finditer("\n", piece.text))]
        self._copies: dict[int, Node] = {}
        self._fixed = {id(node) for node in fixed}

    def offset(self, mark: Any) -> int:
        """Where in the document a mark is."""
        start: int = self._lines[mark.line - self._line]
        return start + int(mark.column)

    def mapping(self, node: Mapping) -> Mapping:
        keys = [self._scalar(key) for key in node.keys]
        return Mapping(keys, [self._copy(value) for value in node.values], node.merges, NOWHERE, NOWHERE)

    def _copy(self, node: Node) -> Node:
        copy = self._copies.get(id(node))  # of an alias, too: a document may say much with few
        if copy is None:
            match node:
                case Mapping():
                    copy = self.mapping(node)
                case SequenceNode():
                    copy = SequenceNode([self._copy(item) for item in node.items], NOWHERE, NOWHERE)
                case _:
                    copy = self._hole(node) or self._scalar(node)
            self._copies[id(node)] = copy
        return copy

    def _scalar(self, node: Scalar) -> Scalar:
        return Scalar(node.anchor, node.tag, node.implicit, node.value, NOWHERE, NOWHERE, node.style)

    def _hole(self, node: Scalar) -> Scalar | None:
        """A hole for a scalar that is one of the document's values, and nothing beside."""
        quote = len(node.style or "")
        start, end = self.offset(node.start_mark) + quote, self.offset(node.end_mark) - quote
        number = self._numbers.get((start, end))
        if number is None or node.value != self.hand.values[number] or node.tag is not None or id(node) in self._fixed:
            return None
        self.holes.add(number)
        self.end = max(self.end, end + quote)
        return _Hole(self.hand, number, node)


def _getter(numbers: Iterable[int]) -> Callable[[Values], Values]:
    """What takes the values of some numbers, always as a tuple."""
    chosen = sorted(numbers)
    match chosen:
        case []:
            return lambda _: ()
        case [one]:
            return lambda values: (values[one],)
    return itemgetter(*chosen)
