"""Excepts of ipBlocks that another rule allows again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from npcompile.ir.policy import BlockPeer, Direction
from npcompile.netset.cidrs import Network
from npcompile.questions import DefeatedExcept
from npcompile.relation.boxes import Box
from npcompile.relation.inventory import Inventory
from npcompile.relation.rules import BoxedRule


def defeated_excepts(inventory: Inventory) -> Iterator[DefeatedExcept]:
    """By rule, peer and except."""
    rules: dict[tuple[str, Direction], list[BoxedRule]] = {}
    for rule in inventory.relation.rules:
        rules.setdefault((rule.of.policy.namespace, rule.direction), []).append(rule)
    for rule in inventory.relation.rules:
        others = rules[rule.of.policy.namespace, rule.direction]
        blocks = [peer for peer in rule.of.rule.match.peers if isinstance(peer, BlockPeer)]
        for peer, excepted in ((block, network) for block in blocks for network in block.excepts):
            answer = _answer(inventory, rule, peer, excepted, others)
            if answer is not None:
                yield answer


def _answer(
    inventory: Inventory, rule: BoxedRule, peer: BlockPeer, excepted: Network, others: Sequence[BoxedRule]
) -> DefeatedExcept | None:
    match = replace(rule.of.rule.match, peers=(BlockPeer(cidr=excepted),))
    boxer = inventory.relation.boxer
    left_out = boxer.boxed(rule.of.policy, rule.subjects, replace(rule.of.rule, match=match)).possible
    for other in others:
        if other is rule:
            continue
        common = [_common(box, theirs) for box in left_out for theirs in other.boxes if box.meets(theirs)]
        example = inventory.example(rule.direction, common)
        if example is not None:
            return DefeatedExcept(subject=rule.of, peer=peer, excepted=excepted, opener=other.of, example=example)
    return None


def _common(one: Box, other: Box) -> Box:
    return Box(one.subjects & other.subjects, one.peers & other.peers, one.ports & other.ports)
