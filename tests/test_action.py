"""The GitHub action: its steps' scripts, run by bash as a runner would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
INSTALL, CHECK = ACTION["runs"]["steps"]

# It selects what cannot exist: a finding whatever else is in the cluster.
FINDING = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: dead, namespace: shop}
spec:
  podSelector:
    matchExpressions: [{key: app, operator: Exists}, {key: app, operator: DoesNotExist}]
  policyTypes: [Ingress]
"""


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """What the first step leaves behind: an environment with npcompile."""
    directory = tmp_path / "venv"
    program = directory / "bin" / "npcompile"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m npcompile "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return directory


def check(venv: Path, directory: Path, *, paths: str = "", args: str = "") -> subprocess.CompletedProcess[str]:
    # A runner's `shell: bash` is this command line.
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", CHECK["run"]],
        cwd=directory,
        env=os.environ | {"VENV": str(venv), "PATHS": paths, "ARGS": args, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_inputs_never_become_part_of_a_script() -> None:
    assert ACTION["runs"]["using"] == "composite"
    for step in (INSTALL, CHECK):
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]


def test_a_finding_annotates_and_fails(venv: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "dead.yaml").write_text(FINDING, encoding="utf-8")
    for paths in ("", ".", "dead.yaml"):
        result = check(venv, repository, paths=paths)
        assert result.returncode == 1, result.stderr
        assert "::error" in result.stdout
        assert "file=dead.yaml" in result.stdout


def test_a_clean_cluster_passes(venv: Path) -> None:
    result = check(venv, ROOT, paths="examples/payments", args="--fail-on warning")
    assert result.returncode == 0, result.stdout + result.stderr


def test_inputs_are_not_run(venv: Path, tmp_path: Path) -> None:
    check(venv, tmp_path, paths="$(touch made) ; touch made", args="`touch made`")
    assert not (tmp_path / "made").exists()
