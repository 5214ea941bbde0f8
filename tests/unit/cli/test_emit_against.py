"""`emit --against`: the steps from an older artifact, as files that the manifest lists."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.commands import npcompile

SOURCE = "examples/payments"


def emit(directory: Path, *arguments: str | Path, target: str = "iptables", source: str | Path = SOURCE) -> int:
    return npcompile("emit", source, "--target", target, "-o", directory, *arguments).code


@pytest.mark.parametrize("target", ["iptables", "nftables"])
def test_each_step_is_a_file_that_the_manifest_lists(target: str, tmp_path: Path) -> None:
    old, new, again = tmp_path / "old", tmp_path / "new", tmp_path / "again"
    fewer = Path(SOURCE) / "pods.yaml"
    assert emit(old, Path(SOURCE) / "namespaces.yaml", target=target, source=fewer) == 0
    assert emit(new, "--against", old, target=target) == 0
    assert emit(again, "--against", old, target=target) == 0
    steps = json.loads((new / "manifest.json").read_text())["delta"]
    assert steps
    for step in steps:
        data = (new / step["file"]).read_bytes()
        assert step["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert data == (again / step["file"]).read_bytes()
    assert {path.name for path in new.glob("delta-*")} == {step["file"] for step in steps}
    assert emit(again, "--against", new, target=target) == 0
    assert json.loads((again / "manifest.json").read_text())["delta"] == []
    assert not list(again.glob("delta-*"))


def test_the_steps_are_printed_to_be_run_beside_the_new_files(tmp_path: Path) -> None:
    """They are files of the new artifact, and begin with what the old one loads."""
    old, new = tmp_path / "old", tmp_path / "new"
    assert emit(old, target="nftables", source=Path(SOURCE) / "pods.yaml") == 0
    result = npcompile("emit", SOURCE, "--target", "nftables", "-o", new, "--against", old)
    *_, told, step = result.err.splitlines()
    assert told == f"or, where {old} is loaded, in this order:"
    assert (new / step.split(" < ")[1]).exists() and not (old / step.split(" < ")[1]).exists()


def test_an_artifact_of_another_target_or_none(tmp_path: Path) -> None:
    assert emit(tmp_path / "old", target="nftables") == 0
    for against in (tmp_path / "old", tmp_path / "absent"):
        result = npcompile("emit", SOURCE, "--target", "iptables", "-o", tmp_path / "new", "--against", against)
        assert result.code == 2
        assert "NPC710" in result.err
        assert not (tmp_path / "new").exists()
