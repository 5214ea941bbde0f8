"""How many entries the maps have room for: computed from what they are to hold, with room to grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import RuleCode, Severity, diagnose
from npcompile.readers.bpf_maps import Maps
from npcompile.runtime.bpf.layout import ENDPOINTS, INTERFACES, PACKED, TRIES, Image
from npcompile.runtime.bpf.libbpf import Map
from npcompile.runtime.bpf.maps import interfaces, read_hashing
from npcompile.runtime.bpf.packed import Hashed, Hashing, Slots, arrange

FLOWS = 1 << 17  # in each of the two maps; the kernel lets go of those that were quiet for longest
EVENT_BYTES = 1 << 20
_LEAST = 64
MOST_BUCKETS = 1 << 20  # so that a table takes 128 MiB at most
_MOST = 1 << 24  # so that an entry of 100 bytes stays below what the kernel gives a map in one piece

CAPACITY = RuleCode(code="NPC733", slug="bpf-capacity", severity=Severity.ERROR)
"""An artifact needs more entries in one map than can be loaded.  Emit it for one node with `--node`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """By map, how many entries it has room for, and where the keys of the tables lie."""

    entries: Mapping[str, int]
    hashing: Hashing


def capacity(held: Image, wanted: Image, maps: Maps) -> Capacity:
    """Room for what is held and what is wanted at once, and as much again."""
    found = {}
    for table in TRIES:
        count = len({*held.get(table.name, {}), *wanted[table.name]})
        if count > _MOST:
            raise _too_many(table.name, count)
        found[table.name] = _room(count)
    images: dict[Hashed, tuple[Slots, ...]] = {
        table: (held.get(table.name, {}), wanted[table.name]) for table in PACKED
    }
    # In the order in which they are entered: first what is there, then what comes.
    both = (held.get(ENDPOINTS.name, {}), wanted[ENDPOINTS.name])
    images[INTERFACES] = ({key: slot for each in both for key, slot in sorted(each.items())},)
    hashing = arrange(images, MOST_BUCKETS)
    if isinstance(hashing, Hashed):
        raise _too_many(hashing.name, max(len(entries) for entries in images[hashing]))
    return Capacity(
        entries={
            **found,
            **{table.name: 2 * hashing.buckets(table) for table in PACKED},
            INTERFACES.name: hashing.buckets(INTERFACES),
            "np_flows4": FLOWS,
            "np_flows6": FLOWS,
            "np_events": EVENT_BYTES,
            "np_rule_hits": 2 * _room(largest_rule(maps) + 1),
        },
        hashing=hashing,
    )


def _too_many(name: str, count: int) -> InputError:
    message = f"`{name}` would need {count} entries, and that is more than can be loaded"
    return InputError([diagnose(CAPACITY, None, message, help="emit for one node with `--node`")])


def _room(count: int) -> int:
    """The next power of two that leaves half of itself free, as the kernel rounds hashes up to one anyway."""
    return max(_LEAST, 1 << (2 * count - 1).bit_length() if count else 0)


def largest_rule(maps: Maps) -> int:
    """The largest number of a rule; 0 without any."""
    return max(maps.rules, default=0)


def too_small(held: Mapping[str, Map], wanted: Image, maps: Maps) -> bool:
    """Whether the maps cannot hold what they hold and what is wanted at once."""
    hashing = read_hashing(held)
    if any(table.name in held and table.fill(wanted[table.name], hashing) is None for table in PACKED):
        return True
    if 2 * (largest_rule(maps) + 1) > held["np_rule_hits"].max_entries:
        return True
    if not interfaces(held).can_hold(wanted[ENDPOINTS.name]):
        return True
    return any(
        len({*held[table.name].all_keys(), *wanted[table.name]}) > held[table.name].max_entries
        for table in TRIES
        if table.name in held
    )
