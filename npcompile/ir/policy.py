"""NetworkPolicies after every default has been decided.

A rule's match (peers and ports) is apart from what the rule does.  Today every rule allows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from npcompile.ir.labels import Selector
from npcompile.netset.cidrs import Network
from npcompile.netset.ports import Protocol
from npcompile.source import Span


class Direction(Enum):
    """A direction of traffic, as the subject sees it."""

    INGRESS = "ingress"
    EGRESS = "egress"

    __hash__ = object.__hash__  # members are singletons, and much used as keys: Enum's own hashes the name

    def __str__(self) -> str:
        return self.value

    @property
    def opposite(self) -> Direction:
        """The direction that the other end of a flow judges it by."""
        return Direction.EGRESS if self is Direction.INGRESS else Direction.INGRESS


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPeer:
    """Pods by label.  `namespaces` None is the policy's own namespace."""

    namespaces: Selector | None
    pods: Selector
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPeer:
    """An ipBlock: the addresses of `cidr` (host bits cleared) that are in none of `excepts` (sorted)."""

    cidr: Network
    excepts: tuple[Network, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


Peer = PodPeer | BlockPeer


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRange:
    """The ports from first to last; 1 to 65535 where the policy names only the protocol."""

    protocol: Protocol
    first: int
    last: int
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPort:
    """Whatever numbers the destination pod declares under this name and protocol."""

    protocol: Protocol
    name: str
    span: Span | None = field(default=None, compare=False, repr=False)


PortItem = PortRange | NamedPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The flows that a rule speaks of: from or to any of `peers`, on any of `ports`; empty does not restrict."""

    peers: tuple[Peer, ...] = ()
    ports: tuple[PortItem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of a policy's ingress or egress list; `index` counts from 0 in that list."""

    direction: Direction
    index: int
    match: Match
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One NetworkPolicy.

    It isolates its subjects in `directions` (never empty).  `rules` holds the rules of those directions, ingress first
    and in source order; `inactive` those of a direction that policyTypes leaves out, which allow nothing.  `unlisted`
    are the directions for which it has no list of rules at all, not even an empty one: that means the same, and may
    not have been thought of.
    """

    namespace: str
    name: str
    subjects: Selector
    directions: frozenset[Direction]
    rules: tuple[Rule, ...]
    inactive: tuple[Rule, ...] = ()
    unlisted: frozenset[Direction] = field(default=frozenset(), compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name): unique in a program, and the order of section 4.17."""
        return (self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def rules_of(self, direction: Direction) -> tuple[Rule, ...]:
        """Its active rules of one direction."""
        return tuple(rule for rule in self.rules if rule.direction is direction)
