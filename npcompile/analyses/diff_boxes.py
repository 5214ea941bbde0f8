"""The flows that pass in one version only, as boxes: sources × destinations × ports.

Each direction is cut into halves: subjects, and strips of peers to whom either version opens the same ports.  Only
strips that differ are joined with the other direction's halves, so that the cost goes with the change, not the cluster.

What comes of that is a row a source: destinations by the ports that differ.  `partition` puts the rows in fewer words:
disjoint boxes, each as large as what the earlier ones left lets it be.  Pairs of classes without a comparable flow
(`Ends.companions`) may lie in a box, and mean nothing there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from npcompile.analyses.diff_ends import Ends
from npcompile.ir.policy import Direction
from npcompile.ir.versions import Both, Version
from npcompile.relation.bits import members
from npcompile.relation.boxes import Box, Effort, OutOfEffortError
from npcompile.relation.sides import Profile

PIECES = 20_000_000  # of rows that may be looked at for large boxes; what is left then is reported in smaller ones

Row = dict[int, int]  # of one source: destinations (disjoint, and all comparable) by ports


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


def differences(ends: Ends) -> Both[list[Row]]:
    """The rows of all classes: what passes in the old version only, and what passes in the new one only."""
    found: Both[list[Row]] = Both([{} for _ in ends.classes], [{} for _ in ends.classes])
    leaving, entering = halves(ends, Direction.EGRESS), halves(ends, Direction.INGRESS)
    for sources, targets, egress, ingress in _join(leaving, entering):
        passing = Both(egress.old & ingress.old, egress.new & ingress.new)
        for version in Version:
            ports = passing[version] & ~passing[version.other]
            for source in members(sources) if ports else ():
                _add(found[version][source], ports, targets & ends.companions[source])
    _correct(ends, found)
    return found


def _add(row: Row, ports: int, targets: int) -> None:
    if targets and ports:
        row[ports] = row.get(ports, 0) | targets


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


def _correct(ends: Ends, found: Both[list[Row]]) -> None:
    """A node that is a pod's own in one version only always passes there, and is judged in the other."""
    for source, target, version in ends.moved:
        for rows in found:
            rows[source] = _without(rows[source], 1 << target, ends.relations.old.space.every)
        ports = ends.relations.old.space.every & ~_passing(ends, version.other, source, target)
        _add(found[version][source], ports, 1 << target)


def _without(row: Row, targets: int, ports: int) -> Row:
    """A row without some destinations on some ports."""
    after: Row = {}
    for having, some in row.items():
        _add(after, having, some & ~targets)
        _add(after, having & ~ports, some & targets)
    return after


def _passing(ends: Ends, version: Version, source: int, target: int) -> int:
    relation = ends.relations[version]
    src, dst = ends.classes[source].numbers[version], ends.classes[target].numbers[version]
    every = relation.space.every
    egress = relation.sides[Direction.EGRESS].ports(src, dst, every)
    return egress & relation.sides[Direction.INGRESS].ports(dst, src, every)


class Partition(NamedTuple):
    """Disjoint boxes that together are exactly the flows of some rows; not `complete`: some could be larger."""

    boxes: tuple[Box, ...]
    complete: bool


def partition(ends: Ends, rows: Sequence[Row], pieces: int = PIECES) -> Partition:
    """Describe rows by boxes (of sources, destinations and ports) that cannot grow into what no earlier one has."""
    found: list[Box] = []
    left = {source: row for source, row in enumerate(rows) if row}
    grower = _Grower(ends, left, Effort(pieces))
    try:
        while left:
            box = grower.grow(_seed(left))
            for source in members(box.subjects):
                left[source] = _without(left[source], box.peers, box.ports)
                if not left[source]:
                    del left[source]
            found.append(box)
    except OutOfEffortError:
        return Partition((*found, *_together(left)), complete=False)
    return Partition(tuple(found), complete=True)


def _seed(rows: dict[int, Row]) -> Box:
    """The first of the boxes of one source that hold the most."""
    largest, seed = 0, Box(0, 0, 0)
    for source, row in rows.items():
        for ports, targets in row.items():
            size = ports.bit_count() * targets.bit_count()
            if size > largest:
                largest, seed = size, Box(1 << source, targets, ports)
    return seed


def _together(rows: dict[int, Row]) -> list[Box]:
    """The rows themselves as boxes, equal ones as one."""
    sources: dict[tuple[int, int], int] = {}
    for source, row in rows.items():
        for ports, targets in row.items():
            sources[targets, ports] = sources.get((targets, ports), 0) | 1 << source
    return [Box(some, targets, ports) for (targets, ports), some in sources.items()]


class _Grower:
    """Grows boxes within rows."""

    def __init__(self, ends: Ends, rows: dict[int, Row], effort: Effort) -> None:
        self.companions, self.rows, self.effort = ends.companions, rows, effort
        self.twins = _twins(ends)

    def grow(self, box: Box) -> Box:
        """A box that cannot grow in any direction, each of whose classes has a flow of the rows there."""
        while True:
            grown = self.ports(self.targets(self.sources(box)))
            if grown == box:
                grown = self.ports(self.targets(self.sources(self.with_twins(box))))
            if grown == box:
                return box
            box = grown

    def with_twins(self, box: Box) -> Box:
        """With the same pods' other addresses, as far as no flow keeps them out.

        They may have no flow with the other side as it is, and so have to come in together.
        """
        sources, peers = box.subjects, box.peers
        for source in members(self.all_twins(sources) & ~sources):
            if source in self.rows and not peers & self.companions[source] & ~self.covering(source, box.ports):
                sources |= 1 << source
        more = self.all_twins(peers)
        for source in members(sources):
            more &= ~self.companions[source] | self.covering(source, box.ports)
        return Box(sources, peers | more, box.ports)

    def all_twins(self, classes: int) -> int:
        found = 0
        for place in members(classes):
            found |= self.twins[place]
        return found

    def covering(self, source: int, ports: int) -> int:
        """The destinations to which all of some ports are in a source's row."""
        self.effort.spend(1)
        found = 0
        for having, targets in self.rows[source].items():
            if not ports & ~having:
                found |= targets
        return found

    def sources(self, box: Box) -> Box:
        """With every source all of whose flows to the box's destinations are in its row, and that has such flows."""
        found = 0
        for source in self.rows:
            covering = self.covering(source, box.ports)
            if covering & box.peers and not box.peers & self.companions[source] & ~covering:
                found |= 1 << source
        return box._replace(subjects=found)

    def targets(self, box: Box) -> Box:
        """The same for destinations."""
        good, bad = 0, 0
        for source in members(box.subjects):
            covering = self.covering(source, box.ports)
            good |= covering
            bad |= self.companions[source] & ~covering
        return box._replace(peers=good & ~bad)

    def ports(self, box: Box) -> Box:
        """With every port on which all flows between the box's ends are in the rows."""
        common = -1
        for source in members(box.subjects):
            self.effort.spend(1)
            for having, targets in self.rows[source].items():
                if targets & box.peers:
                    common &= having
        return box._replace(ports=common)


def _twins(ends: Ends) -> list[int]:
    """For each class, those that have pods in common with it."""
    of_pod: dict[tuple[str, str], int] = {}
    keys = [[end.new.pod.key for end in one.ends if end.new.pod is not None] for one in ends.classes]
    for place, own in enumerate(keys):
        for key in own:
            of_pod[key] = of_pod.get(key, 0) | 1 << place
    twins = []
    for own in keys:
        bits = 0
        for key in own:
            bits |= of_pod[key]
        twins.append(bits)
    return twins
