"""Isolated pods that are open to everyone of a kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from npcompile.ir.policy import Direction
from npcompile.questions import Breadth, RuleOf, WideOpen
from npcompile.relation.answers.covers import irredundant
from npcompile.relation.bits import lowest, members
from npcompile.relation.boxes import Box
from npcompile.relation.inventory import Inventory
from npcompile.relation.port_space import PortSpace
from npcompile.relation.rules import BoxedRule
from npcompile.relation.sides import Profile

Group = tuple[str, Direction]


def wide_open(inventory: Inventory) -> Iterator[WideOpen]:
    """By namespace, direction and kind.  A pod is judged at each of its addresses by itself, and its flows to itself
    are left out.
    """
    relation = inventory.relation
    rules: dict[Group, list[BoxedRule]] = {}
    for rule in relation.rules:
        rules.setdefault((rule.of.policy.namespace, rule.direction), []).append(rule)
    profiles: dict[Group, list[Profile]] = {}
    for direction, side in relation.sides.items():
        for profile in {id(one): one for one in side.profiles.values()}.values():
            home = relation.identities.pods[lowest(profile.members)].namespace
            profiles.setdefault((home, direction), []).append(profile)
    for namespace in sorted(relation.selection.pods.namespaces):
        for direction in (Direction.INGRESS, Direction.EGRESS):
            group = profiles.get((namespace, direction), [])
            own = rules.get((namespace, direction), [])
            for breadth in Breadth:
                finder = _Finder(inventory=inventory, namespace=namespace, direction=direction, breadth=breadth)
                answer = finder.answer(group, own)
                if answer is not None:
                    yield answer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Finder:
    """A question about one namespace, direction and kind."""

    inventory: Inventory
    namespace: str
    direction: Direction
    breadth: Breadth

    def answer(self, profiles: Sequence[Profile], rules: Sequence[BoxedRule]) -> WideOpen | None:
        """About the isolated pods of some profiles."""
        relation = self.inventory.relation
        open_on = {number: ports for profile in profiles for number, ports in self._open(profile)}
        if not open_on:
            return None
        portless = _portless(relation.space)
        every_port = any(ports & portless for ports in open_on.values())
        if every_port:
            open_on = {number: relation.space.every for number, ports in open_on.items() if ports & portless}
        return self._answer(open_on, rules, every_port)

    def _answer(self, open_on: Mapping[int, int], rules: Sequence[BoxedRule], every_port: bool) -> WideOpen:
        relation = self.inventory.relation
        subject = min(open_on, key=lambda number: self.inventory.roster.inside[number][0])
        port = _portless(relation.space) if every_port else 1 << lowest(open_on[subject])
        wanted = self._everyone(subject)
        matching: list[tuple[RuleOf, int]] = []
        for rule in rules:
            peers = 0
            for box in rule.boxes:
                if box.subjects >> subject & 1 and box.ports & port:
                    peers |= box.peers
            if peers & wanted:
                matching.append((rule.of, peers & wanted))
        cover = irredundant(matching, lambda some: not wanted & ~_union(some))
        assert cover
        boxes = [Box(1 << subject, cover[0][1], relation.space.every if every_port else port)]
        example = self.inventory.example(self.direction, boxes)
        example = example or self.inventory.example(self.direction, boxes, exempt_too=True)
        assert example is not None
        return WideOpen(
            namespace=self.namespace,
            direction=self.direction,
            breadth=self.breadth,
            every_port=every_port,
            rules=tuple(of for of, _ in cover),
            example=example,
        )

    def _open(self, profile: Profile) -> Iterator[tuple[int, int]]:
        """The subjects of a profile that are open to everyone of the kind, and the ports on which they are."""
        anyone = 0
        for row in profile.rows:
            anyone |= row.peers
        for number in members(profile.members):
            everyone = self._everyone(number)
            if not everyone or everyone & ~anyone:
                continue
            ports = 0
            for piece in members(_ports(profile)):
                if not everyone & ~profile.peers(1 << piece):
                    ports |= 1 << piece
            if ports:
                yield number, ports

    def _everyone(self, number: int) -> int:
        """All of the kind that a subject can have flows with."""
        relation = self.inventory.relation
        ipv4, ipv6 = relation.families
        bit = 1 << number
        addresses = relation.plain | relation.nodes | relation.hosts
        match self.breadth:
            case Breadth.IPV4:
                return addresses & ipv4 if ipv4 & bit else 0
            case Breadth.IPV6:
                return addresses & ipv6 if ipv6 & bit else 0
            case Breadth.PODS:
                pods = relation.pods & relation.companions(number)
                inside = self.inventory.roster.inside[number]
                if len(inside) == 1 and self.inventory.roster.itself(inside[0]) is not None:
                    pods &= ~bit
                return pods if pods & ~relation.selection.pods.namespaces[self.namespace] else 0


def _portless(space: PortSpace) -> int:
    """The last piece, which holds the port-less protocols: rules that match it have no ports, and match every port."""
    return 1 << space.every.bit_length() - 1


def _ports(profile: Profile) -> int:
    ports = 0
    for row in profile.rows:
        ports |= row.ports
    return ports


def _union(matching: Sequence[tuple[RuleOf, int]]) -> int:
    peers = 0
    for _, some in matching:
        peers |= some
    return peers
