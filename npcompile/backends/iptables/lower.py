"""From the plan to chains, lines and sets.

How a packet goes (docs/iptables.md tells it at length): the entry chain sends it to the chain of its source's egress
profile and then to that of its destination's ingress profile, and drops it behind either when it comes back without the
mark.  A profile's lines mark what its policies allow; what has no profile is marked at the dispatch's end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import isqrt

from npcompile.backends.filters.inventory import Profile
from npcompile.backends.filters.matches import Allowance, InSet, OfProtocol, RuleMatch, Side, ToPorts
from npcompile.backends.filters.names import Names
from npcompile.backends.filters.plan import SUBJECT, Plan, PolicyKey, allowances
from npcompile.backends.filters.sets import Capacity, SetBook
from npcompile.backends.filters.sharing import shared
from npcompile.backends.iptables import names
from npcompile.backends.iptables.limits import mark_of
from npcompile.backends.iptables.structure import (
    Action,
    Chain,
    Goto,
    Hook,
    InState,
    Jump,
    Line,
    OfIcmpV6Type,
    Ruleset,
    State,
    Table,
    ToItself,
    Unmarked,
)
from npcompile.backends.target import Options
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Family
from npcompile.netset.ports import Protocol

SMALLEST_MAXELEM = 65536  # the kernel's default
PORT_SLOTS = 15  # XT_MULTI_PORTS of linux/netfilter/xt_multiport.h; a range takes two
MOST_IN_ONE_DISPATCH = 16  # profiles of a direction, beyond which they are looked up in two steps
MOST_IN_DISPATCH = 2  # lines of a profile, beyond which they have a chain of their own in the second step, too

# RFC 4861: router and neighbour solicitations and advertisements; RFC 2710 and 3810: multicast listeners.
_NEIGHBOUR_TYPES = (133, 134, 135, 136)
_LISTENER_TYPES = (130, 131, 132, 143)

# Where no pod has an address of a family, nobody is isolated in it, and every packet is left to the rules after ours.
_IDLE = (Chain(name=names.FORWARD, lines=()), Chain(name=names.INPUT, lines=()))

_ALLOWED = Goto(names.ALLOW)  # so that the first match marks the packet and returns
_DISPATCH = {Direction.EGRESS: names.EGRESS, Direction.INGRESS: names.INGRESS}


def room_for(members: int) -> int:
    """The `maxelem` of a set: a power of two, at least twice its members, so that old and new ones fit at once."""
    return max(SMALLEST_MAXELEM, 1 << (2 * members - 1).bit_length()) if members else SMALLEST_MAXELEM


def lower(plan: Plan, known: Names, options: Options) -> Ruleset:
    """Lower a plan to both families' tables; one that no pod has an address in judges nothing."""
    lowered = [_lower_family(family, plan, known, accept=options.accept) for family in Family]
    return Ruleset(
        mark=mark_of(options),
        sets=tuple(one for _, book in lowered for one in book.sets),
        profiles=tuple(one for _, book in lowered for one in book.profiles),
        tables=tuple(table for table, _ in lowered),
    )


def _lower_family(family: Family, plan: Plan, known: Names, *, accept: bool) -> tuple[Table, SetBook]:
    book = SetBook(family, plan.inventory, known, Capacity(usual=SMALLEST_MAXELEM, of=room_for))
    chains = tuple(_chains(plan, book, known, accept=accept)) if family in plan.families else _IDLE
    hooks = (Hook(builtin="FORWARD", chain=names.FORWARD), Hook(builtin="INPUT", chain=names.INPUT))
    return Table(family=family, chains=chains, hooks=hooks), book


def _chains(plan: Plan, book: SetBook, known: Names, *, accept: bool) -> Iterator[Chain]:
    transit = [book.both_in(kind) for kind in (names.COMING, names.GOING)]
    yield Chain(name=names.FORWARD, lines=tuple(_forward(transit, accept=accept)))
    yield Chain(name=names.INPUT, lines=tuple(_input(book.family)))
    yield Chain(name=names.ALLOW, lines=(Line(action=Action.MARK),))
    if accept:
        accepts = (Line(matches=(book.every_pod(side),), action=Action.ACCEPT) for side in Side)
        yield Chain(name=names.ACCEPT, lines=tuple(accepts))
    for direction in (Direction.EGRESS, Direction.INGRESS):
        yield from _side(plan, direction, book, known)


def _forward(transit: Iterable[tuple[InSet, InSet]], *, accept: bool) -> Iterator[Line]:
    """The entry of what the node forwards: both sides judge; but for what passes while a loader changes sets."""
    leave = Goto(names.ACCEPT) if accept else Action.RETURN
    yield Line(action=Action.CLEAR)
    yield from _replies(leave)
    yield Line(matches=(ToItself(),), action=leave)
    yield from (Line(matches=both, action=leave) for both in transit)
    yield from _judged(names.EGRESS)
    yield from _judged(names.INGRESS)
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
    yield from _judged(names.EGRESS)


def _judged(dispatch: str) -> Iterator[Line]:
    """One side's judgement: what comes back without the mark was allowed by nobody."""
    yield Line(action=Jump(dispatch))
    yield Line(matches=(Unmarked(),), action=Action.DROP)
    yield Line(action=Action.CLEAR)


def _replies(leave: Action | Goto) -> Iterator[Line]:
    """Replies pass, and errors about what passed.  RELATED alone would also open the ports that helpers expect."""
    yield Line(matches=(InState(State.ESTABLISHED),), action=leave)
    yield Line(matches=(OfProtocol(Protocol.ICMP), InState(State.RELATED)), action=leave)


def _side(plan: Plan, direction: Direction, book: SetBook, known: Names) -> Iterator[Chain]:
    """The chains of a direction: dispatch, profiles, and policies.

    A policy has a chain of its own where that takes fewer lines than to repeat its lines in each profile; one that
    allows nothing in this family has none.
    """
    judged = plan.profiles[direction]
    allowed = {
        policy.key: tuple(_lines(allowances(plan, policy, direction, book))) for policy in plan.policies[direction]
    }
    chains = {key: known.policy_chain((direction.value, *key)) for key in sorted(shared(judged, allowed))}
    bodies = [tuple(_profile(one, allowed, chains)) for one in judged]
    yield from _dispatch(plan, direction, bodies, book, known)
    for key, name in chains.items():
        yield Chain(name=name, lines=allowed[key])


def _dispatch(
    plan: Plan, direction: Direction, bodies: list[tuple[Line, ...]], book: SetBook, known: Names
) -> Iterator[Chain]:
    """To the lines of the pod's profile, from which `bodies` has those of each.  No profile: nobody isolates it.

    The kernel asks one set after the other.  Where there are many, as many as there are groups stand behind each set
    of all the pods of a group: of n sets it asks about the root of n, in place of half of n.
    """
    nobody = Line(action=Action.MARK)
    side, dispatch, judged = SUBJECT[direction], plan.dispatch[direction], plan.profiles[direction]
    entries = [
        (book.profile(one, dispatch, side), Chain(name=plan.profile_chains[direction, one.key], lines=body))
        for one, body in zip(judged, bodies, strict=True)
    ]
    if len(judged) <= MOST_IN_ONE_DISPATCH:
        lines = (Line(matches=(asked,), action=Goto(chain.name)) for asked, chain in entries)
        yield Chain(name=_DISPATCH[direction], lines=(*lines, nobody))
        yield from (chain for _, chain in entries)
        return
    width = isqrt(len(judged) - 1) + 1
    doors: list[Line] = []
    behind: list[Chain] = []
    for number, first in enumerate(range(0, len(judged), width)):
        door = known.dispatch_chain((direction.value, number))
        doors.append(Line(matches=(book.group(judged[first : first + width], dispatch, side),), action=Goto(door)))
        behind += _behind_door(door, entries[first : first + width])
    yield Chain(name=_DISPATCH[direction], lines=(*doors, nobody))
    yield from behind


def _behind_door(door: str, entries: Iterable[tuple[InSet, Chain]]) -> Iterator[Chain]:
    """The chain of a group, and those of its profiles that are not short.

    Here the end of the chain denies, so that a short profile's lines can stand in it, each with the profile's set
    before it: what they do not match, no other profile's lines do.
    """
    lines: list[Line] = []
    apart: list[Chain] = []
    for asked, chain in entries:
        if 0 < len(chain.lines) <= MOST_IN_DISPATCH:
            lines += (replace(line, matches=(asked, *line.matches)) for line in chain.lines)
        else:
            lines.append(Line(matches=(asked,), action=Goto(chain.name)))
            apart.append(chain)
    yield Chain(name=door, lines=tuple(lines))
    yield from apart


def _profile(
    one: Profile, allowed: Mapping[PolicyKey, tuple[Line, ...]], chains: Mapping[PolicyKey, str]
) -> Iterator[Line]:
    """The lines of one policy after the other.  Behind a jump the packet may be marked; another jump would be idle."""
    jumped = False
    for policy in one.key:
        if policy not in chains:
            yield from allowed[policy]
            continue
        yield Line(matches=(Unmarked(),) if jumped else (), action=Jump(chains[policy]))
        jumped = True


def _lines(allowed: Iterable[Allowance]) -> Iterator[Line]:
    """A line for each allowance, or several, where it has more ports than a line can hold."""
    for rule, alternative in allowed:
        for matches in _fitting(alternative):
            yield Line(matches=matches, action=_ALLOWED, rule=rule)


def _fitting(matches: tuple[RuleMatch, ...]) -> Iterator[tuple[RuleMatch, ...]]:
    for position, match in enumerate(matches):
        if isinstance(match, ToPorts):
            chunks = tuple(_chunks(match.ranges))
            if len(chunks) > 1:
                before, behind = matches[:position], matches[position + 1 :]
                yield from ((*before, ToPorts(match.protocol, chunk), *behind) for chunk in chunks)
                return
    yield matches


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
