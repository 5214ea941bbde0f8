"""The cache: what a key's holder put there comes back, and nothing else does, whatever lies in its place."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npcompile.diagnostics.errors import InputError
from npcompile.driver import cache as module
from npcompile.driver.cache import DIRECTORY, KEY, Cache, open_cache

ANSWER = b'["all is well"]'


@pytest.fixture
def kept(tmp_path: Path) -> Cache:
    return Cache(folder=tmp_path / "cache", key=b"k" * 32)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (DIRECTORY, KEY, "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_what_is_put_comes_back(kept: Cache) -> None:
    name = kept.name([b"a"])
    assert kept.get(name) is None
    kept.put(name, ANSWER)
    assert kept.get(name) == ANSWER
    assert [path.name for path in kept.folder.iterdir()] == [name]


def test_other_questions_have_other_names(kept: Cache) -> None:
    questions = [[b"a", b"b"], [b"ab"], [b"ab", b""], [b"", b"ab"], [b"b", b"a"], []]
    assert len({kept.name(question) for question in questions}) == len(questions)
    other = Cache(folder=kept.folder, key=b"l" * 32)
    assert other.name([b"a"]) != kept.name([b"a"])


def test_another_version_has_other_names(kept: Cache) -> None:
    before = kept.name([b"a"])
    with mock.patch.object(module, "_own_digest", lambda: b"another version"):
        assert kept.name([b"a"]) != before


@pytest.mark.parametrize(
    "name", [*(f"byte {n}" for n in (0, 31, 32, -1)), "cut", "longer", "empty", "foreign", "moved"]
)
def test_nothing_else_is_believed(kept: Cache, name: str) -> None:
    question = kept.name([b"a"])
    kept.put(question, ANSWER)
    path = kept.folder / question
    content = bytearray(path.read_bytes())
    match name.split():
        case ["byte", number]:
            content[int(number)] ^= 1
        case ["cut"]:
            del content[-1]
        case ["longer"]:
            content += b" "
        case ["empty"]:
            content.clear()
        case ["foreign"]:
            Cache(folder=kept.folder, key=b"l" * 32).put(question, ANSWER)
            content = bytearray(path.read_bytes())
        case ["moved"]:
            question = kept.name([b"b"])
            path = kept.folder / question
    path.write_bytes(content)
    assert kept.get(question) is None
    kept.put(question, ANSWER)
    assert kept.get(question) == ANSWER


@given(st.binary(max_size=80))
def test_any_bytes(content: bytes) -> None:
    with mock.patch.object(module, "_read", lambda *_: content):
        assert Cache(folder=Path("/nowhere"), key=b"k" * 32).get("0" * 64) is None


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "loop"])
def test_what_is_no_file(kept: Cache, kind: str, tmp_path: Path) -> None:
    question = kept.name([b"a"])
    kept.put(question, ANSWER)
    path = kept.folder / question
    path.rename(tmp_path / "moved")
    match kind:
        case "folder":
            (path / "x").mkdir(parents=True)
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(tmp_path / "moved")
        case "loop":
            path.symlink_to(path)
    assert kept.get(question) is None
    kept.put(question, ANSWER)
    assert kept.get(question) == (None if kind == "folder" else ANSWER)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    cache = Cache(folder=tmp_path / "file" / "cache", key=b"k" * 32)
    cache.put("0" * 64, ANSWER)
    assert cache.get("0" * 64) is None
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_was_used_longest_ago_makes_room(kept: Cache) -> None:
    names = [kept.name([bytes([number])]) for number in range(4)]
    (kept.folder).mkdir()
    (kept.folder / "foreign.txt").write_bytes(b"x" * 500)
    with mock.patch.object(module, "MAX_TOTAL", 3 * (32 + 100)):
        for number, name in enumerate(names[:3]):
            kept.put(name, b"x" * 100)
            os.utime(kept.folder / name, (number, number))
        assert kept.get(names[0]) is not None  # used now
        kept.put(names[3], b"x" * 100)
    assert [kept.get(name) is not None for name in names] == [True, False, True, True]
    assert (kept.folder / "foreign.txt").exists()


def test_what_is_too_large_is_not_kept(kept: Cache) -> None:
    with mock.patch.object(module, "MAX_ENTRY", 100):
        kept.put("0" * 64, b"x" * 100)
    assert not kept.folder.exists()


def test_where_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_cache()
    assert opened is not None
    assert opened.folder == home / ".cache/npcompile"
    key = home / ".local/state/npcompile/cache.key"
    assert key.read_bytes() == opened.key
    assert key.stat().st_mode & 0o777 == 0o600
    assert open_cache() == opened
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "x"))
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert open_cache() == Cache(folder=home / "x/npcompile", key=opened.key)
    monkeypatch.setenv(DIRECTORY, str(home / "y"))
    assert open_cache() == Cache(folder=home / "y", key=opened.key)
    monkeypatch.setenv(DIRECTORY, "")
    assert open_cache() is None


@pytest.mark.parametrize("spoil", ["open", "short", "link"])
def test_a_key_that_others_may_know_is_none(home: Path, spoil: str) -> None:
    assert open_cache() is not None
    key = home / ".local/state/npcompile/cache.key"
    match spoil:
        case "open":
            key.chmod(0o644)
        case "short":
            key.write_bytes(b"k")
        case "link":
            key.rename(home / "moved")
            key.symlink_to(home / "moved")
    assert open_cache() is None


def test_without_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("x")
    monkeypatch.setenv("HOME", str(home / "file"))
    assert open_cache() is None


def test_a_key_of_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "s" * 32)
    opened = open_cache()
    assert opened is not None
    assert not (home / ".local").exists()
    monkeypatch.setenv(KEY, "s" * 31 + "t")
    other = open_cache()
    assert other is not None
    assert other.key != opened.key
    monkeypatch.setenv(KEY, "guess me")
    with pytest.raises(InputError, match="can be guessed"):
        open_cache()
