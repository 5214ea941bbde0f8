"""Who is in which set: the pods that selectors, profiles and port names mean.

Pods of a namespace that agree on every label key that some selector mentions are one group, and selectors are held
against groups.  Pods on their node's network are in none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from npcompile.ir.cluster import Namespace, Pod
from npcompile.ir.labels import Labels, Operator, Requirement, Selector
from npcompile.ir.policy import Direction, PodPeer, Policy
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address, Family, at, point


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Pods of one namespace that no selector of the program tells apart; `labels` are those that selectors mention, and
    `addresses` those of the pods, by their number.
    """

    labels: Labels
    pods: tuple[Pod, ...]
    addresses: Mapping[Family, Mapping[int, Address]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The pods that exactly these policies isolate in a direction.  `policies` is sorted and never empty."""

    direction: Direction
    policies: tuple[Policy, ...]
    pods: tuple[Pod, ...]

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """The keys of its policies: what tells it from the other profiles of the direction."""
        return tuple(policy.key for policy in self.policies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The pods that policies can select, in groups by namespace, and the namespaces.

    `node`: only pods of that node, and pods of which the input tells no node, are subjects: the others are filtered
    where they run.  None: every pod is.
    """

    namespaces: Mapping[str, Namespace]
    groups: Mapping[str, tuple[Group, ...]]
    node: str | None = None

    @property
    def pods(self) -> Iterator[Pod]:
        """All of them."""
        return (pod for groups in self.groups.values() for group in groups for pod in group.pods)

    @property
    def subjects(self) -> Iterator[Pod]:
        """The pods whose sides are judged here."""
        return (pod for namespace in self.groups for pod in self.subjects_of(namespace))

    def subjects_of(self, namespace: str) -> Iterator[Pod]:
        """The subjects of a namespace."""
        return (pod for group in self.groups.get(namespace, ()) for pod in self.subjects_in(group))

    def subjects_in(self, group: Group) -> Iterator[Pod]:
        """The subjects of a group."""
        return (pod for pod in group.pods if is_subject(pod, self.node))

    def selected(self, peer: PodPeer, home: str) -> Iterator[Group]:
        """The pods that a peer means in a policy of the namespace `home`."""
        wanted = peer.namespaces
        if wanted is None:
            chosen = [self.groups.get(home, ())]
        else:
            chosen = [groups for name, groups in self.groups.items() if matches(wanted, self.namespaces[name].labels)]
        return (group for groups in chosen for group in groups if matches(peer.pods, group.labels))


def is_subject(pod: Pod, node: str | None) -> bool:
    """Whether an artifact for a node (None: for all) filters a pod: one that runs there, or nobody says where."""
    return node is None or pod.node in {node, None}


def take_inventory(program: Program, node: str | None = None) -> Inventory:
    """Group the program's pods, to filter those of one node, or all."""
    keys = sorted(_pod_label_keys(program.policies))
    grouped: dict[str, dict[tuple[str | None, ...], list[Pod]]] = defaultdict(lambda: defaultdict(list))
    for pod in sorted(program.cluster.pods, key=lambda pod: pod.key):
        if not pod.host_network:
            grouped[pod.namespace][tuple(pod.labels.get(key) for key in keys)].append(pod)
    groups = {
        namespace: tuple(
            Group(
                labels={key: value for key, value in zip(keys, values, strict=True) if value is not None},
                pods=tuple(pods),
                addresses={family: _numbered(pods, family) for family in Family},
            )
            for values, pods in by_labels.items()
        )
        for namespace, by_labels in sorted(grouped.items())
    }
    return Inventory(namespaces=program.cluster.namespaces, groups=groups, node=node)


def profiles(policies: Iterable[Policy], inventory: Inventory, direction: Direction) -> tuple[Profile, ...]:
    """The profiles that the subjects have in a direction, pods without an address included, sorted by key."""
    by_namespace: dict[str, list[Policy]] = defaultdict(list)
    for policy in sorted(policies, key=lambda policy: policy.key):
        if direction in policy.directions:
            by_namespace[policy.namespace].append(policy)
    found: dict[tuple[tuple[str, str], ...], tuple[tuple[Policy, ...], list[Pod]]] = {}
    for namespace, groups in inventory.groups.items():
        for group in groups:
            subjects = tuple(inventory.subjects_in(group))
            if not subjects:
                continue
            isolating = tuple(p for p in by_namespace[namespace] if matches(p.subjects, group.labels))
            if isolating:
                found.setdefault(tuple(p.key for p in isolating), (isolating, []))[1].extend(subjects)
    return tuple(
        Profile(direction=direction, policies=isolating, pods=tuple(pods))
        for _, (isolating, pods) in sorted(found.items(), key=lambda item: item[0])
    )


def address_of(pod: Pod, family: Family) -> Address | None:
    """A pod's address of a family: the bare number, without the scope that Python keeps with an IPv6 address."""
    for address in pod.addresses:
        if address.version == family:
            return at(point(address)) if family is Family.V6 else address
    return None


def addresses_of(pods: Iterable[Pod], family: Family) -> tuple[Address, ...]:
    """The addresses that pods have in a family, sorted, each once."""
    return in_order(_numbered(pods, family))


def in_order(numbered: Mapping[int, Address]) -> tuple[Address, ...]:
    """Addresses of one family, sorted: their numbers are faster to compare than they are."""
    return tuple([numbered[number] for number in sorted(numbered)])


def _numbered(pods: Iterable[Pod], family: Family) -> dict[int, Address]:
    return {int(address): address for pod in pods if (address := address_of(pod, family)) is not None}


def matches(selector: Selector, labels: Labels) -> bool:
    """Whether all requirements of a selector hold."""
    return all(_holds(requirement, labels.get(requirement.key)) for requirement in selector.requirements)


def _holds(requirement: Requirement, value: str | None) -> bool:
    """`value` None: the key is absent, which NotIn and DoesNotExist match."""
    match requirement.operator:
        case Operator.IN:
            return value is not None and value in requirement.values
        case Operator.NOT_IN:
            return value is None or value not in requirement.values
        case Operator.EXISTS:
            return value is not None
        case Operator.DOES_NOT_EXIST:
            return value is None
        case _:
            assert_never(requirement.operator)


def _pod_label_keys(policies: Iterable[Policy]) -> set[str]:
    """Every key that a selector of pods mentions."""
    keys: set[str] = set()
    for policy in policies:
        keys.update(requirement.key for requirement in policy.subjects.requirements)
        for rule in policy.rules:
            for peer in rule.match.peers:
                if isinstance(peer, PodPeer):
                    keys.update(requirement.key for requirement in peer.pods.requirements)
    return keys
