"""One direction's half of the relation: which peers and ports each profile of subjects lets through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from npcompile.ir.policy import Direction, Policy
from npcompile.relation.bits import lowest, members
from npcompile.relation.boxes import Box


class Row(NamedTuple):
    """Peers that may use ports."""

    peers: int
    ports: int


class Admitted(NamedTuple):
    """For some set of ports: the peers to which some of them are open, and those to which all of them are."""

    some: int
    every: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """Isolated subjects to which the same rules apply.  `policies` are those that isolate them, the least first; no
    two of `rows` have the same ports.
    """

    members: int
    policies: tuple[Policy, ...]
    rows: tuple[Row, ...]
    _admitted: dict[int, Admitted] = field(default_factory=dict, repr=False)  # only remembers

    def ports(self, peer: int) -> int:
        """The ports open to a peer, given as its bit."""
        ports = 0
        for row in self.rows:
            if row.peers & peer:
                ports |= row.ports
        return ports

    def admitted(self, ports: int) -> Admitted:
        """Whom it lets through on `ports`, which are not empty."""
        if ports not in self._admitted:
            self._admitted[ports] = self._admit(ports)
        return self._admitted[ports]

    def _admit(self, ports: int) -> Admitted:
        some = every = 0
        partly = []
        for row in self.rows:
            met = row.ports & ports
            if met:
                some |= row.peers
            if met == ports:
                every |= row.peers
            elif met:
                partly.append(Row(row.peers, met))
        return Admitted(some, every | _complete(some & ~every, ports, partly))


def _complete(peers: int, ports: int, rows: Sequence[Row]) -> int:
    """Those of `peers` to which several rows together open all of `ports`."""
    complete = 0
    pieces = [Row(peers, ports)] if peers and len(rows) > 1 else []  # disjoint peers, with what they still lack
    for row in rows:
        lacking = []
        for piece in pieces:
            inside, outside = piece.peers & row.peers, piece.peers & ~row.peers
            if outside:
                lacking.append(Row(outside, piece.ports))
            if inside and piece.ports & ~row.ports:
                lacking.append(Row(inside, piece.ports & ~row.ports))
            elif inside:
                complete |= inside
        pieces = lacking
    return complete


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Space:
    """The pods of one namespace: those that no policy isolates, and the profiles of the others."""

    namespace: str
    members: int
    open: int
    profiles: tuple[Profile, ...]
    _admitted: dict[int, Admitted] = field(default_factory=dict, repr=False)  # only remembers

    def admitted(self, ports: int) -> Admitted:
        """Whom some profile lets through on some of `ports`, and whom every profile lets through on all."""
        if ports not in self._admitted:
            some, every = 0, -1
            for profile in self.profiles:
                admitted = profile.admitted(ports)
                some |= admitted.some
                every &= admitted.every
            self._admitted[ports] = Admitted(some, every)
        return self._admitted[ports]

    def denied(self, subjects: int, ports: int, peer: int) -> int:
        """Those of some subjects that deny a peer (its bit) some of `ports`."""
        found = 0
        if not self.admitted(ports).every & peer:
            for profile in self.profiles:
                if subjects & profile.members and not profile.admitted(ports).every & peer:
                    found |= subjects & profile.members
        return found

    def passed(self, subjects: int, ports: int, peer: int) -> int:
        """Those of some subjects that let a peer (its bit) through on some of `ports`."""
        found = subjects & self.open
        if self.admitted(ports).some & peer:
            for profile in self.profiles:
                if subjects & profile.members and profile.admitted(ports).some & peer:
                    found |= subjects & profile.members
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
    for namespace, inside in sorted(namespaces.items()):
        found = tuple(_profiles(by_namespace.get(namespace, [])))
        isolated = 0
        for profile in found:
            isolated |= profile.members
            profiles.update((number, profile) for number in members(profile.members))
        spaces.append(Space(namespace=namespace, members=inside, open=inside & ~isolated, profiles=found))
    everywhere = 0
    for space in spaces:
        everywhere |= space.members & ~space.open
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
