"""What the BPF datapath says of a new flow at one pod's interface, from the entries of its maps.

Written to be compared with the C in bpf_templates/ by eye; the kernel tests compare it with the kernel itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Address, Network, family_of
from npcompile.netset.ports import Protocol
from npcompile.readers.bpf_maps import LAST_PORT, Endpoint, Entry, Maps, Special

NO_IDENTITY = NO_CLASS = NOT_ISOLATED = 0


class Reason(Enum):
    """Why a flow passes an interface, or does not."""

    SAME_POD = "same-pod"
    OWN_NODE = "own-node"
    NOT_ISOLATED = "not-isolated"
    RULE = "rule"
    NO_RULE = "no-rule"
    SERVICE_MIXED = "service-mixed"


@dataclass(frozen=True, slots=True)
class Asked:
    """An entry of maps.json that answered: its section, and the fields that tell it from the section's others."""

    section: str
    fields: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """`origin` is the manifest's key of the rule that allows, or of the policy that isolates; empty where neither.

    `ruleset` is the endpoint's in the direction, `asked` what was found on the way, in order.
    """

    reason: Reason
    origin: str = ""
    ruleset: int = NOT_ISOLATED
    asked: tuple[Asked, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the flow passes."""
        return self.reason not in (Reason.NO_RULE, Reason.SERVICE_MIXED)


def judge(
    maps: Maps, endpoint: Endpoint, direction: Direction, peer: Address, port: tuple[Protocol, int | None]
) -> Judged:
    """A flow between an endpoint and an address; `port` is the destination's, None without one."""
    asked = [Asked("endpoints", (("pod", endpoint.pod),))]
    if peer in endpoint.addresses:
        return Judged(reason=Reason.SAME_POD, asked=tuple(asked))
    if direction is Direction.INGRESS and peer in maps.node_addresses:
        return Judged(reason=Reason.OWN_NODE, asked=tuple(asked))
    ruleset = endpoint.egress if direction is Direction.EGRESS else endpoint.ingress
    if ruleset == NOT_ISOLATED:
        return Judged(reason=Reason.NOT_ISOLATED, asked=tuple(asked))
    identity = identity_of(maps, peer)
    asked += _identity_entry(maps, peer)
    peer_class = maps.classes.get((ruleset, identity), NO_CLASS)
    if peer_class != NO_CLASS:
        asked.append(Asked("classes", (("ruleset", ruleset), ("identity", identity))))
    covering = [entry for entry in maps.policy.get((ruleset, peer_class), ()) if _covers(entry, *port)]
    origin = maps.rulesets[ruleset].origin
    if not covering:
        return Judged(reason=Reason.NO_RULE, origin=origin, ruleset=ruleset, asked=tuple(asked))
    narrowest = min(covering, key=lambda entry: (entry.protocol is None, entry.last - entry.first))
    asked.append(Asked("policy", (("ruleset", ruleset), ("class", peer_class), *_entry_fields(narrowest))))
    match narrowest.rule:
        case Special.SERVICE_MIXED:
            return Judged(reason=Reason.SERVICE_MIXED, origin=origin, ruleset=ruleset, asked=tuple(asked))
        case rule:
            asked.append(Asked("rules", (("id", rule),)))
            return Judged(reason=Reason.RULE, origin=maps.rules[rule], ruleset=ruleset, asked=tuple(asked))


def identity_of(maps: Maps, address: Address) -> int:
    """The exact entry, or else that of the longest network."""
    if address in maps.addresses:
        return maps.addresses[address]
    network = _longest(maps, address)
    return NO_IDENTITY if network is None else maps.networks[network]


def _longest(maps: Maps, address: Address) -> Network | None:
    family = family_of(address)
    around = [one for one in maps.networks if family_of(one) is family and address in one]
    return max(around, key=lambda one: one.prefixlen, default=None)


def _identity_entry(maps: Maps, address: Address) -> Iterator[Asked]:
    if address in maps.addresses:
        yield Asked("addresses", (("address", str(address)),))
    elif (network := _longest(maps, address)) is not None:
        yield Asked("networks", (("network", str(network)),))


def _entry_fields(entry: Entry) -> Iterator[tuple[str, object]]:
    yield "protocol", "any" if entry.protocol is None else str(entry.protocol)
    if entry.protocol is None or (entry.first, entry.last) == (0, LAST_PORT):
        yield "ports", "*"
    else:
        yield "ports", str(entry.first) if entry.first == entry.last else f"{entry.first}-{entry.last}"


def _covers(entry: Entry, protocol: Protocol, port: int | None) -> bool:
    if entry.protocol is None:
        return True
    return entry.protocol is protocol and port is not None and entry.first <= port <= entry.last
