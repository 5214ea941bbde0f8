"""What is to be enforced, before any target's structure: the profiles, their policies, and what the rules allow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from npcompile.backends.filters.inventory import Inventory, Profile, in_family, profiles
from npcompile.backends.filters.matches import Allowance, OfProtocol, RuleMatch, Side, ToPorts
from npcompile.backends.filters.names import Names, digest
from npcompile.backends.filters.sets import SetBook
from npcompile.backends.target import RuleOrigin
from npcompile.ir.cluster import Pod
from npcompile.ir.policy import BlockPeer, Direction, NamedPort, PodPeer, Policy, PortRange, Rule
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Family
from npcompile.netset.intervals import covered
from npcompile.netset.ports import FIRST_PORT, LAST_PORT, Protocol

SUBJECT = {Direction.EGRESS: Side.SOURCE, Direction.INGRESS: Side.DESTINATION}
PEER = {Direction.EGRESS: Side.DESTINATION, Direction.INGRESS: Side.SOURCE}

_EVERY_PORT = ((FIRST_PORT, LAST_PORT),)

PolicyKey = tuple[str, str]
ProfileKey = tuple[PolicyKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every family of a target shares.

    `profiles` and `policies` are by direction and sorted by key; a policy that isolates no pod of the node is in
    neither.  `families`: those in which a pod of the input has an address; both while no pod has any.  `dispatch`
    stands for all the profiles of a direction.
    """

    inventory: Inventory
    families: tuple[Family, ...]
    profiles: Mapping[Direction, tuple[Profile, ...]]
    policies: Mapping[Direction, tuple[Policy, ...]]
    profile_chains: Mapping[tuple[Direction, ProfileKey], str]
    rule_ids: Mapping[tuple[PolicyKey, Direction], tuple[str, ...]]
    isolation_ids: Mapping[tuple[PolicyKey, Direction], str]
    dispatch: Mapping[Direction, str]

    @property
    def enforced(self) -> int:
        """The number of policies that isolate a pod of the node."""
        return len({policy.key for chosen in self.policies.values() for policy in chosen})

    @property
    def origins(self) -> tuple[RuleOrigin, ...]:
        """What the ids stand for, sorted by id."""
        found = (
            RuleOrigin(id=id_, policy=policy, direction=direction, rule=rule)
            for direction, chosen in self.policies.items()
            for policy in chosen
            for id_, rule in (
                (self.isolation_ids[policy.key, direction], None),
                *zip(self.rule_ids[policy.key, direction], policy.rules_of(direction), strict=True),
            )
        )
        return tuple(sorted(found, key=lambda origin: origin.id))

    def isolating(self, names: Iterable[tuple[str, Profile]]) -> Mapping[str, tuple[str, ...]]:
        """What an artifact says of who isolates, `names` being what stands for each profile in its files."""
        return {
            name: tuple([self.isolation_ids[policy, one.direction] for policy in one.key])
            for name, one in sorted(names, key=lambda named: named[0])
        }

    @property
    def unbound(self) -> tuple[Pod, ...]:
        """The pods without an address that would be filtered or be somebody's peer."""
        return tuple(sorted((pod for pod in self.inventory.pods if not pod.addresses), key=lambda pod: pod.key))


def make_plan(program: Program, inventory: Inventory, names: Names) -> Plan:
    """The plan of a program.  Its policies and pods may stand in any order."""
    found = {direction: profiles(program.policies, inventory, direction) for direction in Direction}
    policies = {
        direction: tuple(
            policy
            for _, policy in sorted({k: p for one in of for k, p in zip(one.key, one.policies, strict=True)}.items())
        )
        for direction, of in found.items()
    }
    everybody = frozenset[int]().union(*inventory.addresses)
    return Plan(
        inventory=inventory,
        families=tuple(family for family in Family if in_family(everybody, family)) or tuple(Family),
        profiles=found,
        policies=policies,
        profile_chains={
            (direction, one.key): names.profile_chain((direction.value, one.key))
            for direction, of in found.items()
            for one in of
        },
        rule_ids={
            (policy.key, direction): tuple([names.rule(policy, rule) for rule in policy.rules_of(direction)])
            for direction, of in policies.items()
            for policy in of
        },
        isolation_ids={
            (policy.key, direction): names.isolation(policy, direction)
            for direction, of in policies.items()
            for policy in of
        },
        dispatch={direction: digest(tuple(one.key for one in of)) for direction, of in found.items()},
    )


def allowances(plan: Plan, policy: Policy, direction: Direction, book: SetBook) -> Iterator[Allowance]:
    """What the policy's rules of a direction allow in the book's family, in the rules' order."""
    for id_, rule in zip(plan.rule_ids[policy.key, direction], policy.rules_of(direction), strict=True):
        for alternative in _alternatives(plan.inventory, policy, rule, book):
            yield id_, alternative


def _alternatives(inventory: Inventory, policy: Policy, rule: Rule, book: SetBook) -> Iterator[tuple[RuleMatch, ...]]:
    """One for each pair of what the rule's peers and its ports come to."""
    peers = tuple(_peer_matches(policy, rule, book))
    ports = tuple(_port_matches(inventory, policy, rule, book)) if peers else ()  # no set that no line asks
    for peer in peers:
        for port in ports:
            yield (*port, *peer)


def _peer_matches(policy: Policy, rule: Rule, book: SetBook) -> Iterator[tuple[RuleMatch, ...]]:
    """The alternatives that a rule's peers come to: one that matches everything when there are no peers, and none when
    they hold no address of this family.
    """
    side = PEER[rule.direction]
    if not rule.match.peers:
        yield ()
    if by_label := [peer for peer in rule.match.peers if isinstance(peer, PodPeer)]:
        yield (book.selected(by_label, policy.namespace, side),)
    by_address = [peer for peer in rule.match.peers if isinstance(peer, BlockPeer)]
    if by_address and (blocks := book.blocks(by_address, side)) is not None:
        yield (blocks,)


def _port_matches(inventory: Inventory, policy: Policy, rule: Rule, book: SetBook) -> Iterator[tuple[RuleMatch, ...]]:
    """The alternatives that a rule's ports come to; one that matches every protocol when there are none.

    A named port is the destination's: a pod that the policy isolates for ingress, any pod for egress.  Where all that
    the policy isolates declare it alike, as those of one workload do, it is as good as a number.
    """
    if not rule.match.ports:
        yield ()
        return
    spans: dict[Protocol, list[tuple[int, int]]] = defaultdict(list)
    named: dict[tuple[str, str], NamedPort] = {}
    for item in rule.match.ports:
        if isinstance(item, PortRange):
            spans[item.protocol].append((item.first, item.last))
        elif rule.direction is Direction.INGRESS and (numbers := _common_numbers(inventory, policy, item)):
            spans[item.protocol] += ((number, number) for number in numbers)
        else:
            named[item.protocol.value, item.name] = item
    for protocol in Protocol:
        if protocol in spans:
            ranges = tuple(covered(spans[protocol]))
            yield (OfProtocol(protocol) if ranges == _EVERY_PORT else ToPorts(protocol, ranges),)
    home = policy.namespace if rule.direction is Direction.INGRESS else None
    for _, item in sorted(named.items()):
        yield (OfProtocol(item.protocol), book.declared(item, home))


def _common_numbers(inventory: Inventory, policy: Policy, item: NamedPort) -> tuple[int, ...]:
    """What every pod that the policy isolates here declares under a port's name and protocol; empty where they differ,
    or none declares it.
    """
    declared = {
        tuple(sorted({port.number for port in pod.ports if (port.name, port.protocol) == (item.name, item.protocol)}))
        for pod in inventory.isolated(policy)
    }
    return declared.pop() if len(declared) == 1 else ()
