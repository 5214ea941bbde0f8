"""Loads artifacts of the target `bpf`: maps, programs, filters.

The order keeps the bounds that every loader promises.  An interface that is not enforced yet gets its programs while
the generation that counts says of it "not isolated", which is what it was; one flip then leads from everything old to
everything new.  An interface that shall be enforced no longer is first, by the flip, not isolated, and then left.
Where new maps are needed, because features or sizes changed, they start with what the old ones say, and every interface
is moved over before the flip.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from npcompile.backends.bpf.target import BPF, MAPS_FILE, OBJECT_FILE, SOURCE_FILE
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, RuleCode, Severity, diagnose
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Address
from npcompile.readers.bpf_maps import Maps, read_maps
from npcompile.runtime.bpf import attach
from npcompile.runtime.bpf.capacity import sizes, too_small
from npcompile.runtime.bpf.compile import compile_object
from npcompile.runtime.bpf.layout import ENDPOINTS, TABLES, Image, pack, unisolated, word
from npcompile.runtime.bpf.libbpf import Map, Object, Program
from npcompile.runtime.bpf.loaded import EVENTS, FLOWS, REASON_HITS, RULE_HITS, Bound, Current, Here, close
from npcompile.runtime.bpf.maps import change, read_generation, read_image
from npcompile.runtime.loader import MACHINE, Delta, LoadError, Step, Stored
from npcompile.runtime.programs import locked, need
from npcompile.runtime.stored import ARTIFACT

_CACHE = Path("/var/cache/npcompile/bpf")
_KEPT = (*FLOWS, REASON_HITS, EVENTS)  # what goes on when other maps are replaced

UNBOUND_INTERFACE = RuleCode(code="NPC732", slug="unbound-interface", severity=Severity.WARNING)
"""A pod of the artifact has no interface in the bindings file, so that nothing is enforced for it.  Add a line
`ns/pod=ifname`, where ifname is the host's end of the pod's veth pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """An artifact, read, and the interfaces of its bound pods."""

    stored: Stored
    maps: Maps
    interfaces: Mapping[str, int]

    def image(self) -> Image:
        return pack(self.maps, self.interfaces, _own_addresses(self.maps))

    def digest(self) -> str:
        """What tells the programs apart: of the object where the artifact has one, or of the source."""
        return hashlib.sha256(self.stored.files.get(OBJECT_FILE) or self.source().encode()).hexdigest()

    def object(self) -> bytes:
        return self.stored.files.get(OBJECT_FILE) or compile_object(self.source(), _CACHE)

    def source(self) -> str:
        if SOURCE_FILE not in self.stored.files:
            message = f"the artifact holds neither `{OBJECT_FILE}` nor `{SOURCE_FILE}`"
            raise InputError([diagnose(ARTIFACT, None, message, help="write it again with `npcompile emit`")])
        return self.stored.files[SOURCE_FILE].decode()


@dataclass(slots=True, kw_only=True)
class _Open:
    """The maps and programs that count, opened."""

    maps: dict[str, Map] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)

    def close(self) -> None:
        close((*self.maps.values(), *self.programs.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class BpfLoader:
    """`bindings`: by pod (`ns/name`), the interface that leads to it."""

    bindings: Mapping[str, str] = field(default_factory=dict)
    target: str = BPF

    def usable(self) -> bool:
        """Whether anything can be loaded here at all."""
        return os.geteuid() == 0

    def delta(self, artifact: Stored | None) -> Delta:
        """What `apply` or `detach` would do; entries are told by map, as bytes."""
        wanted = None if artifact is None else self._read(artifact)
        here = Here.of_thread()
        diagnostics = () if wanted is None else tuple(self._unbound(wanted.maps))
        return Delta(steps=tuple(_steps(here, wanted)), diagnostics=diagnostics)

    def apply(self, artifact: Stored) -> Delta:
        """Load; raises InputError with nothing touched, LoadError when the kernel refuses."""
        need(())
        wanted = self._read(artifact)
        diagnostics = tuple(self._unbound(wanted.maps))
        bound = _bound(wanted, self.bindings)
        with locked():
            here = Here.of_thread()
            steps = tuple(_steps(here, wanted))
            try:
                if steps:
                    _load(here, wanted, bound)
                else:
                    _rename(here, bound)
            except OSError as error:
                raise LoadError(str(error), restored=False) from None
        return Delta(steps=steps, diagnostics=diagnostics)

    def detach(self) -> Delta:
        """Everything is as if we had never been there."""
        need(())
        with locked():
            here = Here.of_thread()
            steps = tuple(_steps(here, None))
            try:
                _remove(here)
            except OSError as error:
                raise LoadError(str(error), restored=False) from None
        return Delta(steps=steps)

    def _read(self, artifact: Stored) -> _Wanted:
        maps = read_maps(artifact.files[MAPS_FILE], MAPS_FILE)
        present = attach.interfaces()
        chosen = {pod: name for pod, name in self.bindings.items() if pod in maps.endpoints}
        missing = sorted({name for name in chosen.values() if name not in present})
        if missing:
            listed = ", ".join(f"`{name}`" for name in missing)
            message = f"the bindings name interfaces that are not here: {listed}"
            raise InputError([diagnose(MACHINE, None, message, help="name the host's end of each pod's veth pair")])
        shared = sorted({name for name in chosen.values() if list(chosen.values()).count(name) > 1})
        if shared:
            raise InputError(
                [diagnose(MACHINE, None, f"the bindings give `{name}` to several pods") for name in shared]
            )
        return _Wanted(
            stored=artifact, maps=maps, interfaces={pod: present[name] for pod, name in sorted(chosen.items())}
        )

    def _unbound(self, maps: Maps) -> Iterator[Diagnostic]:
        for pod in sorted(set(maps.endpoints) - set(self.bindings)):
            message = f"`{pod}` has no interface in the bindings: nothing is enforced for it"
            yield diagnose(UNBOUND_INTERFACE, None, message, help=f"add the line `{pod}=IFNAME`")


def _own_addresses(maps: Maps) -> frozenset[Address]:
    """Every address of the node's interfaces, but those that the artifact knows as a pod's."""
    pods = {address for one in maps.endpoints.values() for address in one.addresses}
    return attach.own_addresses() - pods


# --- loading ---


def _load(here: Here, wanted: _Wanted, bound: Bound) -> None:
    image = wanted.image()
    with ExitStack() as stack:
        opened = _open(here)
        stack.callback(opened.close)
        current = here.current()
        if current is not None and list(here.others(current.pins)):
            _move_back(here, opened, current)
        if current is None or current.digest != wanted.digest() or too_small(opened.maps, image, wanted.maps):
            fresh = _move(here, opened, wanted, image)
            opened.close()
            opened.maps, opened.programs = fresh.maps, fresh.programs
        _enter(opened, image)
        generation = read_generation(opened.maps) + 1
        here.keep_artifact(generation, bound)
        _carry_hits(here, opened.maps, generation, wanted.maps)
        leaving = attach.attached().keys() - set(wanted.interfaces.values())
        change(opened.maps, _with_unisolated(image, opened.maps, leaving))
        if leaving:
            _leave(opened.maps, leaving)
        here.forget_artifacts(before=generation - 1)


def _rename(here: Here, bound: Bound) -> None:
    """No entry changes, but perhaps the lines that they are of."""
    opened = _open(here)
    try:
        here.keep_artifact(read_generation(opened.maps), bound)
    finally:
        opened.close()


def _open(here: Here) -> _Open:
    current = here.current()
    if current is None:
        return _Open()
    return _Open(maps=here.maps(current.pins), programs=here.programs(current.pins))


def _move_back(here: Here, opened: _Open, current: Current) -> None:
    """After a kill in the middle of `_move`: some interfaces may be at maps that do not count."""
    for index in sorted(attach.attached()):
        attach.attach(index, _by_direction(opened))
    for other in list(here.others(current.pins)):
        here.unpin(other)


def _move(here: Here, old: _Open, wanted: _Wanted, image: Image) -> _Open:
    """New maps that say what the old ones do, and every interface that is ours over to them."""
    generation = read_generation(old.maps) if old.maps else 0
    held = read_image(old.maps, generation) if old.maps else {}
    wanted_sizes = sizes(held, image, wanted.maps)
    kept = {name: old.maps[name] for name in _KEPT if name in old.maps}
    current = here.current()
    pins = "a" if current is None or current.pins != "a" else "b"
    with Object(wanted.object(), wanted_sizes, kept) as loaded:
        maps = {table.name: found for table in TABLES if (found := loaded.map(table.name)) is not None}
        first = loaded.map("np_generation")
        assert first is not None
        first.put(bytes(4), struct.pack("=Q", generation))
        for table in TABLES:
            if table.name in maps:
                entries = [(key, table.value((slot, slot))) for key, slot in sorted(held.get(table.name, {}).items())]
                maps[table.name].put_all(entries)
        here.pin(pins, loaded)
    opened = _Open(maps=here.maps(pins), programs=here.programs(pins))
    for index in sorted(attach.attached()):
        attach.attach(index, _by_direction(opened))
    here.set_current(Current(pins=pins, digest=wanted.digest()))
    for other in list(here.others(pins)):
        here.unpin(other)
    return opened


def _by_direction(opened: _Open) -> dict[Direction, Program]:
    return {direction: opened.programs[name] for direction, name in attach.PROGRAMS.items()}


def _enter(opened: _Open, image: Image) -> None:
    """Interfaces that are to be enforced, and are not yet: as what they are, not isolated."""
    generation = read_generation(opened.maps)
    endpoints = opened.maps[ENDPOINTS.name]
    there = attach.attached()
    held = read_image({ENDPOINTS.name: endpoints}, generation)[ENDPOINTS.name]
    for key, slot in sorted(image[ENDPOINTS.name].items()):
        index = struct.unpack("=I", key)[0]
        if there.get(index) == frozenset(Direction):
            continue
        if index not in there or key not in held:
            endpoints.put(key, ENDPOINTS.value((unisolated(slot), unisolated(slot))))
        attach.attach(index, _by_direction(opened))


def _with_unisolated(image: Image, maps: Mapping[str, Map], leaving: frozenset[int] | set[int]) -> Image:
    """Interfaces that are left still have their programs when the generation changes."""
    held = read_image(maps, read_generation(maps))[ENDPOINTS.name]
    kept = {word(index): unisolated(held[word(index)]) for index in leaving if word(index) in held}
    return {**image, ENDPOINTS.name: {**kept, **image[ENDPOINTS.name]}}


def _leave(maps: Mapping[str, Map], leaving: frozenset[int] | set[int]) -> None:
    for index in sorted(leaving):
        attach.detach(index)
    gone = {word(index) for index in leaving}
    maps[ENDPOINTS.name].delete_all(sorted(gone))
    for name in FLOWS:
        if name in maps:
            maps[name].delete_all([key for key in maps[name].all_keys() if key[:4] in gone])


def _carry_hits(here: Here, maps: Mapping[str, Map], generation: int, new: Maps) -> None:
    """A rule's count goes on under its new number, in the slot that is about to count."""
    before = _hits(here, maps, generation - 1)
    for number, origin in new.rules.items():
        maps[RULE_HITS].put_per_cpu(word(2 * number + (generation & 1)), struct.pack("=Q", before.get(origin, 0)))


def counted(here: Here) -> Mapping[str, int]:
    """How many new flows each rule has allowed, by the key of the rule in the manifest."""
    opened = _open(here)
    try:
        return _hits(here, opened.maps, read_generation(opened.maps)) if opened.maps else {}
    finally:
        opened.close()


def _hits(here: Here, maps: Mapping[str, Map], generation: int) -> dict[str, int]:
    bound = here.artifact(generation)
    if bound is None:
        return {}
    return {
        origin: sum(struct.unpack("=Q", one)[0] for one in maps[RULE_HITS].per_cpu(word(2 * number + (generation & 1))))
        for number, origin in read_maps(bound.maps.encode()).rules.items()
    }


def _bound(wanted: _Wanted, bindings: Mapping[str, str]) -> Bound:
    return Bound(
        maps=wanted.stored.files[MAPS_FILE].decode(),
        manifest=json.dumps(wanted.stored.manifest),
        interfaces={pod: bindings[pod] for pod in wanted.interfaces},
    )


def _remove(here: Here) -> None:
    opened = _open(here)
    try:
        attached = attach.attached()
        if opened.maps:
            change(opened.maps, _with_unisolated({ENDPOINTS.name: {}}, opened.maps, set(attached)))
        for index in sorted(attached):
            attach.detach(index)
    finally:
        opened.close()
    here.clear()


# --- what would be done ---


def _steps(here: Here, wanted: _Wanted | None) -> Iterator[Step]:
    """In words and bytes, for people; nothing where nothing would change."""
    opened = _open(here)
    try:
        held = read_image(opened.maps, read_generation(opened.maps)) if opened.maps else {}
    finally:
        opened.close()
    there = set(attach.attached())
    if wanted is None:
        if there or opened.maps:
            yield Step(
                command=("tc", "filter", "delete"), text="".join(f"ifindex {index}\n" for index in sorted(there))
            )
        return
    image = wanted.image()
    current = here.current()
    if current is None or current.digest != wanted.digest():
        yield Step(command=("bpf", "load"), text=f"the datapath {wanted.digest()[:12]}\n")
    for table in TABLES:
        lines = list(_entry_changes(held.get(table.name, {}), image[table.name]))
        if lines:
            yield Step(command=("bpf", "map", table.name), text="".join(lines))
    wanted_indices = set(wanted.interfaces.values())
    lines = [f"attach ifindex {index}\n" for index in sorted(wanted_indices - there)]
    lines += [f"detach ifindex {index}\n" for index in sorted(there - wanted_indices)]
    if lines:
        yield Step(command=("tc", "filter"), text="".join(lines))


def _entry_changes(old: Mapping[bytes, bytes], new: Mapping[bytes, bytes]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        if key not in new:
            yield f"delete {key.hex()}\n"
        elif old.get(key) != new[key]:
            yield f"{'update' if key in old else 'add'} {key.hex()} {new[key].hex()}\n"
