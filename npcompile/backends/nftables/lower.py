"""From the plan to one table for both families.

How a packet goes (docs/nftables.md tells it at length): the entry chain accepts replies, looks up the source's egress
profile and goes on to the destination's ingress profile from whatever line allows; nobody allows what comes back, and
the entry chain drops it.  So there is no mark: being allowed is where a packet is, and not what it carries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from npcompile.backends.filters.inventory import Profile, addresses_of
from npcompile.backends.filters.matches import InSet, OfProtocol, RuleMatch, ToPorts
from npcompile.backends.filters.names import Names
from npcompile.backends.filters.plan import SUBJECT, Plan, PolicyKey, allowances
from npcompile.backends.filters.sets import SetBook
from npcompile.backends.filters.sharing import shared
from npcompile.backends.nftables import names
from npcompile.backends.nftables.structure import (
    Action,
    Chain,
    Goto,
    Jump,
    Line,
    Look,
    Match,
    OfIcmpV6Types,
    PairSet,
    Table,
    ToItself,
    Tracked,
    Transport,
    VerdictMap,
)
from npcompile.ir.policy import Direction, Policy

# RFC 2710 and 3810: multicast listeners; RFC 4861: router and neighbour solicitations and advertisements.
_NEVER_FILTERED = (130, 131, 132, 133, 134, 135, 136, 143)

# Where a packet goes on that a side allows.
_ALLOWED: Mapping[Direction, Action | Goto] = {Direction.EGRESS: Goto(names.INGRESS), Direction.INGRESS: Action.ACCEPT}
# What follows the policies of a profile.  Behind an egress profile stands the entry chain's drop; an ingress profile
# cannot rely on it, because its packet may come from a policy's chain and would go back there.
_DENIED: Mapping[Direction, tuple[Line, ...]] = {Direction.EGRESS: (), Direction.INGRESS: (Line(action=Action.DROP),)}


def lower(plan: Plan, books: Iterable[SetBook], known: Names) -> Table:
    """Lower a plan; `books` has an empty one for each of its families."""
    used = tuple(books)
    chains = [
        Chain(name=names.FORWARD, hook="forward", lines=(*_replies(), *_to_itself(plan), *_judged())),
        Chain(name=names.INPUT, hook="input", lines=(*_replies(), *_neighbours(), *_judged())),
    ]
    for direction in (Direction.EGRESS, Direction.INGRESS):
        chains.append(_dispatch(plan, direction))
        chains += _policies(plan, direction, used, known)
    return Table(
        chains=tuple(chains),
        sets=tuple(one for book in used for one in book.sets),
        pairs=tuple(_pairs(plan)),
        maps=tuple(_maps(plan)),
    )


def _replies() -> Iterator[Line]:
    """Replies pass, and errors about what passed.  RELATED alone would also open the ports that helpers expect."""
    return (Line(matches=(what,), action=Action.ACCEPT) for what in Tracked)


def _to_itself(plan: Plan) -> Iterator[Line]:
    for family in plan.families:
        yield Line(matches=(ToItself(names.itself_set(family), family),), action=Action.ACCEPT)


def _neighbours() -> Iterator[Line]:
    yield Line(matches=(OfIcmpV6Types(_NEVER_FILTERED),), action=Action.ACCEPT)


def _judged() -> Iterator[Line]:
    """Whatever comes back was allowed by nobody.  A node's own address is no pod's: INPUT asks for egress alone."""
    yield Line(action=Jump(names.EGRESS))
    yield Line(action=Action.DROP)


def _dispatch(plan: Plan, direction: Direction) -> Chain:
    """To the chain of the pod's profile; whom no policy isolates goes on as one whom a line allows."""
    side = SUBJECT[direction]
    looks = (Line(action=Look(names.dispatch_map(direction, family), family, side)) for family in plan.families)
    name = names.EGRESS if direction is Direction.EGRESS else names.INGRESS
    return Chain(name=name, lines=(*looks, Line(action=_ALLOWED[direction])))


def _maps(plan: Plan) -> Iterator[VerdictMap]:
    for direction in (Direction.EGRESS, Direction.INGRESS):
        for family in plan.families:
            chains = {
                address: plan.profile_chains[direction, one.key]
                for one in plan.profiles[direction]
                for address in addresses_of(one.pods, family)
            }
            ordered = tuple(sorted(chains.items()))
            yield VerdictMap(name=names.dispatch_map(direction, family), family=family, chains=ordered)


def _pairs(plan: Plan) -> Iterator[PairSet]:
    isolated = [pod for profiles in plan.profiles.values() for one in profiles for pod in one.pods]
    for family in plan.families:
        yield PairSet(name=names.itself_set(family), family=family, members=addresses_of(isolated, family))


def _policies(plan: Plan, direction: Direction, books: tuple[SetBook, ...], known: Names) -> Iterator[Chain]:
    """The chains of profiles, and of policies that several share."""
    judged = plan.profiles[direction]
    allowed = {policy.key: tuple(_lines(plan, policy, direction, books)) for policy in plan.policies[direction]}
    chains = {key: known.policy_chain((direction.value, *key)) for key in sorted(shared(judged, allowed))}
    for one in judged:
        lines = (*_profile(one, allowed, chains), *_DENIED[direction])
        yield Chain(name=plan.profile_chains[direction, one.key], lines=lines)
    for key, name in chains.items():
        yield Chain(name=name, lines=allowed[key])


def _profile(
    one: Profile, allowed: Mapping[PolicyKey, tuple[Line, ...]], chains: Mapping[PolicyKey, str]
) -> Iterator[Line]:
    for policy in one.key:
        if policy in chains:
            yield Line(action=Jump(chains[policy]))
        else:
            yield from allowed[policy]


def _lines(plan: Plan, policy: Policy, direction: Direction, books: tuple[SetBook, ...]) -> Iterator[Line]:
    """A line for each alternative of each rule, in the rules' order; what names no address stands for both families."""
    by_rule: dict[str, dict[tuple[Match, ...], None]] = {rule: {} for rule in plan.rule_ids[policy.key, direction]}
    for book in books:
        for rule, alternative in allowances(plan, policy, direction, book):
            by_rule[rule].setdefault(tuple(map(_match, alternative)))
    for rule, alternatives in by_rule.items():
        for matches in _merged(alternatives):
            yield Line(matches=matches, action=_ALLOWED[direction], rule=rule)


def _match(match: RuleMatch) -> Match:
    match match:
        case OfProtocol(protocol):
            return Transport((protocol,))
        case ToPorts(protocol, ranges):
            return Transport((protocol,), ranges)
        case InSet():
            return match


def _merged(alternatives: Iterable[tuple[Match, ...]]) -> Iterator[tuple[Match, ...]]:
    """The alternatives, those that differ in their protocol alone as one."""
    found: dict[tuple[object, tuple[Match, ...]], tuple[Match, ...]] = {}
    for matches in alternatives:
        match matches:
            case (Transport(protocols, ranges), *rest):
                key = (ranges or "any", tuple(rest))
                earlier = found.get(key)
                before = earlier[0].protocols if earlier and isinstance(earlier[0], Transport) else ()
                found[key] = (Transport((*before, *protocols), ranges), *rest)
            case _:
                found[None, matches] = matches
    yield from found.values()
