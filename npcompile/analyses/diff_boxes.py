"""The flows that pass in one version only, as boxes: sources × destinations × ports.

Each direction is cut into halves: subjects, and strips of peers to whom either version opens the same ports.  Only
strips that differ are joined with the other direction's halves, so that the cost goes with the change, not the cluster.

What comes of that has as many pieces as there are profiles.  `cover` puts it in fewer words: boxes that cannot grow in
any direction without holding a flow that is not different.  They may overlap; together they are exact.  Pairs of
classes without a comparable flow (`Ends.companions`) may lie in a box, and mean nothing there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from npcompile.analyses.diff_ends import Both, Ends, Version
from npcompile.ir.policy import Direction
from npcompile.relation.bits import members
from npcompile.relation.boxes import Box, Effort, OutOfEffortError, subtract
from npcompile.relation.sides import Profile

PIECES = 5_000_000  # that may be looked at for a shorter description; what is left then is reported as it is


class Strip(NamedTuple):
    """Peers to whom each version opens the same ports."""

    peers: int
    ports: Both[int]

    @property
    def differs(self) -> bool:
        """Whether the versions disagree."""
        return self.ports.old != self.ports.new


class Half(NamedTuple):
    """Subjects, and strips of all peers, which are disjoint."""

    subjects: int
    strips: tuple[Strip, ...]


def halves(ends: Ends, direction: Direction) -> tuple[Half, ...]:
    """All classes, by what the policies of a direction open to them in both versions."""
    sides = Both(*(relation.sides[direction] for relation in ends.relations))
    groups: dict[Both[int], tuple[int, Both[Profile | None]]] = {}
    for place, one in enumerate(ends.classes):
        profiles = Both(*(side.profiles.get(number) for side, number in zip(sides, one.numbers, strict=True)))
        key = Both(*(id(profile) for profile in profiles))
        subjects, _ = groups.get(key, (0, profiles))
        groups[key] = (subjects | 1 << place, profiles)
    openings = _Openings(ends)
    return tuple(Half(subjects, tuple(openings.strips(profiles))) for subjects, profiles in groups.values())


class _Openings:
    """What profiles open, in terms of classes; each is looked at once."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self.known: dict[tuple[Version, int], dict[int, int]] = {}

    def strips(self, profiles: Both[Profile | None]) -> Iterator[Strip]:
        old, new = (self.parts(version, profiles[version]) for version in Version)
        if old == new:
            yield from (Strip(peers, Both(ports, ports)) for ports, peers in old.items())
            return
        for old_ports, old_peers in old.items():
            for new_ports, new_peers in new.items():
                if old_peers & new_peers:
                    yield Strip(old_peers & new_peers, Both(old_ports, new_ports))

    def parts(self, version: Version, profile: Profile | None) -> dict[int, int]:
        """The peers, by the ports that are open to them."""
        if profile is None:
            return {self.ends.relations[version].space.every: self.ends.everyone}
        key = (version, id(profile))
        if key not in self.known:
            parts = {0: self.ends.everyone}
            for row in profile.rows:
                parts = _split(parts, self.ends.classes_of(version, row.peers), row.ports)
            self.known[key] = parts
        return self.known[key]


def _split(parts: dict[int, int], peers: int, ports: int) -> dict[int, int]:
    after: dict[int, int] = {}
    for having, some in parts.items():
        for inside, then in ((some & peers, having | ports), (some & ~peers, having)):
            if inside:
                after[then] = after.get(then, 0) | inside
    return after


def differences(ends: Ends) -> Both[tuple[Box, ...]]:
    """The flows that pass in the old version only, and those that pass in the new one only: disjoint boxes.

    Pairs without a comparable flow may be in them.
    """
    leaving, entering = halves(ends, Direction.EGRESS), halves(ends, Direction.INGRESS)
    found: Both[list[Box]] = Both([], [])
    for sources, targets, egress, ingress in _join(leaving, entering):
        passing = Both(egress.old & ingress.old, egress.new & ingress.new)
        for version in Version:
            ports = passing[version] & ~passing[version.other]
            if ports:
                found[version].append(Box(sources, targets, ports))
    if ends.moved:
        _correct(ends, found)
    return Both(*(tuple(merge(box for box in boxes if ends.meet(box.subjects, box.peers))) for boxes in found))


def _join(leaving: Sequence[Half], entering: Sequence[Half]) -> Iterator[tuple[int, int, Both[int], Both[int]]]:
    """Sources, destinations, and what egress and ingress open between them: wherever one of the two differs."""
    changed = [
        Half(half.subjects, strips) for half in entering if (strips := tuple(s for s in half.strips if s.differs))
    ]
    for out in leaving:
        for strip in out.strips:
            for into in entering if strip.differs else changed:
                targets = strip.peers & into.subjects
                for other in into.strips if targets else ():
                    sources = out.subjects & other.peers
                    if sources:
                        yield sources, targets, strip.ports, other.ports


def _correct(ends: Ends, found: Both[list[Box]]) -> None:
    """A node that is a pod's own in one version only always passes there, and is judged in the other."""
    every = ends.relations.old.space.every
    for source, target, version in ends.moved:
        cell = Box(1 << source, 1 << target, every)
        for boxes in found:
            boxes[:] = subtract(boxes, [cell], Effort(len(boxes)))
        ports = every & ~_passing(ends, version.other, source, target)
        if ports:
            found[version].append(cell._replace(ports=ports))


def _passing(ends: Ends, version: Version, source: int, target: int) -> int:
    relation = ends.relations[version]
    src, dst = ends.classes[source].numbers[version], ends.classes[target].numbers[version]
    every = relation.space.every
    egress = relation.sides[Direction.EGRESS].ports(src, dst, every)
    return egress & relation.sides[Direction.INGRESS].ports(dst, src, every)


def merge(boxes: Iterable[Box]) -> list[Box]:
    """Fewer boxes of the same meaning, disjoint where those given are: of those that agree in two parts one is made."""
    left = list(boxes)
    while True:
        before = len(left)
        for part in range(3):
            union: dict[tuple[int, ...], int] = {}
            for box in left:
                key = box[:part] + box[part + 1 :]
                union[key] = union.get(key, 0) | box[part]
            left = [Box._make((*key[:part], bits, *key[part:])) for key, bits in union.items()]
        if len(left) == before:
            return sorted(left)


class Covering(NamedTuple):
    """Boxes that together are exactly the comparable flows of others; not `complete`: some could grow."""

    boxes: tuple[Box, ...]
    complete: bool


def cover(ends: Ends, boxes: Sequence[Box], pieces: int = PIECES) -> Covering:
    """Describe the comparable flows of disjoint boxes by boxes that cannot grow, taking the largest first."""
    found: list[Box] = []
    effort = Effort(pieces)
    left = list(boxes)
    grower = _Grower(ends, boxes, effort)
    while left:
        try:
            box = grower.grow(max(left, key=_size))
            left = [rest for rest in subtract(left, [box], effort) if ends.meet(rest.subjects, rest.peers)]
        except OutOfEffortError:
            return Covering((*found, *(grower.trim(rest) for rest in merge(left))), complete=False)
        found.append(box)
    return Covering(tuple(found), complete=True)


def _size(box: Box) -> tuple[int, Box]:
    return box.subjects.bit_count() * box.peers.bit_count() * box.ports.bit_count(), box


class _Grower:
    """Grows boxes within the union of some."""

    def __init__(self, ends: Ends, within: Sequence[Box], effort: Effort) -> None:
        self.ends, self.within, self.effort = ends, within, effort

    def grow(self, box: Box) -> Box:
        """A box that cannot grow in any direction, each of whose classes has a comparable flow there."""
        while True:
            grown = self.sources(box)
            grown = self.targets(grown)
            grown = self.ports(grown)
            if grown == box:
                return box
            box = grown

    def sources(self, box: Box) -> Box:
        """With every source all of whose flows to the box's destinations are within, and that has such flows."""
        having, lacking = self.around(box._replace(subjects=self.ends.everyone))
        good, bad = (_active(pieces, self.ends.companions, of_source=True) for pieces in (having, lacking))
        return box._replace(subjects=good & ~bad)

    def targets(self, box: Box) -> Box:
        """The same for destinations."""
        having, lacking = self.around(box._replace(peers=self.ends.everyone))
        good, bad = (_active(pieces, self.ends.callers, of_source=False) for pieces in (having, lacking))
        return box._replace(peers=good & ~bad)

    def ports(self, box: Box) -> Box:
        """With every port on which all flows between the box's ends are within."""
        every = self.ends.relations.old.space.every
        _, lacking = self.around(box._replace(ports=every))
        bad = 0
        for piece in lacking:
            if piece.ports & ~bad and self.ends.meet(piece.subjects, piece.peers):
                bad |= piece.ports
        return box._replace(ports=every & ~bad)

    def around(self, box: Box) -> tuple[list[Box], list[Box]]:
        """What of a box is within, and what is not."""
        having = [_meet(box, other) for other in self.within if box.meets(other)]
        self.effort.spend(len(self.within))
        return having, subtract([box], having, self.effort)

    def trim(self, box: Box) -> Box:
        """Without classes that have no comparable flow in a box."""
        sources = _active([box], self.ends.companions, of_source=True)
        return box._replace(subjects=sources, peers=_active([box], self.ends.callers, of_source=False))


def _meet(box: Box, other: Box) -> Box:
    return Box(box.subjects & other.subjects, box.peers & other.peers, box.ports & other.ports)


def _active(pieces: Iterable[Box], partners: Sequence[int], *, of_source: bool) -> int:
    """The sources, or destinations, of some boxes that have a comparable flow in one of them."""
    found = 0
    for piece in pieces:
        some, others = (piece.subjects, piece.peers) if of_source else (piece.peers, piece.subjects)
        for place in members(some & ~found):
            if partners[place] & others:
                found |= 1 << place
    return found
