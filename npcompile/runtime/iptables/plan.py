"""From what the kernel holds to what an artifact says, in steps.

What is allowed changes in one of two ways.  *In place*: the chains stay, and members of sets come and go in an order
that `members` vouches for.  Or by a *flip*: sets whose members change get another generation, which nothing asks yet,
and then one `iptables-restore` exchanges the chains for those that ask the new ones, which the kernel does in one
transaction.  A flow has one address family, so a flip a family is enough; between the two each family is wholly old or
wholly new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from npcompile.diagnostics.errors import InternalError
from npcompile.runtime.iptables.image import Image, Loaded, SetImage, renamed
from npcompile.runtime.iptables.members import Change, ordered_changes, roles

_SUFFIXES = ("", "-a", "-b", "-c", "-d")


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyDelta:
    """What one family needs.

    `fill`, `change`: lines for `ipset restore` before the flip, about sets that nothing asks and about sets that are in
    use.  `flip`: text for `iptables-restore --noflush`, or nothing.  `free`: sets that nothing will ask any more.
    `generations`: the names of the artifact's sets in the kernel, afterwards.
    """

    fill: tuple[str, ...] = ()
    change: tuple[str, ...] = ()
    flip: str = ""
    free: tuple[str, ...] = ()
    generations: Mapping[str, str]


def plan(loaded: Loaded, wanted: Image) -> FamilyDelta:
    """The way to `wanted` from what is loaded, whose idle sets are gone by then."""
    changes = _in_place(loaded, wanted)
    if changes is not None:
        return FamilyDelta(
            change=tuple(_change(one, loaded.generations[one.set]) for one in changes),
            generations=loaded.generations,
        )
    fresh = {
        name: _free_name(name, loaded)
        for name, one in sorted(wanted.sets.items())
        if loaded.image.sets.get(name) != one
    }
    return _exchange(loaded, wanted, fresh)


def as_written(image: Image, generations: Mapping[str, str]) -> FamilyDelta:
    """The way to the names that the artifact gives to its sets, where it is loaded under others."""
    taken = set(generations.values())
    fresh = {name: name for name in image.sets if name not in taken}
    if not fresh:
        return FamilyDelta(generations=generations)
    return _exchange(as_loaded(image, generations), image, fresh)


def as_loaded(image: Image, generations: Mapping[str, str] | None = None) -> Loaded:
    """What a family of the kernel holds when an image, and nothing else of ours, is loaded.

    `generations` None: the sets have the artifact's own names.
    """
    names = generations if generations is not None else {name: name for name in image.sets}
    return Loaded(
        image=image,
        generations=names,
        counts=dict.fromkeys(image.jumps, 1),
        first=frozenset(image.jumps),
        taken=frozenset(names.values()),
    )


def _exchange(loaded: Loaded, wanted: Image, fresh: Mapping[str, str]) -> FamilyDelta:
    """A flip to `wanted`, with new sets under the names in `fresh`."""
    generations = {name: fresh.get(name) or loaded.generations[name] for name in wanted.sets}
    return FamilyDelta(
        fill=tuple(line for name, kernel in fresh.items() for line in _fill(kernel, wanted.sets[name])),
        flip=_flip(loaded, wanted, generations),
        free=tuple(sorted(set(loaded.generations.values()) - set(generations.values()) - loaded.elsewhere)),
        generations=generations,
    )


def _in_place(loaded: Loaded, wanted: Image) -> tuple[Change, ...] | None:
    """The members that come and go where nothing else changes and the order of `members` exists; None: flip."""
    image = loaded.image
    if image.chains != wanted.chains or not _jumps_are_right(loaded, wanted):
        return None
    changed = {name for name, one in wanted.sets.items() if image.sets.get(name) != one}
    if not changed:
        return ()
    if any(name not in image.sets or image.sets[name].header != wanted.sets[name].header for name in changed):
        return None
    if changed & loaded.shared:
        return None
    old = {name: one.members for name, one in image.sets.items()}
    return ordered_changes(old, {name: one.members for name, one in wanted.sets.items()}, roles(image.chains))


def _jumps_are_right(loaded: Loaded, wanted: Image) -> bool:
    return loaded.first == set(wanted.jumps) and loaded.counts == dict.fromkeys(wanted.jumps, 1)


def _free_name(name: str, loaded: Loaded) -> str:
    taken = loaded.taken - loaded.idle
    for suffix in _SUFFIXES:
        if name + suffix not in taken:
            return name + suffix
    raise InternalError(f"every generation of the set {name} is in use")


def _fill(name: str, image: SetImage) -> Iterator[str]:
    yield f"create {name} {image.header}"
    yield from (f"add {name} {member}" for member in sorted(image.members))


def _change(change: Change, name: str) -> str:
    return f"{'add' if change.comes else 'del'} {name} {change.member}"


def _flip(loaded: Loaded, wanted: Image, generations: Mapping[str, str]) -> str:
    """The exchange of the chains that differ, and of the jumps unless they are right.

    Naming a chain empties it, so that those that go are named, too.  Jumps go by what they say, never by their number:
    others may insert rules meanwhile.
    """
    old, new = renamed(loaded.image.chains, loaded.generations), renamed(wanted.chains, generations)
    changed = [name for name, lines in new.items() if old.get(name) != lines]
    gone = sorted(set(old) - set(new))
    lines = ["*filter", *(f":{name} - [0:0]" for name in (*changed, *gone))]
    lines += (f"-A {name} {line}" for name in changed for line in new[name])
    if not _jumps_are_right(loaded, wanted):
        lines += _jumps(loaded, wanted)
    lines += (f"-X {name}" for name in gone)
    return "".join(f"{line}\n" for line in (*lines, "COMMIT"))


def _jumps(loaded: Loaded, wanted: Image) -> Iterator[str]:
    for (builtin, chain), count in sorted(loaded.counts.items()):
        yield from (f"-D {builtin} -j {chain}" for _ in range(count))
    yield from (f"-I {builtin} 1 -j {chain}" for builtin, chain in wanted.jumps)
