"""Canonical examples: of many flows always the same one.

Flows are ordered by the subject's pod; then by the peer: another pod, a pod on its node's network, an address that is
no pod's and no node's, an address of a node; pods by namespace and name; then by protocol and port; then by address,
in the order of `netset.cidrs.representative`.  The least one is found without listing the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import Direction
from npcompile.netset import cidrs, ports
from npcompile.netset.cidrs import Address
from npcompile.passes.assign_identities import HostIdentity, OutsideIdentity
from npcompile.questions import Example
from npcompile.relation.bits import lowest, members
from npcompile.relation.boxes import Box
from npcompile.relation.relation import Relation
from npcompile.relation.sides import Row


class Far(Enum):
    """What the other end, which is not the subject, must say to a flow."""

    ANY = "any"
    DENIES = "denies"
    ALLOWS = "allows"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roster:
    """The ordinary pods, numbered in their order, and who is in which identity."""

    pods: tuple[Pod, ...]
    addresses: tuple[tuple[tuple[Address | None, int], ...], ...]  # of each pod, with the identity there
    inside: tuple[tuple[int, ...], ...]  # of each identity of pods, ascending

    def pods_in(self, identities: int) -> list[Pod]:
        """The pods of some identities, in order."""
        numbers = {pod for number in members(identities) for pod in self.inside[number]}
        return [self.pods[pod] for pod in sorted(numbers)]

    def least(self, identities: int, *, but: int | None = None, after: int = -1) -> int | None:
        """The least pod of some identities that is not `but`, and greater than `after`."""
        found = None
        for number in members(identities):
            inside = self.inside[number]
            if found is not None and found < inside[0]:  # identities are ordered by their first pods
                break
            other = next((pod for pod in inside if pod != but and pod > after), None)
            if other is not None and (found is None or other < found):
                found = other
        return found

    def itself(self, pod: int) -> int | None:
        """The peer to whom a pod's flows are its flows to itself; a template stands for several pods, and has none."""
        return None if self.pods[pod].template else pod

    def apart(self, some: int, others: int) -> bool:
        """Whether a pod of some identities and a pod of others are two pods."""
        first = self.least(some)
        if first is None or not others:
            return False
        itself = self.itself(first)
        return self.least(others, but=itself) is not None or self.least(some, but=itself) is not None


def roster(relation: Relation) -> Roster:
    """Number the ordinary pods."""
    pods = sorted((pod for pod in relation.program.cluster.pods if not pod.host_network), key=lambda pod: pod.key)
    addresses = tuple(relation.identities.of_pod(pod) for pod in pods)
    inside: list[list[int]] = [[] for _ in relation.identities.pods]
    for pod, own in enumerate(addresses):
        for _, number in own:
            inside[number].append(pod)
    return Roster(pods=tuple(pods), addresses=addresses, inside=tuple(tuple(own) for own in inside))


class _Found(NamedTuple):
    """A flow, ordered: by kind of peer, peer pod, point of the port, points of the addresses."""

    kind: int
    peer_order: tuple[str, str]
    port: int
    address_order: tuple[int, int]
    subject: Endpoint
    peer: Endpoint


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Query:
    """Flows of `direction` in some boxes, of possible combinations of families, that are not exempt, and of which the
    far end says `far`; with `exempt_too`, whether they are exempt or not.
    """

    relation: Relation
    roster: Roster
    direction: Direction
    boxes: Sequence[Box]
    far: Far = Far.ANY
    exempt_too: bool = False
    _barren: set[int] = field(default_factory=set, repr=False)  # only remembers: subjects without any flow

    def example(self) -> Example | None:
        """The least of the flows."""
        left = self._subjects()
        pod = self.roster.least(left)
        while pod is not None:
            ends = [end for end in self.roster.addresses[pod] if left >> end[1] & 1]
            found = [one for address, number in ends if (one := self._least_of(pod, address, number))]
            if found:
                return self._example(min(found, key=_order))
            for _, number in ends:
                if number in self._barren:  # the other pods of an identity can differ only in what is exempt
                    left &= ~(1 << number)
            pod = self.roster.least(left, after=pod)
        return None

    def _subjects(self) -> int:
        """The subjects that may have a flow."""
        subjects = 0
        for box in self.boxes:
            if not box.peers:
                continue
            if self.far is not Far.ALLOWS or box.peers & ~self.relation.pods:
                subjects |= box.subjects
            else:
                side = self.relation.sides[other_side(self.direction)]
                for passing, _ in side.passages(box.subjects, box.peers, box.ports):
                    subjects |= passing
        return subjects

    def _example(self, found: _Found) -> Example:
        protocol, port = ports.at(found.port)
        src, dst = found.subject, found.peer
        if self.direction is Direction.INGRESS:
            src, dst = dst, src
        return Example(flow=Flow(src=src, dst=dst, protocol=protocol, port=port))

    def _least_of(self, pod: int, address: Address | None, number: int) -> _Found | None:
        """The least flow of a subject: a pod at an address, whose identity is `number`."""
        bit, companions = 1 << number, self.relation.companions(number)
        rows = [Row(box.peers & companions, box.ports) for box in self.boxes if box.subjects & bit]
        rows = [row for row in rows if row.peers]
        subject = Endpoint(pod=self.roster.pods[pod], address=address)
        any_pod = False
        for chunk in self._pods(rows, bit):
            any_pod = any_pod or bool(chunk)
            peer = self.roster.least(chunk, but=None if self.exempt_too else self.roster.itself(pod))
            if peer is not None:
                return min(self._to_pod(subject, number, rows, peer), key=_order)
        if self.far is Far.DENIES:  # what is no pod, or on its node's network, never denies
            if not any_pod:
                self._barren.add(number)
            return None
        found = self._to_host(subject, rows) or self._to_plain(subject, rows) or self._to_node(subject, rows)
        if not any_pod and not any(row.peers & ~self.relation.pods for row in rows):
            self._barren.add(number)
        return found

    def _pods(self, rows: Sequence[Row], bit: int) -> Iterator[int]:
        """The pods that a subject has flows with, in ascending chunks."""
        if self.far is Far.ANY:
            peers = 0
            for row in rows:
                peers |= row.peers
            yield peers & self.relation.pods
            return
        side = self.relation.sides[other_side(self.direction)]
        yield from side.denying(rows, bit) if self.far is Far.DENIES else side.passing(rows, bit)

    def _to_pod(self, subject: Endpoint, number: int, rows: Sequence[Row], peer: int) -> Iterator[_Found]:
        """The least flow to each address of a pod that there is one to."""
        space, far = self.relation.space, self.relation.sides[other_side(self.direction)]
        for address, at in self.roster.addresses[peer]:
            bits = _ports_to(rows, 1 << at)
            if self.far is Far.DENIES:
                bits &= ~far.ports(at, number, space.every)
            elif self.far is Far.ALLOWS:
                bits &= far.ports(at, number, space.every)
            if bits:
                yield self._found(0, subject, bits, Endpoint(pod=self.roster.pods[peer], address=address))

    def _to_host(self, subject: Endpoint, rows: Sequence[Row]) -> _Found | None:
        found = []
        for at in members(_peers(rows) & self.relation.hosts):
            identity = self.relation.order[at]
            assert isinstance(identity, HostIdentity)
            bits = _ports_to(rows, 1 << at)
            for pod, address in identity.members:
                if not self._exempt(subject, pod, address):
                    found.append(self._found(1, subject, bits, Endpoint(pod=pod, address=address)))
        return min(found, key=_order, default=None)

    def _to_plain(self, subject: Endpoint, rows: Sequence[Row]) -> _Found | None:
        plain = [Row(row.peers & self.relation.plain, row.ports) for row in rows if row.peers & self.relation.plain]
        if not plain:
            return None
        least = min(plain, key=lambda row: (lowest(row.ports), lowest(row.peers)))
        return self._to_address(2, subject, lowest(least.peers), least.ports)

    def _to_node(self, subject: Endpoint, rows: Sequence[Row]) -> _Found | None:
        found = []
        for at in members(_peers(rows) & self.relation.nodes):
            one = self._to_address(3, subject, at, _ports_to(rows, 1 << at))
            if not self._exempt(subject, None, one.peer.address):
                found.append(one)
        return min(found, key=_order, default=None)

    def _to_address(self, kind: int, subject: Endpoint, at: int, bits: int) -> _Found:
        identity = self.relation.order[at]
        assert isinstance(identity, OutsideIdentity)
        found = self._found(kind, subject, bits, Endpoint(address=identity.representative))
        return found._replace(address_order=(found.address_order[0], at))

    def _found(self, kind: int, subject: Endpoint, bits: int, peer: Endpoint) -> _Found:
        return _Found(
            kind=kind,
            peer_order=peer.pod.key if peer.pod is not None else ("", ""),
            port=self.relation.space.first_point(bits),
            address_order=(_point(subject.address), _point(peer.address)),
            subject=subject,
            peer=peer,
        )

    def _exempt(self, subject: Endpoint, peer: Pod | None, address: Address | None) -> bool:
        assert subject.pod is not None
        return not self.exempt_too and self.relation.exempt_pod(self.direction, subject.pod, peer, address)


def _order(found: _Found) -> tuple[int, tuple[str, str], int, tuple[int, int]]:
    return found[:4]


def _point(address: Address | None) -> int:
    return -1 if address is None else cidrs.point(address)


def other_side(direction: Direction) -> Direction:
    """The direction as the other end of a flow sees it."""
    return Direction.EGRESS if direction is Direction.INGRESS else Direction.INGRESS


def _peers(rows: Iterable[Row]) -> int:
    peers = 0
    for row in rows:
        peers |= row.peers
    return peers


def _ports_to(rows: Iterable[Row], peer: int) -> int:
    bits = 0
    for row in rows:
        if row.peers & peer:
            bits |= row.ports
    return bits
