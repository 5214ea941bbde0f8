"""The ends that the flows of two versions of a program have in common.

A pod is the same in both when its namespace and name are; its labels, ports, node and addresses may differ.  It is
compared family by family, and where it has no address yet, as whatever it will get.  An address is compared when it is
no ordinary pod's on either side.

Ends that neither version can tell apart are one class, so every set here is a bitset of classes.  Classes are finer
than the identities of either version: they also keep apart what runs on different nodes, and what different nodes are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv6Address
from typing import NamedTuple

from npcompile.diagnostics.errors import InternalError
from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import NamedPort
from npcompile.ir.program import Program
from npcompile.ir.versions import Both, Version
from npcompile.netset import cidrs
from npcompile.netset.cidrs import Address, Family, family_of
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import point
from npcompile.passes.assign_identities import Atom, OutsideIdentity
from npcompile.relation.bits import members, set_of
from npcompile.relation.relation import Relation, relate


class Kind(IntEnum):
    """What an end is, in the order in which witnesses prefer them."""

    POD = 0  # an ordinary pod in one version at least
    HOST = 1  # a pod on its node's network
    OUTSIDE = 2  # an address of no pod and no node
    NODE = 3  # an address of a node, in one version at least


@dataclass(frozen=True, slots=True, kw_only=True)
class EndClass:
    """Ends that neither version can tell apart; of outside addresses, their representative only.

    `numbers` are their identities.  `hosts` are the nodes that they stand for, being those nodes' addresses or on their
    network; `runs_on` is the node of ordinary pods.
    """

    kind: Kind
    ends: tuple[Both[Endpoint], ...]
    numbers: Both[int]
    families: frozenset[Family]
    hosts: Both[frozenset[str]]
    runs_on: Both[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneSided:
    """A pod that only one version has; with `family`, a pod of both that only one version has addresses for there."""

    pod: Pod
    version: Version
    family: Family | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ends:
    """Both versions' relations, over the same pieces of ports and the same networks, and the common classes.

    `companions` has for each class, as a source, the classes that it has comparable flows to; `callers` the converse.
    Not comparable are pairs without a family in common, of a pod with itself, and of a pod's own node with that pod,
    which is always allowed.  `moved` are (source, destination) classes of which the source is the destination's own
    node in that one version only.
    """

    relations: Both[Relation]
    classes: tuple[EndClass, ...]
    one_sided: tuple[OneSided, ...]
    pods: int  # in both versions
    companions: tuple[int, ...]
    callers: tuple[int, ...]
    moved: tuple[tuple[int, int, Version], ...]
    _classes_of: Both[tuple[int, ...]] = field(repr=False)
    _known: dict[tuple[Version, int], int] = field(default_factory=dict, repr=False)  # only remember, both
    _words: dict[tuple[Version, int, int], int] = field(default_factory=dict, repr=False)

    @property
    def everyone(self) -> int:
        """All classes."""
        return (1 << len(self.classes)) - 1

    def classes_of(self, version: Version, identities: int) -> int:
        """The classes inside some identities of a version."""
        if (version, identities) not in self._known:
            bits = 0
            for number in members(identities):
                bits |= self._classes_of[version][number]
            self._known[version, identities] = bits
        return self._known[version, identities]

    def identities_of(self, version: Version, classes: int) -> int:
        """The identities of a version that hold some classes."""
        bits = 0
        words = (classes.bit_length() + 15) // 16
        for place, word in enumerate(struct.unpack(f"<{words}H", classes.to_bytes(2 * words, "little"))):
            if word:
                bits |= self._identities_of(version, place, word)
        return bits

    def _identities_of(self, version: Version, place: int, word: int) -> int:
        """The same for 16 classes, some of them: sets of classes have many such words in common."""
        key = (version, place, word)
        if key not in self._words:
            bits = 0
            for number in members(word):
                bits |= 1 << self.classes[16 * place + number].numbers[version]
            self._words[key] = bits
        return self._words[key]


def common_ends(old: Program, new: Program) -> Ends:
    """Relate two versions of a program to each other."""
    ports = list(_named_ports(old, new))
    relations = Both(
        relate(old, beside=new.policies, ports=ports),
        relate(new, beside=old.policies, ports=ports),
    )
    if relations.old.space.starts != relations.new.space.starts:
        raise InternalError("the two versions do not cut ports alike")
    builder = _Builder(relations)
    builder.add_pods()
    builder.add_addresses()
    return builder.ends()


def _named_ports(old: Program, new: Program) -> Iterator[IntervalSet]:
    """The numbers behind the port names of either version's rules, on the pods of either."""
    names = {
        (item.name, item.protocol)
        for program in (old, new)
        for policy in program.policies
        for rule in policy.rules
        for item in rule.match.ports
        if isinstance(item, NamedPort)
    }
    points = {
        point(port.protocol, port.number)
        for program in (old, new)
        for pod in program.cluster.pods
        for port in pod.ports
        if port.name is not None and (port.name, port.protocol) in names
    }
    return (IntervalSet.of(at, at) for at in sorted(points))


class _Key(NamedTuple):
    kind: Kind
    numbers: Both[int]
    families: frozenset[Family]
    hosts: Both[frozenset[str]]
    runs_on: Both[str | None]


_BOTH_FAMILIES = frozenset(Family)


class _Builder:
    """Collects ends by what both versions know of them."""

    def __init__(self, relations: Both[Relation]) -> None:
        self.relations = relations
        self.found: dict[_Key, list[Both[Endpoint]]] = {}
        self.one_sided: list[OneSided] = []
        self.pods = 0
        self.taken: set[Address] = set()  # by ordinary pods of either version
        self.shown: set[Address] = set()  # by pods on their node's network, of both versions

    def add_pods(self) -> None:
        listed = Both(*({(pod.key, pod.template): pod for pod in one.program.cluster.pods} for one in self.relations))
        for key in sorted(listed.old.keys() | listed.new.keys()):
            old, new = listed.old.get(key), listed.new.get(key)
            for pod in (old, new):
                self.taken.update(pod.addresses if pod is not None and not pod.host_network else ())
            if old is not None and new is not None:
                self.pods += 1
                self.add_pod(Both(old, new))
            elif old is not None:
                self.one_sided.append(OneSided(pod=old, version=Version.OLD))
            elif new is not None:
                self.one_sided.append(OneSided(pod=new, version=Version.NEW))

    def add_pod(self, pod: Both[Pod]) -> None:
        """A pod at its addresses, those of one family together."""
        covered: set[Family] = set()
        both_host = pod.old.host_network and pod.new.host_network
        for old_address, old_number in self.relations.old.identities.of_pod(pod.old):
            for new_address, new_number in self.relations.new.identities.of_pod(pod.new):
                families = _families(old_address) & _families(new_address)
                if not families:
                    continue
                covered |= families
                ends = Both(Endpoint(pod=pod.old, address=old_address), Endpoint(pod=pod.new, address=new_address))
                if both_host and old_address is not None and old_address == new_address:
                    self.shown.add(old_address)
                self.add(Kind.HOST if both_host else Kind.POD, Both(old_number, new_number), families, ends)
        for version in Version:
            for address in pod[version].addresses:
                if family_of(address) not in covered:
                    self.one_sided.append(OneSided(pod=pod[version], version=version, family=family_of(address)))

    def add(self, kind: Kind, numbers: Both[int], families: frozenset[Family], ends: Both[Endpoint]) -> None:
        hosts = Both(*(_own_nodes(one, end) for one, end in zip(self.relations, ends, strict=True)))
        runs_on = Both(*(None if end.pod is None or end.pod.host_network else end.pod.node for end in ends))
        self.found.setdefault(_Key(kind, numbers, families, hosts, runs_on), []).append(ends)

    def add_addresses(self) -> None:
        for address in self._special():
            end = Endpoint(address=address)
            numbers = Both(*(one.identities.of(end) for one in self.relations))
            self.add(Kind.NODE, numbers, frozenset({family_of(address)}), Both(end, end))
        old, new = (_plain(one) for one in self.relations)
        for atom in old.keys() & new.keys():
            (old_number, old_addresses), (new_number, new_addresses) = old[atom], new[atom]
            common = old_addresses & new_addresses
            if common:
                end = Endpoint(address=cidrs.representative(common))
                self.add(Kind.OUTSIDE, Both(old_number, new_number), frozenset({atom.family}), Both(end, end))

    def _special(self) -> list[Address]:
        """Addresses of nodes and of what is on their networks, in either version."""
        found: set[Address] = set()
        for one in self.relations:
            cluster = one.program.cluster
            found.update(address for node in cluster.nodes.values() for address in node.addresses)
            found.update(address for pod in cluster.pods if pod.host_network for address in pod.addresses)
        return sorted(found - self.taken - self.shown, key=cidrs.point)

    def ends(self) -> Ends:
        classes = sorted(
            (
                EndClass(
                    kind=key.kind,
                    ends=tuple(sorted(ends, key=lambda end: rank(key.kind, end))),
                    numbers=key.numbers,
                    families=key.families,
                    hosts=key.hosts,
                    runs_on=key.runs_on,
                )
                for key, ends in self.found.items()
            ),
            key=lambda one: rank(one.kind, one.ends[0]),
        )
        inside = Both(*([0] * len(one.order) for one in self.relations))
        for place, one in enumerate(classes):
            for version in Version:
                inside[version][one.numbers[version]] |= 1 << place
        companions, callers, moved = _pairs(classes)
        return Ends(
            relations=self.relations,
            classes=tuple(classes),
            one_sided=tuple(sorted(self.one_sided, key=lambda one: (one.version, one.pod.key, one.family or 0))),
            pods=self.pods,
            companions=tuple(companions),
            callers=tuple(callers),
            moved=tuple(moved),
            _classes_of=Both(tuple(inside.old), tuple(inside.new)),
        )


def _families(address: Address | None) -> frozenset[Family]:
    return _BOTH_FAMILIES if address is None else frozenset({family_of(address)})


def _own_nodes(relation: Relation, end: Endpoint) -> frozenset[str]:
    """The nodes that an address, or a pod on its node's network, stands for; none for an ordinary pod."""
    if end.pod is not None and not end.pod.host_network:
        return frozenset()
    nodes = set(relation.identities.nodes_at(end.address)) if end.address is not None else set()
    return frozenset(nodes | {end.pod.node} if end.pod is not None and end.pod.node is not None else nodes)


def _plain(relation: Relation) -> dict[Atom, tuple[int, IntervalSet]]:
    """The addresses of no pod and no node, by atom."""
    found = {}
    for number in members(relation.plain):
        identity = relation.order[number]
        assert isinstance(identity, OutsideIdentity)
        found[identity.atom] = (number, identity.addresses)
    return found


_LAST_USUAL = cidrs.point(IPv6Address("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))

Rank = tuple[Kind, tuple[str, str], bool, bool, tuple[int, ...]]


def rank(kind: Kind, end: Both[Endpoint]) -> Rank:
    """The order of ends: pods by name, then addresses, those that hosts usually have first; then by the address."""
    points = sorted(cidrs.point(one.address) if one.address is not None else -1 for one in end)
    pod = end.new.pod
    if pod is not None:
        return kind, pod.key, pod.template, False, tuple(points)
    only = IntervalSet.of(points[0], points[0])
    odd = cidrs.point(cidrs.representative(only | IntervalSet.of(_LAST_USUAL, _LAST_USUAL))) != points[0]
    return kind, ("", ""), False, odd, tuple(points)


def _pairs(classes: Sequence[EndClass]) -> tuple[list[int], list[int], list[tuple[int, int, Version]]]:
    """The parts `companions`, `callers` and `moved` of `Ends`."""
    in_family = {
        family: set_of(place for place, one in enumerate(classes) if family in one.families) for family in Family
    }
    companions = []
    for place, one in enumerate(classes):
        bits = 0
        for family in one.families:
            bits |= in_family[family]
        pod = one.ends[0].new.pod
        if len(one.ends) == 1 and pod is not None and not pod.template:
            bits &= ~(1 << place)
        companions.append(bits)
    callers, moved = list(companions), []
    for targets, own in _own_node_pairs(classes):
        always = own.old & own.new
        for source in members(always):
            companions[source] &= ~targets
        for target in members(targets):
            callers[target] &= ~always
            for version in Version:
                only = own[version] & ~always & callers[target]
                moved += [(source, target, version) for source in members(only)]
    return companions, callers, sorted(moved)


def _own_node_pairs(classes: Sequence[EndClass]) -> Iterator[tuple[int, Both[int]]]:
    """Classes of ordinary pods, and of each version what stands for their nodes there."""
    standing: Both[dict[str, int]] = Both({}, {})
    running: dict[Both[str | None], int] = {}
    for place, one in enumerate(classes):
        if any(one.runs_on):
            running[one.runs_on] = running.get(one.runs_on, 0) | 1 << place
        for version in Version:
            for node in one.hosts[version]:
                standing[version][node] = standing[version].get(node, 0) | 1 << place
    for runs_on, targets in running.items():
        yield targets, Both(*(standing[version].get(runs_on[version] or "", 0) for version in Version))
