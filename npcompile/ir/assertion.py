"""What people want of their policies, as sentences about all flows: the meaning of `.npspec` files.

A sentence speaks of sets of ends (`Ends`).  It quantifies over the flows that policies judge: between two different
ends, of which one at least is a pod of the pod network, of one address family; not from a pod's own node to that pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import assert_never

from npcompile.diagnostics.model import Severity
from npcompile.ir.labels import EVERYTHING
from npcompile.ir.policy import BlockPeer, Direction, Match, PodPeer, Policy, Rule
from npcompile.netset.intervals import IntervalSet
from npcompile.source import Span


class GaveUpError(Exception):
    """A question about a sentence was not answered within the effort: nothing is known."""


class Word(Enum):
    """Ends that have a word of their own.  A pod on its node's network is its node, and no pod."""

    EVERYONE = "*"  # pods and the world
    WORLD = "world"  # addresses that are no pod's and no node's
    NODES = "node"  # the addresses of nodes, and pods on their network


@dataclass(frozen=True, slots=True, kw_only=True)
class AllOf:
    """What is in each of the parts, of which there is one at least."""

    parts: tuple[Ends, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """What is in any of the parts, of which there is one at least."""

    parts: tuple[Ends, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Complement:
    """Every end (pods, world and nodes) that is not in `of`."""

    of: Ends


Mention = PodPeer | BlockPeer
"""Pods by the labels of themselves and of their namespaces, which are never None; or whoever has an address in a CIDR.
The same as what a peer of a policy matches."""

Ends = Word | PodPeer | BlockPeer | AllOf | AnyOf | Complement

ANY_POD = PodPeer(namespaces=EVERYTHING, pods=EVERYTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One of the endpoints that a side lists, in its author's words."""

    ends: Ends
    text: str
    span: Span | None = field(default=None, compare=False, repr=False)


Side = tuple[Party, ...]
"""All that stands on one side of a sentence; never empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    """The flows from one of some ends to one of some others on some ports."""

    src: Side
    dst: Side
    ports: IntervalSet
    text: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """The flows of `flows` that are in none of `excepts`."""

    flows: Flows
    excepts: tuple[Flows, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """No flow of a region is allowed."""

    region: Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """Every flow of a region is allowed."""

    region: Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolated:
    """Every pod of a side is isolated in a direction; what is no pod is left out."""

    side: Side
    direction: Direction


Requirement = Denied | Allowed | Isolated


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One sentence: all of its requirements must hold.

    `severity` is what its failure counts as; with `until`, on that day and before, and ERROR later.
    """

    name: str | None
    text: str
    requirements: tuple[Requirement, ...]
    severity: Severity = Severity.ERROR
    until: date | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def title(self) -> str:
        """Its name or, without one, its words."""
        return self.name or self.text

    def severity_on(self, today: date) -> Severity:
        """What its failure counts as on a day."""
        expired = self.until is not None and today > self.until
        return Severity.ERROR if expired else self.severity


def together(side: Side) -> Ends:
    """All ends of a side."""
    return side[0].ends if len(side) == 1 else AnyOf(parts=tuple(party.ends for party in side))


def mentions(ends: Ends) -> Iterator[Mention]:
    """Every mention in an expression, in order."""
    match ends:
        case PodPeer() | BlockPeer():
            yield ends
        case AllOf() | AnyOf():
            for part in ends.parts:
                yield from mentions(part)
        case Complement():
            yield from mentions(ends.of)
        case Word():
            pass
        case _:
            assert_never(ends)


def flows_of(assertion: Assertion) -> Iterator[Flows]:
    """All flows that a sentence speaks of, exceptions too."""
    for requirement in assertion.requirements:
        match requirement:
            case Denied() | Allowed():
                yield requirement.region.flows
                yield from requirement.region.excepts
            case Isolated():
                pass
            case _:
                assert_never(requirement)


def sides_of(assertion: Assertion) -> Iterator[Side]:
    """All sides of a sentence, in order."""
    for flows in flows_of(assertion):
        yield from (flows.src, flows.dst)
    yield from (one.side for one in assertion.requirements if isinstance(one, Isolated))


def all_mentions(assertions: Iterable[Assertion]) -> tuple[Mention, ...]:
    """Every mention of some sentences, once each, in order."""
    found = (
        mention
        for assertion in assertions
        for side in sides_of(assertion)
        for party in side
        for mention in mentions(party.ends)
    )
    return tuple(dict.fromkeys(found))


def as_policy(mentioned: Iterable[Mention], *, namespace: str) -> Policy:
    """A policy that is never in force, and that speaks of what sentences mention: one rule a mention, in order.

    So whatever tells apart all that policies tell apart does it for sentences, too.
    """
    rules = (
        Rule(direction=Direction.EGRESS, index=index, match=Match(peers=(mention,)))
        for index, mention in enumerate(mentioned)
    )
    return Policy(
        namespace=namespace,
        name="sentences",
        subjects=EVERYTHING,
        directions=frozenset({Direction.EGRESS}),
        rules=tuple(rules),
    )
