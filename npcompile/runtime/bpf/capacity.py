"""How many entries the maps have room for: computed from what they are to hold, with room to grow."""

from __future__ import annotations

from collections.abc import Mapping

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import RuleCode, Severity, diagnose
from npcompile.readers.bpf_maps import Maps
from npcompile.runtime.bpf.layout import TABLES, Image
from npcompile.runtime.bpf.libbpf import Map

FLOWS = 1 << 17  # in each of the two maps; the kernel lets go of those that were quiet for longest
EVENT_BYTES = 1 << 20
_LEAST = 64
_MOST = 1 << 24  # so that an entry of 100 bytes stays below what the kernel gives a map in one piece

CAPACITY = RuleCode(code="NPC733", slug="bpf-capacity", severity=Severity.ERROR)
"""An artifact needs more entries in one map than can be loaded.  Emit it for one node with `--node`."""


def sizes(held: Image, wanted: Image, maps: Maps) -> dict[str, int]:
    """Room for what is held and what is wanted at once, and as much again."""
    found = {}
    for table in TABLES:
        count = len({*held.get(table.name, {}), *wanted[table.name]})
        if count > _MOST:
            message = f"`{table.name}` would need {count} entries, and {_MOST} can be loaded"
            raise InputError([diagnose(CAPACITY, None, message, help="emit for one node with `--node`")])
        found[table.name] = _room(count)
    return {
        **found,
        "np_flows4": FLOWS,
        "np_flows6": FLOWS,
        "np_events": EVENT_BYTES,
        "np_rule_hits": 2 * _room(largest_rule(maps) + 1),
    }


def _room(count: int) -> int:
    """The next power of two that leaves half of itself free, as the kernel rounds hashes up to one anyway."""
    return max(_LEAST, 1 << (2 * count - 1).bit_length() if count else 0)


def largest_rule(maps: Maps) -> int:
    """The largest number of a rule; 0 without any."""
    return max(maps.rules, default=0)


def too_small(held: Mapping[str, Map], wanted: Image, maps: Maps) -> bool:
    """Whether the maps cannot hold what they hold and what is wanted at once."""
    if 2 * (largest_rule(maps) + 1) > held["np_rule_hits"].max_entries:
        return True
    return any(
        len({*held[table.name].all_keys(), *wanted[table.name]}) > held[table.name].max_entries
        for table in TABLES
        if table.name in held
    )
