"""What the target lowers to: tables of numbers, before any text (docs/datapath.md tells how they are asked).

The other end's address gives an identity, by `addresses` or else by the longest prefix in `networks`, or else 0.  The
endpoint's ruleset and that identity give a peer class, by `classes` or else 0.  The narrowest entry of `policy` for
that class that holds the packet's protocol and destination port gives the rule that allows it; without one, it is
denied.
"""

from __future__ import annotations

from dataclasses import dataclass

from npcompile.backends.target import RuleOrigin
from npcompile.ir.cluster import Pod, Service, ServicePort
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Address, Network
from npcompile.netset.ports import Protocol

NOT_ISOLATED = 0  # in a ruleset's place
SERVICE_MIXED = None  # in a rule's place: the address is a Service's, and not every backend is allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A pod of the node that has an address, and its rulesets.  `addresses` has one a family at most."""

    number: int
    pod: Pod
    addresses: tuple[Address, ...]
    egress: int
    ingress: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesetEntry:
    """A ruleset; `isolating` stands for the policies that isolate its subjects, in order."""

    number: int
    direction: Direction
    isolating: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEntry:
    """The peer class of an identity in a ruleset; who has no entry is in class 0."""

    ruleset: int
    identity: int
    peer_class: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEntry:
    """What a ruleset allows a peer class: the ports of one protocol that agree with `port` in their first `bits` bits.

    `protocol` None (then `bits` is 0) is every protocol.  `rule` is the number of the least rule that allows them.
    """

    ruleset: int
    peer_class: int
    protocol: Protocol | None
    port: int
    bits: int
    rule: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedService:
    """A port of a Service that is dropped for pods of a ruleset, because not every backend is allowed, although some
    are, or the address itself is.  `known`: there are backends in the input.
    """

    service: Service
    port: ServicePort
    ruleset: int
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """A program, lowered for a node (or for every node).  All is sorted by key; numbers start at 1."""

    endpoints: tuple[Endpoint, ...]
    addresses: tuple[tuple[Address, int], ...]
    networks: tuple[tuple[Network, int], ...]
    rulesets: tuple[RulesetEntry, ...]
    classes: tuple[ClassEntry, ...]
    policy: tuple[PolicyEntry, ...]
    rules: tuple[tuple[int, RuleOrigin], ...]
    node_addresses: tuple[Address, ...]
    mixed: tuple[MixedService, ...]
    unbound: tuple[Pod, ...]
    origins: tuple[RuleOrigin, ...]  # of rules and of rulesets, sorted by id
