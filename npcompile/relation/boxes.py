"""Boxes: subjects × peers × ports, and differences of unions of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Box(NamedTuple):
    """Flows: every combination of a subject, a peer (bitsets of identities) and a port (a bitset of a `PortSpace`)."""

    subjects: int
    peers: int
    ports: int

    @property
    def empty(self) -> bool:
        """Whether it holds no flow."""
        return not (self.subjects and self.peers and self.ports)

    def meets(self, other: Box) -> bool:
        """Whether a flow is in both."""
        return bool(self.subjects & other.subjects and self.peers & other.peers and self.ports & other.ports)


def merge(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Fewer boxes of the same meaning: those that differ in their ports only become one."""
    ports: dict[tuple[int, int], int] = {}
    for box in boxes:
        key = (box.subjects, box.peers)
        ports[key] = ports.get(key, 0) | box.ports
    return tuple(Box(subjects, peers, bits) for (subjects, peers), bits in ports.items())


class OutOfEffortError(Exception):
    """A difference fell into more pieces than anyone wants to wait for."""


@dataclass(slots=True)
class Effort:
    """How many pieces may still be looked at; spent as they are."""

    left: int

    def spend(self, pieces: int) -> None:
        """Raise OutOfEffortError when nothing is left."""
        self.left -= pieces
        if self.left < 0:
            raise OutOfEffortError


def subtract(boxes: Iterable[Box], others: Iterable[Box], effort: Effort) -> list[Box]:
    """What of the union of `boxes` lies in none of `others`: as boxes, disjoint where `boxes` are."""
    pieces = list(boxes)
    for other in others:
        if not pieces:
            break
        effort.spend(len(pieces))
        pieces = [rest for piece in pieces for rest in _minus(piece, other)]
    return pieces


def _minus(box: Box, other: Box) -> Iterable[Box]:
    subjects, peers, ports = box.subjects & other.subjects, box.peers & other.peers, box.ports & other.ports
    if not (subjects and peers and ports):
        return (box,)
    rest = []
    if subjects != box.subjects:
        rest.append(Box(box.subjects ^ subjects, box.peers, box.ports))
    if peers != box.peers:
        rest.append(Box(subjects, box.peers ^ peers, box.ports))
    if ports != box.ports:
        rest.append(Box(subjects, peers, box.ports ^ ports))
    return rest
