"""Pods that no policy isolates."""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.ir.policy import Direction
from npcompile.questions import Uncovered
from npcompile.relation.boxes import Box
from npcompile.relation.inventory import Inventory


def uncovered(inventory: Inventory) -> Iterator[Uncovered]:
    """Per namespace and direction, the pods that no policy isolates; those on their node's network never are, and are
    left out.
    """
    relation = inventory.relation
    for namespace, pods in sorted(relation.selection.pods.namespaces.items()):
        for direction in (Direction.INGRESS, Direction.EGRESS):
            unprotected = pods & ~relation.sides[direction].isolated
            box = Box(unprotected, relation.plain, relation.space.every)
            example = inventory.example(direction, relation.boxer.possible((box,)))
            if example is not None:
                yield Uncovered(
                    namespace=relation.program.cluster.namespaces[namespace],
                    direction=direction,
                    pods=tuple(inventory.roster.pods_in(unprotected)),
                    example=example,
                )
