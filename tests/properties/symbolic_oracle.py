"""The symbolic engine's answers by definition, over a universe small enough to enumerate."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import pairwise

from npcompile.ir.policy import (
    BlockPeer,
    Direction,
    Match,
    PodPeer,
    Policy,
    PortItem,
)
from npcompile.ir.program import Program
from npcompile.questions import Breadth, RuleOf
from tests.properties.redundancy_oracle import parts, split
from tests.properties.symbolic_universe import CELLS, POINTS, TCP, UDP, Meaning


def expected_shadowed(meaning: Meaning) -> dict[object, list[object]]:
    """The rules that are shadowed, in the fixed order of removal, and their covers."""
    flows = {of.order: [meaning.matched(of, pair) for pair in meaning.pairs] for of in meaning.universe.rules}
    kept = list(meaning.universe.rules)
    found: dict[object, list[object]] = {}

    def covered(of: RuleOf, by: list[RuleOf]) -> bool:
        return all(
            not mine or not mine & ~_union(flows[one.order][n] for one in by) for n, mine in enumerate(flows[of.order])
        )

    for of in reversed(meaning.universe.rules):
        others = [
            one
            for one in kept
            if one is not of
            and one.rule.direction is of.rule.direction
            and one.policy.namespace == of.policy.namespace
            and any(a & b for a, b in zip(flows[one.order], flows[of.order], strict=True))
        ]
        if not any(flows[of.order]) or not covered(of, others):
            continue
        single = next((one for one in others if covered(of, [one])), None)
        cover = others if single is None else [single]
        for one in list(cover):
            if covered(of, [other for other in cover if other is not one]):
                cover = [other for other in cover if other is not one]
        found[of.order] = [one.order for one in cover]
        kept = [one for one in kept if one is not of]
    return found


class Superfluous:
    """Which policies do all that another one does."""

    def __init__(self, meaning: Meaning) -> None:
        self._meaning = meaning
        self._flows = {of.order: [meaning.matched(of, pair) for pair in meaning.pairs] for of in meaning.universe.rules}
        self.policies = [policy for policy in meaning.universe.program.policies if meaning.selected[policy.key]]

    def _allowed(self, among: list[Policy], direction: Direction, n: int) -> int:
        keys = {policy.key for policy in among}
        rules = (of for of in self._meaning.universe.rules if of.policy.key in keys and of.rule.direction is direction)
        return _union(self._flows[of.order][n] for of in rules)

    def with_only(self, policy: Policy, left: Collection[Policy]) -> bool:
        """Whether a policy is superfluous where these others are left."""
        meaning = self._meaning
        for direction in policy.directions:
            every = [p for p in self.policies if direction in p.directions and p is not policy]
            others = [p for p in every if p in left]
            for n, pair in enumerate(meaning.pairs):
                subject, _ = meaning.universe.subject_and_peer(direction, pair)
                if subject not in meaning.selected[policy.key]:
                    continue
                own = self._allowed([policy], direction, n)
                if not any(subject in meaning.selected[p.key] for p in every):
                    if own != meaning.everything(pair):
                        return False
                elif own & ~self._allowed(others, direction, n) or not any(
                    subject in meaning.selected[p.key] for p in others
                ):
                    return False
        return True


def expected_redundant(meaning: Meaning) -> list[tuple[str, str]]:
    """The policies that are superfluous, in the fixed order of removal."""
    superfluous = Superfluous(meaning)
    left, found = list(superfluous.policies), []
    for policy in reversed(superfluous.policies):
        if superfluous.with_only(policy, left):
            left.remove(policy)
            found.append(policy.key)
    return sorted(found)


def expected_unfelt(meaning: Meaning) -> list[tuple[tuple[str, str], bool]]:
    """The policies without which some side of a flow differs, and no verdict; and whether some side opens."""
    found = []
    for policy in meaning.universe.program.policies:
        both = [
            (meaning.allowed(direction, pair), meaning.allowed(direction, pair, policy))
            for pair in meaning.pairs
            for direction in Direction
        ]
        if any(before != after for before, after in both) and not changes_verdicts(meaning, policy):
            found.append((policy.key, any(after & ~before for before, after in both)))
    return found


def changes_verdicts(meaning: Meaning, policy: Policy) -> bool:
    """Whether Allow differs without a policy, for some flow."""
    return any(_verdicts(meaning, pair) != _verdicts(meaning, pair, policy) for pair in meaning.pairs)


def _verdicts(meaning: Meaning, pair: tuple[int, int], without: Policy | None = None) -> int:
    egress, ingress = (meaning.allowed(one, pair, without) for one in (Direction.EGRESS, Direction.INGRESS))
    return egress & ingress


def expected_items(meaning: Meaning, gone: Collection[object]) -> set[tuple[object, str, int]]:
    """The parts of rules that are superfluous, in the fixed order of removal."""
    universe = meaning.universe
    matches = {of.order: (of, of.rule.match) for of in universe.rules if of.order not in gone}

    def flows(of: RuleOf, match: Match) -> list[int]:
        return part_of_rule(universe.program, of, match)

    masks = {order: flows(of, match) for order, (of, match) in matches.items()}
    found = set()
    for order, (of, match) in reversed(list(matches.items())):
        near = [
            masks[one.order]
            for one, _ in matches.values()
            if one is not of and one.policy.namespace == of.policy.namespace and one.rule.direction is of.rule.direction
        ]
        for kind, number in parts(match):
            own, rest = split(matches[order][1], kind, number)
            if not getattr(rest, kind):
                continue
            mine, left = flows(of, own), flows(of, rest)
            covered = all(not m & ~_union(iter((r, *others))) for m, r, *others in zip(mine, left, *near, strict=True))
            if any(mine) and covered:
                found.add((order, kind, number))
                matches[order], masks[order] = (of, rest), left
    return found


def part_of_rule(program: Program, of: RuleOf, match: Match) -> list[int]:
    """What a rule would match if it matched this, by pair of ends."""
    reduced = Meaning(replace(program, policies=(_with_one_rule(of, match),)))
    (rule,) = reduced.universe.rules
    return [reduced.matched(rule, pair) for pair in reduced.pairs]


def _with_one_rule(of: RuleOf, match: Match) -> Policy:
    return replace(of.policy, rules=(replace(of.rule, match=match),))


def expected_wide_open(meaning: Meaning) -> dict[tuple[str, Direction, Breadth], bool]:
    """Where a pod is possible that is open to everyone of a kind, and whether on all ports."""
    places = meaning.universe.places
    kinds = {
        Breadth.IPV4: [n for n, place in enumerate(places) if place.pod is None and place.cell != len(CELLS) - 1],
        Breadth.IPV6: [n for n, place in enumerate(places) if place.pod is None and place.cell == len(CELLS) - 1],
        Breadth.PODS: [n for n, place in enumerate(places) if place.pod is not None],
    }
    found: dict[tuple[str, Direction, Breadth], bool] = {}
    for subject, place in enumerate(places):
        if place.pod is None or place.cell is not None:
            continue
        for direction in Direction:
            for breadth, everyone in kinds.items():
                # a destination that is anyone need not declare any name
                points = (1 << len(POINTS) * (2 if direction is Direction.INGRESS else 1)) - 1
                for peer in everyone:
                    pair = (peer, subject) if direction is Direction.INGRESS else (subject, peer)
                    rules = (of for of in meaning.universe.rules if of.rule.direction is direction)
                    points &= _union(meaning.matched(of, pair) for of in rules)
                key = (place.pod.namespace, direction, breadth)
                if points:
                    found[key] = found.get(key, False) or bool(points >> len(POINTS) - 1 & 1)
    return found


def expected_defeated(meaning: Meaning) -> set[tuple[object, Direction]]:
    """The policies without rules of which every subject is open to everyone."""
    found = set()
    for policy in meaning.universe.program.policies:
        for direction in policy.directions if not policy.rules and meaning.selected[policy.key] else ():
            rules = [of for of in meaning.universe.rules if of.rule.direction is direction]
            if opened(meaning, policy, direction, rules):
                found.add((policy.key, direction))
    return found


def opened(meaning: Meaning, policy: Policy, direction: Direction, rules: Collection[RuleOf]) -> bool:
    """Whether rules match every flow of every subject of a policy."""
    return all(
        _union(meaning.matched(of, pair) for of in rules) == meaning.everything(pair)
        for pair in meaning.pairs
        if meaning.universe.subject_and_peer(direction, pair)[0] in meaning.selected[policy.key]
    )


def expected_excepts(meaning: Meaning) -> set[tuple[object, object, object]]:
    """The excepts that another rule allows, and the first that does."""
    found = set()
    for of in meaning.universe.rules:
        for peer in (one for one in of.rule.match.peers if isinstance(one, BlockPeer)):
            for excepted in peer.excepts:
                own = _with_one_rule(of, replace(of.rule.match, peers=(BlockPeer(cidr=excepted),)))
                alone = Meaning(replace(meaning.universe.program, policies=(own,)))
                masks = [alone.matched(alone.universe.rules[0], pair) for pair in meaning.pairs]
                for other in meaning.universe.rules:
                    same = other.policy.namespace == of.policy.namespace and other.rule.direction is of.rule.direction
                    theirs = (meaning.matched(other, pair) for pair in meaning.pairs)
                    if same and other is not of and any(a & b for a, b in zip(masks, theirs, strict=True)):
                        found.add((of.order, peer, other.order))
                        break
    return found


def expected_half_open(meaning: Meaning) -> dict[bool, set[tuple[object, PortItem | None]]]:
    """The rules and port items that match flows between pods which the far end denies: by whether it denies all of
    them, before equal blockers are merged.
    """
    found: dict[bool, set[tuple[object, PortItem | None]]] = {True: set(), False: set()}
    for of in meaning.universe.rules:
        for item in of.rule.match.ports or (None,):
            passes, denied = through(meaning, of, item)
            if denied:
                found[not passes].add((of.order, item))
    return found


def through(meaning: Meaning, of: RuleOf, item: PortItem | None) -> tuple[bool, bool]:
    """Whether flows between pods match a rule by a port item (None: anyhow) that the far end allows, and denies."""
    places = meaning.universe.places
    far = Direction.EGRESS if of.rule.direction is Direction.INGRESS else Direction.INGRESS
    near = {
        pair: mask
        for pair in meaning.pairs
        if places[pair[0]].pod and places[pair[1]].pod
        if (mask := meaning.matched(of, pair, None if item is None else (item,)))
    }
    allowed = [mask & meaning.allowed(far, pair) for pair, mask in near.items()]
    return any(allowed), any(mask & ~passing for mask, passing in zip(near.values(), allowed, strict=True))


def expected_ways_in(meaning: Meaning) -> dict[object, bool]:
    """The ingress rules that let something in, and whether from outside."""
    found: dict[object, bool] = {}
    for of in meaning.universe.rules:
        if of.rule.direction is Direction.INGRESS:
            through = [
                pair
                for pair in meaning.pairs
                if (m := meaning.matched(of, pair)) and m & meaning.allowed(Direction.EGRESS, pair)
            ]
            if through:
                found[of.order] = any(meaning.universe.places[src].pod is None for src, _ in through)
    return found


def expected_uncovered(meaning: Meaning) -> set[tuple[str, Direction]]:
    """Where a pod is possible that nothing isolates."""
    return {
        (place.pod.namespace, direction)
        for number, place in enumerate(meaning.universe.places)
        for direction in Direction
        if place.pod is not None and not meaning.isolated(direction, number)
    }


def expected_dns(meaning: Meaning) -> set[tuple[object, bool]]:
    """The policies with subjects that may send something, and not to port 53 over UDP, or only not over TCP."""
    rules = [of for of in meaning.universe.rules if of.rule.direction is Direction.EGRESS]
    reach = {of.order: _union(meaning.matched(of, pair) for pair in meaning.pairs) for of in rules}
    asks = {
        protocol: _union(1 << n for n, (p, port) in enumerate(POINTS * 2) if (p, port) == (protocol, 53))
        for protocol in (TCP, UDP)
    }
    found = set()
    for policy in meaning.universe.program.policies:
        for subject in meaning.selected[policy.key] if Direction.EGRESS in policy.directions else ():
            allowed = _union(reach[of.order] for of in rules if subject in meaning.selected[of.policy.key])
            if allowed and not allowed & asks[UDP]:
                found.add((policy.key, False))
            elif allowed and not allowed & asks[TCP]:
                found.add((policy.key, True))
    return found


def expected_split(meaning: Meaning) -> set[tuple[object, int]]:
    """Adjacent peers, one of namespaces and one of pods, that match more than one with both selectors would."""
    universe, found = meaning.universe, set()
    for of in universe.rules:
        for number, (one, other) in enumerate(pairwise(of.rule.match.peers)):
            if not isinstance(one, PodPeer) or not isinstance(other, PodPeer):
                continue
            spaces, pods = (one, other) if one.namespaces is not None else (other, one)
            if pods.namespaces is not None or not pods.pods.requirements or spaces.pods.requirements:
                continue
            if spaces.namespaces is None or not spaces.namespaces.requirements:
                continue
            joined = PodPeer(namespaces=spaces.namespaces, pods=pods.pods)
            either = universe.peer_items[of.order, number] | universe.peer_items[of.order, number + 1]
            both = {i for i, place in enumerate(universe.places) if universe.matches_peer(of, joined, place)}
            subjects = [universe.subject_and_peer(of.rule.direction, pair) for pair in meaning.pairs]
            ends = {peer for subject, peer in subjects if subject in meaning.selected[of.policy.key]}
            if both & ends and ends & (either - both):
                found.add((of.order, number))
    return found


def _union(masks: Iterator[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found
