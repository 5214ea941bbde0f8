"""`npcompile observe`: what the loaded datapath tells, in names instead of numbers."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import diagnose
from npcompile.driver.loaded_names import Names, NamesByGeneration, loaded_maps
from npcompile.ir.flow import Verdict
from npcompile.runtime.bpf.events import EVENTS_LOST, Event, decode
from npcompile.runtime.bpf.libbpf import Map, RingBuffer
from npcompile.runtime.bpf.loaded import EVENTS, REASON_HITS, Here
from npcompile.runtime.loader import MACHINE

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp", 132: "sctp"}
_TURN = 200  # milliseconds


def observe(
    verdict: Verdict | None,
    seconds: float | None,
    *,
    earlier: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[dict[str, object]]:
    """Events as they come; `{"lost": N}` whenever some were lost, `{"skipped": N}` for those that waited from before,
    unless `earlier` asks for them, too; `{"removed": true}` as the last where the datapath goes.

    For so many seconds, or until `stopped`.  Raises InputError where nothing can be observed.
    """
    with loaded_maps() as (here, maps), _alone(here):
        if EVENTS not in maps:
            raise InputError([diagnose(MACHINE, None, "the loaded artifact tells no events")])
        began = 0 if earlier else time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        deadline = None if seconds is None else time.monotonic() + seconds
        names, lost, waiting = NamesByGeneration(here), _lost(maps), list[bytes]()
        # What is taken is read outside of the library's call, where an exception could not be raised.
        with RingBuffer(maps[EVENTS], waiting.append) as ring:
            last = False
            while not last:
                last = stopped() or (deadline is not None and time.monotonic() >= deadline)
                if last:
                    ring.consume()
                else:
                    ring.poll(_TURN)
                names.refresh()
                events = [decode(data) for data in waiting]
                waiting.clear()
                if skipped := sum(one.time < began for one in events):
                    yield {"skipped": skipped}
                fresh = (one for one in events if one.time >= began and verdict in (None, one.verdict))
                yield from (_told(names.of(one.generation), one) for one in fresh)
                if (now := _lost(maps)) > lost:
                    yield {"lost": now - lost}
                    lost = now
                if here.current() is None:
                    yield {"removed": True}
                    return


@contextmanager
def _alone(here: Here) -> Iterator[None]:
    """The ring buffer has one consumer's place in it."""
    descriptor = os.open(here.files, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told = diagnose(MACHINE, None, "somebody else observes already", help="end that `npcompile observe` first")
            raise InputError([told]) from None
        yield
    finally:
        os.close(descriptor)


def _lost(maps: Mapping[str, Map]) -> int:
    return sum(struct.unpack("=Q", one)[0] for one in maps[REASON_HITS].per_cpu(struct.pack("=I", EVENTS_LOST)))


def _told(names: Names | None, event: Event) -> dict[str, object]:
    pods, owners = (names.pods, names.owners) if names else ({}, {})
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
        "rule": names.deciding(event) if names else None,
    }
