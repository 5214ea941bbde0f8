"""How many new flows each rule has allowed, across artifacts that number the rules differently."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from npcompile.readers.bpf_maps import Maps
from npcompile.runtime.bpf.layout import word
from npcompile.runtime.bpf.libbpf import Map
from npcompile.runtime.bpf.loaded import RULE_HITS, Here, close
from npcompile.runtime.bpf.maps import read_generation


def counted(here: Here) -> Mapping[str, int]:
    """By the key of the rule in the manifest."""
    current = here.current()
    maps = {} if current is None else here.maps(current.pins)
    try:
        return _hits(here, maps, read_generation(maps)) if maps else {}
    finally:
        close(maps.values())


def carry_hits(before: Mapping[str, int], maps: Mapping[str, Map], generation: int, new: Maps) -> None:
    """What was counted goes on under the rules' new numbers, in the slot that is about to count."""
    for number, origin in new.rules.items():
        maps[RULE_HITS].put_per_cpu(word(2 * number + (generation & 1)), struct.pack("=Q", before.get(origin, 0)))


def _hits(here: Here, maps: Mapping[str, Map], generation: int) -> dict[str, int]:
    bound = here.artifact(generation)
    if bound is None:
        return {}
    return {
        origin: sum(struct.unpack("=Q", one)[0] for one in maps[RULE_HITS].per_cpu(word(2 * number + (generation & 1))))
        for number, origin in bound.read().rules.items()
    }
