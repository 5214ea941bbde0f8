"""The relation: who may send what to whom, for the pods of the inventory and every address outside.

It is kept factored: for each direction, which peers and ports a profile of subjects lets through (`sides`).  A flow
passes when both halves let it, and nothing here ever lists all pairs.  Two kinds of flows pass without any policy's
consent, and depend on single pods and not on identities: a pod's to itself and, into a pod, its own node's (`exempt`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never

from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import Direction, NamedPort, Policy, PortItem, PortRange
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address, Family
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import EVERY_PORT, point, port_range
from npcompile.passes.assign_identities import Identities, Identity, assign_identities, vocabulary
from npcompile.relation.port_space import PortSpace, port_space
from npcompile.relation.rules import BoxedRule, RuleBoxer
from npcompile.relation.selection import Selection, selection
from npcompile.relation.sides import Isolation, Side, side


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relation:
    """A program as sets.  Identities are their numbers, sets of them and of ports are bitsets.

    `subjects` are the pods that each policy selects, `rules` all active rules in the order of answers.  `pods`,
    `hosts` (pods on their node's network), `plain` (addresses of no pod and no node) and `nodes` (addresses of nodes)
    are the kinds of identities.  `families` has the identities that IPv4 flows can have as their ends, then those of
    IPv6: pods without an address are in both.
    """

    program: Program
    identities: Identities
    space: PortSpace
    selection: Selection
    subjects: Mapping[tuple[str, str], int]
    rules: tuple[BoxedRule, ...]
    sides: Mapping[Direction, Side]
    boxer: RuleBoxer
    order: tuple[Identity, ...]
    pods: int
    hosts: int
    plain: int
    nodes: int

    @property
    def families(self) -> tuple[int, int]:
        """The possible ends of IPv4 flows, then of IPv6 flows."""
        return self.boxer.families

    def companions(self, number: int) -> int:
        """The identities that flows can connect an identity with, as far as address families go."""
        bit = 1 << number
        ipv4, ipv6 = self.families
        return (ipv4 if ipv4 & bit else 0) | (ipv6 if ipv6 & bit else 0)

    def isolated(self, direction: Direction, endpoint: Endpoint) -> bool:
        """Whether some policy isolates an endpoint."""
        return bool(self.sides[direction].isolated >> self.identities.of(endpoint) & 1)

    def exempt(self, direction: Direction, src: Endpoint, dst: Endpoint) -> bool:
        """Whether this direction's policies have no say: a pod's flows to itself, and its own node's to it."""
        subject, peer = (src, dst) if direction is Direction.EGRESS else (dst, src)
        return subject.pod is not None and self.exempt_pod(direction, subject.pod, peer.pod, peer.address)

    def exempt_pod(self, direction: Direction, subject: Pod, peer: Pod | None, address: Address | None) -> bool:
        """`exempt` for a subject and a peer, which is a pod at an address, or an address."""
        if peer is not None and peer.key == subject.key and not subject.template:
            return True
        if direction is Direction.EGRESS or subject.node is None or (peer is not None and not peer.host_network):
            return False
        if peer is not None and peer.node == subject.node:
            return True
        return address is not None and subject.node in self.identities.nodes_at(address)

    def side(self, direction: Direction, src: Endpoint, dst: Endpoint) -> IntervalSet:
        """The ports that one end lets through: of a flow from `src` to `dst`, its egress or its ingress.

        LookupError where an endpoint is not in the inventory (see `Identities.of`).
        """
        subject, peer = (src, dst) if direction is Direction.EGRESS else (dst, src)
        numbers = self.identities.of(subject), self.identities.of(peer)
        if self.exempt(direction, src, dst):
            return EVERY_PORT
        return self.space.ports(self.sides[direction].ports(*numbers, self.space.every))

    def allowed(self, src: Endpoint, dst: Endpoint) -> IntervalSet:
        """The ports on which flows from `src` to `dst` pass both ends."""
        return self.side(Direction.EGRESS, src, dst) & self.side(Direction.INGRESS, src, dst)


def relate(program: Program, *, beside: Iterable[Policy] = (), ports: Iterable[IntervalSet] = ()) -> Relation:
    """The relation of a program.

    `beside` are policies that are not in force, but that identities and ports shall be fine enough for: those of the
    other version in a comparison.  `ports` are port sets that will be asked for beside those of the policies.
    """
    mentioned = (*program.policies, *beside)
    identities = assign_identities(program.cluster, vocabulary(mentioned))
    selected = selection(identities, program.cluster.namespaces)
    space = port_space((*ports, *_port_sets(mentioned, selected)))
    order = identities.order
    kinds = _kinds(identities)
    boxer = RuleBoxer(
        selection=selected,
        space=space,
        everyone=(1 << len(order)) - 1,
        families=(_family(order, Family.V4), _family(order, Family.V6)),
    )
    policies = sorted(program.policies, key=lambda policy: policy.key)
    subjects = {policy.key: selected.pods.subjects(policy.namespace, policy.subjects) for policy in policies}
    rules = [boxer.boxed(policy, subjects[policy.key], rule) for policy in policies for rule in policy.rules]
    rules.sort(key=lambda rule: rule.of.order)
    return Relation(
        program=program,
        identities=identities,
        space=space,
        selection=selected,
        subjects=subjects,
        rules=tuple(rules),
        sides={
            direction: side(direction, selected.pods.namespaces, _isolations(direction, policies, subjects, rules))
            for direction in Direction
        },
        boxer=boxer,
        order=order,
        pods=kinds[0],
        hosts=kinds[1],
        plain=kinds[2],
        nodes=kinds[3],
    )


def _kinds(identities: Identities) -> tuple[int, int, int, int]:
    sizes = (
        len(identities.pods),
        len(identities.hosts),
        sum(not one.nodes for one in identities.outside),
        sum(bool(one.nodes) for one in identities.outside),
    )
    starts = [sum(sizes[:kind]) for kind in range(5)]
    pods, hosts, plain, nodes = ((1 << stop) - (1 << start) for start, stop in pairwise(starts))
    return pods, hosts, plain, nodes


def _family(order: tuple[Identity, ...], family: Family) -> int:
    bits = 0
    for number, identity in enumerate(order):
        if identity.atom is None or identity.atom.family is family:
            bits |= 1 << number
    return bits


def _port_sets(policies: Iterable[Policy], selected: Selection) -> Iterator[IntervalSet]:
    """Every port set that some rule can speak of."""
    items = {item for policy in policies for rule in policy.rules for item in rule.match.ports}
    for item in items:
        yield from _port_sets_of(item, selected)


def _port_sets_of(item: PortItem, selected: Selection) -> Iterator[IntervalSet]:
    match item:
        case PortRange():
            yield port_range(item.protocol, item.first, item.last)
        case NamedPort():
            for number in selected.numbers(item.name, item.protocol):
                at = point(item.protocol, number)
                yield IntervalSet.of(at, at)
        case _:
            assert_never(item)


def _isolations(
    direction: Direction,
    policies: Iterable[Policy],
    subjects: Mapping[tuple[str, str], int],
    rules: Iterable[BoxedRule],
) -> list[Isolation]:
    by_policy: dict[tuple[str, str], list[BoxedRule]] = {}
    for rule in rules:
        if rule.direction is direction:
            by_policy.setdefault(rule.of.policy.key, []).append(rule)
    return [
        Isolation(
            policy,
            subjects[policy.key],
            tuple(box for rule in by_policy.get(policy.key, ()) for box in rule.boxes),
        )
        for policy in policies
        if direction in policy.directions
    ]
