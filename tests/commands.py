"""Running npcompile's commands within the test process, as a user types them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from npcompile.cli.app import run

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Its standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def npcompile(*arguments: str | Path, stdin: bytes = b"", cwd: Path = ROOT) -> Result:
    """Run a command line in a directory."""
    out, err = io.StringIO(), io.StringIO()
    fake_stdin = io.TextIOWrapper(io.BytesIO(stdin))
    before = Path.cwd()
    os.chdir(cwd)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.object(sys, "stdin", fake_stdin),
        ):
            try:
                run([str(argument) for argument in arguments])
            except SystemExit as stop:
                code = stop.code
    finally:
        os.chdir(before)
    assert isinstance(code, int)
    return Result(code=code, out=out.getvalue(), err=err.getvalue())
