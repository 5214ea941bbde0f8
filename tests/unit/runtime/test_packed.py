"""The tables of exact matches: what is put in is found again, by the way that the programs look for it."""

from __future__ import annotations

import random
import secrets
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npcompile.backends.bpf.limits import MOST_ENTRIES
from npcompile.readers.bpf_maps import read_maps
from npcompile.runtime.bpf import packed
from npcompile.runtime.bpf.capacity import MOST_BUCKETS, capacity
from npcompile.runtime.bpf.layout import NAMES, PACKED
from npcompile.runtime.bpf.packed import BUCKET, Hashing, Packed, Slots, Spread, arrange
from tests.kernel.bpf import document

WORDS = st.integers(0, 2**32 - 1) | st.integers(0, 3)
NUMBERS = st.integers(1, 2**32 - 1).map(lambda number: struct.pack("=I", number))


@st.composite
def filled(draw: st.DrawFn) -> tuple[Packed, Slots]:
    table = draw(st.sampled_from(PACKED))
    keys = st.tuples(*[WORDS] * table.words).map(lambda words: struct.pack(f"={table.words}I", *words))
    return table, draw(st.dictionaries(keys, NUMBERS, max_size=60))


def found(half: bytes, table: Packed, hashing: Hashing, key: bytes) -> bytes:
    """As `bpf_templates/table.h` has it: the bucket of the hash, and on while buckets are full."""
    number = 0
    for (word,) in struct.iter_unpack("=I", key):
        number = ((number ^ word) * hashing.multiplier) & (2**64 - 1)
    at = ((number >> 32) * hashing.sizes[table.name]) >> 32
    for step in range(4):
        words = struct.unpack("=16I", half[(at + step) * BUCKET : (at + step + 1) * BUCKET])
        places = 16 // (table.words + 1)
        for place in range(places):
            if struct.pack(f"={table.words}I", *words[place * table.words : (place + 1) * table.words]) == key:
                return struct.pack("=I", words[places * table.words + place])
        if not words[places * (table.words + 1) - 1]:
            break
    return bytes(4)


@given(filled(), st.integers(0, 2**63 - 1), st.sampled_from([1, 2, 3, 4, 16]))
def test_what_is_put_in_is_found(given_: tuple[Packed, Slots], half_multiplier: int, size: int) -> None:
    table, entries = given_
    hashing = Hashing(multiplier=2 * half_multiplier + 1, sizes={table.name: size})
    half = table.fill(entries, hashing)
    if half is None:
        assert len(entries) > 4 * table.places - 1  # with less there is room whatever the hash
        return
    assert len(half) == hashing.buckets(table) * BUCKET
    assert table.read(half) == entries
    assert all(found(half, table, hashing, key) == number for key, number in entries.items())
    strangers = {bytes(4 * table.words), b"\1" * 4 * table.words} - set(entries)
    assert all(found(half, table, hashing, key) == bytes(4) for key in strangers)


@pytest.mark.parametrize("table", PACKED, ids=lambda table: table.name)
@pytest.mark.parametrize("count", [0, 1, 100, 5000])
def test_all_find_a_place(table: Packed, count: int) -> None:
    entries = {struct.pack(f"={table.words}I", *[n] * table.words): struct.pack("=I", n + 1) for n in range(count)}
    hashing = arrange({table: [entries, {}]}, 1 << 14)
    assert isinstance(hashing, Hashing)
    half = table.fill(entries, hashing)
    assert half is not None
    assert table.read(half) == entries
    assert hashing.sizes[table.name] <= max(64, 3 * count // table.places + 1)


SECTIONS = {"np_addresses4": "addresses", "np_addresses6": "addresses", "np_classes": "classes", "np_policy": "policy"}


@pytest.mark.parametrize("table", PACKED, ids=lambda table: table.name)
def test_what_is_emitted_fills_half_of_the_largest_table(table: Packed) -> None:
    """What cannot be loaded is refused when it is emitted, not on the node."""
    assert 2 * MOST_ENTRIES[SECTIONS[table.name]] <= table.places * MOST_BUCKETS


def test_a_table_that_would_be_too_large_is_told() -> None:
    table = PACKED[0]
    entries = {struct.pack("=I", n): struct.pack("=I", 1) for n in range(5000)}
    assert arrange({PACKED[1]: [], table: [entries]}, 256) is table


SPREAD = Spread(name="np_endpoints", words=1)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=80), st.integers(0, 2**63 - 1))
def test_entries_that_come_and_go(steps: list[tuple[bool, int]], half_multiplier: int) -> None:
    """Each lies in one of four buckets from its own on, alone, and stays there while others come and go."""
    hashing = Hashing(multiplier=2 * half_multiplier + 1, sizes={SPREAD.name: 16})
    held: dict[bytes, int] = {}
    for comes, number in steps:
        key = struct.pack("=I", number)
        if not comes:
            held.pop(key, None)
            continue
        found = SPREAD.placed([key], hashing, held)
        first = (((number * hashing.multiplier) & (2**64 - 1)) >> 32) * 16 >> 32
        reach = range(first, first + 4)
        if found is None:
            assert key not in held
            assert set(reach) <= set(held.values())
            continue
        assert {**held, key: found[key]} == found
        assert found[key] in reach
        assert len(set(found.values())) == len(found)
        held = dict(found)
    assert all(at < hashing.buckets(SPREAD) for at in held.values())


def test_room_for_interfaces_is_room_in_the_order_in_which_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """New maps begin with what is held; what is wanted finds a place beside that, however tight it is."""
    monkeypatch.setattr(packed, "_SPARE", 2)
    monkeypatch.setattr(secrets, "randbits", random.Random(1).getrandbits)
    nothing: dict[str, Slots] = {name: {} for name in NAMES}
    for first in range(100):
        held, wanted = (
            {struct.pack("=I", first + n): b"" for n in numbers} for numbers in (range(101, 200, 2), range(1, 200))
        )
        room = capacity({**nothing, SPREAD.name: held}, {**nothing, SPREAD.name: wanted}, read_maps(document()))
        started = SPREAD.placed(sorted(held), room.hashing, {})
        assert started is not None
        assert SPREAD.placed(sorted(wanted), room.hashing, started) is not None


@pytest.mark.parametrize("count", [0, 1, 60, 250, 2000])
def test_interfaces_that_are_numbered_one_after_the_other(count: int) -> None:
    entries = {struct.pack("=I", 2 + n): b"" for n in range(count)}
    hashing = arrange({SPREAD: [entries]}, 1 << 15)
    assert isinstance(hashing, Hashing)
    assert hashing.sizes[SPREAD.name] <= max(64, 10 * count)


@pytest.mark.parametrize("table", PACKED, ids=lambda table: table.name)
def test_room_for_others(table: Packed) -> None:
    """Entries come and go, and a few more, without a table of another size: new maps would have to be loaded."""
    dice = random.Random(1)

    def entries(count: int) -> Slots:
        return {dice.randbytes(4 * table.words): b"\1\0\0\0" for _ in range(count)}

    hashing = arrange({table: [entries(1000)]}, 1 << 14)
    assert isinstance(hashing, Hashing)
    assert all(table.has_room(entries(1100), hashing) for _ in range(50))
