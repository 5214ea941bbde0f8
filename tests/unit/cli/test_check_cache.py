"""`npcompile check` with its cache: the same words, and no work; and never another's words."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from npcompile.diagnostics.render import FORMATS
from npcompile.driver.cache import DIRECTORY, KEY
from tests.commands import ROOT, Result, npcompile

EXAMPLES = ("examples/mistakes", "examples/payments")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(DIRECTORY, str(tmp_path / "cache"))
    monkeypatch.setenv(KEY, "0123456789" * 4)
    return tmp_path / "cache"


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def check(*arguments: str | Path, works: bool) -> Result:
    """Run `check`; whether it is to check, or to remember."""
    with mock.patch("npcompile.driver.check.load", side_effect=AssertionError) if not works else mock.MagicMock():
        return npcompile("check", *arguments)


@pytest.mark.parametrize("output", sorted(FORMATS))
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_same_words(example: str, output: str) -> None:
    first = npcompile("check", example, "--output-format", output, "--no-cache")
    for works in (True, False):
        again = check(example, "--output-format", output, works=works)
        assert (again.code, again.out) == (first.code, first.out)


def test_no_cache(folder: Path) -> None:
    npcompile("check", EXAMPLES[0], "--no-cache")
    assert entries(folder) == []
    npcompile("check", EXAMPLES[0])
    assert len(entries(folder)) == 1
    assert "AssertionError" in check(EXAMPLES[0], "--no-cache", works=False).err


OPTIONS = (
    ("--select", "NPC1"), ("--ignore", "NPC1"), ("--fail-on", "error"), ("--effort", "3000000"), ("--symbolic",),
    ("--cni", "calico"),
)  # fmt: skip


def test_any_option_and_file_is_another_question(folder: Path, tmp_path: Path) -> None:
    for one in (ROOT / EXAMPLES[0]).iterdir():
        (tmp_path / one.name).write_bytes(one.read_bytes())
    other = tmp_path / "other.yaml"
    other.write_text((tmp_path / "policies.yaml").read_text() + "# changed\n")
    runs: list[tuple[str | Path, ...]] = [
        *((EXAMPLES[0], *options) for options in ((), *OPTIONS)),
        (tmp_path / "policies.yaml",),
        (other,),
        (EXAMPLES[1],),
        EXAMPLES,
    ]
    for number, arguments in enumerate(runs, 1):
        npcompile("check", *arguments)
        assert len(entries(folder)) == number, arguments


def test_a_planted_entry_is_checked_again_and_overwritten(folder: Path) -> None:
    """The attack that matters: an entry that says that all is well, in the place of one with findings."""
    bad, good = (npcompile("check", example, "--select", "NPC2") for example in EXAMPLES)
    assert (bad.code, good.code) == (1, 0)
    first, second = entries(folder)
    original = {path: path.read_bytes() for path in (first, second)}
    first.write_bytes(original[second])
    second.write_bytes(original[first])
    for example, before in zip(EXAMPLES, (bad, good), strict=True):
        again = npcompile("check", example, "--select", "NPC2")
        assert (again.code, again.out) == (before.code, before.out)
    assert {path: path.read_bytes() for path in (first, second)} == original


def test_another_key_is_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npcompile("check", EXAMPLES[0])
    monkeypatch.setenv(KEY, "9876543210" * 4)
    npcompile("check", EXAMPLES[0])
    assert len(entries(folder)) == 2


def test_neither_bad_input_nor_an_undecided_question_is_kept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("kind: NetworkPolicy\n")
    assert npcompile("check", tmp_path / "bad.yaml").code == 2
    undecided = npcompile(
        "check", "examples/mistakes/policies.yaml", "--symbolic", "--effort", "1", "--fail-on", "never"
    )
    assert undecided.code == 3
    assert entries(folder) == []


def test_sealed_nonsense_is_checked_again() -> None:
    first = npcompile("check", EXAMPLES[0])
    for answer in (
        b"",
        b"[]",
        b"{}",
        b"[1,2,[0]]",
        b"[1,2,[99,1]]",
        b"[1,2,[-2,99]]",
        b"\xff",
        b"null",
        b"[1,2,[-1,3]]",
    ):
        with mock.patch("npcompile.driver.cache.Cache.get", lambda *_, answer=answer: answer):
            again = npcompile("check", EXAMPLES[0])
        assert (again.code, again.out) == (first.code, first.out)


def test_names_and_texts_with_any_characters(tmp_path: Path) -> None:
    path = tmp_path / "ü\udcff.yaml"
    path.write_text((ROOT / "examples/mistakes/policies.yaml").read_text().replace("# ", "# \U0001f600 "))
    first = npcompile("check", path, "--output-format", "json")
    again = check(path, "--output-format", "json", works=False)
    assert (again.code, again.out) == (first.code, first.out)
