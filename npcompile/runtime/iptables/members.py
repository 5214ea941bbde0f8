"""When sets may change member by member under rules that stay, and in which order.

Two words for a change of one member, by what it does to what is allowed, everything else being equal.  It *narrows*
when it brings a pod into a profile's set or takes an address out of a set that rules allow by; it *widens* when it does
the opposite.  For old and new verdicts of a flow, every state on the way must keep old ∩ new ⊆ allowed ⊆ old ∪ new.

- Changes that all widen, or all narrow, keep it in any order: what is allowed only grows, or only shrinks.
- A mixture does not, in general: a flow that egress allows in the old state only, and ingress in the new one only,
  is allowed in between when ingress widens before egress narrows.
- Pods that come with an address that was in no set, and pods that go and leave none, keep it in one order, as long as
  at most one of each is isolated: see `_churn`.  Two that come at once and are isolated do not: each must be isolated
  before it is the other's peer, and a flow that both states allow between them would be cut.

Everything else is left to a flip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from npcompile.backends.iptables import names

_ASKS = re.compile(r"--match-set (\S+) ")
_DISPATCHES = re.compile(r"-m set --match-set (?P<set>\S+) (?:src|dst) (?P<rest>.+)")
_ALLOWED = (f"-g {names.ALLOW}", "-j ACCEPT")


class Role(Enum):
    """What a set is for in the chains."""

    EGRESS_DOOR = "egress door"  # its members' profiles are looked up behind it
    INGRESS_DOOR = "ingress door"
    EGRESS = "egress"  # its members are isolated for egress, in one profile
    INGRESS = "ingress"
    ALLOWING = "allowing"  # rules allow by it
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
_DOORS = {Role.EGRESS: Role.EGRESS_DOOR, Role.INGRESS: Role.INGRESS_DOOR}


def roles(chains: Mapping[str, tuple[str, ...]]) -> Mapping[str, Role]:
    """The role of every set that the chains ask; UNKNOWN where they ask it for two reasons, or for another one."""
    found: dict[str, Role] = {}
    directions = dict(_DISPATCH)
    for chain, direction in _DISPATCH.items():
        directions |= dict.fromkeys(_doors(chains.get(chain, ())), direction)
    for chain, lines in chains.items():
        for line in lines:
            for name, role in _roles(line, directions.get(chain), inner=chain not in _DISPATCH):
                found[name] = role if found.get(name, role) is role else Role.UNKNOWN
    return found


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
    if any(known[change.set] is Role.UNKNOWN for change in changes):
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

    Let f be the isolated pod that comes, g the isolated pod that goes, and the others be never isolated.

    1. Others become peers: nothing of theirs is judged, so that this widens to the new verdict.
    2. f is isolated: its flows narrow, from allowed to what its own new side says, everyone else's side being old.
    3. g is nobody's peer any more: now f → g and g → f are judged by two sides that take the other for a stranger, as
       the old state's one side did and the new state's one side will.
    4. f becomes a peer; 5. g is isolated no more; 6. others that go are peers no more: widening and narrowing towards
       the new verdict, the other side of each flow being new already.

    Time reversed, it is the same argument with old and new exchanged.
    """
    before, after = _addresses(old), _addresses(new)
    comes = {change.address for change in changes if change.comes}
    goes = {change.address for change in changes if not change.comes}
    if comes & before or goes & after:
        return None
    isolated = {change.address for change in changes if known[change.set] is not Role.ALLOWING}
    if len(isolated & comes) > 1 or len(isolated & goes) > 1:
        return None
    return tuple(sorted(changes, key=lambda change: _phase(change, known[change.set], isolated)))


def _phase(change: Change, role: Role, isolated: set[str]) -> int:
    """The step of `_churn` that a change belongs to."""
    if change.address not in isolated:
        return 1 if change.comes else 6
    if role is Role.ALLOWING:
        return 4 if change.comes else 3
    return 2 if change.comes else 5


def _addresses(state: Mapping[str, frozenset[str]]) -> set[str]:
    return set(_members(state.values()))


def _members(sets: Iterable[frozenset[str]]) -> Iterator[str]:
    return (member.partition(",")[0] for members in sets for member in members)
