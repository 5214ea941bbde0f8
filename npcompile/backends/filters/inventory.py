"""Who is in which set: the pods that selectors, profiles and port names mean.

Pods of a namespace that agree on every label key that some selector mentions are one group, and selectors are held
against groups.  Pods on their node's network are in none.  Addresses are points on the axis of `netset.cidrs`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

from npcompile.ir.cluster import Pod
from npcompile.ir.policy import Direction, PodPeer, Policy
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Family, every_address, point
from npcompile.relation.bits import members, set_of
from npcompile.relation.selection import PodIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The pods that exactly these policies isolate in a direction.  `policies` is sorted and never empty; their keys,
    `key`, tell it from the other profiles of the direction.
    """

    direction: Direction
    key: tuple[tuple[str, str], ...]
    policies: tuple[Policy, ...]
    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The pods that policies can select, in groups by their numbers in `index`, and the groups' addresses, of both
    families.

    `judged`: the groups of the subjects, whose sides are judged here, as a bitset; no other pod is in them.
    """

    groups: tuple[Sequence[Pod], ...]
    addresses: tuple[frozenset[int], ...]
    index: PodIndex
    judged: int

    @property
    def pods(self) -> Iterator[Pod]:
        """All of them."""
        return chain.from_iterable(self.groups)

    @property
    def subjects(self) -> Iterator[Pod]:
        """The pods whose sides are judged here."""
        return self._pods(self.judged)

    def subjects_of(self, namespace: str) -> Iterator[Pod]:
        """The subjects of a namespace."""
        return self._pods(self.judged & self.index.namespaces.get(namespace, 0))

    def isolated(self, policy: Policy) -> Iterator[Pod]:
        """The subjects that a policy isolates."""
        return self._pods(self.judged & self.index.subjects(policy.namespace, policy.subjects))

    def selected(self, peers: Iterable[PodPeer], home: str) -> frozenset[int]:
        """The addresses of the pods that peers mean in a policy of the namespace `home`."""
        selected = 0
        for peer in peers:
            selected |= self.index.peers(home, peer)
        return frozenset().union(*(self.addresses[number] for number in members(selected)))

    def _pods(self, numbers: int) -> Iterator[Pod]:
        return (pod for number in members(numbers) for pod in self.groups[number])


def is_subject(pod: Pod, node: str | None) -> bool:
    """Whether an artifact for a node (None: for all) filters a pod: one that runs there, or nobody says where."""
    return node is None or pod.node is None or pod.node == node


def take_inventory(program: Program, node: str | None = None) -> Inventory:
    """Group the program's pods, to filter those of one node, and those of which the input tells no node (the others are
    filtered where they run); None: to filter every pod.
    """
    keys = sorted(_pod_label_keys(program.policies))
    alike: dict[tuple[str, bool, tuple[str | None, ...]], list[Pod]] = {}
    for pod in sorted(program.cluster.pods, key=attrgetter("namespace", "name")):
        if not pod.host_network:
            seen = (pod.namespace, is_subject(pod, node), tuple(map(pod.labels.get, keys)))
            alike.setdefault(seen, []).append(pod)
    labelled = [
        (namespace, {key: value for key, value in zip(keys, values, strict=True) if value is not None})
        for namespace, _, values in alike
    ]
    return Inventory(
        groups=tuple(alike.values()),
        addresses=tuple(map(_addresses, alike.values())),
        index=PodIndex.of(labelled, program.cluster.namespaces),
        judged=set_of(number for number, (_, judged, _) in enumerate(alike) if judged),
    )


def profiles(policies: Iterable[Policy], inventory: Inventory, direction: Direction) -> tuple[Profile, ...]:
    """The profiles that the subjects have in a direction, pods without an address included, sorted by key."""
    isolating: dict[int, list[Policy]] = {}
    for policy in sorted(policies, key=attrgetter("namespace", "name")):
        if direction in policy.directions:
            selected = inventory.index.subjects(policy.namespace, policy.subjects)
            for number in members(selected & inventory.judged):
                isolating.setdefault(number, []).append(policy)
    found: dict[tuple[tuple[str, str], ...], tuple[list[Policy], list[Pod]]] = {}
    for number, chosen in isolating.items():
        key = tuple([policy.key for policy in chosen])
        found.setdefault(key, (chosen, []))[1].extend(inventory.groups[number])
    return tuple(
        Profile(direction=direction, key=key, policies=tuple(chosen), pods=tuple(pods))
        for key, (chosen, pods) in sorted(found.items(), key=lambda item: item[0])
    )


def addresses_of(pods: Iterable[Pod], family: Family) -> tuple[int, ...]:
    """The addresses that pods have in a family, sorted, each once."""
    return in_family(_addresses(pods), family)


def in_family(addresses: Iterable[int], family: Family) -> tuple[int, ...]:
    """Those of some addresses that are of a family, sorted."""
    start, end = every_address(family).bounds
    ordered = sorted(addresses)
    return tuple(ordered[bisect_left(ordered, start) : bisect_left(ordered, end)])


def _addresses(pods: Iterable[Pod]) -> frozenset[int]:
    return frozenset([point(address) for pod in pods for address in pod.addresses])


def _pod_label_keys(policies: Iterable[Policy]) -> set[str]:
    """Every key that a selector of pods mentions."""
    keys: set[str] = set()
    for policy in policies:
        peers = [peer.pods for rule in policy.rules for peer in rule.match.peers if isinstance(peer, PodPeer)]
        for selector in (policy.subjects, *peers):
            for requirement in selector.requirements:
                keys.add(requirement.key)
    return keys
