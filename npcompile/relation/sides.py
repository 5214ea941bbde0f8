"""One direction's half of the relation: which peers and ports each profile of subjects lets through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from npcompile.ir.policy import Direction, Policy
from npcompile.relation.bits import lowest, members
from npcompile.relation.boxes import Box, merge


class Row(NamedTuple):
    """Peers that may use ports."""

    peers: int
    ports: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """Isolated subjects to which the same rules apply.  `policies` are those that isolate them, the least first; no
    two of `rows` have the same ports.
    """

    members: int
    policies: tuple[Policy, ...]
    rows: tuple[Row, ...]
    _peers: dict[int, int] = field(default_factory=dict, repr=False)  # only remembers

    def ports(self, peer: int) -> int:
        """The ports open to a peer, given as its bit."""
        ports = 0
        for row in self.rows:
            if row.peers & peer:
                ports |= row.ports
        return ports

    def peers(self, ports: int) -> int:
        """The peers to whom some of `ports` are open."""
        if ports not in self._peers:
            peers = 0
            for row in self.rows:
                if row.ports & ports:
                    peers |= row.peers
            self._peers[ports] = peers
        return self._peers[ports]


class Opening(NamedTuple):
    """What the rules of a namespace open of some set of ports: peers for whom anything is open, boxes with all of those
    ports, and boxes with some of them only.
    """

    peers: int
    whole: tuple[Box, ...]
    partly: tuple[Box, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Space:
    """The pods of one namespace, those of them that no policy isolates, and what the rules allow the others."""

    namespace: str
    members: int
    open: int
    boxes: tuple[Box, ...]
    _openings: dict[int, Opening] = field(default_factory=dict, repr=False)  # only remembers

    def opening(self, ports: int) -> Opening:
        """What is open of `ports`, which are not empty."""
        if ports not in self._openings:
            peers = 0
            whole: list[Box] = []
            partly: list[Box] = []
            for box in self.boxes:
                if box.ports & ports:
                    peers |= box.peers
                    (partly if ports & ~box.ports else whole).append(box)
            self._openings[ports] = Opening(peers, tuple(whole), tuple(partly))
        return self._openings[ports]

    def denied(self, subjects: int, ports: int, peer: int) -> int:
        """Those of some subjects that deny a peer (its bit) some of `ports`."""
        left = subjects & self.members & ~self.open
        opening = self.opening(ports)
        if left and opening.peers & peer:
            for box in opening.whole:
                if box.peers & peer:
                    left &= ~box.subjects
            if left and opening.partly:
                left = _lacking(left, ports, (box for box in opening.partly if box.peers & peer))
        return left

    def passed(self, subjects: int, ports: int, peer: int) -> int:
        """Those of some subjects that let a peer (its bit) through on some of `ports`."""
        found = subjects & self.open
        opening = self.opening(ports)
        if opening.peers & peer:
            for box in (*opening.whole, *opening.partly):
                if box.peers & peer:
                    found |= subjects & box.subjects
        return found


def _lacking(subjects: int, ports: int, boxes: Iterable[Box]) -> int:
    """Those of some subjects to which no number of boxes, whatever their peers, together opens all of `ports`."""
    pieces = [(subjects, ports)]  # disjoint subjects, with what they still lack
    for box in boxes:
        left = []
        for lacking, still in pieces:
            inside, outside = lacking & box.subjects, lacking & ~box.subjects
            if outside:
                left.append((outside, still))
            if inside and still & ~box.ports:
                left.append((inside, still & ~box.ports))
        pieces = left
    found = 0
    for lacking, _ in pieces:
        found |= lacking
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """A direction for every pod of the inventory; `spaces` are in the order of the namespaces' names."""

    direction: Direction
    isolated: int
    spaces: tuple[Space, ...]
    profiles: Mapping[int, Profile]  # by identity; the others are open

    def ports(self, subject: int, peer: int, every: int) -> int:
        """The ports that a subject opens to a peer (numbers of identities), of `every`."""
        profile = self.profiles.get(subject)
        return every if profile is None else profile.ports(1 << peer)

    def denying(self, rows: Sequence[Row], peer: int) -> Iterator[int]:
        """The subjects that deny a peer (its bit) something of `rows`, which are (subjects, ports); by namespace."""
        for space in self.spaces:
            found = 0
            for subjects, ports in rows:
                if subjects & space.members:
                    found |= space.denied(subjects, ports, peer)
            if found:
                yield found

    def passing(self, rows: Sequence[Row], peer: int) -> Iterator[int]:
        """The subjects that let a peer (its bit) do something of `rows`, which are (subjects, ports); by namespace."""
        for space in self.spaces:
            found = 0
            for subjects, ports in rows:
                if subjects & space.members:
                    found |= space.passed(subjects, ports, peer)
            if found:
                yield found

    def passages(self, peers: int, subjects: int, ports: int) -> Iterator[tuple[int, int]]:
        """Some of `peers` with some of `subjects`, all of which let all of those through on some of `ports`; together
        every such combination.
        """
        for space in self.spaces:
            if not subjects & space.members:
                continue
            if subjects & space.open:
                yield peers, subjects & space.open
            opening = space.opening(ports)
            if opening.peers & peers:
                for box in (*opening.whole, *opening.partly):
                    if box.peers & peers and box.subjects & subjects:
                        yield box.peers & peers, box.subjects & subjects


class Isolation(NamedTuple):
    """A policy of a direction, the pods that it isolates, and what its rules allow them."""

    policy: Policy
    subjects: int
    boxes: tuple[Box, ...]


def side(direction: Direction, namespaces: Mapping[str, int], isolations: Sequence[Isolation]) -> Side:
    """Gather the policies of a direction, which are in order, into profiles."""
    by_namespace: dict[str, list[Isolation]] = {}
    for isolation in isolations:
        by_namespace.setdefault(isolation.policy.namespace, []).append(isolation)
    spaces = []
    profiles: dict[int, Profile] = {}
    everywhere = 0
    for namespace, inside in sorted(namespaces.items()):
        policies = by_namespace.get(namespace, [])
        isolated = 0
        for profile in _profiles(policies):
            isolated |= profile.members
            profiles.update((number, profile) for number in members(profile.members))
        boxes = merge(box for policy in policies for box in policy.boxes)
        spaces.append(Space(namespace=namespace, members=inside, open=inside & ~isolated, boxes=boxes))
        everywhere |= isolated
    return Side(direction=direction, isolated=everywhere, spaces=tuple(spaces), profiles=profiles)


def _profiles(isolations: Sequence[Isolation]) -> Iterator[Profile]:
    """Split the subjects of a namespace's policies wherever a policy or one of its boxes does."""
    subject_sets = {one.subjects for one in isolations} | {box.subjects for one in isolations for box in one.boxes}
    places = {subjects: place for place, subjects in enumerate(sorted(subject_sets))}
    inside: dict[int, int] = {}  # of each subject the sets that it is in, as a bitset of their places
    for subjects, place in places.items():
        for number in members(subjects):
            inside[number] = inside.get(number, 0) | 1 << place
    classes: dict[int, int] = {}
    for number in sorted(inside):
        classes[inside[number]] = classes.get(inside[number], 0) | 1 << number
    for subjects in classes.values():
        one = 1 << lowest(subjects)
        policies = [isolation for isolation in isolations if isolation.subjects & one]
        boxes = (box for isolation in policies for box in isolation.boxes if box.subjects & one)
        yield Profile(
            members=subjects,
            policies=tuple(isolation.policy for isolation in policies),
            rows=_merge(Row(box.peers, box.ports) for box in boxes),
        )


def _merge(rows: Iterator[Row]) -> tuple[Row, ...]:
    """Fewer rows of the same meaning; no two have the same ports."""
    ports_of: dict[int, int] = {}
    for row in rows:
        ports_of[row.peers] = ports_of.get(row.peers, 0) | row.ports
    peers_of: dict[int, int] = {}
    for peers, ports in ports_of.items():
        peers_of[ports] = peers_of.get(ports, 0) | peers
    return tuple(Row(peers, ports) for ports, peers in peers_of.items())
