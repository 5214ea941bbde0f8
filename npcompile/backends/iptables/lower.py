"""From the IR to chains, lines and sets.

How a packet goes (docs/iptables.md tells it at length): the entry chain sends it to the chain of its source's egress
profile and then to that of its destination's ingress profile.  A profile's chain goes through its policies' chains
until one marks the packet, and drops it if none does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from npcompile.backends.iptables import names
from npcompile.backends.iptables.inventory import Inventory, Profile, profiles, take_inventory
from npcompile.backends.iptables.names import Names
from npcompile.backends.iptables.sets import SetBook
from npcompile.backends.iptables.structure import (
    Action,
    Chain,
    Goto,
    Hook,
    InState,
    IpSet,
    Jump,
    Line,
    Marked,
    Match,
    OfIcmpV6Type,
    OfProtocol,
    Ruleset,
    Side,
    State,
    Table,
    ToItself,
    ToPorts,
)
from npcompile.backends.target import Options, RuleOrigin
from npcompile.ir.policy import BlockPeer, Direction, NamedPort, PodPeer, Policy, PortRange, Rule
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Family
from npcompile.netset.intervals import union
from npcompile.netset.ports import Protocol, all_ports, point, port_range

PORT_SLOTS = 15  # XT_MULTI_PORTS of linux/netfilter/xt_multiport.h; a range takes two

# RFC 4861: router and neighbour solicitations and advertisements; RFC 2710 and 3810: multicast listeners.
_NEIGHBOUR_TYPES = (133, 134, 135, 136)
_LISTENER_TYPES = (130, 131, 132, 143)

_DISPATCH = {Direction.EGRESS: names.EGRESS, Direction.INGRESS: names.INGRESS}
_SUBJECT = {Direction.EGRESS: Side.SOURCE, Direction.INGRESS: Side.DESTINATION}
_PEER = {Direction.EGRESS: Side.DESTINATION, Direction.INGRESS: Side.SOURCE}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What both families share: profiles by direction, the names of their chains, and the ids of rules."""

    profiles: Mapping[Direction, tuple[Profile, ...]]
    profile_chains: Mapping[tuple[Direction, tuple[tuple[str, str], ...]], str]
    policies: Mapping[Direction, tuple[Policy, ...]]
    policy_chains: Mapping[tuple[Direction, tuple[str, str]], str]
    rule_ids: Mapping[tuple[tuple[str, str], Direction, int], str]
    dispatch: Mapping[Direction, str]
    accept: bool


def lower(program: Program, options: Options) -> Ruleset:
    """Lower a program.  Its policies and pods may stand in any order."""
    inventory = take_inventory(program)
    known = Names()
    plan = _plan(program, inventory, known, accept=options.accept)
    lowered = [_lower_family(family, plan, inventory, known) for family in Family]
    enforced = {policy.key: policy for chosen in plan.policies.values() for policy in chosen}
    origins = (
        RuleOrigin(id=plan.rule_ids[policy.key, rule.direction, rule.index], policy=policy, rule=rule)
        for direction, chosen in plan.policies.items()
        for policy in chosen
        for rule in policy.rules_of(direction)
    )
    return Ruleset(
        mark=options.mark,
        sets=tuple(one for _, sets in lowered for one in sets),
        tables=tuple(table for table, _ in lowered),
        origins=tuple(sorted(origins, key=lambda origin: origin.id)),
        unbound=tuple(sorted((pod for pod in inventory.pods if not pod.addresses), key=lambda pod: pod.key)),
        profiles=sum(len(found) for found in plan.profiles.values()),
        policies=len(enforced),
    )


def _plan(program: Program, inventory: Inventory, known: Names, *, accept: bool) -> _Plan:
    """Only policies that isolate a pod get chains: nothing would ever enter the others'."""
    found = {direction: profiles(program.policies, inventory, direction) for direction in Direction}
    policies = {
        direction: tuple(
            policy
            for _, policy in sorted({p.key: p for profile in of for p in profile.policies}.items(), key=lambda i: i[0])
        )
        for direction, of in found.items()
    }
    return _Plan(
        profiles=found,
        profile_chains={
            (direction, one.key): known.profile_chain((direction.value, one.key))
            for direction, of in found.items()
            for one in of
        },
        policies=policies,
        policy_chains={
            (direction, policy.key): known.policy_chain((direction.value, *policy.key))
            for direction, of in policies.items()
            for policy in of
        },
        rule_ids={
            (policy.key, direction, rule.index): known.rule(policy, rule)
            for direction, of in policies.items()
            for policy in of
            for rule in policy.rules_of(direction)
        },
        dispatch={direction: names.digest(tuple(one.key for one in of)) for direction, of in found.items()},
        accept=accept,
    )


def _lower_family(family: Family, plan: _Plan, inventory: Inventory, known: Names) -> tuple[Table, tuple[IpSet, ...]]:
    book = SetBook(family, inventory, known)
    chains = [
        Chain(name=names.FORWARD, lines=tuple(_forward(plan))),
        Chain(name=names.INPUT, lines=tuple(_input(family))),
        Chain(name=names.ALLOW, lines=(Line(action=Action.MARK),)),
    ]
    if plan.accept:
        accepts = (Line(matches=(book.every_pod(side),), action=Action.ACCEPT) for side in Side)
        chains.append(Chain(name=names.ACCEPT, lines=tuple(accepts)))
    for direction in (Direction.EGRESS, Direction.INGRESS):
        chains.append(_dispatch(plan, direction, book))
        chains += (_profile(plan, profile) for profile in plan.profiles[direction])
        chains += (_policy(plan, policy, direction, book) for policy in plan.policies[direction])
    hooks = (Hook(builtin="FORWARD", chain=names.FORWARD), Hook(builtin="INPUT", chain=names.INPUT))
    return Table(family=family, chains=tuple(chains), hooks=hooks), book.sets


def _forward(plan: _Plan) -> Iterator[Line]:
    """The entry of what the node forwards: both sides judge."""
    leave = Goto(names.ACCEPT) if plan.accept else Action.RETURN
    yield Line(action=Action.CLEAR)
    yield from _replies(leave)
    yield Line(matches=(ToItself(),), action=leave)
    yield Line(action=Jump(names.EGRESS))
    yield Line(action=Action.CLEAR)
    yield Line(action=Jump(names.INGRESS))
    yield Line(action=Action.CLEAR)
    yield Line(action=leave)


def _input(family: Family) -> Iterator[Line]:
    """The entry of what the node receives: only its pods' egress judges.

    Never accepts: what may reach a node is not a NetworkPolicy's to say, even where `accept` is asked for.
    """
    yield Line(action=Action.CLEAR)
    yield from _replies(Action.RETURN)
    if family is Family.V6:
        for number in (*_LISTENER_TYPES, *_NEIGHBOUR_TYPES):
            yield Line(matches=(OfIcmpV6Type(number),), action=Action.RETURN)
    yield Line(action=Jump(names.EGRESS))
    yield Line(action=Action.CLEAR)
    yield Line(action=Action.RETURN)


def _replies(leave: Action | Goto) -> Iterator[Line]:
    """Replies pass, and errors about what passed.  RELATED alone would also open the ports that helpers expect."""
    yield Line(matches=(InState(State.ESTABLISHED),), action=leave)
    yield Line(matches=(OfProtocol(Protocol.ICMP), InState(State.RELATED)), action=leave)


def _dispatch(plan: _Plan, direction: Direction, book: SetBook) -> Chain:
    """To the chain of the pod's profile.  `Goto`, so that a packet meets one profile at most."""
    lines = (
        Line(
            matches=(book.profile(profile, plan.dispatch[direction], _SUBJECT[direction]),),
            action=Goto(plan.profile_chains[direction, profile.key]),
        )
        for profile in plan.profiles[direction]
    )
    return Chain(name=_DISPATCH[direction], lines=tuple(lines))


def _profile(plan: _Plan, profile: Profile) -> Chain:
    """One policy after the other, and the end of what none allows."""
    lines: list[Line] = []
    for policy in profile.policies:
        lines.append(Line(action=Jump(plan.policy_chains[profile.direction, policy.key])))
        lines.append(Line(matches=(Marked(),), action=Action.RETURN))
    lines.append(Line(action=Action.DROP))
    return Chain(name=plan.profile_chains[profile.direction, profile.key], lines=tuple(lines))


def _policy(plan: _Plan, policy: Policy, direction: Direction, book: SetBook) -> Chain:
    """The lines of its rules, in order."""
    rules = policy.rules_of(direction)
    ids = (plan.rule_ids[policy.key, direction, rule.index] for rule in rules)
    lines = (line for rule, id_ in zip(rules, ids, strict=True) for line in _rule(policy, rule, id_, book))
    return Chain(name=plan.policy_chains[direction, policy.key], lines=tuple(lines))


def _rule(policy: Policy, rule: Rule, id_: str, book: SetBook) -> Iterator[Line]:
    """A line for each pair of what its peers and its ports come to.

    `Goto`, so that the first match marks the packet and returns to the profile's chain.
    """
    peers = tuple(_peer_matches(policy, rule, book))
    ports = tuple(_port_matches(policy, rule, book)) if peers else ()  # no set that no line asks
    for peer in peers:
        for port in ports:
            yield Line(matches=(*port, *peer), action=Goto(names.ALLOW), rule=id_)


def _peer_matches(policy: Policy, rule: Rule, book: SetBook) -> Iterator[tuple[Match, ...]]:
    """The alternatives that a rule's peers come to: one that matches everything when there are no peers, and none when
    they hold no address of this family.
    """
    side = _PEER[rule.direction]
    if not rule.match.peers:
        yield ()
    if by_label := [peer for peer in rule.match.peers if isinstance(peer, PodPeer)]:
        yield (book.selected(by_label, policy.namespace, side),)
    by_address = [peer for peer in rule.match.peers if isinstance(peer, BlockPeer)]
    if by_address and (blocks := book.blocks(by_address, side)) is not None:
        yield (blocks,)


def _port_matches(policy: Policy, rule: Rule, book: SetBook) -> Iterator[tuple[Match, ...]]:
    """The alternatives that a rule's ports come to; one that matches every protocol when there are none.

    A named port is the destination's: a pod of the policy's own namespace for ingress, any pod for egress.
    """
    if not rule.match.ports:
        yield ()
        return
    numeric = union(
        port_range(item.protocol, item.first, item.last) for item in rule.match.ports if isinstance(item, PortRange)
    )
    for protocol in Protocol:
        own = numeric & all_ports(protocol)
        if own and own == all_ports(protocol):
            yield (OfProtocol(protocol),)
        elif own:
            base = point(protocol, None)
            ranges = ((first - base, last - base) for first, last in own)
            yield from ((ToPorts(protocol, chunk),) for chunk in _chunks(ranges))
    home = policy.namespace if rule.direction is Direction.INGRESS else None
    named = {(i.protocol.value, i.name): i for i in rule.match.ports if isinstance(i, NamedPort)}
    for _, item in sorted(named.items()):
        yield (OfProtocol(item.protocol), book.declared(item, home))


def _chunks(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], ...]]:
    """Ranges in groups that one line can hold."""
    chunk: list[tuple[int, int]] = []
    used = 0
    for first, last in ranges:
        slots = 1 if first == last else 2
        if used + slots > PORT_SLOTS:
            yield tuple(chunk)
            chunk, used = [], 0
        chunk.append((first, last))
        used += slots
    if chunk:
        yield tuple(chunk)
