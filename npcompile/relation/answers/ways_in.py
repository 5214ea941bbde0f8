"""Rules that let something in."""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.ir.policy import Direction
from npcompile.questions import WayIn
from npcompile.relation.examples import Far
from npcompile.relation.inventory import Inventory


def ways_in(inventory: Inventory) -> Iterator[WayIn]:
    """Ingress rules with flows that the source's egress lets go.  Exempt flows would pass without the rule."""
    relation = inventory.relation
    for rule in relation.rules:
        if rule.direction is not Direction.INGRESS:
            continue
        example = inventory.example(rule.direction, rule.possible, Far.ALLOWS)
        if example is not None:
            outside = [box._replace(peers=box.peers & relation.plain) for box in rule.possible]
            internet = inventory.example(rule.direction, outside)
            yield WayIn(opener=rule.of, example=example, internet=internet)
