"""Members come and go one by one, and at no moment is a flow cut that both states allow, or let through that neither
does: shown for every flow of small universes, by a model of the chains that knows nothing of the order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from random import Random

import pytest

from npcompile.runtime.iptables.members import Change, Role, ordered_changes, roles

State = Mapping[str, frozenset[str]]
ADDRESSES = ("a", "b", "c", "d")
PROFILES = {"e1": Role.EGRESS, "e2": Role.EGRESS, "i1": Role.INGRESS, "i2": Role.INGRESS}
PEERS = {"p1": Role.ALLOWING, "p2": Role.ALLOWING, "p3": Role.ALLOWING}
DOORS = {"de1": "e1", "de2": "e2", "di1": "i1", "di2": "i2"}
PASSING = {"new": Role.COMING, "old": Role.GOING}
ROLES = PROFILES | PEERS | PASSING
ROLES_WITH_DOORS = ROLES | {
    door: Role.EGRESS_DOOR if profile.startswith("e") else Role.INGRESS_DOOR for door, profile in DOORS.items()
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What each profile allows: peers in any of these sets, and always the addresses in `blocks`."""

    peers: Mapping[str, frozenset[str]]
    blocks: Mapping[str, frozenset[str]]

    def allows(self, state: State, src: str, dst: str) -> bool:
        """A flow's verdict: both sides judge, each by the first profile, or door, that has its own address; but for two
        that come at once, or go.
        """
        if any({src, dst} <= state[name] for name in PASSING):
            return True
        return self._side(state, Role.EGRESS, src, dst) and self._side(state, Role.INGRESS, dst, src)

    def _side(self, state: State, direction: Role, own: str, peer: str) -> bool:
        for door, profile in DOORS.items():
            if PROFILES[profile] is direction and own in state.get(door, ()):
                return own in state[profile] and self._allowed(state, profile, peer)
        for profile, role in PROFILES.items():
            if role is direction and own in state[profile] and "de1" not in state:
                return self._allowed(state, profile, peer)
        return True

    def _allowed(self, state: State, profile: str, peer: str) -> bool:
        return peer in self.blocks[profile] or any(peer in state[name] for name in self.peers[profile])


def some(random: Random, names: Iterable[str], most: int) -> frozenset[str]:
    return frozenset(random.sample(sorted(names), random.randint(0, most)))


def random_rules(random: Random) -> Rules:
    return Rules(
        peers={name: some(random, PEERS, 2) for name in PROFILES},
        blocks={name: some(random, ADDRESSES, 1) for name in PROFILES},
    )


def random_sets(random: Random) -> frozenset[str]:
    """The sets of one address: one profile a direction at most, as artifacts have it, but for some."""
    if random.random() < 0.3:
        return frozenset()
    if random.random() < 0.05:
        return some(random, PROFILES | PEERS, 4)
    return some(random, PEERS, 2) | some(random, ("e1", "e2"), 1) | some(random, ("i1", "i2"), 1)


def state_of(sets: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """From the sets of each address to the members of each set."""
    return {name: frozenset(one for one, names in sets.items() if name in names) for name in ROLES}


def walk(old: State, changes: Iterable[Change]) -> Iterator[State]:
    """Every state on the way."""
    state = dict(old)
    for change in changes:
        assert (change.member in state[change.set]) is not change.comes
        state[change.set] ^= {change.member}
        yield dict(state)


def assert_bounds(
    rules: Rules, old: State, new: State, changes: Iterable[Change], addresses: Iterable[str] = ADDRESSES
) -> None:
    flows = list(permutations(addresses, 2))
    state = old
    for state in walk(old, changes):
        for src, dst in flows:
            before, after, now = (rules.allows(one, src, dst) for one in (old, new, state))
            assert (before and after) <= now <= (before or after), (src, dst, state)
    assert state == new


def behind_doors(random: Random, state: State) -> State:
    """The same, with a door before each profile; seldom one with other members, as an interrupted load may leave it."""
    doors = {door: some(random, ADDRESSES, 2) if random.random() < 0.02 else state[one] for door, one in DOORS.items()}
    return {**state, **doors}


@pytest.mark.parametrize("doors", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_every_state_on_the_way_is_between_old_and_new(seed: int, doors: bool) -> None:
    random = Random(seed)
    counts = Counter[str]()
    for _ in range(1500):
        before = {address: random_sets(random) for address in ADDRESSES}
        after = {one: random_sets(random) if random.random() < 0.5 else sets for one, sets in before.items()}
        old, new = state_of(before), state_of(after)
        if doors:
            old, new = (behind_doors(random, state) for state in (old, new))
        changes = ordered_changes(old, new, ROLES_WITH_DOORS if doors else ROLES)
        if changes is not None:
            assert_bounds(random_rules(random), old, new, changes)
        counts[
            "flip" if changes is None else "one" if len(changes) < 2 else "mixed" if mixed(changes) else "alike"
        ] += 1
    assert min(counts[kind] for kind in ("flip", "mixed", "alike")) > 50, counts


def mixed(changes: Iterable[Change]) -> bool:
    """Whether some widen and some narrow."""
    return len({one.comes == (one.set in PEERS) for one in changes}) == 2


EGRESS_ONLY = Rules(
    peers={"e1": frozenset({"p1"}), "i1": frozenset({"p2"}), "e2": frozenset(), "i2": frozenset()},
    blocks=dict.fromkeys(PROFILES, frozenset[str]()),
)


def test_adding_first_and_removing_later_opens_a_flow_that_neither_state_allows() -> None:
    """Old: egress yes, ingress no.  New: egress no, ingress yes.  So the order that adds first is refused."""
    rest = {"e1": {"a"}, "i1": {"b"}, "e2": set(), "i2": set(), "p3": set(), "new": set(), "old": set()}
    old = {name: frozenset(members) for name, members in (rest | {"p1": {"b"}, "p2": set()}).items()}
    new = {name: frozenset(members) for name, members in (rest | {"p1": set(), "p2": {"a"}}).items()}
    naive = [Change(True, "p2", "a"), Change(False, "p1", "b")]
    assert not EGRESS_ONLY.allows(old, "a", "b")
    assert not EGRESS_ONLY.allows(new, "a", "b")
    with pytest.raises(AssertionError):
        assert_bounds(EGRESS_ONLY, old, new, naive)
    assert ordered_changes(old, new, ROLES) is None


def test_a_pod_that_restarts_with_another_address_is_isolated_first_and_a_peer_last() -> None:
    old = state_of({"a": {"e1", "i1", "p1"}, "b": {"p2"}})
    new = state_of({"c": {"e1", "i1", "p1"}, "b": {"p2"}})
    changes = ordered_changes(old, new, ROLES)
    assert changes is not None
    assert [(one.comes, one.set, one.member) for one in changes] == [
        (True, "e1", "c"), (True, "i1", "c"), (False, "p1", "a"),
        (True, "p1", "c"), (False, "e1", "a"), (False, "i1", "a"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": {"e1"}}, {"a": {"e2"}}),  # from one profile to another
        ({"a": {"p1"}}, {"a": {"p2"}}),  # from one peer set to another
        ({"a": {"p2"}}, {"a": {"p2", "e1", "p1"}}),  # a pod that is known, isolated and a peer of more
        ({"a": {"e1", "p1", "new"}}, {"a": {"e1", "p1"}}),  # what an interrupted change left behind
        ({"a": {"e1", "e2"}}, {"a": {"e2"}}),  # what one profile hid, shows
    ],
)
def test_what_is_left_to_a_flip(before: dict[str, set[str]], after: dict[str, set[str]]) -> None:
    old, new = (state_of(state) for state in (before, after))
    assert ordered_changes(old, new, ROLES) is None


PAIRS = [
    ({}, {"a": {"e1", "p1"}, "b": {"i1", "p2"}}),
    ({"a": {"e1", "p1"}, "b": {"i1", "p2"}}, {}),
    ({"a": {"e1", "i1", "p1"}, "b": {"e1", "i1", "p1"}}, {"c": {"e1", "i1", "p1"}, "d": {"e1", "i1", "p1"}}),
]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_two_that_come_or_go_at_once_and_may_talk_to_each_other(
    before: dict[str, set[str]], after: dict[str, set[str]]
) -> None:
    """What they exchange passes meanwhile; without a set that says so, whatever the order, it would not."""
    rules = Rules(
        peers={"e1": frozenset({"p1", "p2"}), "i1": frozenset({"p1"}), "e2": frozenset(), "i2": frozenset()},
        blocks=dict.fromkeys(PROFILES, frozenset[str]()),
    )
    old, new = state_of(before), state_of(after)
    changes = ordered_changes(old, new, ROLES)
    assert changes is not None
    assert_bounds(rules, old, new, changes)
    with pytest.raises(AssertionError):
        assert_bounds(rules, old, new, [one for one in changes if one.set not in PASSING])
    assert ordered_changes(old, new, PROFILES | PEERS) is None


@pytest.mark.parametrize("seed", range(4))
def test_several_that_restart_at_once_keep_the_bounds_among_each_other_and_with_those_that_stay(seed: int) -> None:
    random = Random(seed)
    several = 0
    for _ in range(300):
        stays = {address: random_sets(random) for address in "yz"}
        goes, comes = ({address: random_sets(random) for address in names} for names in ("abc", "def"))
        old, new = state_of(stays | goes), state_of(stays | comes)
        changes = ordered_changes(old, new, ROLES)
        if changes is not None:
            assert_bounds(random_rules(random), old, new, changes, "abcdefyz")
            several += any(one.set in PASSING for one in changes)
    assert several > 100


def test_pods_of_other_nodes_may_restart_many_at_once() -> None:
    old = state_of({"a": {"p1"}, "b": {"p1", "p2"}})
    new = state_of({"c": {"p1"}, "d": {"p1", "p2"}})
    changes = ordered_changes(old, new, ROLES)
    assert changes is not None
    assert [one.comes for one in changes] == [True] * 3 + [False] * 3


def test_the_member_of_a_set_of_ports_is_of_its_address() -> None:
    known = {"e": Role.EGRESS, "q": Role.ALLOWING}
    old = {"e": frozenset({"a"}), "q": frozenset({"a,tcp:80"})}
    new = {"e": frozenset({"a"}), "q": frozenset({"b,tcp:80"})}
    assert ordered_changes(old, new, known) is None  # `a` stays, so it is no pod that goes


def test_an_ip_block_of_a_single_address_is_no_pod() -> None:
    known = {"e": Role.EGRESS, "q": Role.ALLOWING, "npc4-net-x": Role.ALLOWING}
    blocks = {"npc4-net-x": frozenset({"a", "b"})}
    old, new = ({"e": frozenset({one}), "q": frozenset({one}), **blocks} for one in "ab")
    changes = ordered_changes(old, new, known)
    assert changes is not None
    assert [one.set for one in changes] == ["e", "q", "q", "e"]


def test_a_role_is_known_only_where_the_lines_say_nothing_else() -> None:
    line = "-m set --match-set {} src -g NPC-PRO-aaaaaaaaaaaaaaaaaaaa"
    chains = {
        "NPC-EGRESS": (
            line.format("profile"),
            line.format("both"),
            "-m set --match-set door src -g NPC-DIS-x",
            "-j MARK --set-xmark 0x1000000/0x1000000",
        ),
        "NPC-DIS-x": (line.format("behind"),),
        "NPC-INGRESS": (line.format("both"), line.format("other").replace("PRO", "POL")),
        "NPC-POL-x": (
            "-p tcp -m set --match-set ports dst,dst -m set --match-set peers src -g NPC-ALLOW",
            "-m set ! --match-set negated src -g NPC-ALLOW",
            "-m set --match-set dropped src -j DROP",
            "-p tcp -g NPC-ALLOW",
        ),
        "NPC-ACCEPT": ("-m set --match-set every src -j ACCEPT",),
        "NPC-FORWARD": (
            line.format("elsewhere"),
            "-m set --match-set npc4-new-x src -m set --match-set npc4-new-x dst -j RETURN",
            "-m set --match-set npc4-old-x src -m set --match-set npc4-old-x dst -g NPC-ACCEPT",
            "-m set --match-set npc4-new-y src -m set --match-set npc4-old-y dst -j RETURN",
            "-m set --match-set npc4-new-z src -m set --match-set npc4-new-z dst -j DROP",
        ),
        "NPC-DIS-orphan": (line.format("orphan"),),
    }
    others = ("npc4-new-y", "npc4-old-y", "npc4-new-z")
    unknown = dict.fromkeys(("both", "other", "negated", "dropped", "elsewhere", "orphan", *others), Role.UNKNOWN)
    allowing = dict.fromkeys(("ports", "peers", "every"), Role.ALLOWING)
    isolating = {"profile": Role.EGRESS, "behind": Role.EGRESS, "door": Role.EGRESS_DOOR}
    passing = {"npc4-new-x": Role.COMING, "npc4-old-x": Role.GOING}
    assert roles(chains) == {**isolating, **allowing, **passing, **unknown}


def test_behind_a_door_a_profiles_lines_may_stand_behind_its_set() -> None:
    chains = {
        "NPC-EGRESS": (
            "-m set --match-set door src -g NPC-DIS-x",
            "-m set --match-set early src -m set --match-set late dst -g NPC-ALLOW",
        ),
        "NPC-DIS-x": (
            "-p tcp -m set --match-set one src -m tcp --dport 80 -m set --match-set peers dst -g NPC-ALLOW",
            "-m set --match-set one src -j NPC-POL-x",
            "-m set --match-set two src -m set ! --match-set negated dst -g NPC-ALLOW",
            "-m set --match-set three src -g NPC-DIS-x",
            "-p tcp -m set --match-set some src -g NPC-PRO-x",
        ),
    }
    assert roles(chains) == {
        "door": Role.EGRESS_DOOR,
        **dict.fromkeys(("one", "two", "three"), Role.EGRESS),
        "peers": Role.ALLOWING,
        **dict.fromkeys(("early", "negated", "some"), Role.UNKNOWN),
        "late": Role.ALLOWING,
    }
