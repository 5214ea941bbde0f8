"""Scalars have the value that go-yaml gives them.  The server's recorded answers are compared elsewhere."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npcompile.frontend.nodes import Scalar
from npcompile.frontend.scalars import JSON_FLOAT, BadScalarError, key_of, resolve_plain, value_of


def scalar(text: str, *, tag: str | None = None, style: str = "") -> Scalar:
    """A scalar; tags are of YAML's own unless they have a colon or a bang."""
    full = tag if tag is None or ":" in tag or "!" in tag else f"tag:yaml.org,2002:{tag}"
    return Scalar(None, full, (True, False), text, None, None, style)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, None) for text in ("", "~", "null", "Null", "NULL")),
        *((text, True) for text in ("y", "Y", "yes", "on", "True", "TRUE")),
        *((text, False) for text in ("n", "No", "off", "OFF", "false")),
        *((text, text) for text in ("nULL", "yEs", "=", "22:22", "2001-01-01", "0x", "08x", "+", "-", ".", "1e")),
        *((text, text) for text in ("--1", "1e400", "0o8", "1" * 5000)),
        *((text, 80) for text in ("80", "+80", "0120", "0o120", "0x50", "0b1010000", "8_0")),
        *((text, 80.0) for text in ("80.0", "80.", "8e1")),
        *(("-80", -80), (".5", 0.5), ("0180", 180.0), ("18446744073709551615", 2**64 - 1)),
        *((".inf", math.inf), ("-.Inf", -math.inf), ("18446744073709551616", 2.0**64)),
    ],
)
def test_plain(text: str, value: object) -> None:
    found = resolve_plain(text)
    assert (type(found), found) == (type(value), value)


def test_quotes_and_the_bang_make_text() -> None:
    assert value_of(scalar("80", style='"')) == "80"
    assert value_of(scalar("80", tag="!")) == "80"
    assert value_of(scalar("80", tag="!local")) == "80"


@pytest.mark.parametrize(
    ("tag", "text", "value"),
    [
        ("str", "80", "80"),
        ("int", "80", 80),
        ("float", "80", 80.0),
        ("bool", "yes", True),
        ("null", "", None),
        ("binary", "d2Vi", "web"),
        ("timestamp", "2001-01-01", "2001-01-01"),
        (JSON_FLOAT, "8e1", 80.0),
    ],
)
def test_tags(tag: str, text: str, value: object) -> None:
    assert value_of(scalar(text, tag=tag, style='"')) == value


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        *(("int", "80.5"), ("int", "x"), ("float", "x"), ("bool", "1"), ("null", "a"), ("timestamp", "x")),
        *(("binary", "?"), ("binary", "/w=="), ("binary", "a")),
    ],
)
def test_tags_that_do_not_fit(tag: str, text: str) -> None:
    with pytest.raises(BadScalarError):
        value_of(scalar(text, tag=tag))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        *(("a", "a"), ("yes", "true"), ("off", "false"), ("0120", "80"), ("1.50", "1.5")),
        *(("~", None), (".inf", None), (str(2**63), None)),
    ],
)
def test_keys(text: str, key: str | None) -> None:
    assert key_of(scalar(text)) == key


@given(st.text(st.characters(codec="utf-8")) | st.from_regex(r"[-+]?[0-9._xXoObeE:]*", fullmatch=True))
def test_every_text_has_a_value(text: str) -> None:
    resolve_plain(text)
    key_of(scalar(text))
