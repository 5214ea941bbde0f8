"""Programs that are run to change the kernel, and what becomes of them when we are interrupted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from npcompile.runtime.loader import Step
from npcompile.runtime.programs import at_work


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
