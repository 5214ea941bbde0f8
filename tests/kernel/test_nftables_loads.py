"""The kernel takes what the target `nftables` emits, and the reader refuses what nft refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings

from npcompile.backends.nftables import NftablesTarget
from npcompile.backends.target import Options
from npcompile.ir.cluster import Cluster
from npcompile.ir.program import Program
from tests.kernel.wire import namespace, run
from tests.strategies import programs
from tests.unit.readers.test_nftables import BAD_LINES, GOOD_RULES, HEAD

pytestmark = pytest.mark.kernel("ip", "nft")

THEIRS = (
    "table ip theirs {\n chain c {\n  type filter hook forward priority 10; policy accept;\n  tcp dport 1 drop\n }\n}\n"
)


def nft(where: str, *arguments: str, text: str = "", check: bool = True) -> str:
    """What nft prints; with `check` it must succeed."""
    done = run("ip", "netns", "exec", where, "nft", *arguments, text=text, check=check)
    return done.stdout.decode() if done.returncode == 0 else "refused"


@pytest.fixture(scope="module")
def where() -> Iterator[str]:
    with namespace() as name:
        yield name


def kinds(where: str) -> list[str]:
    """The kinds of objects in our table, by nft's JSON, sorted."""
    listed = json.loads(nft(where, "-j", "list", "table", "inet", "npcompile"))["nftables"]
    return sorted(kind for item in listed for kind in item if kind != "metainfo")


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(program=programs())
def test_what_the_kernel_holds_is_what_was_emitted(where: str, program: Program) -> None:
    text = NftablesTarget().emit(program, Options()).files["nftables.nft"].decode()
    nft(where, "-f", "-", text=f"flush ruleset\n{THEIRS}")
    theirs = nft(where, "list", "table", "ip", "theirs")
    nft(where, "-f", "-", text=text)
    once = nft(where, "list", "table", "inet", "npcompile")
    nft(where, "-f", "-", text=text)
    assert nft(where, "list", "table", "inet", "npcompile") == once
    assert nft(where, "list", "table", "ip", "theirs") == theirs
    words = [line.split()[1] for line in text.splitlines()[2:] if line.split()[1] != "element"]
    assert kinds(where) == sorted(words)


def test_the_load_command_works_as_it_stands(where: str, tmp_path: Path) -> None:
    artifact = NftablesTarget().emit(Program(policies=(), cluster=Cluster()), Options())
    for name, content in artifact.files.items():
        (tmp_path / name).write_bytes(content)
    run("ip", "netns", "exec", where, "sh", "-ec", f"cd {tmp_path}\n" + "\n".join(artifact.load))


def test_nft_takes_all_that_the_reader_understands(where: str) -> None:
    nft(where, "-f", "-", text=HEAD + "".join(f"add rule inet npcompile {rule}\n" for rule in GOOD_RULES))


@pytest.mark.parametrize("line", BAD_LINES)
def test_nft_refuses_what_the_reader_calls_wrong(where: str, line: str) -> None:
    nft(where, "-f", "-", text=HEAD)
    before = nft(where, "list", "ruleset")
    assert nft(where, "-f", "-", text=f"{HEAD}{line}\n", check=False) == "refused"
    assert nft(where, "list", "ruleset") == before
