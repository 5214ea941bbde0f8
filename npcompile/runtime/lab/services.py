"""What kube-proxy does on every node: connections to a Service are led to one of its pods (RFC 3022, DNAT).

kube-proxy takes a pod at random.  Here the client's source port decides, so that each pod behind a Service can be asked
for.  As with kube-proxy, what a pod sends to itself this way comes from its node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from npcompile.ir.cluster import Cluster, Service, ServicePort
from npcompile.netset.cidrs import Address, Family, family_of

SLOTS = 64
"""A source port's remainder by this number chooses the backend."""

_TABLE = "npcompile-lab"
_HOOKS = (("prerouting", "prerouting", "dstnat"), ("output", "output", "-100"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One port of a Service at one of its addresses, and the (address, port) of each pod behind it."""

    service: Service
    address: Address
    port: ServicePort
    backends: tuple[tuple[Address, int], ...]

    def slot(self, backend: tuple[Address, int]) -> int:
        """The least remainder of source ports that leads to a backend."""
        return self.backends.index(backend)


def forwards(cluster: Cluster) -> tuple[Forward, ...]:
    """Everything that a node translates.  A Service without pods has nothing to be led to."""
    return tuple(
        one for service in cluster.services for address in service.addresses
        for port in service.ports for one in _forward(cluster, service, address, port)
    )  # fmt: skip


def _forward(cluster: Cluster, service: Service, address: Address, port: ServicePort) -> Iterator[Forward]:
    backends = [
        (own, number)
        for pod in cluster.pods
        if service.selects(pod) and (number := port.number_at(pod)) is not None
        for own in pod.addresses
        if own.version == address.version
    ]
    if backends:
        # Pods on one node's network may be one backend.
        yield Forward(service=service, address=address, port=port, backends=tuple(dict.fromkeys(backends)))


def ruleset(translated: Iterable[Forward], node: Iterable[Address]) -> str:
    """Text for `nft -f`: the translations of a node with these addresses; empty when there are none."""
    known = list(translated)
    sources = {family_of(address): address for address in reversed(tuple(node))}
    return "".join(
        line + "\n"
        for family in Family
        if family in sources and any(family_of(one.address) is family for one in known)
        for line in _table(family, [one for one in known if family_of(one.address) is family], sources[family])
    )


def _table(family: Family, own: list[Forward], source: Address) -> Iterator[str]:
    word = "ip" if family is Family.V4 else "ip6"
    yield f"table {word} {_TABLE} {{"
    for name, hook, priority in _HOOKS:
        yield f"  chain {name} {{"
        yield f"    type nat hook {hook} priority {priority};"
        yield from (f"    {_translation(word, one)}" for one in own)
        yield "  }"
    backends = sorted({address for one in own for address, _ in one.backends})
    yield "  chain postrouting {"
    yield "    type nat hook postrouting priority srcnat;"
    yield from (
        f"    ct status dnat {word} saddr {address} {word} daddr {address} snat to {source}" for address in backends
    )
    yield "  }"
    yield "}"


def _translation(word: str, one: Forward) -> str:
    chosen = ", ".join(
        f"{slot} : {address} . {number}"
        for slot in range(SLOTS)
        for address, number in (one.backends[slot % len(one.backends)],)
    )
    asked = f"{word} daddr {one.address} {one.port.protocol} dport {one.port.number}"
    return f"{asked} dnat {word} addr . port to {one.port.protocol} sport & {SLOTS - 1} map {{ {chosen} }}"
