"""What an apply notes for the next one: that it is what the kernel would tell, and that doubt makes it ask."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings

from npcompile.ir.program import Program
from npcompile.runtime import noted
from npcompile.runtime.converge import Kernel
from npcompile.runtime.iptables import IptablesLoader
from npcompile.runtime.iptables.loader import State
from npcompile.runtime.loader import Loader
from npcompile.runtime.nf_tables import generation
from npcompile.runtime.nftables import NftablesLoader
from npcompile.runtime.nftables.image import from_note
from npcompile.runtime.noted import Note
from tests.kernel.applying import BOTH, HISTORY, RESTARTED, WIDER, kernel, npcompile, stored, write
from tests.kernel.test_apply import THEIRS, shim
from tests.kernel.wire import entered, namespace, run
from tests.properties.test_deltas import histories

pytestmark = pytest.mark.kernel(
    "ip", "ipset", "nft", "iptables-nft-save", "iptables-nft-restore", "ip6tables-nft-restore"
)

LOADERS: Mapping[str, Loader] = {"iptables-nft": IptablesLoader(variant="nft"), "nftables": NftablesLoader()}
LISTS = {"iptables-nft": ("iptables-nft-save", '*"-t filter"*'), "nftables": ("nft", "*list*")}


def held(loader: Kernel[object, object], *, noted: bool) -> object:
    """What is loaded, without how that is known."""
    with loader.reading(noted=noted) as state:
        found = state()
    return {name: getattr(found, name) for name in ("table", "families", "tables", "elsewhere") if hasattr(found, name)}


def is_noted(loader: Kernel[object, object]) -> bool:
    with loader.reading(noted=True) as state:
        return state().noted  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("name", LOADERS)
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(history=histories())
def test_a_note_tells_what_the_kernel_tells(name: str, history: list[Program]) -> None:
    loader: Loader = LOADERS[name]
    with namespace() as where, entered(where):
        for program in (*history, *HISTORY):
            loader.apply(stored(program, loader.target))
            assert held(loader, noted=True) == held(loader, noted=False)  # type: ignore[arg-type]
            assert is_noted(loader)  # type: ignore[arg-type]
        loader.detach()
        assert not is_noted(loader)  # type: ignore[arg-type]


@pytest.mark.kernel("iptables-legacy-save", "iptables-legacy-restore", "ip6tables-legacy-restore")
@pytest.mark.parametrize("variant", ["legacy", "nft"])
@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(history=histories())
def test_what_an_apply_does_not_read_again_is_as_it_thinks(variant: str, history: list[Program]) -> None:
    """Down to the references to sets, of which only rules were changed."""
    thought: list[State] = []

    class Recording(IptablesLoader):
        def note(self, state: State) -> None:
            thought.append(state)

    loader = Recording(variant=variant)
    with namespace() as where, entered(where):
        for program in (*history, *HISTORY):
            loader.apply(stored(program, loader.target))
            with loader.reading(noted=False) as state:
                now, last = state(), thought.pop()
            assert now.tables == last.tables
            assert now.sets == {name: one for name, one in last.sets.items() if name in now.sets}
            assert set(last.sets) - set(now.sets) <= {name for one in last.families.values() for name in one.stale}


@pytest.fixture
def listings(tmp_path: Path) -> Callable[[str], tuple[Path, Callable[[], int]]]:
    """By loader, programs that count how often the kernel is asked for its rules, and the count."""

    def of(name: str) -> tuple[Path, Callable[[], int]]:
        program, pattern = LISTS[name]
        log = tmp_path / "listings"
        log.touch()
        path = shim(tmp_path / "bin", program, f'case "$*" in {pattern}) echo >> {log};; esac\nexec $real "$@"')
        return path, lambda: len(log.read_text().splitlines())

    return of


def arguments(name: str) -> tuple[str, ...]:
    return ("--variant", "nft") if name == "iptables-nft" else ()


@pytest.mark.parametrize("name", LOADERS)
def test_the_rules_are_listed_only_where_no_note_tells_them(
    name: str, tmp_path: Path, listings: Callable[[str], tuple[Path, Callable[[], int]]]
) -> None:
    target = LOADERS[name].target
    first, second = write(BOTH, target, tmp_path / "1"), write(WIDER, target, tmp_path / "2")
    path, count = listings(name)
    with namespace() as where:

        def listed_by(*words: str | Path) -> bool:
            before = count()
            npcompile(where, "apply", *words, *arguments(name), path=path)
            return count() > before

        assert listed_by(first)
        assert not listed_by(first)
        assert not listed_by(second)
        assert listed_by(second, "--dry-run")
        assert not listed_by(first)
        run("ip", "netns", "exec", where, "nft", "-f", "-", text=THEIRS)
        assert listed_by(first)
        assert not listed_by(first)
        with entered(where):
            note = Note.of_thread(name)
            assert note is not None and note.path.exists()
        assert not listed_by("--detach", "--target", target)
        assert not note.path.exists()


MEDDLING = {
    "nftables": (
        "nft add rule inet npcompile forward accept",
        "nft flush chain inet npcompile forward",
        "nft flush ruleset",
        "nft delete table inet npcompile",
        "nft 'add table inet npcompile { flags dormant; }'",
        "nft delete table inet npcompile; nft 'add table inet npcompile { flags dormant; }'",
        "nft flush $(nft list table inet npcompile | grep -E '^\t(set|map) ' | tail -n 1 | "
        "sed 's/ / inet npcompile /; s/{//')",
    ),
    "iptables-nft": (
        "iptables-nft -I NPC-FORWARD -j ACCEPT",
        "iptables-nft -F NPC-FORWARD",
        "ip6tables-nft -D FORWARD -j NPC-FORWARD",
        "nft flush ruleset",
        "ipset save | grep '^add npc4-sel' | head -n 1 | sed s/add/del/ | ipset restore",
    ),
}


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, them in MEDDLING.items() for number in range(len(them))]
)
def test_what_others_change_between_two_applies_is_put_right(name: str, number: int) -> None:
    loader: Loader = LOADERS[name]
    with namespace() as where, entered(where):
        loader.apply(stored(BOTH, loader.target))
        loader.apply(stored(WIDER, loader.target))
        assert is_noted(loader)  # type: ignore[arg-type]
        before = everything(where)
        run("sh", "-c", MEDDLING[name][number])
        assert everything(where) != before
        assert loader.apply(stored(WIDER, loader.target)).steps
        assert not loader.delta(stored(WIDER, loader.target)).steps


def everything(where: str) -> object:
    """Rules and sets."""
    return run("nft", "list", "ruleset").stdout, kernel(where)


@pytest.mark.parametrize("name", LOADERS)
def test_killed_between_its_transaction_and_the_note_the_next_one_asks_the_kernel(
    name: str, tmp_path: Path, listings: Callable[[str], tuple[Path, Callable[[], int]]]
) -> None:
    loader: Loader = LOADERS[name]
    first, second = write(BOTH, loader.target, tmp_path / "1"), write(RESTARTED, loader.target, tmp_path / "2")
    wider = write(WIDER, loader.target, tmp_path / "3")
    program = "nft" if name == "nftables" else "iptables-nft-restore"
    killing = shim(tmp_path / "killing", program, '$real "$@"; kill -9 $PPID')
    path, count = listings(name)
    with namespace() as where:
        npcompile(where, "apply", first, *arguments(name))
        assert npcompile(where, "apply", wider, *arguments(name), path=killing, check=False).returncode == -9
        npcompile(where, "apply", second, *arguments(name), path=path)
        assert count()
        with entered(where):
            assert not loader.delta(stored(RESTARTED, loader.target)).steps


# --- notes themselves ---


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(noted, "PLACE", tmp_path / "run")
    return tmp_path / "run"


def here() -> Note:
    note = Note.of_thread("tests")
    assert note is not None
    return note


def test_a_note_is_of_its_generation_boot_namespace_and_version(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here().read(7, list) is None
    here().write(7, ["held"])
    assert here().read(7, list) == ["held"]
    assert (here().read(6, list), here().read(8, list)) == (None, None)
    with namespace() as where, entered(where):
        assert here().read(7, list) is None
    boot = place / "boot"
    boot.write_text("another\n")
    with monkeypatch.context() as patch:
        patch.setattr(noted, "_BOOT", boot)
        assert here().read(7, list) is None
    with monkeypatch.context() as patch:
        patch.setattr(noted, "__version__", "another")
        assert here().read(7, list) is None
    with monkeypatch.context() as patch:
        patch.setattr(noted, "_MODULE", boot)  # loaded again
        assert here().read(7, list) is None
    assert here().read(7, list) == ["held"]
    here().remove()
    here().remove()
    assert here().read(7, list) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"holds": []}', '{"counting": [7], "holds": []}'])
def test_what_is_no_note_tells_nothing(text: str, place: Path) -> None:
    here().write(7, ["held"])
    here().path.write_text(text)
    assert here().read(7, list) is None


@pytest.mark.parametrize(
    "holds", [None, [], 7, "held", {"forward": []}, [[["forward"]], [], False], [7, {}], [{"INPUT": 7}, {}]]
)
def test_a_note_of_another_shape_tells_nothing(holds: object, place: Path) -> None:
    with namespace() as where, entered(where):
        for name, loader in LOADERS.items():
            loader.apply(stored(BOTH, loader.target))
            note = Note.of_thread(name)
            assert note is not None
            noted = json.loads(note.path.read_text())
            note.path.write_text(json.dumps({**noted, "holds": holds}))
            assert not is_noted(loader)  # type: ignore[arg-type]
            assert loader.apply(stored(WIDER, loader.target)).steps
            assert not loader.delta(stored(WIDER, loader.target)).steps
            loader.detach()


def test_where_modules_cannot_be_seen_there_are_no_notes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noted, "_MODULE", place / "module" / "nf_tables")
    assert Note.of_thread("tests") is None
    (place / "module").mkdir(parents=True)
    assert Note.of_thread("tests") is not None


def test_where_no_note_can_be_written_an_apply_goes_on_without(place: Path) -> None:
    place.write_text("not a folder")
    loader = NftablesLoader()
    with namespace() as where, entered(where):
        for program in (BOTH, WIDER, BOTH):
            loader.apply(stored(program, loader.target))
            assert not is_noted(loader)  # type: ignore[arg-type]
            assert not loader.delta(stored(program, loader.target)).steps


@pytest.mark.parametrize("most", [3, 5, 9])
def test_notes_of_namespaces_that_are_gone_do_not_pile_up(
    most: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noted, "_MOST", most)
    paths = []
    for number in range(5):
        with namespace() as where, entered(where):
            here().write(number, number)
            paths.append(here().path)
    assert sorted(place.iterdir()) == sorted(paths[-most:])


def test_a_note_may_be_written_again_and_is_replaced_whole(place: Path) -> None:
    for number in (1, 2):
        here().write(number, [number])
    assert here().read(1, list) is None
    assert here().read(2, list) == [2]
    assert [path.stat().st_mode & 0o777 for path in place.iterdir()] == [0o600]


def test_generations_that_others_make_meanwhile_leave_no_note(tmp_path: Path) -> None:
    """One right after our transaction: what is loaded then is read, and it may be more than what we made."""
    loader: Loader = LOADERS["nftables"]
    second = write(WIDER, "nftables", tmp_path / "2")
    meddle = '$real "$@"; $real add table inet theirs; exit 0'
    path = shim(tmp_path / "bin", "nft", f'case "$*" in *-f*) {meddle};; esac\nexec $real "$@"')
    with namespace() as where, entered(where):
        loader.apply(stored(BOTH, "nftables"))
        note = Note.of_thread("nftables")
        assert note is not None
        npcompile(where, "apply", second, path=path)
        now = generation()
        assert now is not None
        told = note.read(now, from_note)
        assert told is None or held(loader, noted=True) == held(loader, noted=False)  # type: ignore[arg-type]
        assert not loader.delta(stored(WIDER, "nftables")).steps
