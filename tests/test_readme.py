"""The README's transcripts are real: each command is run, and says what stands there.

`make accept` rewrites them.
"""

from __future__ import annotations

import re
import shlex
import shutil

import pytest

from tests.commands import ROOT, npcompile
from tests.golden import Golden

README = ROOT / "README.md"
BLOCK = re.compile(r"^```console\n\$ npcompile (?P<command>[^\n]*)\n(?P<output>.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = re.compile(r"\d+\.\d\d s$", re.MULTILINE)


def transcript(command: str) -> str:
    """What a command prints, data before messages; times are not worth comparing."""
    result = npcompile(*shlex.split(command))
    return SECONDS.sub("0.10 s", result.out + result.err)


def test_transcripts(golden: Golden) -> None:
    try:
        text = README.read_text(encoding="utf-8")
        shown = BLOCK.sub(
            lambda block: f"```console\n$ npcompile {block['command']}\n{transcript(block['command'])}```", text
        )
    finally:
        shutil.rmtree(ROOT / "build" / "payments", ignore_errors=True)
    golden.check(shown, README)


@pytest.mark.parametrize("command", ["check", "diff", "emit", "map", "test", "trace"])
def test_each_command_is_shown(command: str) -> None:
    commands = [block["command"].split()[0] for block in BLOCK.finditer(README.read_text(encoding="utf-8"))]
    assert command in commands
