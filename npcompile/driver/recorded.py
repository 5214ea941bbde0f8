"""Diagnostics as JSON can write them, and back, whole: what is restored is equal to what was recorded.

A value of a class is written as a list of the class's number and its fields.  Files are numbered as the caller has
them, so that their texts are not repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from typing import Any

from npcompile.diagnostics.model import Diagnostic, Edit, Fix, Kind, Note, RuleCode, Scope, Severity, WitnessText
from npcompile.source import SourceFile, Span

_CLASSES: Sequence[type[Any]] = (Diagnostic, Note, Edit, Fix, WitnessText, RuleCode, Span)
_ENUMS: Sequence[type[Enum]] = (Severity, Kind, Scope)
_NAMES = [tuple(field.name for field in fields(one)) for one in _CLASSES]
_NUMBERS = {one: number for number, one in enumerate((*_CLASSES, *_ENUMS))}
_TUPLE, _FILE, _PLAIN = -1, -2, -3


class UnrecordableError(Exception):
    """Something has no place in a record; what holds it is not kept."""


def record(value: Any, files: Sequence[SourceFile]) -> object:
    """What JSON can write and `restored` makes an equal value of; raises UnrecordableError where it would not."""
    number = _NUMBERS.get(type(value))
    if number is not None:
        parts = (value.value,) if isinstance(value, Enum) else (getattr(value, name) for name in _NAMES[number])
        return [number, *(record(part, files) for part in parts)]
    match value:
        case None | str() | bool() | int():
            return value
        case tuple():
            return [_TUPLE, *(record(item, files) for item in value)]
        case SourceFile():
            return [_FILE, _number(value, files)]
        case dict() if _is_plain(value):
            return [_PLAIN, value]
    raise UnrecordableError(type(value).__name__)


def restored(form: Any, files: Sequence[SourceFile]) -> Any:
    """A value from its record; raises LookupError, TypeError or ValueError for what is none."""
    if type(form) is not list:
        return form
    number = form[0]
    if 0 <= number < len(_CLASSES):
        values = [restored(part, files) for part in form[1:]]
        return _CLASSES[number](**dict(zip(_NAMES[number], values, strict=True)))
    if number == _TUPLE:
        return tuple([restored(item, files) for item in form[1:]])
    _, part = form
    if number == _FILE:
        return files[part]
    return part if number == _PLAIN else _ENUMS[number - len(_CLASSES)](part)


def _number(file: SourceFile, files: Sequence[SourceFile]) -> int:
    number = next((number for number, one in enumerate(files) if one is file), None)
    if number is None:
        raise UnrecordableError(file.path)
    return number


def _is_plain(value: object) -> bool:
    """Whether JSON gives back the same value."""
    match value:
        case None | str() | bool() | int():
            return True
        case list():
            return all(_is_plain(item) for item in value)
        case dict():
            return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return False
