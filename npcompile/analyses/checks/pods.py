"""Which pods of an inventory a policy and its rules speak of: what the checks that look at pods share."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import assert_never

from npcompile import semantics
from npcompile.ir.cluster import Cluster, ContainerPort, Pod
from npcompile.ir.labels import EVERYTHING, Selector
from npcompile.ir.policy import BlockPeer, Direction, Peer, PodPeer, Policy, Rule
from npcompile.netset.cidrs import Address, block_except, point
from npcompile.netset.ports import Protocol


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Destinations:
    """The pods that flows of a rule may go to, sorted, and the ports that they declare."""

    pods: tuple[Pod, ...]
    numbers: Mapping[Protocol, frozenset[int]]
    named: Mapping[tuple[str, Protocol], Mapping[int, Pod]]  # each number sorted, with the first pod that declares it
    silent: frozenset[Protocol]  # those of which some of the pods declares no port at all


class Pods:
    """The pods of a cluster.  Selectors are asked once for all pods of a namespace that carry the same labels."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.on_pod_network = _on_pod_network(cluster.pods)
        self._alike: dict[str, dict[frozenset[tuple[str, str]], list[Pod]]] = {}
        for pod in cluster.pods:
            labels = frozenset(pod.labels.items())
            self._alike.setdefault(pod.namespace, {}).setdefault(labels, []).append(pod)
        self._found: dict[tuple[str | None, Selector, Selector], tuple[Pod, ...]] = {}
        self._destinations: dict[tuple[str | None, Selector | tuple[Peer, ...]], Destinations] = {}
        addresses = [(point(address), pod, address) for pod in self.on_pod_network for address in pod.addresses]
        self._addresses = sorted(addresses, key=lambda entry: (entry[0], entry[1].key))

    def subjects(self, policy: Policy) -> tuple[Pod, ...]:
        """The pods that a policy selects."""
        return _on_pod_network(self.labelled(policy, PodPeer(namespaces=None, pods=policy.subjects)))

    def destinations(self, policy: Policy, rule: Rule) -> Destinations:
        """The pods that flows of a rule may go to: its subjects or, for egress, whom its peers match."""
        ingress = rule.direction is Direction.INGRESS
        peers = rule.match.peers
        own = ingress or any(isinstance(peer, PodPeer) and peer.namespaces is None for peer in peers)
        key = (policy.namespace if own else None, policy.subjects if ingress else peers)
        if key not in self._destinations:
            found = self.subjects(policy) if ingress else self._peers(policy, peers)
            self._destinations[key] = _destinations(found)
        return self._destinations[key]

    def _peers(self, policy: Policy, peers: tuple[Peer, ...]) -> tuple[Pod, ...]:
        if not peers:
            return self.on_pod_network
        found = {pod.key: pod for peer in peers for pod in self.matched(policy, peer)}
        return tuple(found[key] for key in sorted(found))

    def matched(self, policy: Policy, peer: Peer) -> tuple[Pod, ...]:
        """The pods that a peer matches."""
        match peer:
            case PodPeer():
                return _on_pod_network(self.labelled(policy, peer))
            case BlockPeer():
                return tuple(sorted((pod for pod, _ in self.within(peer)), key=lambda pod: pod.key))
            case _:
                assert_never(peer)

    def within(self, peer: BlockPeer) -> list[tuple[Pod, Address]]:
        """The pods that have an address in an ipBlock, in the order of addresses; a pod that has two comes twice."""
        found = []
        for first, last in block_except(peer.cidr, peer.excepts):
            start = bisect_left(self._addresses, first, key=itemgetter(0))
            end = bisect_right(self._addresses, last, key=itemgetter(0))
            found += [(pod, address) for _, pod, address in self._addresses[start:end]]
        return found

    def labelled(self, policy: Policy, peer: PodPeer) -> tuple[Pod, ...]:
        """The pods whose labels a peer asks for, those on their node's network, which it never matches, included."""
        own = policy.namespace if peer.namespaces is None else None
        key = (own, peer.namespaces or EVERYTHING, peer.pods)
        if key not in self._found:
            names = sorted(self._alike) if own is None else [own]
            self._found[key] = tuple(
                pod
                for name in names
                if semantics.matches(key[1], self._cluster.namespaces[name].labels)
                for pod in self._in_namespace(name, peer.pods)
            )
        return self._found[key]

    def _in_namespace(self, name: str, selector: Selector) -> list[Pod]:
        groups = self._alike.get(name, {}).values()
        found = [pod for group in groups if semantics.matches(selector, group[0].labels) for pod in group]
        return sorted(found, key=lambda pod: pod.key)


def _destinations(pods: tuple[Pod, ...]) -> Destinations:
    numbers: dict[Protocol, set[int]] = {protocol: set() for protocol in Protocol}
    named: dict[tuple[str, Protocol], dict[int, Pod]] = {}
    silent = set()
    declaring: dict[tuple[ContainerPort, ...], Pod] = {}  # pods of a workload declare the same ports
    for pod in pods:
        declaring.setdefault(pod.ports, pod)
    for ports, pod in declaring.items():
        for port in ports:
            numbers[port.protocol].add(port.number)
            if port.name:
                named.setdefault((port.name, port.protocol), {}).setdefault(port.number, pod)
        silent |= set(Protocol) - {port.protocol for port in ports}
    return Destinations(
        pods=pods,
        numbers={protocol: frozenset(found) for protocol, found in numbers.items()},
        named={key: dict(sorted(found.items())) for key, found in sorted(named.items(), key=_name)},
        silent=frozenset(silent),
    )


def _name(entry: tuple[tuple[str, Protocol], object]) -> tuple[str, str]:
    (name, protocol), _ = entry
    return name, protocol.value


def _on_pod_network(pods: tuple[Pod, ...]) -> tuple[Pod, ...]:
    return tuple(pod for pod in pods if not pod.host_network)
