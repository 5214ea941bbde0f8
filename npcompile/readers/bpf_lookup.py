"""What the BPF datapath says of a new flow at one pod's interface, from the entries of its maps.

Written to be compared with the C in bpf_templates/ by eye; the kernel tests compare it with the kernel itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Address, family_of
from npcompile.netset.ports import Protocol
from npcompile.readers.bpf_maps import Endpoint, Entry, Maps, Special

NO_IDENTITY = NO_CLASS = NOT_ISOLATED = 0


class Reason(Enum):
    """Why a flow passes an interface, or does not."""

    SAME_POD = "same-pod"
    OWN_NODE = "own-node"
    NOT_ISOLATED = "not-isolated"
    RULE = "rule"
    NO_RULE = "no-rule"
    SERVICE_MIXED = "service-mixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """`origin` is the manifest's key of the rule that allows, or of the policy that isolates; empty where neither."""

    reason: Reason
    origin: str = ""

    @property
    def allowed(self) -> bool:
        """Whether the flow passes."""
        return self.reason not in (Reason.NO_RULE, Reason.SERVICE_MIXED)


def judge(
    maps: Maps, endpoint: Endpoint, direction: Direction, peer: Address, port: tuple[Protocol, int | None]
) -> Judged:
    """A flow between an endpoint and an address; `port` is the destination's, None without one."""
    if peer in endpoint.addresses:
        return Judged(reason=Reason.SAME_POD)
    if direction is Direction.INGRESS and peer in maps.node_addresses:
        return Judged(reason=Reason.OWN_NODE)
    ruleset = endpoint.egress if direction is Direction.EGRESS else endpoint.ingress
    if ruleset == NOT_ISOLATED:
        return Judged(reason=Reason.NOT_ISOLATED)
    peer_class = maps.classes.get((ruleset, identity_of(maps, peer)), NO_CLASS)
    covering = [entry for entry in maps.policy.get((ruleset, peer_class), ()) if _covers(entry, *port)]
    if not covering:
        return Judged(reason=Reason.NO_RULE, origin=maps.rulesets[ruleset].origin)
    narrowest = min(covering, key=lambda entry: (entry.protocol is None, entry.last - entry.first))
    match narrowest.rule:
        case Special.SERVICE_MIXED:
            return Judged(reason=Reason.SERVICE_MIXED, origin=maps.rulesets[ruleset].origin)
        case rule:
            return Judged(reason=Reason.RULE, origin=maps.rules[rule])


def identity_of(maps: Maps, address: Address) -> int:
    """The exact entry, or else that of the longest network."""
    if address in maps.addresses:
        return maps.addresses[address]
    family = family_of(address)
    around = [one for one in maps.networks if family_of(one) is family and address in one]
    return maps.networks[max(around, key=lambda one: one.prefixlen)] if around else NO_IDENTITY


def _covers(entry: Entry, protocol: Protocol, port: int | None) -> bool:
    if entry.protocol is None:
        return True
    return entry.protocol is protocol and port is not None and entry.first <= port <= entry.last
