"""Rulesets: what the policies that isolate a pod in a direction allow, as classes of peers and the ports open to each.

Pods that the same policies isolate share a ruleset, unless they declare other numbers behind a port name that those
policies' ingress rules mention.  Within a ruleset, identities that its rules treat alike are one *peer class*, so that
ports are written once a class and not once an identity.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from npcompile.ir.cluster import Cluster, Pod
from npcompile.ir.policy import Direction, NamedPort, Policy, PortItem, PortRange, Rule
from npcompile.netset.intervals import EMPTY, IntervalSet, union
from npcompile.netset.ports import EVERY_PORT, Protocol, all_ports, point, port_range
from npcompile.passes.assign_identities import Identities, PodIdentity, PortName
from npcompile.questions import RuleOf
from npcompile.relation.bits import lowest, members
from npcompile.relation.selection import Selection, selection

# Packets to port 0, which the API does not know, are allowed where every other port is by one item.
EVERY_PACKET = union((EVERY_PORT, *(IntervalSet.of(point(one, 0), point(one, 0)) for one in Protocol)))

RuleKey = tuple[str, str, str, int]  # `RuleOf.order`: tells a rule, and sorts as rules decide
Declared = tuple[tuple[PortName, tuple[int, ...]], ...]  # numbers by port name and protocol, sorted


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Ports from `first` to `last`, as points on the axis of `netset.ports`, and the rule that allows them.

    `rule` None: the port of a Service, not all of whose backends are allowed.
    """

    first: int
    last: int
    rule: RuleKey | None


Openings = tuple[Opening, ...]  # disjoint and ascending; each with the least rule that allows its ports


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerClass:
    """Identities (a bitset of their numbers) that one ruleset cannot tell apart, and what it opens to them."""

    identities: int
    openings: Openings


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruleset:
    """`policies` isolate its subjects (sorted, never empty); of `declared` ports the ingress rules among them speak.

    `classes` partition all identities, those with the most identities first.
    """

    direction: Direction
    policies: tuple[Policy, ...]
    declared: Declared
    classes: tuple[PeerClass, ...]

    @property
    def meaning(self) -> tuple[str, tuple[tuple[str, str], ...], tuple[tuple[str, str, tuple[int, ...]], ...]]:
        """What tells it from other rulesets, whatever its rules say."""
        ports = tuple((name, protocol.value, numbers) for (name, protocol), numbers in self.declared)
        return self.direction.value, tuple(policy.key for policy in self.policies), ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Rulesets:
    """The rulesets of one artifact, sorted by meaning, and who is subject to which."""

    all: tuple[Ruleset, ...]
    of_identity: Mapping[tuple[int, Direction], int]  # a pod's identity to the place of its ruleset, if isolated


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one rule allows on some ports, to some identities."""

    identities: int
    ports: IntervalSet
    rule: RuleKey


def make_rulesets(
    policies: Iterable[Policy], cluster: Cluster, identities: Identities, subjects: Iterable[Pod]
) -> Rulesets:
    """The rulesets that `subjects` need."""
    selected = selection(identities, cluster.namespaces)
    everyone = (1 << len(identities.order)) - 1
    wanted = {number for pod in subjects if not pod.host_network for _, number in identities.of_pod(pod)}
    isolating = _isolating(policies, selected)
    alike: dict[tuple[Direction, tuple[tuple[str, str], ...], Declared], tuple[tuple[Policy, ...], list[int]]] = {}
    for number in sorted(wanted):
        for direction in Direction:
            if chosen := isolating.get((number, direction)):
                declared = _declared(identities.pods[number], chosen, direction)
                key = (direction, tuple([policy.key for policy in chosen]), declared)
                alike.setdefault(key, (chosen, []))[1].append(number)
    made = [
        (Ruleset(direction=direction, policies=chosen, declared=declared,
                 classes=_classes(_parts(chosen, direction, declared, selected, everyone), everyone)), numbers)
        for (direction, _, declared), (chosen, numbers) in alike.items()
    ]  # fmt: skip
    made.sort(key=lambda one: one[0].meaning)
    of_identity = {
        (number, ruleset.direction): place for place, (ruleset, numbers) in enumerate(made) for number in numbers
    }
    return Rulesets(all=tuple(ruleset for ruleset, _ in made), of_identity=of_identity)


def _isolating(policies: Iterable[Policy], selected: Selection) -> Mapping[tuple[int, Direction], tuple[Policy, ...]]:
    """The policies that isolate each pod's identity in each direction, sorted."""
    found: dict[tuple[int, Direction], list[Policy]] = defaultdict(list)
    for policy in sorted(policies, key=lambda policy: policy.key):
        for number in members(selected.pods.subjects(policy.namespace, policy.subjects)):
            for direction in policy.directions:
                found[number, direction].append(policy)
    return {key: tuple(chosen) for key, chosen in found.items()}


def _declared(identity: PodIdentity, policies: Iterable[Policy], direction: Direction) -> Declared:
    """Those of a subject's port names that the ingress rules of its policies mention: a named port is the
    destination's.
    """
    if direction is Direction.EGRESS:
        return ()
    mentioned = {
        (item.name, item.protocol)
        for policy in policies
        for rule in policy.rules_of(direction)
        for item in rule.match.ports
        if isinstance(item, NamedPort)
    }
    return tuple((name, numbers) for name, numbers in identity.ports if name in mentioned)


def _parts(
    policies: Iterable[Policy], direction: Direction, declared: Declared, selected: Selection, everyone: int
) -> Iterator[_Part]:
    """What the rules come to, the least rule first."""
    for policy in policies:
        for rule in policy.rules_of(direction):
            peers = 0 if rule.match.peers else everyone
            for peer in rule.match.peers:
                peers |= selected.peers(policy.namespace, peer)
            of = RuleOf(policy=policy, rule=rule).order
            if not rule.match.ports:
                yield _Part(identities=peers, ports=EVERY_PACKET, rule=of)
            for item in rule.match.ports:
                yield from (
                    _Part(identities=peers & limit, ports=ports, rule=of)
                    for limit, ports in _ports(item, rule, declared, selected, everyone)
                )


def _ports(
    item: PortItem, rule: Rule, declared: Declared, selected: Selection, everyone: int
) -> Iterator[tuple[int, IntervalSet]]:
    """The ports that an item means, each with the identities that it means them for."""
    match item:
        case PortRange():
            ports = port_range(item.protocol, item.first, item.last)
            zero = point(item.protocol, 0)
            yield everyone, ports | IntervalSet.of(zero, zero) if ports == all_ports(item.protocol) else ports
        case NamedPort() if rule.direction is Direction.INGRESS:
            for number in dict(declared).get((item.name, item.protocol), ()):
                yield everyone, port_range(item.protocol, number, number)
        case NamedPort():
            for number, declaring in sorted(selected.numbers(item.name, item.protocol).items()):
                yield declaring, IntervalSet.of(point(item.protocol, number), point(item.protocol, number))
        case _:
            assert_never(item)


def _classes(parts: Iterable[_Part], everyone: int) -> tuple[PeerClass, ...]:
    """Split all identities by the parts that open something to them, each port under the first part that has it, and
    join those to whom the same is open.
    """
    blocks: list[tuple[Openings, IntervalSet, int]] = [((), EMPTY, everyone)]
    for part in parts:
        split: list[tuple[Openings, IntervalSet, int]] = []
        for openings, taken, block in blocks:
            inside = block & part.identities
            if not inside or not (fresh := part.ports - taken):
                split.append((openings, taken, block))
                continue
            added = [Opening(first=first, last=last, rule=part.rule) for first, last in fresh]
            split.append(((*openings, *added), taken | fresh, inside))
            if outside := block & ~part.identities:
                split.append((openings, taken, outside))
        blocks = split
    joined: dict[Openings, int] = defaultdict(int)
    for openings, _, block in blocks:
        joined[tuple(sorted(openings, key=lambda one: one.first))] |= block
    classes = [PeerClass(identities=block, openings=openings) for openings, block in joined.items()]
    return tuple(sorted(classes, key=lambda one: (-one.identities.bit_count(), lowest(one.identities))))
