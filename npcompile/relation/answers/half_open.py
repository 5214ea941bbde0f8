"""Rules whose flows the other end denies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from npcompile.ir.policy import Direction, Policy
from npcompile.questions import Example, HalfOpen
from npcompile.relation.examples import Far
from npcompile.relation.inventory import Inventory
from npcompile.relation.rules import BoxedRule


def half_open(inventory: Inventory) -> Iterator[HalfOpen]:
    """Per rule and port item, whether the other end denies flows that it matches, and whether all.

    Exempt flows are none of the rule's: they neither make it half-open nor keep it from being fully dead.  A rule all
    of whose port items are fully dead because of one blocker is reported once, without an item.
    """
    for rule in inventory.relation.rules:
        found = list(_items(inventory, rule))
        if len(found) == len(rule.items) and all(one.fully for one in found) and _same_blocker(found):
            example = inventory.example(rule.direction, rule.possible, Far.DENIES)
            assert example is not None
            yield HalfOpen(opener=rule.of, port=None, blocker=found[0].blocker, fully=True, example=example)
        else:
            yield from found


def _same_blocker(found: Sequence[HalfOpen]) -> bool:
    return len({one.blocker.key for one in found}) == 1


def _items(inventory: Inventory, rule: BoxedRule) -> Iterator[HalfOpen]:
    for item in rule.items:
        boxes = inventory.relation.boxer.possible(item.boxes)
        example = inventory.example(rule.direction, boxes, Far.DENIES)
        if example is not None:
            yield HalfOpen(
                opener=rule.of,
                port=item.item,
                blocker=_blocker(inventory, rule.direction, example),
                fully=not inventory.anything_passes(rule.direction, boxes),
                example=example,
            )


def _blocker(inventory: Inventory, direction: Direction, example: Example) -> Policy:
    """The least policy that isolates the end that denies."""
    relation = inventory.relation
    if direction is Direction.EGRESS:
        far, side = example.flow.dst, relation.sides[Direction.INGRESS]
    else:
        far, side = example.flow.src, relation.sides[Direction.EGRESS]
    return side.profiles[relation.identities.of(far)].policies[0]
