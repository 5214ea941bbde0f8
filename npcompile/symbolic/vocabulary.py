"""What the policies of a program can tell apart, as finite enumerations.

Selectors only test equality and presence.  So of a label key only these things matter: that it is absent, each value
that some selector mentions, and that it has any *other* value; replacing an unmentioned value by another one changes
no verdict (`tests/properties/test_encoding.py` tests this theorem).  Namespaces are enumerated by name in the same
way, addresses by the cuts that the ipBlocks make.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from npcompile.ir.cluster import Cluster
from npcompile.ir.labels import NAMESPACE_NAME, Labels, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, NamedPort, PodPeer, Policy
from npcompile.ir.program import Program
from npcompile.netset import cidrs
from npcompile.netset.intervals import IntervalSet, union
from npcompile.netset.ports import Protocol

ABSENT = 0  # the index of "no such label" in every optional domain

_NAMESPACE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, as the API server checks it


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """The values of one label key, by index: absent (where `optional`), then `indices` in order, then any other.

    A bit pattern above `other` means the same as `other`.
    """

    indices: Mapping[str, int]
    optional: bool

    @staticmethod
    def of(values: Iterable[str], *, optional: bool = True) -> Domain:
        """The domain of these values, in the order given."""
        return Domain(indices={value: index for index, value in enumerate(values, int(optional))}, optional=optional)

    @property
    def other(self) -> int:
        """The index of every value that is not mentioned."""
        return len(self.indices) + int(self.optional)

    @property
    def bits(self) -> int:
        """How many bits an index needs."""
        return max(1, self.other.bit_length())

    @property
    def every(self) -> frozenset[int]:
        """All indices."""
        return frozenset(range(self.other + 1))

    def index(self, value: str | None) -> int:
        """The index of a value; None is absence."""
        return ABSENT if value is None else self.indices.get(value, self.other)

    def admitted(self, requirement: Requirement) -> frozenset[int]:
        """The indices that fulfil a requirement.  NotIn and DoesNotExist hold where the key is absent."""
        absent = frozenset({ABSENT}) if self.optional else frozenset()
        listed = frozenset(self.indices[value] for value in requirement.values)
        match requirement.operator:
            case Operator.IN:
                return listed
            case Operator.NOT_IN:
                return self.every - listed
            case Operator.EXISTS:
                return self.every - absent
            case Operator.DOES_NOT_EXIST:
                return absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the label keys of an end are packed into one number: the first key in the highest bits.

    So the least number is the lexicographically least labelling: absent before mentioned values before others.
    """

    domains: Mapping[str, Domain]
    offsets: Mapping[str, int]
    width: int

    @staticmethod
    def of(mentioned: Mapping[str, set[str]]) -> Layout:
        """The layout of these keys and the values that selectors mention for them."""
        domains = {key: Domain.of(sorted(mentioned[key])) for key in sorted(mentioned)}
        offsets, width = {}, 0
        for key in reversed(domains):
            offsets[key] = width
            width += domains[key].bits
        return Layout(domains=domains, offsets=offsets, width=max(1, width))

    def pack(self, labels: Labels) -> int:
        """The number of a labelling."""
        known = self.domains.keys() & labels.keys()
        return sum(self.domains[key].index(labels[key]) << self.offsets[key] for key in known)

    def unpack(self, number: int) -> dict[str, int]:
        """The inverse of `pack`: the index of every key that is present."""
        found = {}
        for key, domain in self.domains.items():
            index = min(number >> self.offsets[key] & (1 << domain.bits) - 1, domain.other)
            if index != ABSENT:
                found[key] = index
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What policies mention.  `names` enumerates namespaces: the listed ones first, then those that are only
    mentioned, then any other.  `possible` leaves out mentioned names that no namespace can have.
    """

    pod_labels: Layout
    namespace_labels: Layout
    names: Domain
    listed: frozenset[int]
    possible: frozenset[int]
    port_names: tuple[tuple[str, Protocol], ...]
    cuts: tuple[int, ...]  # where ipBlocks begin and end, on the axis of `cidrs`

    @staticmethod
    def of(program: Program) -> Vocabulary:
        """The vocabulary of a program's active rules and of the namespaces of its cluster."""
        pod_keys, namespace_keys = (
            _mentioned(_pod_selectors(program.policies)),
            _mentioned(_namespace_selectors(program)),
        )
        known = {policy.namespace for policy in program.policies} | program.cluster.namespaces.keys()
        known |= {pod.namespace for pod in program.cluster.pods}
        listed = sorted(name for name, namespace in program.cluster.namespaces.items() if namespace.listed)
        mentioned = sorted((known | namespace_keys.pop(NAMESPACE_NAME, set())) - set(listed))
        names = Domain.of([*listed, *mentioned], optional=False)
        impossible = {names.index(n) for n in mentioned if n not in known and not _NAMESPACE_NAME.fullmatch(n)}
        return Vocabulary(
            pod_labels=Layout.of(pod_keys),
            namespace_labels=Layout.of(namespace_keys),
            names=names,
            listed=frozenset(range(len(listed))),
            possible=names.every - impossible,
            port_names=_port_names(program.policies),
            cuts=_cuts(program.policies),
        )

    def cell(self, address: cidrs.Address) -> int:
        """The number of the elementary interval that an address lies in: no ipBlock tells its members apart."""
        return bisect_right(self.cuts, cidrs.point(address))

    def cells(self) -> Iterator[IntervalSet]:
        """The elementary intervals, in order."""
        for first, after in zip(self.cuts, self.cuts[1:], strict=False):
            if first in cidrs.EVERY_ADDRESS:  # the axis has a gap between the families
                yield IntervalSet.of(first, after - 1)


def known_addresses(cluster: Cluster) -> IntervalSet:
    """The addresses of the pods and nodes of a cluster."""
    addresses = chain(
        chain.from_iterable(pod.addresses for pod in cluster.pods),
        chain.from_iterable(node.addresses for node in cluster.nodes.values()),
    )
    return union(IntervalSet.of(one, one) for one in map(cidrs.point, addresses))


def _pod_selectors(policies: Iterable[Policy]) -> Iterator[Selector]:
    for policy in policies:
        yield policy.subjects
        for rule in policy.rules:
            yield from (peer.pods for peer in rule.match.peers if isinstance(peer, PodPeer))


def _namespace_selectors(program: Program) -> Iterator[Selector]:
    for policy in program.policies:
        for rule in policy.rules:
            for peer in rule.match.peers:
                if isinstance(peer, PodPeer) and peer.namespaces is not None:
                    yield peer.namespaces


def _mentioned(selectors: Iterable[Selector]) -> dict[str, set[str]]:
    mentioned: dict[str, set[str]] = {}
    for selector in selectors:
        for requirement in selector.requirements:
            mentioned.setdefault(requirement.key, set()).update(requirement.values)
    return mentioned


def _port_names(policies: Iterable[Policy]) -> tuple[tuple[str, Protocol], ...]:
    items = (item for policy in policies for rule in policy.rules for item in rule.match.ports)
    names = {(item.name, item.protocol) for item in items if isinstance(item, NamedPort)}
    return tuple(sorted(names, key=lambda one: (one[0], one[1].value)))


def _cuts(policies: Iterable[Policy]) -> tuple[int, ...]:
    peers = (peer for policy in policies for rule in policy.rules for peer in rule.match.peers)
    networks = {n for peer in peers if isinstance(peer, BlockPeer) for n in (peer.cidr, *peer.excepts)}
    bounds = {bound for network in networks for bound in cidrs.block(network).bounds}
    return tuple(sorted(bounds | set(cidrs.EVERY_V4.bounds) | set(cidrs.EVERY_V6.bounds)))
