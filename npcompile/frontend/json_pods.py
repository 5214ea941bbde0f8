"""Pods in JSON, read by the standard library's scanner, which is fast and knows no places.

It takes what `json_reader` takes and more; wherever it could differ, the pod is left to that.
"""

from __future__ import annotations

import json
from typing import NoReturn

from npcompile.frontend.nodes import Mapping, Node, Scalar, Sequence
from npcompile.frontend.placeless import NOWHERE
from npcompile.frontend.scalars import JSON_FLOAT

_ESCAPE = "\\u"  # it may stand for half of a surrogate pair


class PodDecoder:
    """Decodes pods; equal scalars are one node."""

    def __init__(self) -> None:
        self._strings: dict[str, Scalar] = {}
        self._words: dict[str, Scalar] = {}
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_int=self._word, parse_float=self._float, parse_constant=_refuse
        )

    def pod(self, text: str, at: int, depth: int) -> tuple[list[Scalar], list[Node], int] | None:
        """The keys and values of the pod that starts at an offset, and where it ends; None for anything else, and for
        what nests deeper than `depth` or is not simple.
        """
        try:
            root, end = self._decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        if not isinstance(root, Mapping) or not _is_pod(root):
            return None
        own = text[at:end]
        if own.count("{") + own.count("[") > depth or not own.isascii() or _ESCAPE in own:
            return None
        return root.keys, root.values, end

    def _object(self, pairs: list[tuple[str, object]]) -> Mapping:
        keys = [self._string(key) for key, _ in pairs]
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key twice")
        return Mapping(keys, [self._node(value) for _, value in pairs], False, NOWHERE, NOWHERE)

    def _node(self, value: object) -> Node:
        match value:
            case str():
                return self._string(value)
            case Mapping() | Scalar():
                return value
            case list():
                return Sequence([self._node(item) for item in value], NOWHERE, NOWHERE)
            case None:
                return self._word("null")
            case _:
                return self._word("true" if value else "false")

    def _string(self, text: str) -> Scalar:
        known = self._strings.get(text)
        if known is None:
            known = self._strings[text] = Scalar(None, None, (False, True), text, NOWHERE, NOWHERE, '"')
        return known

    def _word(self, text: str) -> Scalar:
        known = self._words.get(text)
        if known is None:
            known = self._words[text] = Scalar(None, None, (True, False), text, NOWHERE, NOWHERE, "")
        return known

    def _float(self, text: str) -> Scalar:
        return Scalar(None, JSON_FLOAT, (True, False), text, NOWHERE, NOWHERE, "")


def _is_pod(root: Mapping) -> bool:
    said = {
        key.value: value.value for key, value in zip(root.keys, root.values, strict=True) if isinstance(value, Scalar)
    }
    return said.get("apiVersion") == "v1" and said.get("kind") == "Pod"


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")
