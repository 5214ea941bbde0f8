"""`npcompile observe` and `npcompile endpoints`: what the loaded datapath tells, in names instead of numbers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import diagnose
from npcompile.ir.flow import Verdict
from npcompile.readers.bpf_maps import Maps, read_maps
from npcompile.runtime.bpf.counters import counted
from npcompile.runtime.bpf.events import EVENTS_LOST, Event, decode
from npcompile.runtime.bpf.libbpf import Map, RingBuffer
from npcompile.runtime.bpf.loaded import EVENTS, REASON_HITS, Bound, Here, close
from npcompile.runtime.bpf.maps import read_generation
from npcompile.runtime.loader import MACHINE

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp", 132: "sctp"}
_TURN = 200  # milliseconds


@dataclass(frozen=True, slots=True)
class Names:
    """What the numbers of one artifact mean."""

    maps: Maps
    rules: Mapping[str, Mapping[str, object]]  # of the manifest
    interfaces: Mapping[str, str]

    @classmethod
    def of(cls, bound: Bound) -> Names:
        """Those of an artifact as it was loaded."""
        rules = json.loads(bound.manifest).get("rules", {})
        return cls(read_maps(bound.maps.encode()), rules, bound.interfaces)


def observe(verdict: Verdict | None, seconds: float | None) -> Iterator[dict[str, object]]:
    """Events as they come, and `{"lost": N}` whenever some were lost; for so long, or until interrupted."""
    here, maps = _opened()
    try:
        if EVENTS not in maps:
            raise InputError([diagnose(MACHINE, None, "the loaded artifact tells no events")])
        found: list[Event] = []
        lost = _lost(maps)
        deadline = None if seconds is None else monotonic() + seconds
        with RingBuffer(maps[EVENTS], lambda data: found.append(decode(data))) as ring:
            while deadline is None or monotonic() < deadline:
                ring.poll(_TURN)
                yield from (_told(here, event) for event in found if verdict in (None, event.verdict))
                found.clear()
                if (now := _lost(maps)) > lost:
                    yield {"lost": now - lost}
                    lost = now
    finally:
        close(maps.values())


def endpoints() -> list[dict[str, object]]:
    """The endpoints that are loaded, and what their rulesets' rules have let through."""
    here, maps = _opened()
    try:
        names = _names(here, read_generation(maps))
    finally:
        close(maps.values())
    hits = counted(here)
    return [
        {
            "pod": one.pod,
            "id": one.id,
            "interface": names.interfaces.get(one.pod),
            "addresses": [str(address) for address in one.addresses],
            "identities": [names.maps.addresses[address] for address in one.addresses],
            "egress": one.egress,
            "ingress": one.ingress,
            "rules": {
                _place(names, origin): hits[origin]
                for origin in sorted(_rules_of(names.maps, one.egress) | _rules_of(names.maps, one.ingress))
                if hits.get(origin)
            },
        }
        for one in names.maps.endpoints.values()
    ]


def _rules_of(maps: Maps, ruleset: int) -> set[str]:
    return {
        maps.rules[entry.rule]
        for (number, _), entries in maps.policy.items()
        if number == ruleset
        for entry in entries
        if isinstance(entry.rule, int)
    }


def _opened() -> tuple[Here, dict[str, Map]]:
    here = Here.of_thread()
    current = here.current()
    if current is None:
        message = "no artifact of the target `bpf` is loaded here"
        raise InputError([diagnose(MACHINE, None, message, help="load one with `npcompile apply`")])
    return here, here.maps(current.pins)


def _lost(maps: Mapping[str, Map]) -> int:
    return sum(struct.unpack("=Q", one)[0] for one in maps[REASON_HITS].per_cpu(struct.pack("=I", EVENTS_LOST)))


def _names(here: Here, generation: int) -> Names:
    bound = here.artifact(generation)
    if bound is None:
        raise InputError([diagnose(MACHINE, None, f"the names of generation {generation} are not kept any more")])
    return Names.of(bound)


def _told(here: Here, event: Event) -> dict[str, object]:
    bound = here.artifact(event.generation)
    names = None if bound is None else Names.of(bound)
    pods = {one.id: one.pod for one in names.maps.endpoints.values()} if names else {}
    owners = {a: one.pod for one in names.maps.endpoints.values() for a in one.addresses} if names else {}
    origin = ""
    if names and event.rule:
        origin = names.maps.rules.get(event.rule, "")
    elif names and event.verdict is Verdict.DENY and event.ruleset in names.maps.rulesets:
        origin = names.maps.rulesets[event.ruleset].origin
    return {
        "time": event.time,
        "verdict": str(event.verdict),
        "reason": str(event.reason),
        "direction": str(event.direction),
        "endpoint": pods.get(event.endpoint),
        "src": None if event.source is None else owners.get(event.source, str(event.source)),
        "dst": None if event.destination is None else owners.get(event.destination, str(event.destination)),
        "source": None if event.source is None else str(event.source),
        "destination": None if event.destination is None else str(event.destination),
        "protocol": _PROTOCOLS.get(event.protocol, str(event.protocol)),
        "source_port": event.source_port,
        "destination_port": event.destination_port,
        "rule": _place(names, origin) if names and origin else None,
    }


def _place(names: Names, origin: str) -> str:
    """`shop/web ingress[0] (web.yaml:3)`, as far as the manifest says."""
    said = names.rules.get(origin)
    if said is None:
        return origin
    rule = "" if said.get("rule") is None else f"[{said['rule']}]"
    return f"{said['policy']} {said['direction']}{rule} ({said['file']}:{said['line']})"
