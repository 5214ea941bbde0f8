"""From what is loaded to what is wanted, and back where a step fails.

The order keeps the bounds that every loader promises.  An interface that is not enforced yet gets its programs while
the generation that counts says of it "not isolated", which is what it was; one flip then leads from everything old to
everything new.  An interface that shall be enforced no longer is first, by the flip, not isolated, and then left.
Where new maps are needed, because features or sizes changed, they start with what the old ones say, and every interface
is moved over before the flip; the old ones stay until all is done.

The way back is of the same kind: what was loaded still counts, or is brought back by a flip.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.ir.policy import Direction
from npcompile.readers.bpf_maps import Maps
from npcompile.runtime.bpf import attach
from npcompile.runtime.bpf.capacity import Capacity
from npcompile.runtime.bpf.counters import carry_hits, counted
from npcompile.runtime.bpf.layout import ENDPOINTS, NAMES, Image, unisolated, whose, word
from npcompile.runtime.bpf.libbpf import Map, Object, Program, wait_for_programs
from npcompile.runtime.bpf.loaded import EVENTS, FLOWS, REASON_HITS, Bound, Current, Here, close
from npcompile.runtime.bpf.maps import (
    LAYOUT_MAP,
    STATE,
    change,
    fits,
    interfaces,
    read_generation,
    read_image,
    set_generation,
    settle,
    start,
)
from npcompile.runtime.loader import LEFT_BEHIND, LoadError

_KEPT = (*FLOWS, REASON_HITS, EVENTS)  # what goes on when other maps are replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Datapath:
    """Programs and maps that are to take the place of those which are loaded."""

    object: bytes
    digest: str
    room: Capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to count.  `datapath` None: by the programs and maps that are there."""

    image: Image
    maps: Maps
    bound: Bound
    datapath: Datapath | None


@dataclass(slots=True, kw_only=True)
class Opened:
    """The maps and programs of some pins, opened; none where nothing is loaded."""

    maps: dict[str, Map] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)

    def by_direction(self) -> dict[Direction, Program]:
        """The programs, as they are attached."""
        return {direction: self.programs[name] for direction, name in attach.PROGRAMS.items()}


@contextmanager
def opened(here: Here, current: Current | None) -> Iterator[Opened]:
    """The maps and programs that count."""
    found = Opened()
    try:
        if current is not None:
            found.maps = here.maps(current.pins)
            found.programs = here.programs(current.pins)
        yield found
    finally:
        close((*found.maps.values(), *found.programs.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What is loaded, which a failure leads back to; without `current`, nothing that counts."""

    current: Current | None
    generation: int
    image: Image
    attached: Mapping[int, frozenset[Direction]]
    bound: Bound | None


def look(here: Here) -> Loaded:
    """Raises OSError where it cannot be read, as that of another version of npcompile."""
    current = here.current()
    with opened(here, current) as now:
        if not fits(now.maps):
            raise OSError(errno.EPROTO, "its maps are those of another version of npcompile")
        generation = read_generation(now.maps) if now.maps else 0
        return Loaded(
            current=current,
            generation=generation,
            image=read_image(now.maps, generation),
            attached=attach.attached(),
            bound=here.artifact(generation),
        )


def load(here: Here, before: Loaded, wanted: Wanted) -> tuple[Diagnostic, ...]:
    """Bring the kernel from what `look` found to what is wanted; raises LoadError after a rollback, and where there was
    none.

    Returns what is said of leftovers without effect.
    """
    hits = counted(here)
    with _rolled_back(here, before):
        _repair(here, before)
        if wanted.datapath is not None:
            _move(here, before, wanted.datapath)
        with opened(here, here.current()) as now:
            generation = read_generation(now.maps) + 1
            here.keep_artifact(generation, wanted.bound)
            carry_hits(hits, now.maps, generation, wanted.maps)
            there = attach.attached_of(before.attached)  # as it is now: some may have gone since, or have come again
            _reach(here, now, wanted.image, there, strangers(before, wanted.image, wanted.maps))
    return tuple(_tidied(here, generation))


def remove(here: Here) -> tuple[Diagnostic, ...]:
    """As if we had never been there; raises LoadError after a rollback, and where there was none."""
    try:
        before = look(here)
    except OSError:
        return _remove_unread(here)
    with _rolled_back(here, before), opened(here, before.current) as now:
        if now.maps:
            change(now.maps, _with_unisolated({ENDPOINTS.name: {}}, now.maps, before.attached))
        for index in sorted(attach.attached()):
            attach.detach(index)
    return tuple(_left_behind(here.clear))


def _remove_unread(here: Here) -> tuple[Diagnostic, ...]:
    """What cannot be read leads nowhere back to: interface by interface."""
    try:
        for index in sorted(attach.attached()):
            attach.detach(index)
    except OSError as error:
        raise LoadError(told(error)) from None
    return tuple(_left_behind(here.clear))


# --- forwards ---


def _repair(here: Here, before: Loaded) -> None:
    """After a kill in the middle of `_move` or of the way back: some interfaces may be at maps that do not count."""
    if before.current is not None and list(here.others(before.current.pins)):
        with opened(here, before.current) as now:
            _put_at(before.attached, now)
        _unpin_others(here, before.current)
    if indices := here.stale():
        with opened(here, before.current) as now:
            _forget_flows(now.maps, indices)
        here.set_stale(())


def _move(here: Here, before: Loaded, datapath: Datapath) -> None:
    """New maps that say what the old ones do, and every interface that is ours over to them."""
    pins = "a" if before.current is None or before.current.pins != "a" else "b"
    with opened(here, before.current) as old:
        kept = {name: old.maps[name] for name in _KEPT if name in old.maps}
        with Object(datapath.object, datapath.room.entries, kept) as loaded:
            maps = {name: found for name in (LAYOUT_MAP, STATE, *NAMES) if (found := loaded.map(name)) is not None}
            if not fits(maps):
                raise OSError(errno.EPROTO, "the artifact's programs are those of another version of npcompile")
            start(maps, before.image, before.generation, datapath.room.hashing)
            here.pin(pins, loaded)
    current = Current(pins=pins, digest=datapath.digest)
    with opened(here, current) as fresh:
        _put_at(before.attached, fresh)
    here.set_current(current)


def _reach(
    here: Here, now: Opened, image: Image, there: Mapping[int, frozenset[Direction]], strangers: Collection[int]
) -> None:
    """Enter what is to be enforced, flip, and leave what is not.  `there`: where programs are, and at which hooks;
    `strangers`: interfaces whose pod is another.
    """
    enforced = {_index(key) for key in image[ENDPOINTS.name]}
    entering = enforced - there.keys()
    _forget_flows(now.maps, entering)
    _enter(now, image, there)
    if strangers:
        here.set_stale(strangers)
    leaving = there.keys() - enforced
    change(now.maps, _with_unisolated(image, now.maps, leaving))
    for index in sorted(leaving):
        attach.detach(index)
    if leaving:
        interfaces(now.maps).delete_all([word(index) for index in sorted(leaving)])
    _forget_flows(now.maps, {*leaving, *strangers})
    if strangers:
        here.set_stale(())


def _enter(now: Opened, image: Image, there: Mapping[int, frozenset[Direction]]) -> None:
    """Interfaces that are to be enforced, and are not yet: as what they are, not isolated."""
    entering = {
        key: slot
        for key, slot in sorted(image[ENDPOINTS.name].items())
        if there.get(_index(key)) != frozenset(Direction)
    }
    if not entering:
        return
    held = read_image(now.maps, read_generation(now.maps))[ENDPOINTS.name]
    wait_for_programs()  # they may still read what was removed by a change before
    interfaces(now.maps).put_all(
        [
            (key, ENDPOINTS.value((unisolated(slot), unisolated(slot))))
            for key, slot in entering.items()
            if _index(key) not in there or key not in held
        ]
    )
    for key in entering:
        attach.attach(_index(key), now.by_direction())


def _with_unisolated(image: Image, maps: Mapping[str, Map], leaving: Iterable[int]) -> Image:
    """Interfaces that are left still have their programs when the generation changes."""
    held = read_image(maps, read_generation(maps))[ENDPOINTS.name]
    kept = {word(index): unisolated(held[word(index)]) for index in leaving if word(index) in held}
    return {**image, ENDPOINTS.name: {**kept, **image[ENDPOINTS.name]}}


def strangers(before: Loaded, image: Image, maps: Maps) -> frozenset[int]:
    """Enforced interfaces that now lead to another pod, or to another address: what was allowed there serves it not."""
    were = _pods(before.image, None if before.bound is None else before.bound.read())
    are = _pods(image, maps)
    return frozenset(_index(key) for key in were.keys() & are.keys() if were[key] is None or were[key] != are[key])


def _pods(image: Image, maps: Maps | None) -> dict[bytes, tuple[str, bytes] | None]:
    """By interface, whose it is: the pod and its addresses; None where the pod is unknown.

    As the maps have it: the names of interfaces may have changed since.
    """
    names = {} if maps is None else {one.id: one.pod for one in maps.endpoints.values()}
    found: dict[bytes, tuple[str, bytes] | None] = {}
    for key, slot in image.get(ENDPOINTS.name, {}).items():
        number, addresses = whose(slot)
        found[key] = (names[number], addresses) if number in names else None
    return found


def _forget_flows(maps: Mapping[str, Map], indices: Collection[int]) -> None:
    """What was allowed at an interface serves nobody who comes to it later."""
    if not indices:
        return
    gone = {word(index) for index in indices}
    for name in FLOWS:
        if name in maps:
            maps[name].delete_all([key for key in maps[name].keys_in_use() if key[:4] in gone])


def _index(key: bytes) -> int:
    return int(struct.unpack("=I", key)[0])


def _put_at(indices: Iterable[int], programs: Opened) -> None:
    """Exchange the programs of interfaces, as far as these still exist."""
    for index in sorted(indices):
        try:
            attach.attach(index, programs.by_direction())
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise


# --- backwards ---


@contextmanager
def _rolled_back(here: Here, before: Loaded) -> Iterator[None]:
    """Where a step fails, or Ctrl-C is pressed, what was loaded before is loaded again."""
    try:
        yield
    except (OSError, KeyboardInterrupt) as error:
        cause = told(error) if isinstance(error, OSError) else "interrupted"
        try:
            _restore(here, before)
        except OSError as second:
            message = f"{cause}; and what was loaded before could not be restored: {told(second)}"
            raise LoadError(message) from None
        if isinstance(error, OSError):
            raise LoadError(cause, restored=True) from None
        raise


def _restore(here: Here, before: Loaded) -> None:
    if before.current is None:
        if before.attached:  # and enforced what nobody knows: rather something stricter than nothing
            raise OSError(errno.ENOENT, "the programs that were attached are pinned nowhere")
        for index in sorted(attach.attached()):
            attach.detach(index)
        here.clear()
        return
    with opened(here, here.current()) as now:
        if read_generation(now.maps) != before.generation or before.attached.keys() - attach.attached().keys():
            _flip_back(here, now, before)
        reached = read_generation(now.maps)
    with opened(here, before.current) as old:
        _put_at(before.attached, old)
        if read_generation(old.maps) < reached:
            _skip_to(here, old, before, reached)
        here.set_current(before.current)
        for index in sorted(attach.attached().keys() - before.attached.keys()):
            attach.detach(index)
        with suppress(OSError):  # what nobody reads: the next change writes it again
            settle(old.maps, before.image)
    here.set_stale(())
    _unpin_others(here, before.current)


def _flip_back(here: Here, now: Opened, before: Loaded) -> None:
    """The maps that count say something new, or interfaces were left: everything to what it was, by another flip."""
    if before.bound is not None:
        here.keep_artifact(read_generation(now.maps) + 1, before.bound)
    present = {*attach.interfaces().values()}
    endpoints = {key: slot for key, slot in before.image[ENDPOINTS.name].items() if _index(key) in present}
    _reach(here, now, {**before.image, ENDPOINTS.name: endpoints}, attach.attached(), here.stale())


def _skip_to(here: Here, old: Opened, before: Loaded, reached: int) -> None:
    """Give the old maps a generation that none has had, so that no event is told by another's names.

    Its low bit is that of the one that they have, so that nothing else changes.
    """
    generation = reached + ((reached ^ before.generation) & 1)
    if before.bound is not None:
        here.keep_artifact(generation, before.bound)
    set_generation(old.maps, generation)


# --- tidying up ---


def _tidied(here: Here, generation: int) -> Iterator[Diagnostic]:
    """Remove what has no effect any more; what cannot be removed yet is said."""
    current = here.current()
    assert current is not None
    yield from _left_behind(lambda: _unpin_others(here, current))
    yield from _left_behind(lambda: here.forget_artifacts(before=generation - 1))


def _left_behind(act: Callable[[], None]) -> Iterator[Diagnostic]:
    try:
        act()
    except OSError as error:
        yield diagnose(LEFT_BEHIND, None, told(error), help="the next `npcompile apply` tries again")


def _unpin_others(here: Here, current: Current) -> None:
    for other in list(here.others(current.pins)):
        here.unpin(other)


def told(error: OSError) -> str:
    """What failed, and why, without a number."""
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{os.fspath(error.filename)}: {reason}"
