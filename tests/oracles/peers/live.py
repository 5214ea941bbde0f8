"""Runs network-config-analyzer, from an environment of its own that it is installed into once."""

from __future__ import annotations

import fcntl
import functools
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.oracles.peers.listings import read_live
from tests.oracles.peers.table import Table

_HERE = Path(__file__).resolve().parent
_INSTALLED = ROOT / ".pytest_cache" / "d" / "network-config-analyzer"
_SECONDS = 240


@functools.cache
def obstacle() -> str:
    """Why it cannot run here; empty where it can.  Installs it where it is not there yet."""
    _INSTALLED.parent.mkdir(parents=True, exist_ok=True)
    with _INSTALLED.with_suffix(".lock").open("w") as lock:  # test processes run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _install()


def _install() -> str:
    command = ["sh", str(_HERE / "install.sh"), str(_INSTALLED)]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHON": sys.executable},
            capture_output=True, text=True, check=False, timeout=_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"installing it took more than {_SECONDS} seconds"
    said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
    return "" if done.returncode == 0 else f"it cannot be installed ({said[-1].strip()})"


@functools.cache
def listing(folder: Path) -> Table:
    """What it says of a folder's manifests."""
    nca = str(_INSTALLED / "bin" / "nca")
    done = subprocess.run(
        [nca, "--connectivity", "-r", str(folder), "-o", "txt_no_fw_rules"],
        capture_output=True, text=True, check=False, timeout=_SECONDS,
    )  # fmt: skip
    if done.returncode != 0 or "global: cluster has " not in done.stdout:
        raise RuntimeError(f"network-config-analyzer failed ({done.returncode}): {done.stdout}{done.stderr}")
    return read_live(done.stdout)
