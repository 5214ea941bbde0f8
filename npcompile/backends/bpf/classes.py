"""Peer classes by number, and identities: the things that some ruleset puts into different classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from npcompile.backends.bpf.rulesets import Openings, Ruleset
from npcompile.backends.bpf.services import Front, judge, overlay, rule_at
from npcompile.backends.bpf.structure import ClassEntry, MixedService
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Address
from npcompile.netset.ports import point
from npcompile.relation.bits import members

Signature = tuple[tuple[int, int], ...]  # (place of a ruleset, class), for the rulesets where the class is not 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """`openings` of each ruleset's classes, by number; class 0 is the one of the most identities.

    `signatures`: what tells each identity of the artifact from the others, by its number.  `identity`: the number, in
    the artifact, of each identity of the input.  `everywhere_0`: that of those that are in class 0 of every ruleset (0
    where there are none).  `fronts`: that of the addresses of Services that are not like others.
    """

    openings: tuple[tuple[Openings, ...], ...]
    entries: tuple[ClassEntry, ...]
    signatures: tuple[Signature, ...]
    identity: tuple[int, ...]
    everywhere_0: int
    fronts: Mapping[Address, int]
    mixed: tuple[MixedService, ...]


def classify(rulesets: Sequence[Ruleset], identities: int, fronts: Sequence[Front]) -> Classes:
    """Number classes and identities."""
    numbers = [{one.openings: number for number, one in enumerate(ruleset.classes)} for ruleset in rulesets]
    unusual: list[dict[int, int]] = [{} for _ in range(identities)]
    for place, ruleset in enumerate(rulesets):
        for number, peer_class in enumerate(ruleset.classes[1:], 1):
            for identity in members(peer_class.identities):
                unusual[identity][place] = number
    mixed: list[MixedService] = []
    of_front: dict[Address, dict[int, int]] = {}
    for front in fronts:
        changed = dict(_front_openings(front, rulesets, unusual[front.identity], mixed))
        if changed:
            classes = {place: numbers[place].setdefault(own, len(numbers[place])) for place, own in changed.items()}
            of_front[front.address] = {**unusual[front.identity], **classes}
    groups: dict[Signature, int] = {}
    for one in (*unusual, *of_front.values()):
        groups.setdefault(_key(one), len(groups) + 1)
    entries = (
        ClassEntry(ruleset=place + 1, identity=number, peer_class=peer_class)
        for chosen, number in groups.items()
        for place, peer_class in chosen
    )
    return Classes(
        openings=tuple(tuple(one) for one in numbers),
        entries=tuple(sorted(entries, key=lambda one: (one.ruleset, one.identity))),
        signatures=tuple(groups),
        identity=tuple(groups[_key(one)] for one in unusual),
        everywhere_0=groups.get((), 0),
        fronts={address: groups[_key(one)] for address, one in of_front.items()},
        mixed=tuple(mixed),
    )


def _key(classes: Mapping[int, int]) -> Signature:
    return tuple(sorted((place, number) for place, number in classes.items() if number))


def _front_openings(
    front: Front, rulesets: Sequence[Ruleset], classes: Mapping[int, int], mixed: list[MixedService]
) -> Iterator[tuple[int, Openings]]:
    """By the place of each egress ruleset that opens an address of Services otherwise than an address like others, what
    it opens of it.  What is dropped although something was open is added to `mixed`.
    """
    for place, ruleset in enumerate(rulesets):
        if ruleset.direction is not Direction.EGRESS:
            continue
        usual = openings = ruleset.classes[classes.get(place, 0)].openings
        for one in front.ports:
            at = point(one.port.protocol, one.port.number)
            judged = judge(one, ruleset)
            before = rule_at(usual, at)
            if judged.rule is None and (judged.partly or before is not None):
                mixed.append(
                    MixedService(service=one.service, port=one.port, ruleset=place + 1, known=bool(one.backends))
                )
            if judged.partly or judged.rule != before:
                openings = overlay(openings, at, judged.rule)
        if openings != usual:
            yield place, openings
