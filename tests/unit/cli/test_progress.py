"""The progress bar: on a terminal, after a while, and gone at the end; elsewhere never."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

from npcompile.cli import progress as module
from npcompile.cli.progress import shown
from npcompile.driver.progress import silent
from tests.commands import npcompile


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def terminal(patience: float) -> Iterator[Terminal]:
    """A terminal in place of standard error; not by a fixture, since pytest sets that again before the test."""
    with (
        mock.patch.object(sys, "stderr", Terminal()) as stream,
        mock.patch.object(module, "PATIENCE", patience),
        mock.patch.dict(os.environ, TERM="xterm"),
    ):
        yield stream


def wait(stream: Terminal, word: str) -> None:
    end = time.monotonic() + 30
    while word not in stream.getvalue():
        assert time.monotonic() < end, stream.getvalue()
        time.sleep(0.01)


def test_long_work_is_shown() -> None:
    with terminal(0.01) as stream, shown() as progress:
        progress("reading [b]", 1, 2)
        wait(stream, "reading [b]")
        progress("assembling")
        wait(stream, "assembling")
    assert stream.getvalue().endswith("\x1b[2K")  # the line is erased
    assert "\x1b[?25h" in stream.getvalue()  # and the cursor is back


def test_short_work_is_not() -> None:
    with terminal(30) as stream, shown() as progress:
        progress("reading", 1, 2)
    assert stream.getvalue() == ""


def test_an_error_removes_it() -> None:
    with terminal(0.01) as stream:
        with pytest.raises(KeyError), shown() as progress:
            progress("reading", 1, 2)
            wait(stream, "reading")
            raise KeyError
        before = stream.getvalue()
        progress("later")
        time.sleep(0.5)
        assert stream.getvalue() == before


def test_never_where_nobody_looks() -> None:
    with mock.patch.object(module, "PATIENCE", 0), shown() as progress:
        assert progress is silent


@pytest.mark.parametrize("command", ["check", "map"])
def test_commands_say_how_far_they_are(command: str) -> None:
    said: list[tuple[str, int, int]] = []
    with mock.patch(f"npcompile.cli.{command}.shown") as opened:
        opened.return_value.__enter__.return_value = lambda what, done=0, total=0: said.append((what, done, total))
        npcompile(command, "examples/payments")
    assert said[0][:2] == ("reading", 0)
    assert all(done < total or (done, total) == (0, 0) for _, done, total in said)
    assert len(said) > 6
