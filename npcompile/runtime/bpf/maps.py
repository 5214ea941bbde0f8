"""From one image to another while packets flow: fill the slots that nobody reads, then change the generation.

The programs read the generation once a packet and see that slot of every value, so a packet is judged by the old state
or by the new one, never by parts of both.  Two things must not happen while a program runs that began before: its slot
must not be written, and memory that it holds a pointer into must not come to hold another key.  So slots are written
in place, and removing entries, adding some, and the next change are apart by the time that running programs need.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from npcompile.runtime.bpf.layout import TABLES, Image, Slots, Table, seen
from npcompile.runtime.bpf.libbpf import ANY, LOCK, Map, wait_for_programs

GENERATION = "np_generation"
_FIRST = bytes(4)  # the only key of an array of one


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What leads from what one table holds to what it must hold when the generation changes: key and value."""

    add: tuple[tuple[bytes, bytes], ...]
    write: tuple[tuple[bytes, bytes], ...]


def fits(maps: Mapping[str, Map]) -> bool:
    """Whether the values are of the sizes that this version knows."""
    return all(
        maps[table.name].value_size == len(table.value((bytes(table.slot), bytes(table.slot))))
        for table in TABLES
        if table.name in maps
    )


def read_generation(maps: Mapping[str, Map]) -> int:
    """The number that the programs read."""
    value = maps[GENERATION].get(_FIRST)
    assert value is not None
    return int(struct.unpack("=Q", value)[0])


def read_image(maps: Mapping[str, Map], generation: int) -> Image:
    """What the maps hold in the slot of a generation; a trie's entries that only repeat shorter ones are among them."""
    image: dict[str, Slots] = {}
    for table in TABLES:
        entries = maps[table.name].entries() if table.name in maps else {}
        slots = ((key, table.split(value)[generation & 1]) for key, value in entries.items())
        image[table.name] = {key: slot for key, slot in slots if any(slot)}
    return image


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
    tables = [table for table in TABLES if table.name in maps]
    wait_for_programs()  # they may still read what was the slot in use before a change that was cut short
    for table in tables:
        _prepare(maps[table.name], table, new.get(table.name, {}), generation)
    return flip(maps, new)


def _prepare(target: Map, table: Table, new: Slots, generation: int) -> None:
    held = target.entries()
    slots = ((key, table.split(value)[generation & 1]) for key, value in held.items())
    old = {key: slot for key, slot in slots if any(slot)}
    change_ = plan(table, held, old, new, generation)
    target.put_all((*change_.write, *change_.add), _flags(table))


def flip(maps: Mapping[str, Map], new: Image) -> int:
    """The one step that programs see; then both slots say the same, so that the next change writes only what is new."""
    generation = read_generation(maps) + 1
    maps[GENERATION].put(_FIRST, struct.pack("=Q", generation))
    wait_for_programs()
    settle(maps, new)
    wait_for_programs()
    return generation


def settle(maps: Mapping[str, Map], image: Image) -> None:
    """Make both slots say what the one that counts says, `image`, and remove everything else."""
    for table in TABLES:
        if table.name in maps:
            _settle(maps[table.name], table, image.get(table.name, {}))


def _settle(target: Map, table: Table, new: Slots) -> None:
    held = target.entries()
    settled = ((key, table.value((slot, slot))) for key, slot in sorted(new.items()))
    target.put_all([(key, value) for key, value in settled if held.get(key) != value], _flags(table))
    target.delete_all(sorted(held.keys() - new.keys()))


def _flags(table: Table) -> int:
    return LOCK if table.locked else ANY
