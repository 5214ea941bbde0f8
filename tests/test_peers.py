"""npcompile's whole connectivity of real manifests, against two other programs' (docs/peers.md).

The manifests and what netpol-analyzer says of them lie in ../shared/realworld; network-config-analyzer runs live, from
an environment of its own.  A difference that tests/oracles/peers/differences.py does not list fails, and so does one
that it lists and that is no longer there.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
from npcompile.ir.program import Program
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import EVERY_PORT, Protocol, all_ports, port_range
from tests.conftest import shared_dir
from tests.oracles.peers import live
from tests.oracles.peers.connectivity import by_evaluator, by_relation
from tests.oracles.peers.conventions import CONVENTIONS, Convention, Peer, PodsDifferError, seen_as
from tests.oracles.peers.differences import (
    FOLDERS,
    KNOWN_DIFFERENCES,
    NEEDED,
    ONLY_PORTLESS,
    REDUNDANT,
    Reason,
    known_lines,
    surprises,
)
from tests.oracles.peers.listings import NUMBERED, read_expected, read_live
from tests.oracles.peers.mutants import EDITS, Drop, Edit, drops
from tests.oracles.peers.table import Difference, Table, compare

TCP_80 = port_range(Protocol.TCP, 80, 80)


@pytest.fixture
def realworld() -> Path:
    return shared_dir("realworld")


@pytest.fixture
def installed() -> None:
    if reason := live.obstacle():
        pytest.skip(f"network-config-analyzer cannot run: {reason}")


@functools.cache
def program(folder: Path) -> Program:
    return load(read_sources([str(folder)])).program


def expected(realworld: Path, folder: str) -> Table:
    return read_expected((realworld / "expected" / f"{folder}.txt").read_text())


def differences(folder: Path, peer: Peer, theirs: Table, *, without: Convention | None = None) -> list[Difference]:
    return compare(seen_as(program(folder), CONVENTIONS[peer] - {without}, by_relation), theirs)


def needed(folder: Path, peer: Peer, theirs: Table) -> set[Convention]:
    """The conventions without which a comparison has other differences."""
    usual = differences(folder, peer, theirs)
    questioned = CONVENTIONS[peer] & NEEDED.keys()
    return {one for one in questioned if _differences_without(one, folder, peer, theirs) != usual}


def _differences_without(one: Convention, folder: Path, peer: Peer, theirs: Table) -> list[Difference] | None:
    try:
        return differences(folder, peer, theirs, without=one)
    except PodsDifferError:
        return None


def listed_as_needed(folder: Path, peer: Peer) -> set[Convention]:
    return {one for one, folders in NEEDED.items() if one in CONVENTIONS[peer] and folder.name in folders}


def test_every_folder_is_compared(realworld: Path) -> None:
    assert {path.name for path in realworld.iterdir() if path.is_dir()} == {*FOLDERS, "expected"}
    assert {path.name for path in (realworld / "expected").iterdir()} == {f"{folder}.txt" for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_relation_engine_equals_the_evaluator(realworld: Path, folder: str) -> None:
    own = program(realworld / folder)
    assert compare(by_relation(own), by_evaluator(own)) == []


@pytest.mark.parametrize("peer", Peer)
@pytest.mark.parametrize("folder", FOLDERS)
def test_so_it_does_under_the_conventions(realworld: Path, folder: str, peer: Peer) -> None:
    own, conventions = program(realworld / folder), CONVENTIONS[peer]
    assert compare(seen_as(own, conventions, by_relation), seen_as(own, conventions, by_evaluator)) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_netpol_analyzer(realworld: Path, folder: str) -> None:
    peer, theirs = Peer.NETPOL_ANALYZER, expected(realworld, folder)
    assert surprises(differences(realworld / folder, peer, theirs), known_lines(peer, folder)) == []
    assert needed(realworld / folder, peer, theirs) == listed_as_needed(realworld / folder, peer)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("folder", FOLDERS)
def test_network_config_analyzer(realworld: Path, folder: str) -> None:
    peer, theirs = Peer.NETWORK_CONFIG_ANALYZER, live.listing(realworld / folder)
    assert surprises(differences(realworld / folder, peer, theirs), known_lines(peer, folder)) == []
    assert needed(realworld / folder, peer, theirs) == listed_as_needed(realworld / folder, peer)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_dropped_policy_shows_beside_netpol_analyzer(realworld: Path, tmp_path: Path, folder: str) -> None:
    peer, theirs = Peer.NETPOL_ANALYZER, expected(realworld, folder)
    mutants = list(drops(realworld / folder))
    assert len(mutants) == len(program(realworld / folder).policies)
    unnoticed = {
        str(mutant)
        for mutant in mutants
        if not surprises(
            differences(mutant.apply(realworld / folder, tmp_path / mutant.policy), peer, theirs),
            known_lines(peer, folder),
        )
    }
    assert unnoticed == {mutant for mutant in REDUNDANT | ONLY_PORTLESS if mutant.startswith(f"{folder}: ")}


@pytest.mark.parametrize("mutant", EDITS, ids=str)
def test_an_edit_shows_beside_netpol_analyzer(realworld: Path, tmp_path: Path, mutant: Edit) -> None:
    changed = mutant.apply(realworld / mutant.folder, tmp_path / mutant.folder)
    found = differences(changed, Peer.NETPOL_ANALYZER, expected(realworld, mutant.folder))
    assert surprises(found, known_lines(Peer.NETPOL_ANALYZER, mutant.folder))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_dropped_policy_shows_beside_network_config_analyzer(realworld: Path, tmp_path: Path, folder: str) -> None:
    mutant = next(one for one in drops(realworld / folder) if str(one) not in REDUNDANT)
    check_live(realworld, tmp_path, mutant)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("mutant", EDITS, ids=str)
def test_an_edit_shows_beside_network_config_analyzer(realworld: Path, tmp_path: Path, mutant: Edit) -> None:
    check_live(realworld, tmp_path, mutant)


def check_live(realworld: Path, tmp_path: Path, mutant: Edit | Drop) -> None:
    """The peer and npcompile agree on the changed manifests, and disagree when only one of them sees the change."""
    peer, original = Peer.NETWORK_CONFIG_ANALYZER, realworld / mutant.folder
    theirs = live.listing(mutant.apply(original, tmp_path / mutant.folder))
    assert differences(tmp_path / mutant.folder, peer, theirs) == []
    assert differences(original, peer, theirs)


def test_the_table_of_known_differences_is_kept() -> None:
    one = Difference(src="a/x[Pod]", dst="a/y[Pod]", ours=EVERY_PORT, theirs=TCP_80)
    line = "a/x[Pod] => a/y[Pod] : any port, not tcp/80"
    assert surprises([one], {line}) == []
    assert surprises([one], set()) == [f"not listed: {line}"]
    assert surprises([], {line}) == [f"listed, and no longer so: {line}"]


def test_what_is_listed_is_also_looked_at() -> None:
    assert {one.folder for one in KNOWN_DIFFERENCES} <= set(FOLDERS)
    assert {one.reason for one in KNOWN_DIFFERENCES} == set(Reason)
    assert set(NEEDED) == set(Convention) - {Convention.SELF_PAIRS}
    assert {mutant.partition(":")[0] for mutant in REDUNDANT | ONLY_PORTLESS} <= set(FOLDERS)


def test_tables_are_compared_point_by_point() -> None:
    halves: Table = {(IntervalSet.of(0, 9), "x"): TCP_80, (IntervalSet.of(10, 19), "x"): TCP_80}
    assert compare(halves, {(IntervalSet.of(0, 19), "x"): TCP_80}) == []
    (found,) = compare(halves, {(IntervalSet.of(5, 24), "x"): TCP_80, ("x", "y"): IntervalSet()})[:1]
    assert str(found) == "0.0.0.0-0.0.0.4 => x : tcp/80, not no port"
    assert [str(one) for one in compare({}, {("x", IntervalSet.of(3, 3)): TCP_80, ("x", "y"): TCP_80})] == [
        "x => 0.0.0.3-0.0.0.3 : no port, not tcp/80",
        "x => y : no port, not tcp/80",
    ]


def test_listings_are_read() -> None:
    addresses = IntervalSet.of(0, 255)
    text = "0.0.0.0-0.0.0.255[External] => a/x[Pod] : All Connections\na/x[Pod] => a/y[Pod] : SCTP 1-65535,TCP 80\n"
    assert read_expected(text) == {
        (addresses, "a/x[Pod]"): NUMBERED,
        ("a/x[Pod]", "a/y[Pod]"): all_ports(Protocol.SCTP) | TCP_80,
    }
    text = (
        "global: cluster has 2 unique endpoints, 1 namespaces\n"
        "0.0.0.0-0.0.0.255 => a/x[Pod] : All connections\n"
        "a/x[Pod] => a/y[Pod] : {protocols:TCP,dst_ports:80}\n"
        "a/x[Pod] => a/y[Pod] : {protocols:UDP, SCTP}\n"
    )
    assert read_live(text) == {
        (addresses, "a/x[Pod]"): EVERY_PORT,
        ("a/x[Pod]", "a/y[Pod]"): TCP_80 | all_ports(Protocol.UDP) | all_ports(Protocol.SCTP),
    }


@pytest.mark.parametrize("words", ["{protocols:all but TCP}", "All but {protocols:TCP}", "{src_ports:1}", "some"])
def test_words_that_are_not_understood_are_errors(words: str) -> None:
    for read in (read_expected, read_live):
        with pytest.raises(ValueError, match="not a peer's word"):
            read(f"a/x[Pod] => a/y[Pod] : {words}")
