"""Rules as boxes: subjects × peers × ports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from npcompile.ir.policy import Direction, NamedPort, Policy, PortItem, PortRange, Rule
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import Protocol, point, port_range
from npcompile.questions import RuleOf
from npcompile.relation.boxes import Box, merge
from npcompile.relation.port_space import PortSpace
from npcompile.relation.selection import Selection


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxedItem:
    """One item of a rule's ports, or None for a rule that does not restrict them, and the flows that use it."""

    item: PortItem | None
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxedRule:
    """An active rule.  `peers` are all that its `from` or `to` matches; `boxes` are the flows that it matches, some of
    them impossible because subject and peer are of different address families; `possible` leaves those out.
    """

    of: RuleOf
    subjects: int
    peers: int
    items: tuple[BoxedItem, ...]
    boxes: tuple[Box, ...]
    possible: tuple[Box, ...]

    @property
    def direction(self) -> Direction:
        """The direction of its flows, as its subjects see them."""
        return self.of.rule.direction


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RuleBoxer:
    """Makes boxes of rules.  `families` has the identities that IPv4 flows can have as their ends, then those of IPv6:
    pods without an address are in both.
    """

    selection: Selection
    space: PortSpace
    everyone: int
    families: tuple[int, int]
    _bits: dict[tuple[Protocol, int, int], int] = field(default_factory=dict, repr=False)  # only remembers

    def boxed(self, policy: Policy, subjects: int, rule: Rule) -> BoxedRule:
        """A rule of a policy that selects `subjects`."""
        match = rule.match
        peers = 0 if match.peers else self.everyone
        for peer in match.peers:
            peers |= self.selection.peers(policy.namespace, peer)
        items = [
            BoxedItem(item=item, boxes=self._item(subjects, peers, rule.direction, item)) for item in match.ports
        ] or [BoxedItem(item=None, boxes=_without_empty([Box(subjects, peers, self.space.every)]))]
        boxes = merge(box for item in items for box in item.boxes)
        return BoxedRule(
            of=RuleOf(policy=policy, rule=rule),
            subjects=subjects,
            peers=peers,
            items=tuple(items),
            boxes=boxes,
            possible=self.possible(boxes),
        )

    def _item(self, subjects: int, peers: int, direction: Direction, item: PortItem) -> tuple[Box, ...]:
        match item:
            case PortRange():
                return _without_empty([Box(subjects, peers, self._bits_of(item))])
            case NamedPort():
                boxes = []
                for number, declaring in sorted(self.selection.numbers(item.name, item.protocol).items()):
                    at = point(item.protocol, number)
                    bits = self.space.bits(IntervalSet.of(at, at))
                    if direction is Direction.INGRESS:  # the destination's declaration counts: here the subject's
                        boxes.append(Box(subjects & declaring, peers, bits))
                    else:
                        boxes.append(Box(subjects, peers & declaring, bits))
                return _without_empty(boxes)
            case _:
                assert_never(item)

    def _bits_of(self, item: PortRange) -> int:
        key = (item.protocol, item.first, item.last)
        if key not in self._bits:
            self._bits[key] = self.space.bits(port_range(*key))
        return self._bits[key]

    def possible(self, boxes: tuple[Box, ...]) -> tuple[Box, ...]:
        """The flows of some boxes whose ends have a family in common.  Pods without an address come in both families,
        so the boxes that are made of one may meet.
        """
        found = []
        for box in boxes:
            halves = [Box(box.subjects & family, box.peers & family, box.ports) for family in self.families]
            found += [halves[0]] if halves[0] == halves[1] else halves
        return _without_empty(found)


def _without_empty(boxes: list[Box]) -> tuple[Box, ...]:
    return tuple(box for box in boxes if not box.empty)
