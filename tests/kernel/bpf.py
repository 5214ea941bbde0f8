"""The datapath in the kernel, without a network: maps that a test writes, and packets by BPF_PROG_TEST_RUN."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

from npcompile.backends.bpf.source import Features, render
from npcompile.ir.policy import Direction
from npcompile.readers.bpf_maps import read_maps
from npcompile.runtime.bpf.compile import compile_object
from npcompile.runtime.bpf.events import Event, Reason, decode
from npcompile.runtime.bpf.layout import HASHED, INTERFACES, PACKED, TRIES, pack
from npcompile.runtime.bpf.libbpf import Map, Object, RingBuffer
from npcompile.runtime.bpf.maps import STATE, change, start
from npcompile.runtime.bpf.packed import Hashing
from tests.conftest import ROOT
from tests.kernel.wire import entered, namespace, run

PASS, DROP = -1, 2  # TC_ACT_UNSPEC, TC_ACT_SHOT
FORWARDED = 1  # an interface that packets come from which the node forwards: any other than 0, which is the node
HASHING = Hashing(multiplier=0x9E37_79B9_7F4A_7C15, sizes={table.name: 1024 for table in HASHED})
SIZES = {table.name: 4096 for table in TRIES} | {
    "np_flows4": 4096,
    "np_flows6": 4096,
    "np_rule_hits": 4096,
    "np_events": 1 << 20,
}


@cache
def built(features: Features) -> bytes:
    """Compiled once, and not once a process: the cache is by content."""
    return compile_object(render(features), ROOT / ".pytest_cache" / "bpf")


def document(**sections: object) -> bytes:
    """`maps.json` with what a test says, and the rules and rulesets that this mentions."""
    names = ("endpoints", "addresses", "networks", "classes", "policy")
    found: dict[str, list[dict[str, object]]] = {name: sections.get(name, []) for name in names}  # type: ignore[misc]
    rulesets = {one["ruleset"]: "egress" for one in (*found["classes"], *found["policy"])}
    rulesets |= {one[way]: way for one in found["endpoints"] for way in ("egress", "ingress") if one[way]}  # type: ignore[misc]
    rules = {one["rule"] for one in found["policy"] if isinstance(one["rule"], int)}
    whole = {
        "version": 1,
        "node": sections.get("node", {"name": "n1", "addresses": []}),
        "features": {"ipv6": True, "sctp": True, "events": True, "established": "keep"},
        **found,
        "rulesets": [{"id": one, "direction": way, "origin": f"s{one}"} for one, way in rulesets.items()],
        "rules": [{"id": one, "origin": f"r{one}"} for one in sorted(rules)],
    }
    return json.dumps(whole).encode()


@dataclass(frozen=True, slots=True)
class Bench:
    """A loaded datapath in the network namespace `name`, and the interfaces that pods may be bound to."""

    name: str
    object: Object
    maps: Mapping[str, Map]
    interfaces: tuple[int, ...]
    ring: RingBuffer | None
    _events: list[Event] = field(default_factory=list)

    def bind(self, data: bytes, interfaces: Mapping[str, int] | None = None) -> None:
        """Make the programs see these maps; pods get interfaces in order, unless told otherwise."""
        maps = read_maps(data)
        given = {one.pod: number for one, number in zip(maps.endpoints.values(), self.interfaces, strict=False)}
        change(self.maps, pack(maps, given if interfaces is None else interfaces))

    def send(self, direction: Direction, frame: bytes, *, place: int = 0, arrived: int = FORWARDED) -> Reason:
        """Why a frame passed or was dropped, from or to the pod at the interface of a place."""
        name = "np_from_pod" if direction is Direction.EGRESS else "np_to_pod"
        before = self.hits()
        ran = self.object.program(name).run(frame, self.context(place, arrived))
        after = self.hits()
        assert ran.result in (PASS, DROP)
        told = [reason for reason in Reason if after[reason] != before[reason]]
        assert len(told) <= 1
        # What belongs to a known flow is not counted: the reason is one of the two that say so.
        reason = told[0] if told else Reason.ESTABLISHED
        assert (ran.result == PASS) == reason.allows
        return reason

    def context(self, place: int = 0, arrived: int = FORWARDED) -> bytes:
        """The start of struct __sk_buff in linux/bpf.h, as far as ifindex."""
        return struct.pack("=11I", 0, 0, 0, 0, 0, 0, 0, 0, 0, arrived, self.interfaces[place])

    def out(self, frame: bytes, place: int = 0) -> Reason:
        return self.send(Direction.EGRESS, frame, place=place)

    def into(self, frame: bytes, place: int = 0, arrived: int = FORWARDED) -> Reason:
        return self.send(Direction.INGRESS, frame, place=place, arrived=arrived)

    def hits(self) -> list[int]:
        found = self.maps["np_reason_hits"]
        return [sum(int.from_bytes(one, "little") for one in found.per_cpu(struct.pack("=I", n))) for n in range(64)]

    def events(self) -> list[Event]:
        """What was told since the last time."""
        assert self.ring is not None
        self._events.clear()
        self.ring.consume()
        return list(self._events)

    def forget(self) -> None:
        """As if no packet had passed yet."""
        for name in ("np_flows4", "np_flows6"):
            if name in self.maps:
                self.maps[name].delete_all(self.maps[name].all_keys())


@contextmanager
def loaded(features: Features, hashing: Hashing = HASHING) -> Iterator[tuple[Object, Mapping[str, Map]]]:
    """An object in the kernel, and its maps, holding nothing yet."""
    room = SIZES | {table.name: 2 * hashing.buckets(table) for table in PACKED}
    room[INTERFACES.name] = hashing.buckets(INTERFACES)
    with Object(built(features), room) as made:
        names = (*room, STATE, "np_reason_hits")
        maps = {each: found for each in names if (found := made.map(each)) is not None}
        start(maps, {}, 0, hashing)
        yield made, maps


@contextmanager
def bench(features: Features | None = None, *, pods: int = 4, hashing: Hashing = HASHING) -> Iterator[Bench]:
    """A datapath in a network namespace of its own, with as many interfaces as pods."""
    with namespace() as name:
        run(
            "ip",
            "-n",
            name,
            "-batch",
            "-",
            text="".join(f"link add d{n} type veth peer name e{n}\n" for n in range(pods)),
        )
        with entered(name), loaded(features or Features(), hashing) as (made, maps):
            interfaces = tuple(_indices(name))
            events: list[Event] = []
            if "np_events" not in maps:
                yield Bench(name, made, maps, interfaces, None, events)
                return
            with RingBuffer(maps["np_events"], lambda data: events.append(decode(data))) as ring:
                yield Bench(name, made, maps, interfaces, ring, events)


def _indices(name: str) -> list[int]:
    listed = json.loads(run("ip", "-n", name, "-json", "link", "show", "type", "veth").stdout)
    return sorted(link["ifindex"] for link in listed if link["ifname"].startswith("d"))
