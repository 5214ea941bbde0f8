"""The value of a scalar, as the API server's YAML reader sees it.

The API server turns YAML into JSON with go-yaml v2 before it decodes fields, so that reader's table is the one that
counts: `yes` is a boolean, `0120` is octal, `08` and `8e1` are floats, `22:22` is a string, and a date is a string.
Source: `resolve` in go.yaml.in/yaml/v2, which sigs.k8s.io/yaml uses.
"""

from __future__ import annotations

import base64
import binascii
import functools
import math
import re

from npcompile.frontend.nodes import Scalar, is_plain

Value = str | int | float | bool | None

_TRUE = frozenset(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
_FALSE = frozenset(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
NULLS = frozenset(("", "~", "null", "Null", "NULL"))
"""What is null when it is written without quotes."""

_INFINITE = {
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)")
_INT64, _UINT64 = 1 << 63, 1 << 64
_LONGEST = 100  # characters of an integer; longer ones are beyond 64 bits, and Python refuses to read very long ones

JSON_FLOAT = "json:float"
"""The tag of a number of real JSON that has a fraction or an exponent: `80.0` is an integer in YAML, and none there."""

_TIMESTAMP = re.compile(
    r"[0-9]{4}-(0?[1-9]|1[0-2])-(0?[1-9]|[12][0-9]|3[01])"
    r"([Tt ]([01]?[0-9]|2[0-3]):[0-5]?[0-9]:[0-5]?[0-9](\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})?)?"
)
_STR, _INT, _FLOAT_TAG, _BOOL, _NULL_TAG, _BINARY, _TIMESTAMP_TAG = (
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "binary", "timestamp")
)


class BadScalarError(ValueError):
    """A scalar that its own tag forbids."""


def value_of(scalar: Scalar) -> Value:
    """A scalar's value; raises BadScalarError when an explicit tag does not fit its text."""
    if is_plain(scalar):
        return resolve_plain(scalar.value)
    if scalar.tag is None or scalar.tag == "!":
        return scalar.value
    return _tagged(scalar.tag, scalar.value)


@functools.lru_cache(maxsize=4096)
def resolve_plain(text: str) -> Value:
    """What an unquoted scalar without a tag is."""
    first = text[:1]
    if first in "0123456789+-.":
        return _number(text)
    if text in NULLS:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    return text


def _number(text: str) -> Value:
    if text == "":
        return None
    if text in _INFINITE:
        return _INFINITE[text]
    digits = text.replace("_", "") if text[0] != "." else text
    integer = _INTEGER.fullmatch(digits)
    if integer and text[0] != "." and len(digits) <= _LONGEST:
        value = _integer(integer)
        if -_INT64 <= value < _UINT64:
            return value
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        return text if math.isinf(number) else number
    return text


def _integer(match: re.Match[str]) -> int:
    sign, digits = match.groups()
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    return int(sign + ("0o" + digits[1:] if octal else digits), 0)


def _tagged(tag: str, text: str) -> Value:
    if tag == _STR:
        return text
    if tag == JSON_FLOAT:
        return float(text)
    if tag == _TIMESTAMP_TAG and not _TIMESTAMP.fullmatch(text):
        raise BadScalarError(f"`{text}` is not what its tag `!!timestamp` says")
    if tag == _BINARY:
        try:
            return base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise BadScalarError("`!!binary` needs base64 of UTF-8 text") from None
    value = resolve_plain(text)
    fits = {
        _INT: isinstance(value, int) and not isinstance(value, bool),
        _FLOAT_TAG: isinstance(value, int | float) and not isinstance(value, bool),
        _BOOL: isinstance(value, bool),
        _NULL_TAG: value is None,
    }
    if tag not in fits:
        return text
    if not fits[tag]:
        raise BadScalarError(f"`{text}` is not what its tag `!!{tag.rpartition(':')[2]}` says")
    return float(value) if tag == _FLOAT_TAG and isinstance(value, int) else value


def key_of(scalar: Scalar) -> str | None:
    """A mapping key as JSON gets it: numbers and booleans become text; None where the API server refuses it."""
    return _plain_key(scalar.value) if is_plain(scalar) else _key(value_of(scalar))


@functools.lru_cache(maxsize=4096)
def _plain_key(text: str) -> str | None:
    return _key(resolve_plain(text))


def _key(value: Value) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case int() if value >= _INT64:
            return None
        case float():
            return None if math.isinf(value) or math.isnan(value) else f"{value:g}"
        case _:
            return str(value)
