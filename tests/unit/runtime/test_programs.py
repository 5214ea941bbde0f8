"""Programs that are run to change the kernel, and what becomes of them when we are interrupted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from npcompile.runtime import programs
from npcompile.runtime.loader import Step
from npcompile.runtime.programs import ProgramError, at_work, run


def test_an_interrupted_program_has_ended_before_anything_else_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is in the kernel ends when it comes back from there, however late."""
    monkeypatch.setattr(subprocess.Popen, "kill", lambda _: None)
    done = tmp_path / "done"
    step = Step(command=("sh", "-c", f"sleep 0.6; touch {done}"), text="")
    with (tmp_path / "lock").open("w") as lock, pytest.raises(KeyboardInterrupt), at_work(step, lock.fileno()):
        raise KeyboardInterrupt
    assert done.exists()


def test_what_is_said_of_every_line_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_PATIENCE", 0)
    step = Step(command=("sh", "-c", "echo Error in line 1: in use >&2; exit 1"), text="one\ntwo\nthree\n", last=True)
    with (tmp_path / "lock").open("w") as lock, pytest.raises(ProgramError) as failure:
        run(step, lock.fileno())
    assert str(failure.value).count("in use") == 2  # the command, and what it said
