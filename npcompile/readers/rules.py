"""Packet filter rules as they are loaded: what the iptables reader gives, and evaluators work on.

The vocabulary is the kernel's.  Each match and each target is one class, and the unions below are closed: an evaluator
that handles every class of them has understood every rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from npcompile.netset.cidrs import Family, Network
from npcompile.netset.intervals import IntervalSet
from npcompile.readers.sets import End, IpSet


class Hook(Enum):
    """Where the `filter` table sees packets; the values are the names of its built-in chains."""

    INPUT = "INPUT"
    FORWARD = "FORWARD"
    OUTPUT = "OUTPUT"


class State(Enum):
    """What connection tracking says of a packet.

    ICMPv6 of neighbour and multicast listener discovery is UNTRACKED without being asked (types 130 to 137 and 143).
    """

    NEW = "NEW"
    ESTABLISHED = "ESTABLISHED"
    RELATED = "RELATED"
    INVALID = "INVALID"
    UNTRACKED = "UNTRACKED"


class Policy(Enum):
    """What a built-in chain does with packets that no rule decides."""

    ACCEPT = "ACCEPT"
    DROP = "DROP"


class Way(Enum):
    """A packet's interfaces: where it came in, and where it goes out."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressMatch:
    """`-s`, `-d`: an address is in a network."""

    end: End
    network: Network
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolMatch:
    """`-p`: the IP protocol's number."""

    number: int
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceMatch:
    """`-i`, `-o`: an interface's name, or, where `prefix`, its beginning.  A packet without one has the empty name."""

    way: Way
    name: str
    prefix: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMatch:
    """`-m set`: the packet is in a set, its dimensions taken from `ends` in order."""

    name: str
    ends: tuple[End, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMatch:
    """`--sport`, `--dport`, `--dports`: a port is in `ports`, a set of plain numbers from 0 to 65535.

    Rules with it have a ProtocolMatch, not negated, of a protocol with ports.
    """

    end: End
    ports: IntervalSet
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpMatch:
    """`--icmp-type`, `--icmpv6-type`; `code` None is any code.  Rules with it have the family's ICMP ProtocolMatch."""

    type: int
    code: int | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMatch:
    """`-m conntrack --ctstate`: the packet's state is one of these."""

    states: frozenset[State]
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkMatch:
    """`-m mark`: packet mark & mask == value.  A value with bits outside of the mask equals none."""

    value: int
    mask: int
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SameAddressMatch:
    """`-m bpf` with a program that compares the two addresses: the packet's source is its destination."""

    negated: bool = False


Match = (
    AddressMatch
    | ProtocolMatch
    | InterfaceMatch
    | SetMatch
    | PortMatch
    | IcmpMatch
    | StateMatch
    | MarkMatch
    | SameAddressMatch
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """The hook is passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """The packet is gone; where `reject`, its sender is told so."""

    reject: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Go on behind the rule that jumped here; from a built-in chain, to its policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """Go through a chain, and come back at its end."""

    chain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Goto:
    """Go through a chain in the place of this one: its end returns to where this one's end would."""

    chain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMark:
    """Packet mark = (packet mark & ~mask) ^ value, and go on."""

    value: int
    mask: int


Target = Accept | Drop | Return | Jump | Goto | SetMark


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """If every match holds, do what the target says; without a target, nothing.  Rules compare by meaning."""

    matches: tuple[Match, ...] = ()
    target: Target | None = None
    comment: str = ""
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain; `policy` is None in a user's."""

    name: str
    rules: tuple[Rule, ...] = ()
    policy: Policy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruleset:
    """A loaded `filter` table of one family, with the sets that its rules may name.

    Holds every built-in chain.  Every jump leads to a user's chain that is here, none in a circle, and every set that
    a rule names is here and of this family.
    """

    family: Family
    chains: Mapping[str, Chain]
    sets: Mapping[str, IpSet]


def empty_table(family: Family, sets: Mapping[str, IpSet]) -> Ruleset:
    """The table before anything is loaded: its built-in chains, empty, with the policy ACCEPT."""
    chains = {hook.value: Chain(name=hook.value, policy=Policy.ACCEPT) for hook in Hook}
    return Ruleset(family=family, chains=chains, sets=sets)
