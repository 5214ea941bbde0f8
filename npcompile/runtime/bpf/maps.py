"""From one image to another while packets flow: fill the slots that nobody reads, then change the generation.

The programs read the generation once a packet and see that slot of every value, so a packet is judged by the old state
or by the new one, never by parts of both.  Two things must not happen while a program runs that began before: its slot
must not be written, and memory that it holds a pointer into must not come to hold another key.  So removing entries,
adding some, and the next change are apart by the time that running programs need.  A packed table has its slots apart,
and is written where nobody reads; a spread one is written in place, which leaves the slot in use as it is; and a trie's
entries are replaced whole.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from npcompile.runtime.bpf.layout import ENDPOINTS, HASHED, INTERFACES, PACKED, TABLES, Image, Table, seen, word
from npcompile.runtime.bpf.libbpf import Map, wait_for_programs
from npcompile.runtime.bpf.packed import BUCKET, WORD, Hashing, Packed, Slots, Spread

STATE = "np_state"
LAYOUT_MAP, LAYOUT = "np_layout", 1
_STATE = struct.Struct(f"=QQ{len(HASHED)}I{len(HASHED) % 2 * WORD}x")
_FIRST = bytes(4)  # the only key of an array of one


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadMap:
    """The map of a spread table, by the table's keys: a bucket is a key, of zeros if it is free, and a value."""

    target: Map
    table: Spread
    hashing: Hashing

    def entries(self) -> Mapping[bytes, bytes]:
        """Every entry."""
        return {key: value for key, value in self._buckets() if any(key)}

    def can_hold(self, keys: Iterable[bytes]) -> bool:
        """Whether there is room for keys beside all that have an entry."""
        return self.table.placed(sorted(keys), self.hashing, self._held()) is not None

    def put_all(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries, each of which stays where it is if it is there."""
        places = self.table.placed((key for key, _ in entries), self.hashing, self._held())
        if places is None:
            raise OSError(errno.E2BIG, f"write {self.target.name}: the map is full")
        self.target.put_all([(word(places[key]), key + value) for key, value in entries])

    def delete_all(self, keys: Iterable[bytes]) -> None:
        """Remove entries, as far as they exist."""
        held, free = self._held(), bytes(self.target.value_size)
        self.target.put_all([(word(held[key]), free) for key in keys if key in held])

    def _held(self) -> dict[bytes, int]:
        """The buckets that are taken."""
        return {key: at for at, (key, _) in enumerate(self._buckets()) if any(key)}

    def _buckets(self) -> Iterable[tuple[bytes, bytes]]:
        values, size, key = self.target.values(), self.target.value_size, WORD * self.table.words
        for start in range(0, len(values), size):
            yield values[start : start + key], values[start + key : start + size]


def interfaces(maps: Mapping[str, Map]) -> SpreadMap:
    """The endpoints, by interface."""
    return SpreadMap(target=maps[INTERFACES.name], table=INTERFACES, hashing=read_hashing(maps))


def by_key(maps: Mapping[str, Map], table: Table) -> Map | SpreadMap:
    """A table's map, by the table's keys."""
    return interfaces(maps) if table is ENDPOINTS else maps[table.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What leads from what one table holds to what it must hold when the generation changes: key and value."""

    add: tuple[tuple[bytes, bytes], ...]
    write: tuple[tuple[bytes, bytes], ...]


def fits(maps: Mapping[str, Map]) -> bool:
    """Whether the maps, if there are any, are as this version knows them, and so the programs that have them."""
    return not maps or (LAYOUT_MAP in maps and maps[LAYOUT_MAP].max_entries == LAYOUT)


def read_generation(maps: Mapping[str, Map]) -> int:
    """The number that the programs read."""
    generation, *_ = _STATE.unpack(_state(maps))
    return int(generation)


def read_hashing(maps: Mapping[str, Map]) -> Hashing:
    """Where keys lie in the tables, from when these maps were made."""
    _, multiplier, *sizes = _STATE.unpack(_state(maps))
    return Hashing(multiplier=multiplier, sizes={table.name: size for table, size in zip(HASHED, sizes, strict=True)})


def _state(maps: Mapping[str, Map]) -> bytes:
    value = maps[STATE].get(_FIRST)
    assert value is not None
    return value


def set_state(maps: Mapping[str, Map], generation: int, hashing: Hashing) -> None:
    """Write what the programs read first."""
    sizes = (hashing.sizes[table.name] for table in HASHED)
    maps[STATE].put(_FIRST, _STATE.pack(generation, hashing.multiplier, *sizes))


def set_generation(maps: Mapping[str, Map], generation: int) -> None:
    """The one step that programs see."""
    set_state(maps, generation, read_hashing(maps))


def start(maps: Mapping[str, Map], image: Image, generation: int, hashing: Hashing) -> None:
    """Fill maps that are new: both slots mean the image."""
    set_state(maps, generation, hashing)
    for table in TABLES:
        if table.name in maps:
            entries = [(key, table.value((slot, slot))) for key, slot in sorted(image.get(table.name, {}).items())]
            by_key(maps, table).put_all(entries)
    for slot in (0, 1):
        _write_halves(maps, image, slot)


def read_image(maps: Mapping[str, Map], generation: int) -> Image:
    """What the maps hold in the slot of a generation, of those that there are; a trie's entries that only repeat
    shorter ones are among them."""
    image: dict[str, Slots] = {}
    for table in TABLES:
        if table.name in maps:
            entries = by_key(maps, table).entries()
            slots = ((key, table.split(value)[generation & 1]) for key, value in entries.items())
            image[table.name] = {key: slot for key, slot in slots if any(slot)}
    for packed in PACKED:
        if packed.name in maps:
            image[packed.name] = packed.read(_half(maps[packed.name], generation & 1))
    return image


def _half(target: Map, slot: int) -> bytes:
    both = target.values()
    half = len(both) // 2
    return both[slot * half : (slot + 1) * half]


def plan(table: Table, held: Slots, old: Slots, new: Slots, generation: int) -> Change:
    """From the values that a table holds, `old` in the slot that counts, to `new` in the other one."""
    add: list[tuple[bytes, bytes]] = []
    write: list[tuple[bytes, bytes]] = []
    for key in sorted({*held, *new}):
        slots = [seen(table, old, key), seen(table, new, key)]
        if generation & 1:
            slots.reverse()
        value = table.value((slots[0], slots[1]))
        if key not in held:
            add.append((key, value))
        elif table.split(held[key]) != (slots[0], slots[1]):
            write.append((key, value))
    return Change(add=tuple(add), write=tuple(write))


def change(maps: Mapping[str, Map], new: Image) -> int:
    """Make `new` what the programs see; returns the generation.  After a kill at any moment, call it again."""
    generation = read_generation(maps)
    wait_for_programs()  # they may still read what was the slot in use before a change that was cut short
    for table in TABLES:
        if table.name in maps:
            _prepare(by_key(maps, table), table, new.get(table.name, {}), generation)
    _write_halves(maps, new, (generation + 1) & 1)
    return flip(maps, new)


def _prepare(target: Map | SpreadMap, table: Table, new: Slots, generation: int) -> None:
    held = target.entries()
    slots = ((key, table.split(value)[generation & 1]) for key, value in held.items())
    old = {key: slot for key, slot in slots if any(slot)}
    change_ = plan(table, held, old, new, generation)
    target.put_all((*change_.write, *change_.add))


def _write_halves(maps: Mapping[str, Map], image: Image, slot: int) -> None:
    """Make one half of every packed table mean an image."""
    hashing = read_hashing(maps)
    for packed in PACKED:
        if packed.name in maps:
            write_half(maps[packed.name], packed, image.get(packed.name, {}), hashing, slot)


def write_half(target: Map, packed: Packed, new: Slots, hashing: Hashing, slot: int) -> None:
    """Write those buckets of a half that differ."""
    wanted = packed.fill(new, hashing)
    if wanted is None:
        raise OSError(errno.E2BIG, f"write {packed.name}: the map is full")
    held = _half(target, slot)
    first = slot * hashing.buckets(packed)
    target.put_all(
        [
            (word(first + start // BUCKET), wanted[start : start + BUCKET])
            for start in range(0, len(wanted), BUCKET)
            if wanted[start : start + BUCKET] != held[start : start + BUCKET]
        ]
    )


def flip(maps: Mapping[str, Map], new: Image) -> int:
    """The one step that programs see; then both slots say the same, so that the next change writes only what is new."""
    generation = read_generation(maps) + 1
    set_generation(maps, generation)
    wait_for_programs()
    settle(maps, new)
    wait_for_programs()
    return generation


def settle(maps: Mapping[str, Map], image: Image) -> None:
    """Make both slots say what the one that counts says, `image`, and remove everything else."""
    for table in TABLES:
        if table.name in maps:
            _settle(by_key(maps, table), table, image.get(table.name, {}))
    _write_halves(maps, image, (read_generation(maps) + 1) & 1)


def _settle(target: Map | SpreadMap, table: Table, new: Slots) -> None:
    held = target.entries()
    settled = ((key, table.value((slot, slot))) for key, slot in sorted(new.items()))
    target.put_all([(key, value) for key, value in settled if held.get(key) != value])
    target.delete_all(sorted(held.keys() - new.keys()))
