"""What is loaded of the datapath in a network namespace: its maps, pinned in a BPF file system of our own, and the
artifacts that their numbers are of.

The pins keep the maps alive and let other processes find them.  Beside them, as plain files, is what the kernel does
not know: which pins count, and names.  `current.json` is replaced whole, so that one set of maps counts at any moment.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from npcompile.readers.bpf_maps import Maps, read_maps
from npcompile.runtime.bpf.layout import NAMES
from npcompile.runtime.bpf.libbpf import Map, Object, Program, pin, pinned
from npcompile.runtime.bpf.maps import LAYOUT_MAP, STATE
from npcompile.runtime.place import PLACE, namespace_number

_PINS = PLACE / "bpf"
FLOWS = ("np_flows4", "np_flows6")
RULE_HITS, REASON_HITS, EVENTS = "np_rule_hits", "np_reason_hits", "np_events"
MAPS = (LAYOUT_MAP, STATE, *NAMES, *FLOWS, RULE_HITS, REASON_HITS, EVENTS)
_CURRENT, _STALE = "current.json", "stale.json"
_PROGRAMS = ("np_from_pod", "np_to_pod")


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """Which pins count, and the digest of the object that they are of."""

    pins: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """An artifact as it was loaded: its maps and manifest, as text, and the bound pods' interfaces."""

    maps: str
    manifest: str
    interfaces: Mapping[str, str]

    def read(self) -> Maps:
        """What the maps' numbers are of."""
        return read_once(self.maps.encode())


@lru_cache(maxsize=2)  # one that was loaded, and one that is being loaded
def read_once(maps: bytes) -> Maps:
    """Read `maps.json`, or what the last time came of it."""
    return read_maps(maps)


@dataclass(frozen=True, slots=True)
class Here:
    """The places that belong to the calling thread's network namespace."""

    files: Path
    pins: Path

    @classmethod
    def of_thread(cls) -> Here:
        """Those of the namespace that this thread is in."""
        number = namespace_number()
        return cls(files=PLACE / f"{number}.bpf", pins=_PINS / str(number))

    def current(self) -> Current | None:
        """What counts; None: nothing is loaded, or it went with a restart of the machine."""
        try:
            found = Current(**json.loads((self.files / _CURRENT).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        return found if (self.pins / found.pins).is_dir() else None

    def set_current(self, current: Current) -> None:
        """From now on other pins count."""
        self._write(_CURRENT, json.dumps(asdict(current)))

    def stale(self) -> frozenset[int]:
        """Interfaces of which flows may be remembered that their pods of today were never allowed."""
        try:
            return frozenset(json.loads((self.files / _STALE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return frozenset()

    def set_stale(self, indices: Iterable[int]) -> None:
        """Write them down before their pods change, so that a kill in between forgets none; none: remove the note."""
        if found := sorted(indices):
            self._write(_STALE, json.dumps(found))
        else:
            (self.files / _STALE).unlink(missing_ok=True)

    def artifact(self, generation: int) -> Bound | None:
        """The artifact of a generation, as long as it is kept."""
        try:
            found = json.loads((self.files / f"{generation}.artifact").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Bound(**found)

    def artifacts(self) -> Mapping[int, int]:
        """The generations whose artifacts are kept, and when each was written, in nanoseconds."""
        found = {}
        for path in self.files.glob("*.artifact"):
            with suppress(FileNotFoundError):
                found[int(path.stem)] = path.stat().st_mtime_ns
        return found

    def keep_artifact(self, generation: int, bound: Bound) -> None:
        """Write down what a generation's numbers will mean, before it counts."""
        self._write(f"{generation}.artifact", json.dumps(asdict(bound)))

    def forget_artifacts(self, *, before: int) -> None:
        """Of generations that no event is of any more."""
        for path in self.files.glob("*.artifact"):
            if int(path.stem) < before:
                path.unlink()

    def maps(self, pins: str) -> dict[str, Map]:
        """Open what is pinned; the caller closes the descriptors."""
        folder = self.pins / pins
        return {name: Map.of(pinned(folder / name)) for name in MAPS if (folder / name).exists()}

    def programs(self, pins: str) -> dict[str, Program]:
        """Open the programs that are pinned; the caller closes the descriptors."""
        return {name: Program(fd=pinned(self.pins / pins / name)) for name in _PROGRAMS}

    def pin(self, pins: str, loaded: Object) -> None:
        """Pin all maps and programs of an object."""
        _mount()
        folder = self.pins / pins
        self.unpin(pins)
        folder.mkdir(parents=True)
        for name in MAPS:
            if (found := loaded.map(name)) is not None:
                pin(found.fd, folder / name)
        for name in _PROGRAMS:
            pin(loaded.program(name).fd, folder / name)

    def unpin(self, pins: str) -> None:
        """Remove pins; what is attached stays in the kernel."""
        folder = self.pins / pins
        for path in folder.glob("*"):
            path.unlink()
        with suppress(FileNotFoundError):
            folder.rmdir()

    def others(self, pins: str) -> Iterator[str]:
        """Pins that do not count."""
        yield from (path.name for path in self.pins.glob("*") if path.name != pins)

    def is_empty(self) -> bool:
        """Whether nothing of ours is left, of what counts or not."""
        return not self.files.exists() and not self.pins.exists()

    def clear(self) -> None:
        """Remove everything; nothing counts from the start on."""
        (self.files / _CURRENT).unlink(missing_ok=True)
        for pins in self.others(""):
            self.unpin(pins)
        with suppress(FileNotFoundError):
            self.pins.rmdir()
        with suppress(FileNotFoundError):
            shutil.rmtree(self.files)

    def _write(self, name: str, text: str) -> None:
        self.files.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.files / f".{name}"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.files / name)


def close(opened: Iterable[Map | Program]) -> None:
    """Close descriptors that `Here.maps` or `Here.programs` opened."""
    for one in opened:
        os.close(one.fd)


def _mount() -> None:
    """Our own BPF file system, since others' may be where we may not write, or be hidden by `ip netns exec`."""
    _PINS.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.path.ismount(_PINS):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(_PINS), b"bpf", 0, b"mode=0700"):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {_PINS}: {os.strerror(number)}")
