"""Who is in a map: pods, workloads or namespaces, the nodes, and the addresses outside.

A group is told by the identities that its ends belong to, as a bitset, and by the ends themselves, so that pairs can
be counted without listing them.  A pair is a source and a destination at addresses of one family, at least one of
them a pod.  Left out are the flows that no policy decides because of who is at both ends: a pod's to itself, and its
own node's to it.  A workload's template stands for several pods: it pairs with itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_network
from typing import assert_never

from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import Direction
from npcompile.netset import cidrs
from npcompile.netset.cidrs import Address, Network
from npcompile.netset.intervals import IntervalSet, union
from npcompile.passes.assign_identities import OutsideIdentity
from npcompile.relation.bits import members, set_of
from npcompile.relation.relation import Relation


class GroupBy(Enum):
    """What becomes one row; the finest first."""

    POD = "pod"
    WORKLOAD = "workload"
    NAMESPACE = "namespace"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class PodParty:
    """Pods: one, those of a workload, or those of a namespace.

    `name` is None for a namespace, `workload` the kind of a workload.  Pods without an owner are a workload where their
    labels agree: its `workload` is None, and its name that of the first of them.  Pods on their node's network are
    groups of their own, because no policy selects them.
    """

    by: GroupBy
    namespace: str
    name: str | None
    workload: str | None
    host_network: bool
    pods: int

    def __str__(self) -> str:
        name = self.namespace if self.name is None else f"{self.namespace}/{self.name}"
        if self.by is GroupBy.WORKLOAD and self.workload is None:
            name += f" and {self.pods - 1} alike"
        return f"{name} (host network)" if self.host_network else name


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParty:
    """The addresses of the nodes, as far as no pod is on them; or one such address."""

    address: Address | None = None

    def __str__(self) -> str:
        return "nodes" if self.address is None else f"node {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalParty:
    """Addresses outside the cluster.  What `cidrs` hold of pods' and nodes' addresses is not meant.

    `internet`: they are all that the other end can have to do with; `excepts`: what they are all but for, where that
    is shorter to say than `cidrs`.
    """

    cidrs: tuple[Network, ...]
    internet: bool = False
    excepts: tuple[Network, ...] = ()

    def __str__(self) -> str:
        if self.internet:
            return "internet"
        if self.excepts:
            return "internet except " + ", ".join(str(one) for one in self.excepts)
        return ", ".join(_network_text(one) for one in self.cidrs)


Party = PodParty | NodeParty | ExternalParty


def _network_text(network: Network) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """One end of an edge: a party, its identities, and its ends in each of them.

    `hosts` are the identities whose ends may be the own node of a pod, `near` says of each how many ends belong to
    which node; `placed` says of the ordinary pods' identities how many run on which node.
    """

    party: Party
    bits: int
    ends: Mapping[int, tuple[Endpoint, ...]]
    hosts: int
    near: Mapping[int, Counter[str]]
    placed: Mapping[int, Counter[str]]
    _shape: list[tuple[tuple[int, int], ...]] = field(default_factory=list, repr=False)  # only remember, all four
    _weights: dict[int, int] = field(default_factory=dict, repr=False)
    _names: dict[int, frozenset[tuple[str, str]]] = field(default_factory=dict, repr=False)
    _sums: dict[tuple[bool, int], Counter[str]] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[tuple[int, int], ...]:
        """How many ends it has in which identities: what policies can know of it."""
        if not self._shape:
            self._shape.append(tuple((number, len(ends)) for number, ends in sorted(self.ends.items())))
        return self._shape[0]

    @property
    def external(self) -> bool:
        """Whether it is the addresses outside."""
        return isinstance(self.party, ExternalParty)

    def weight(self, bits: int) -> int:
        """How many of its ends are in some identities."""
        if bits not in self._weights:
            self._weights[bits] = sum(len(self.ends[number]) for number in members(bits & self.bits))
        return self._weights[bits]

    def names(self, number: int) -> frozenset[tuple[str, str]]:
        """The pods of an identity that do not pair with themselves."""
        if number not in self._names:
            pods = (end.pod for end in self.ends[number])
            self._names[number] = frozenset(pod.key for pod in pods if pod is not None and not pod.template)
        return self._names[number]

    def _by_node(self, bits: int, *, near: bool) -> Counter[str]:
        if (near, bits) not in self._sums:
            total: Counter[str] = Counter()
            for number in members(bits & self.bits):
                total.update((self.near if near else self.placed).get(number, {}))
            self._sums[near, bits] = total
        return self._sums[near, bits]

    def own_node_pairs(self, to: Group, src: int, dst: int) -> int:
        """How many pairs are of a pod's own node and that pod."""
        if not src & self.hosts:
            return 0
        near, placed = self._by_node(src & self.hosts, near=True), to._by_node(dst, near=False)
        return sum(count * near[node] for node, count in placed.items() if node in near)


def paired(src: Group, dst: Group) -> bool:
    """Whether one of two groups is of pods: of other flows policies say nothing."""
    return isinstance(src.party, PodParty) or isinstance(dst.party, PodParty)


def pairs(src: Group, dst: Group, sources: int, targets: int) -> int:
    """How many pairs there are of ends in some identities, all of one family, of two groups."""
    number = src.weight(sources) * dst.weight(targets)
    for common in members(sources & targets & src.bits & dst.bits):
        number -= len(src.names(common) & dst.names(common))
    return number - src.own_node_pairs(dst, sources, targets)


def apart(src: Group, dst: Group) -> bool:
    """Whether every end of one group pairs with every end of the other, as far as address families go."""
    if src.hosts and src.own_node_pairs(dst, src.bits, dst.bits):
        return False
    return all(src.names(common).isdisjoint(dst.names(common)) for common in members(src.bits & dst.bits))


def real(src: Group, dst: Group, sources: int, targets: int) -> Iterator[tuple[int, int]]:
    """The same as products of identities each two of which have a pair."""
    sources, targets = sources & src.bits, targets & dst.bits
    doubtful = sources & targets
    if src.own_node_pairs(dst, sources, targets):
        doubtful |= sources & src.hosts
    if sources ^ doubtful and targets:
        yield sources ^ doubtful, targets
    for number in members(doubtful):
        bit, having = 1 << number, targets
        for other in members(targets if bit & src.hosts else targets & bit):
            if not pairs(src, dst, bit, 1 << other):
                having ^= 1 << other
        if having:
            yield bit, having


def a_pair(relation: Relation, src: Group, dst: Group, source: int, target: int) -> tuple[Endpoint, Endpoint]:
    """The first pair of two identities that have one.  A template's is of two of the pods that it stands for."""
    for one in src.ends[source]:
        for other in dst.ends[target]:
            if one.pod is not None and other.pod is not None and one.pod.key == other.pod.key:
                if one.pod.template:
                    return one, other
            elif (
                other.pod is None
                or other.pod.host_network
                or not relation.exempt_pod(Direction.INGRESS, other.pod, one.pod, one.address)
            ):
                return one, other
    raise LookupError(f"no pair of {src.party} and {dst.party}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What `--from` or `--to` leaves of one side.  Without any choice: everything."""

    namespace: str | None = None
    pods: tuple[Pod, ...] | None = None
    address: Address | None = None
    internet: bool = False
    finest: GroupBy = GroupBy.NAMESPACE  # a chosen pod is no row of its workload

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.namespace is None and self.pods is None and self.address is None and not self.internet


EVERYONE = Chosen()


def groups(relation: Relation, by: GroupBy, chosen: Chosen = EVERYONE) -> tuple[Group, ...]:
    """The groups of one side: those of pods by name, then the nodes, then the addresses outside."""
    if chosen.address is not None:
        return (_of_address(relation, chosen.address),)
    found: list[Group] = []
    if not chosen.internet:
        finest = min(by, chosen.finest, key=list(GroupBy).index)
        pods = relation.program.cluster.pods if chosen.pods is None else chosen.pods
        found += _of_pods(relation, finest, (pod for pod in pods if chosen.namespace in (None, pod.namespace)))
    if chosen.everything:
        nodes = {number: _node_ends(relation, number) for number in members(relation.nodes)}
        found += [_group(relation, NodeParty(), nodes)] if nodes else []
    if chosen.everything or chosen.internet:
        outside = {number: (_representative(relation, number),) for number in members(relation.plain)}
        found.append(_group(relation, ExternalParty(cidrs=()), outside))
    return tuple(found)


def _of_pods(relation: Relation, by: GroupBy, pods: Iterable[Pod]) -> Iterator[Group]:
    found: dict[tuple[object, ...], list[Pod]] = {}
    for pod in sorted(pods, key=lambda pod: pod.key):
        found.setdefault(_same(by, pod), []).append(pod)
    named = [(_pod_party(by, inside), inside) for inside in found.values()]
    for party, inside in sorted(named, key=lambda one: _by_name(one[0])):
        ends: dict[int, list[Endpoint]] = {}
        for pod in inside:
            for address, number in relation.identities.of_pod(pod):
                ends.setdefault(number, []).append(Endpoint(pod=pod, address=address))
        yield _group(relation, party, {number: tuple(some) for number, some in ends.items()})


def _same(by: GroupBy, pod: Pod) -> tuple[object, ...]:
    """What the pods of a group have in common.  Pods without an owner are one workload where all their labels agree."""
    match by:
        case GroupBy.POD:
            return (pod.key,)
        case GroupBy.NAMESPACE:
            return (pod.namespace, pod.host_network)
        case GroupBy.WORKLOAD:
            return (pod.namespace, pod.host_network, pod.workload or frozenset(pod.labels.items()))
        case _:
            assert_never(by)


def _pod_party(by: GroupBy, pods: Sequence[Pod]) -> PodParty:
    first = pods[0]
    owner = first.workload if by is GroupBy.WORKLOAD else None
    name = owner.name if owner else first.name
    return PodParty(
        by=GroupBy.POD if by is GroupBy.WORKLOAD and owner is None and len(pods) == 1 else by,
        namespace=first.namespace,
        name=None if by is GroupBy.NAMESPACE else name,
        workload=owner.kind if owner else None,
        host_network=first.host_network,
        pods=len(pods),
    )


def _by_name(party: PodParty) -> tuple[str, str, bool, str, bool]:
    return (party.namespace, party.name or "", party.by is GroupBy.POD, party.workload or "", party.host_network)


def _of_address(relation: Relation, address: Address) -> Group:
    """An address that is no ordinary pod's."""
    end = Endpoint(address=address)
    number = relation.identities.of(end)
    outside = relation.plain >> number & 1
    party = ExternalParty(cidrs=(ip_network(address),)) if outside else NodeParty(address=address)
    return _group(relation, party, {number: (end,)})


def _node_ends(relation: Relation, number: int) -> tuple[Endpoint, ...]:
    identity = relation.order[number]
    assert isinstance(identity, OutsideIdentity)
    return tuple(Endpoint(address=cidrs.at(at)) for a, b in identity.addresses for at in range(a, b + 1))


def _representative(relation: Relation, number: int) -> Endpoint:
    identity = relation.order[number]
    assert isinstance(identity, OutsideIdentity)
    return Endpoint(address=identity.representative)


def _group(relation: Relation, party: Party, ends: Mapping[int, tuple[Endpoint, ...]]) -> Group:
    bits = set_of(ends)
    hosts = 0 if isinstance(party, ExternalParty) else bits & ~relation.pods
    ordinary = bits & relation.pods
    return Group(
        party=party,
        bits=bits,
        ends=ends,
        hosts=hosts,
        near={
            number: Counter(node for end in ends[number] for node in _own_nodes(relation, end))
            for number in members(hosts)
        },
        placed={
            number: Counter(end.pod.node for end in ends[number] if end.pod is not None and end.pod.node is not None)
            for number in members(ordinary)
        },
    )


def _own_nodes(relation: Relation, end: Endpoint) -> set[str]:
    """The nodes that an address, or a pod on its node's network, belongs to."""
    nodes = set(relation.identities.nodes_at(end.address)) if end.address is not None else set()
    return nodes | {end.pod.node} if end.pod is not None and end.pod.node is not None else nodes


class Outside:
    """Puts sets of identities of outside addresses in words: the fewest ranges that hold them and no others."""

    def __init__(self, relation: Relation) -> None:
        self._relation = relation
        self._known: dict[tuple[int, int], ExternalParty] = {}  # only remembers
        atoms = relation.identities.atoms
        self._places = {atom: place for place, atom in enumerate(atoms.order)}
        used = {self._place(number) for number in members(relation.plain)}
        inhabited = (addresses for place, addresses in enumerate(atoms.addresses) if place not in used)
        self._nobody = union(inhabited)  # ranges of pods' and nodes' addresses only

    def _place(self, number: int) -> int:
        atom = self._relation.order[number].atom
        assert atom is not None
        return self._places[atom]

    def party(self, identities: int, possible: int) -> ExternalParty:
        """Some identities of all those that the other end can have to do with."""
        if (identities, possible) not in self._known:
            cidrs_, others = self._ranges(identities), self._ranges(possible & ~identities)
            self._known[identities, possible] = ExternalParty(
                cidrs=cidrs_, internet=identities == possible, excepts=others if len(others) < len(cidrs_) else ()
            )
        return self._known[identities, possible]

    def _ranges(self, identities: int) -> tuple[Network, ...]:
        atoms = self._relation.identities.atoms
        meant = union(atoms.addresses[self._place(number)] for number in members(identities))
        found: list[Network] = []
        for first, last in meant | self._nobody:
            whole = IntervalSet.of(first, last)
            inside = meant & whole
            if inside:
                trimmed = IntervalSet.of(inside.bounds[0], inside.bounds[-1] - 1)
                ways = [tuple(cidrs.prefixes(one)) for one in (trimmed, whole, inside)]
                found += sorted(ways, key=len)[0]
        return tuple(found)
