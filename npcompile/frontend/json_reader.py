"""JSON text to the same nodes as YAML's.

JSON is read as JSON: libyaml refuses escaped surrogate pairs, which JSON may hold.
"""

from __future__ import annotations

import json
import json.decoder
import re
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, NamedTuple

from npcompile.diagnostics.model import Diagnostic, RuleCode, diagnose
from npcompile.frontend import codes
from npcompile.frontend.json_pods import PodDecoder
from npcompile.frontend.nodes import Document, Mapping, Node, Scalar, Sequence
from npcompile.frontend.scalars import JSON_FLOAT
from npcompile.frontend.yaml_reader import MAX_DEPTH
from npcompile.source import LINE_BREAK, SourceFile, Span

# The standard library's C scanner of strings, which is public only within its decoder.
_scan_string: Callable[[str, int], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]

_SPACE = re.compile(r"[ \t\r\n]*")
_FRACTION = re.compile(r"[0-9][.eE]")
_WORD = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")


def looks_like_json(text: str) -> bool:
    """Whether a text starts as a JSON object or array does; YAML's flow style may, too."""
    return text.lstrip()[:1] in ("{", "[")


def read_json(file: SourceFile, *, lean: bool = False) -> tuple[list[Document], Diagnostic | None]:
    """Every value of a text of one or more JSON values; where it is not JSON, those before, and what is wrong.

    With `lean`, the places of what is in the pods of a list are not known: see `placeless`.
    """
    reader = _Reader(file, PodDecoder() if lean else None)
    documents: list[Document] = []
    at = reader.skip(0)
    try:
        while at < len(file.text):
            root, at = reader.value(at)
            documents.append(Document(file, root))
            at = reader.skip(at)
    except _BadJsonError as error:
        mark = reader.mark(error.at)
        span = Span(file, mark.line + 1, mark.column + 1, mark.line + 1, mark.column + 2)
        return documents, diagnose(error.rule, span, error.message)
    return documents, None


class _Mark(NamedTuple):
    """A place by its offset; its line is looked up when somebody asks."""

    lines: list[int]  # where each starts
    at: int

    @property
    def line(self) -> int:
        return bisect_right(self.lines, self.at) - 1

    @property
    def column(self) -> int:
        return self.at - self.lines[self.line]


class _BadJsonError(Exception):
    def __init__(self, at: int, message: str, rule: RuleCode = codes.SYNTAX) -> None:
        self.at, self.message, self.rule = at, message, rule


class _Reader:
    """A recursive descent whose depth is bounded by MAX_DEPTH."""

    def __init__(self, file: SourceFile, pods: PodDecoder | None) -> None:
        self.text, self.pods = file.text, pods
        self.lines = [0, *(match.end() for match in LINE_BREAK.finditer(file.text))]
        self.depth = 0

    def mark(self, at: int) -> _Mark:
        return _Mark(self.lines, at)

    def skip(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def value(self, at: int) -> tuple[Node, int]:
        """The value that starts at an offset, and the offset after it."""
        opening = self.text[at : at + 1]
        if opening == '"':
            return self.string(at)
        if opening in ("{", "["):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise _BadJsonError(at, f"nested deeper than {MAX_DEPTH} levels", codes.LIMITS)
            node, end = self.object(at) if opening == "{" else self.array(at)
            self.depth -= 1
            return node, end
        match = _WORD.match(self.text, at)
        if not match:
            raise _BadJsonError(at, f"not JSON: expected a value, found {self.found(at)}")
        word = match.group()
        tag = JSON_FLOAT if _FRACTION.search(word) else None
        return self.scalar(word, at, match.end(), tag=tag, style=""), match.end()

    def string(self, at: int) -> tuple[Scalar, int]:
        try:
            text, end = _scan_string(self.text, at + 1)
        except json.JSONDecodeError as error:
            problem = error.msg.lower().removesuffix(" at").removesuffix(" starting").rstrip(": ")
            raise _BadJsonError(error.pos, f"not JSON: {problem}") from None
        # A surrogate without its partner is no character; Go's decoder replaces it, too.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return self.scalar(text, at, end, tag=None, style='"'), end

    def scalar(self, text: str, at: int, end: int, *, tag: str | None, style: str) -> Scalar:
        start_mark: Any = self.mark(at)  # the stubs know no marks but libyaml's
        end_mark: Any = self.mark(end)
        return Scalar(None, tag, (not style, bool(style)), text, start_mark, end_mark, style)

    def object(self, at: int) -> tuple[Mapping, int]:
        keys: list[Scalar] = []
        values: list[Node] = []
        here = self.skip(at + 1)
        while self.text[here : here + 1] != "}":
            if keys:
                here = self.skip(self.expect(",", here))
            if self.text[here : here + 1] != '"':
                raise _BadJsonError(here, f"not JSON: expected a key in double quotes, found {self.found(here)}")
            key, here = self.string(here)
            here = self.skip(self.expect(":", self.skip(here)))
            value, here = self.items(here) if key.value == "items" else self.value(here)
            keys.append(key)
            values.append(value)
            here = self.skip(here)
        return Mapping(keys, values, False, self.mark(at), self.mark(here + 1)), here + 1

    def items(self, at: int) -> tuple[Node, int]:
        """The objects of a list."""
        if self.pods is None or self.depth != 1 or self.text[at : at + 1] != "[":
            return self.value(at)
        self.depth += 1
        node, end = self.array(at, self.item)
        self.depth -= 1
        return node, end

    def item(self, at: int) -> tuple[Node, int]:
        pod = self.pods.pod(self.text, at, MAX_DEPTH - self.depth) if self.pods else None
        if pod is None:
            return self.value(at)
        keys, values, end = pod
        return Mapping(keys, values, False, self.mark(at), self.mark(end)), end

    def array(self, at: int, read: Callable[[int], tuple[Node, int]] | None = None) -> tuple[Sequence, int]:
        read = read or self.value
        items: list[Node] = []
        here = self.skip(at + 1)
        while self.text[here : here + 1] != "]":
            if items:
                here = self.skip(self.expect(",", here))
            item, here = read(here)
            items.append(item)
            here = self.skip(here)
        return Sequence(items, self.mark(at), self.mark(here + 1)), here + 1

    def expect(self, character: str, at: int) -> int:
        if self.text[at : at + 1] != character:
            raise _BadJsonError(at, f"not JSON: expected `{character}`, found {self.found(at)}")
        return at + 1

    def found(self, at: int) -> str:
        return f"`{self.text[at]}`" if at < len(self.text) else "the end of the text"
