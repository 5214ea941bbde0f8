"""A relation, and how to show examples of it: what every answer is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol, port_range
from npcompile.questions import Example
from npcompile.relation.boxes import Box
from npcompile.relation.examples import Far, Query, Roster, other_side, roster
from npcompile.relation.relation import Relation, relate

DNS_PORT = 53
DNS = {protocol: port_range(protocol, DNS_PORT, DNS_PORT) for protocol in (Protocol.UDP, Protocol.TCP)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inventory:
    """A program's relation and its numbered pods."""

    relation: Relation
    roster: Roster

    def example(
        self, direction: Direction, boxes: Sequence[Box], far: Far = Far.ANY, *, exempt_too: bool = False
    ) -> Example | None:
        """The canonical flow of a `Query`."""
        return Query(
            relation=self.relation,
            roster=self.roster,
            direction=direction,
            boxes=boxes,
            far=far,
            exempt_too=exempt_too,
        ).example()

    def anything_passes(self, direction: Direction, boxes: Sequence[Box]) -> bool:
        """Whether the far end lets some flow of possible `boxes` through that is not exempt: an example's existence,
        without looking for the least.
        """
        relation = self.relation
        far = relation.sides[other_side(direction)]
        for box in boxes:
            if box.peers & relation.plain:  # what is outside denies nothing
                return True
            for subjects, peers in far.passages(box.subjects, box.peers, box.ports):
                if self.roster.apart(subjects, peers):
                    return True
        known = [box._replace(peers=box.peers & (relation.hosts | relation.nodes)) for box in boxes]
        return self.example(direction, known) is not None  # what is on a node neither, but one may be the subject's own


def take(program: Program) -> Inventory:
    """Relate a program's pods and addresses, fine enough for every question."""
    relation = relate(program, ports=DNS.values())
    return Inventory(relation=relation, roster=roster(relation))
