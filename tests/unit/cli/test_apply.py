"""`npcompile apply`: what it refuses before it touches anything."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

import pytest

from tests.commands import Result, npcompile


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    built = tmp_path / "built"
    assert npcompile("emit", "examples/payments", "--target", "iptables", "-o", built).code == 0
    return built


def change(artifact: Path, **fields: object) -> None:
    path = artifact / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def refused(*arguments: str | Path) -> Result:
    """Run `apply`, which must end before it looks at the kernel."""
    with mock.patch("subprocess.Popen", side_effect=AssertionError("something was run")):
        result = npcompile("apply", *arguments)
    assert result.code == 2
    assert not result.out
    return result


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    assert "NPC710" in refused(tmp_path / "absent").err
    (tmp_path / "manifest.json").mkdir()
    assert "cannot read" in refused(tmp_path).err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON text"),
        ("\xff", "is no manifest"),
        ("[" * 100_000, "is no JSON text"),
        ("[]", "is no manifest of version 1"),
        ('{"version": 2}', "is no manifest of version 1"),
        ('{"version": 1, "target": 3, "files": {}}', "names no target"),
        ('{"version": 1, "target": "iptables", "files": {"a": 1}}', "lists no files"),
        ('{"version": 1, "target": "iptables", "files": {"../a": "b"}}', "outside of its directory: `../a`"),
        ('{"version": 1, "target": "iptables", "files": {"..": "b"}}', "outside of its directory: `..`"),
    ],
)
def test_a_manifest_that_is_none(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(f'"{text}"' if text == "\xff" else text)
    assert message in refused(tmp_path).err


def test_files_that_are_missing_or_changed_are_named_all_at_once(artifact: Path) -> None:
    (artifact / "ipset.restore").unlink()
    (artifact / "iptables.restore").write_text("*filter\nCOMMIT\n")
    said = refused(artifact).err
    assert "cannot read" in said
    assert "ipset.restore" in said
    assert "iptables.restore` is not what was emitted" in said


def test_a_target_without_a_loader(artifact: Path) -> None:
    change(artifact, target="abacus")
    assert "`abacus`, which has no loader" in refused(artifact).err


def test_options_that_mean_nothing_to_the_target_are_named_all_at_once(artifact: Path, tmp_path: Path) -> None:
    assert "NPC705" in refused(artifact, "--bindings", "nowhere").err
    other = tmp_path / "other"
    assert npcompile("emit", "examples/payments", "--target", "nftables", "-o", other).code == 0
    said = refused(other, "--bindings", "nowhere", "--variant", "nft").err
    assert said.count("NPC705") == 2
    assert "`--bindings` means nothing" in said and "`--variant` could choose" in said


def test_the_target_bpf_needs_to_know_the_interfaces(tmp_path: Path) -> None:
    built = tmp_path / "built"
    assert npcompile("emit", "examples/payments", "--target", "bpf", "-o", built, "--node", "worker-1").code == 0
    said = refused(built, "--variant", "nft", "--node", "worker-2").err
    assert "`--bindings` does not say which" in said and "`--variant` could choose" in said
    assert "for the node `worker-1`" in said


@pytest.mark.parametrize(
    "options",
    [
        ("--bindings", "x"),
        ("--node", "worker-1"),
        ("--target", "nftables", "--variant", "nft"),
        ("--target", "bpf", "--variant", "legacy", "--bindings", "x", "--node", "worker-1"),
    ],
)
def test_options_that_mean_nothing_to_detaching(options: tuple[str, ...]) -> None:
    said = refused("--detach", *options).err
    for option in {"--bindings", "--node", "--variant"} & {*options}:
        assert option in said


def test_the_artifact_of_another_node(artifact: Path) -> None:
    change(artifact, node="worker-7")
    assert "for the node `worker-7`" in refused(artifact).err
    assert "this is `worker-8`" in refused(artifact, "--node", "worker-8").err


def test_not_root_and_no_programs(artifact: Path, tmp_path: Path) -> None:
    with mock.patch("os.geteuid", return_value=1000), mock.patch.dict(os.environ, {"PATH": str(tmp_path)}):
        for arguments in ((artifact,), (artifact, "--dry-run"), ("--detach", "--target", "iptables")):
            said = refused(*arguments).err
            assert "only root" in said
            for program in ("ipset", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"):
                assert f"`{program}` is not installed" in said


@pytest.mark.parametrize("arguments", [(), ("somewhere", "--detach"), ("somewhere", "--target", "iptables")])
def test_usage(arguments: tuple[str, ...]) -> None:
    refused(*arguments)
