"""When sets may change member by member under rules that stay, and in which order.

Two words for a change of one member, by what it does to what is allowed, everything else being equal.  It *narrows*
when it brings a pod into a profile's set or takes an address out of a set that rules allow by; it *widens* when it does
the opposite.  For old and new verdicts of a flow, every state on the way must keep old ∩ new ⊆ allowed ⊆ old ∪ new.

- Changes that all widen, or all narrow, keep it in any order: what is allowed only grows, or only shrinks.
- A mixture does not, in general: a flow that egress allows in the old state only, and ingress in the new one only,
  is allowed in between when ingress widens before egress narrows.
- Pods that come with an address that was in no set, and pods that go and leave none, keep it in one order: see
  `_churn`.

Everything else is left to a flip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from npcompile.backends.filters.names import BLOCKS
from npcompile.backends.iptables import names

_ASKS = re.compile(r"--match-set (\S+) ")
_PASSES = re.compile(rf"-m set --match-set (\S+) src -m set --match-set \1 dst (?:-j RETURN|-g {names.ACCEPT})")
_DISPATCHES = re.compile(r"(?P<protocol>-p \S+ )?-m set --match-set (?P<set>\S+) (?:src|dst) (?P<rest>.+)")
_ALLOWED = (f"-g {names.ALLOW}", "-j ACCEPT")


class Role(Enum):
    """What a set is for in the chains."""

    EGRESS_DOOR = "egress door"  # its members' profiles are looked up behind it
    INGRESS_DOOR = "ingress door"
    EGRESS = "egress"  # its members are isolated for egress, in one profile
    INGRESS = "ingress"
    ALLOWING = "allowing"  # rules allow by it
    COMING = "coming"  # what two of its members exchange passes
    GOING = "going"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Change:
    """One member of one set comes or goes."""

    comes: bool
    set: str
    member: str

    @property
    def address(self) -> str:
        """The address that the member is, or begins with."""
        return self.member.partition(",")[0]


_DISPATCH = {names.EGRESS: Role.EGRESS, names.INGRESS: Role.INGRESS}
_TO_PROFILE, _TO_DOOR = f"-g {names.STYLE.profile_chain}", f"-g {names.STYLE.dispatch_chain}"
_NOT_BY_MEMBERS = (Role.UNKNOWN, Role.COMING, Role.GOING)  # the last two: what an interrupted change left in them
_DOORS = {Role.EGRESS: Role.EGRESS_DOOR, Role.INGRESS: Role.INGRESS_DOOR}


def roles(chains: Mapping[str, tuple[str, ...]]) -> Mapping[str, Role]:
    """The role of every set that the chains ask; UNKNOWN where they ask it for two reasons, or for another one."""
    found: dict[str, Role] = {}
    directions = dict(_DISPATCH)
    for chain, direction in _DISPATCH.items():
        directions |= dict.fromkeys(_doors(chains.get(chain, ())), direction)
    for chain, lines in chains.items():
        for line in lines:
            asked = _roles(line, directions.get(chain), inner=chain not in _DISPATCH)
            for name, role in _passing(line) if chain == names.FORWARD else asked:
                found[name] = role if found.get(name, role) is role else Role.UNKNOWN
    return found


def _passing(line: str) -> Iterator[tuple[str, Role]]:
    """The roles of the sets that a line of the entry chain asks."""
    passes = _PASSES.fullmatch(line)
    if passes and names.is_of_kind(passes[1], names.COMING):
        yield passes[1], Role.COMING
    elif passes and names.is_of_kind(passes[1], names.GOING):
        yield passes[1], Role.GOING
    else:
        yield from ((name, Role.UNKNOWN) for name in _ASKS.findall(line))


def _doors(lines: Iterable[str]) -> Iterator[str]:
    """The chains of groups that lines dispatch to."""
    for line in lines:
        asked = _DISPATCHES.fullmatch(line)
        if asked and asked["rest"].startswith(_TO_DOOR):
            yield asked["rest"].removeprefix("-g ")


def _roles(line: str, direction: Role | None, *, inner: bool) -> Iterator[tuple[str, Role]]:
    """The roles of the sets that a line asks.

    `direction`: what its chain dispatches, if it does; `inner`: behind a door.  There the lines of a profile may stand
    behind its set: that is the same as a jump to a chain that holds them, because an address is in the set of one
    profile only, and because both chains' ends deny.
    """
    asked = _DISPATCHES.fullmatch(line) if direction else None
    if direction is None or asked is None:
        allowing = direction is None and line.endswith(_ALLOWED) and "!" not in line
        yield from ((name, Role.ALLOWING if allowing else Role.UNKNOWN) for name in _ASKS.findall(line))
    elif asked["protocol"] and asked["rest"].startswith((_TO_PROFILE, _TO_DOOR)):
        yield asked["set"], Role.UNKNOWN
    elif asked["rest"].startswith(_TO_PROFILE):
        yield asked["set"], direction
    elif asked["rest"].startswith(_TO_DOOR) and not inner:
        yield asked["set"], _DOORS[direction]
    else:
        yield asked["set"], direction if inner else Role.UNKNOWN
        yield from _roles(asked["rest"], None, inner=inner)


def ordered_changes(
    old: Mapping[str, frozenset[str]], new: Mapping[str, frozenset[str]], known: Mapping[str, Role]
) -> tuple[Change, ...] | None:
    """The changes from old to new members of the same sets in an order that keeps the bounds; None: there is none."""
    changes = [
        Change(comes, name, member)
        for name in sorted(new)
        for comes, members in ((True, new[name] - old[name]), (False, old[name] - new[name]))
        for member in sorted(members)
    ]
    touched = {change.address for change in changes}
    if any(known[change.set] in _NOT_BY_MEMBERS for change in changes):
        return None
    if not all(_is_regular(state, known, touched) for state in (old, new)):
        return None
    changes.sort(key=lambda change: _within(change, known[change.set]))
    if len({change.comes == (known[change.set] is Role.ALLOWING) for change in changes}) <= 1:
        return tuple(changes)
    return _churn(changes, old, new, known)


def _is_regular(state: Mapping[str, frozenset[str]], known: Mapping[str, Role], addresses: Iterable[str]) -> bool:
    """Whether each address is in the set of one profile a direction at most, and behind a door, where there are doors,
    exactly then: else members would hide what others do.
    """
    sets = {role: [members for name, members in state.items() if known.get(name) is role] for role in Role}
    for address in addresses:
        for profile, door in _DOORS.items():
            profiles, doors = (sum(address in members for members in sets[role]) for role in (profile, door))
            if profiles > 1 or doors != (profiles if sets[door] else 0):
                return False
    return True


def _within(change: Change, role: Role) -> int:
    """The order of what happens to one pod at once: it is isolated by the door, last, and set free by it, first."""
    return (role in _DOORS.values()) == change.comes


def _churn(
    changes: list[Change],
    old: Mapping[str, frozenset[str]],
    new: Mapping[str, frozenset[str]],
    known: Mapping[str, Role],
) -> tuple[Change, ...] | None:
    """The order for pods that come and go, none of which only changes its sets.

    What becomes of a packet depends on the sets that its two ends are in, so that each pair of ends can be judged on
    its own.  Let f be an isolated pod that comes, g an isolated pod that goes, and the others be never isolated.

    1. Others become peers: nothing of theirs is judged, so that this widens to the new verdict.
    2. Each f is isolated: its flows narrow, from allowed to what its own new side says, everyone else's being old.
    3. No g is anybody's peer any more: now f → g and g → f are judged by two sides that take the other for a stranger,
       as the old state's one side did and the new state's one side will.
    4. Each f becomes a peer; 5. each g is isolated no more; 6. others that go are peers no more: widening and narrowing
       towards the new verdict, the other side of each flow being new already.

    Two of f are left.  The old state knows neither, and allows what they exchange; what 2 would cut, their membership
    in one set lets pass, from before 2 until after 4, when they leave it and the new verdict counts.  Of two of g the
    same is true, time reversed: the new state allows what they exchange, and so does that set from before 3 on.
    """
    before, after = _addresses(old), _addresses(new)
    comes = {change.address for change in changes if change.comes}
    goes = {change.address for change in changes if not change.comes}
    if comes & before or goes & after:
        return None
    isolated = {change.address for change in changes if known[change.set] is not Role.ALLOWING}
    ordered = sorted(changes, key=lambda change: _phase(change, known[change.set], isolated))
    for role, several in ((Role.COMING, isolated & comes), (Role.GOING, isolated & goes)):
        if len(several) > 1:
            name = next((name for name, its in known.items() if its is role), None)
            if name is None:
                return None
            enter, leave = ([Change(way, name, address) for address in sorted(several)] for way in (True, False))
            ordered = [*enter, *ordered, *leave]
    return tuple(ordered)


def _phase(change: Change, role: Role, isolated: set[str]) -> int:
    """The step of `_churn` that a change belongs to."""
    if change.address not in isolated:
        return 1 if change.comes else 6
    if role is Role.ALLOWING:
        return 4 if change.comes else 3
    return 2 if change.comes else 5


def _addresses(state: Mapping[str, frozenset[str]]) -> set[str]:
    """Those that pods have.  That an ipBlock is a single address does not make it a pod's."""
    return set(_members(members for name, members in state.items() if not names.is_of_kind(name, BLOCKS)))


def _members(sets: Iterable[frozenset[str]]) -> Iterator[str]:
    return (member.partition(",")[0] for members in sets for member in members)
