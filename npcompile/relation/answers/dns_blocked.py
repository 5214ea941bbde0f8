"""Pods that may send something, but cannot resolve names."""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.ir.policy import Direction
from npcompile.netset.ports import Protocol
from npcompile.questions import DnsBlocked
from npcompile.relation.boxes import Box
from npcompile.relation.inventory import DNS, Inventory


def dns_blocked(inventory: Inventory) -> Iterator[DnsBlocked]:
    """Isolated pods that may send to something other than themselves, though not to port 53 of anything over UDP or
    over TCP.  Only their own egress is asked.  A pod is counted under the least policy that isolates it.
    """
    relation, roster = inventory.relation, inventory.roster
    udp, tcp = (relation.space.bits(DNS[protocol]) for protocol in (Protocol.UDP, Protocol.TCP))
    found: dict[tuple[tuple[str, str], bool], list[int]] = {}
    side = relation.sides[Direction.EGRESS]
    for pod, addresses in enumerate(roster.addresses):
        profile = side.profiles.get(addresses[0][1])
        if profile is None:
            continue
        udp_allowed = _sends(inventory, pod, udp)
        if (udp_allowed and _sends(inventory, pod, tcp)) or not _sends(inventory, pod, relation.space.every):
            continue
        found.setdefault((profile.policies[0].key, udp_allowed), []).append(pod)
    policies = {policy.key: policy for policy in relation.program.policies}
    for (key, udp_allowed), pods in sorted(found.items()):
        own = sum(1 << number for _, number in roster.addresses[pods[0]])
        box = Box(own, relation.boxer.everyone, tcp if udp_allowed else udp)
        example = inventory.example(Direction.EGRESS, relation.boxer.possible((box,)))
        assert example is not None  # what may send has a peer
        yield DnsBlocked(
            policy=policies[key],
            pods=tuple(roster.pods[pod] for pod in pods),
            udp_allowed=udp_allowed,
            example=example,
        )


def _sends(inventory: Inventory, pod: int, ports: int) -> bool:
    """Whether an isolated pod's egress lets it send to something but itself on some of `ports`."""
    relation, roster = inventory.relation, inventory.roster
    profiles = relation.sides[Direction.EGRESS].profiles
    for _, number in roster.addresses[pod]:
        peers = profiles[number].peers(ports) & relation.companions(number)
        if peers & ~relation.pods or roster.least(peers, but=roster.itself(pod)) is not None:
            return True
    return False
