"""Services some of whose pods deny what others allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from npcompile.ir.cluster import Pod, Service, ServicePort
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Address, Family, family_of
from npcompile.netset.ports import point
from npcompile.questions import Example, MixedService
from npcompile.relation.bits import members
from npcompile.relation.inventory import Inventory
from npcompile.relation.sides import Row


class _Backend(NamedTuple):
    """A pod behind a Service's port, at an address, and the number that it is reached on there."""

    pod: Pod
    address: Address | None
    number: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Alike:
    """Backends that no policy tells apart, in order, and the sources that both ends let through to them."""

    backends: Sequence[_Backend]
    sources: int


def mixed_services(inventory: Inventory) -> Iterator[MixedService]:
    """By Service and port."""
    inside: dict[str, list[Pod]] = {}
    for pod in inventory.relation.program.cluster.pods:
        inside.setdefault(pod.namespace, []).append(pod)
    for service in inventory.relation.program.cluster.services:
        pods = [pod for pod in inside.get(service.namespace, ()) if service.selects(pod)]
        for port in service.ports if len(pods) > 1 else ():
            answer = _answer(inventory, service, port, pods)
            if answer is not None:
                yield answer


def _answer(inventory: Inventory, service: Service, port: ServicePort, pods: Sequence[Pod]) -> MixedService | None:
    found: dict[int, tuple[Example, Example]] = {}
    for family, ends in zip(Family, inventory.relation.families, strict=True):
        groups = list(_groups(inventory, port, pods, family))
        some, every = 0, ends
        for group in groups:
            some |= group.sources
            every &= group.sources
        for identity in members(some & ends & ~every) if len(groups) > 1 else ():
            for number in inventory.roster.inside[identity]:
                if number not in found and (pair := _pair(inventory, port, groups, identity, number)) is not None:
                    found[number] = pair
    if not found:
        return None
    allowed, denied = found[min(found)]
    return MixedService(
        service=service,
        port=port,
        sources=tuple(inventory.roster.pods[number] for number in sorted(found)),
        allowed=allowed,
        denied=denied,
    )


def _groups(inventory: Inventory, port: ServicePort, pods: Sequence[Pod], family: Family) -> Iterator[_Alike]:
    identities = inventory.relation.identities
    groups: dict[tuple[int, int], list[_Backend]] = {}
    for pod in pods:
        number = port.number_at(pod)
        if number is None:
            continue
        for address, identity in identities.of_pod(pod):
            if address is None or family_of(address) is family:
                groups.setdefault((identity, number), []).append(_Backend(pod, address, number))
    for (identity, number), backends in groups.items():
        piece = inventory.relation.space.piece(point(port.protocol, number))
        yield _Alike(backends=backends, sources=_sources(inventory, identity, piece))


def _sources(inventory: Inventory, backend: int, piece: int) -> int:
    """The pods that both ends let through to an identity on a piece of the port space, exemptions aside."""
    relation = inventory.relation
    sending = 0
    for some in relation.sides[Direction.EGRESS].passing([Row(relation.pods, piece)], 1 << backend):
        sending |= some
    profile = relation.sides[Direction.INGRESS].profiles.get(backend)
    return sending if profile is None else sending & profile.peers(piece)


def _pair(
    inventory: Inventory, port: ServicePort, groups: Sequence[_Alike], identity: int, number: int
) -> tuple[Example, Example] | None:
    """A pod's flows to the least backend but itself that lets it through, and to the least one that does not."""
    roster = inventory.roster
    pod = roster.pods[number]
    itself = None if roster.itself(number) is None else pod.key
    source = Endpoint(pod=pod, address=next(address for address, at in roster.addresses[number] if at == identity))

    def least(*, through: bool) -> Example | None:
        backends = (
            backend
            for group in groups
            if bool(group.sources >> identity & 1) is through
            for backend in group.backends
            if backend.pod.key != itself
        )
        backend = min(backends, key=lambda one: one.pod.key, default=None)
        if backend is None:
            return None
        destination = Endpoint(pod=backend.pod, address=backend.address)
        return Example(flow=Flow(src=source, dst=destination, protocol=port.protocol, port=backend.number))

    allowed, denied = least(through=True), least(through=False)
    return None if allowed is None or denied is None else (allowed, denied)
