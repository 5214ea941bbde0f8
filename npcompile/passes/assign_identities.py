"""Collapse endpoints to identities: classes that no policy can tell apart.

A policy sees little of an endpoint.  It sees the namespace and those labels that some selector mentions; behind a port
name that some rule mentions, the numbers that a pod declares; and of an address, in which of the mentioned networks it
lies.  Endpoints that agree in all of that belong to one identity, and whatever the policies decide they decide for
whole identities.  What depends on a single pod (that it reaches itself, and is reached by its own node) is no policy's
decision: identities do not know of it, but keep the addresses of nodes apart from all others.

Networks nest or are disjoint, so the mentioned networks that hold an address are told by the longest of them.  That one
names the address' *atom*: a mentioned network without the mentioned networks inside it, or, per family, the rest.

Identities must tell apart whatever any of the policies tells apart that are to be compared, so the vocabulary may be
made of several programs' policies at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from npcompile.ir.cluster import Cluster, Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.labels import Selector
from npcompile.ir.policy import BlockPeer, NamedPort, PodPeer, Policy
from npcompile.netset import cidrs
from npcompile.netset.cidrs import Address, Family, Network
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import Protocol

PortName = tuple[str, Protocol]
Member = tuple[Pod, Address | None]  # a pod at one of its addresses; None: it has none yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What policies mention of endpoints: all sorted, without duplicates.  Rules that are not in force say nothing."""

    label_keys: tuple[str, ...]  # of pods; a namespace's labels are told by its name
    port_names: tuple[PortName, ...]
    networks: tuple[Network, ...]  # every cidr and every except


def vocabulary(policies: Iterable[Policy], *, networks: Iterable[Network] = ()) -> Vocabulary:
    """The vocabulary of policies, of one program or several.  `networks` are told apart beside theirs."""
    keys: set[str] = set()
    names: set[PortName] = set()
    blocks = set(networks)
    for policy in policies:
        keys.update(_keys(policy.subjects))
        for rule in policy.rules:
            names.update((item.name, item.protocol) for item in rule.match.ports if isinstance(item, NamedPort))
            for peer in rule.match.peers:
                match peer:
                    case PodPeer():
                        keys.update(_keys(peer.pods))
                    case BlockPeer():
                        blocks.update((peer.cidr, *peer.excepts))
    return Vocabulary(
        label_keys=tuple(sorted(keys)),
        port_names=tuple(sorted(names, key=lambda name: (name[0], name[1].value))),
        networks=tuple(sorted(blocks, key=_preorder)),
    )


def _keys(selector: Selector) -> Iterator[str]:
    return (requirement.key for requirement in selector.requirements)


def _preorder(network: Network) -> tuple[int, int]:
    """Sorts networks so that each comes right before those inside it."""
    return cidrs.point(network.network_address), network.prefixlen


@dataclass(frozen=True, slots=True, kw_only=True)
class Atom:
    """The addresses of `network` that are in no mentioned network inside it; None: those of the family in no one."""

    family: Family
    network: Network | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Atoms:
    """Every address belongs to exactly one atom, in `order`: those of a network come right after the network's own.

    `parents` gives for each the place in `order` of the atom around it (-1 for the two families' rests).
    """

    order: tuple[Atom, ...]
    parents: tuple[int, ...]
    addresses: tuple[IntervalSet, ...]
    _cuts: tuple[int, ...] = field(repr=False)
    _owners: tuple[int, ...] = field(repr=False)  # the atom from each cut up to the next

    def of(self, point: int) -> int:
        """The place in `order` of the atom of an address, given by its point on the axis of `netset.cidrs`."""
        return self._owners[bisect_right(self._cuts, point) - 1]


def split_atoms(networks: tuple[Network, ...]) -> Atoms:
    """The atoms of networks that are sorted as in `Vocabulary`."""
    order, parents, ranges = _nest(networks)
    cuts, owners = _sweep(ranges, parents)
    pieces: list[list[int]] = [[] for _ in order]
    for cut, end, owner in zip(cuts, cuts[1:], owners, strict=False):
        if owner >= 0:
            pieces[owner] += (cut, end)
    return Atoms(
        order=tuple(order),
        parents=tuple(parents),
        addresses=tuple(IntervalSet(tuple(bounds)) for bounds in pieces),
        _cuts=tuple(cuts),
        _owners=tuple(owners),
    )


def _nest(networks: tuple[Network, ...]) -> tuple[list[Atom], list[int], list[tuple[int, int]]]:
    """Both families and every network in preorder: the atom, what it is nested in, its range [start, end)."""
    order: list[Atom] = []
    parents: list[int] = []
    ranges: list[tuple[int, int]] = []
    for family in Family:
        start, end = cidrs.every_address(family).bounds
        around = [len(order)]
        order.append(Atom(family=family, network=None))
        parents.append(-1)
        ranges.append((start, end))
        for network in networks:
            if cidrs.family_of(network) is not family:
                continue
            start, end = cidrs.block(network).bounds
            while ranges[around[-1]][1] < end or ranges[around[-1]][1] <= start:
                around.pop()
            parents.append(around[-1])
            around.append(len(order))
            order.append(Atom(family=family, network=network))
            ranges.append((start, end))
    return order, parents, ranges


def _sweep(ranges: list[tuple[int, int]], parents: list[int]) -> tuple[list[int], list[int]]:
    """Cut the axis where the innermost range changes; -1 where there is none."""
    edges = [(start, 1, place) for place, (start, _) in enumerate(ranges)]
    edges += [(end, 0, -place) for place, (_, end) in enumerate(ranges)]
    cuts: list[int] = []
    owners: list[int] = []
    for cut, opens, place in sorted(edges):  # at one cut the inner ranges close first, and the outer ones open first
        owner = place if opens else parents[-place]
        if cuts and cuts[-1] == cut:
            owners[-1] = owner
        else:
            cuts.append(cut)
            owners.append(owner)
    return cuts, owners


@dataclass(frozen=True, slots=True, kw_only=True)
class PodIdentity:
    """Pods of one namespace that no policy can tell apart, each at one address.

    `labels` are the mentioned ones that they carry; `ports` the numbers behind each mentioned name that they declare.
    `atom` is None where they have no address yet: then no ipBlock matches, and flows of either family are possible.
    `members` are in the order of the pods.
    """

    namespace: str
    labels: tuple[tuple[str, str], ...]
    ports: tuple[tuple[PortName, tuple[int, ...]], ...]
    atom: Atom | None
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostIdentity:
    """Pods on their node's network.  To policies they are addresses, so only the atom tells them apart."""

    atom: Atom | None
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideIdentity:
    """Addresses of one atom that are no pod's: those of the nodes `nodes` (mostly one), or, without any, of no node."""

    atom: Atom
    nodes: tuple[str, ...]
    addresses: IntervalSet
    representative: Address


Identity = PodIdentity | HostIdentity | OutsideIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """All identities; an identity's number is its place in `order`.

    `order` has the pods' first, by their first member, then host network pods' likewise, then the addresses of no
    node, then those of nodes; addresses are ordered by what `netset.cidrs.representative` prefers.
    """

    vocabulary: Vocabulary
    atoms: Atoms
    pods: tuple[PodIdentity, ...]
    hosts: tuple[HostIdentity, ...]
    outside: tuple[OutsideIdentity, ...]
    _of_pod: Mapping[tuple[str, str], tuple[tuple[Address | None, int], ...]] = field(repr=False)
    _of_host_point: Mapping[int, int] = field(repr=False)
    _pod_points: frozenset[int] = field(repr=False)  # of all pods
    _of_outside: Mapping[tuple[int, tuple[str, ...]], int] = field(repr=False)
    _nodes_at: Mapping[int, tuple[str, ...]] = field(repr=False)

    @property
    def order(self) -> tuple[Identity, ...]:
        """Every identity, at its number."""
        return (*self.pods, *self.hosts, *self.outside)

    def of_pod(self, pod: Pod) -> tuple[tuple[Address | None, int], ...]:
        """A pod's addresses (None: it has none yet), each with the number of its identity."""
        return self._of_pod[pod.key]

    def nodes_at(self, address: Address) -> tuple[str, ...]:
        """The nodes that an address belongs to."""
        return self._nodes_at.get(cidrs.point(address), ())

    def of(self, endpoint: Endpoint) -> int:
        """The number of an endpoint's identity.  LookupError where the inventory has no such endpoint: an unknown pod
        or address of a pod, or, as an endpoint of its own, an address that is an ordinary pod's.
        """
        if endpoint.pod is not None:
            for address, number in self._of_pod.get(endpoint.pod.key, ()):
                if address == endpoint.address:
                    return number
            raise LookupError(f"no pod {endpoint.pod} at {endpoint.address}")
        assert endpoint.address is not None
        point = cidrs.point(endpoint.address)
        if point in self._of_host_point:  # a pod on the network of its node is no more to policies than its address
            return self._of_host_point[point]
        if point in self._pod_points:
            raise LookupError(f"{endpoint.address} is a pod's address")
        return self._of_outside[self.atoms.of(point), self._nodes_at.get(point, ())]


def assign_identities(cluster: Cluster, words: Vocabulary) -> Identities:
    """The identities of a cluster's pods and of all addresses, as finely as `words` demands."""
    atoms = split_atoms(words.networks)
    pods, hosts, taken = _group_pods(cluster, words, atoms)
    nodes_at = _nodes_at(cluster)
    outside = _group_addresses(atoms, nodes_at, taken)
    of_pod: dict[tuple[str, str], tuple[tuple[Address | None, int], ...]] = {}
    of_host_point: dict[int, int] = {}
    inhabited: tuple[PodIdentity | HostIdentity, ...] = (*pods, *hosts)
    for number, identity in enumerate(inhabited):
        for pod, address in identity.members:
            of_pod[pod.key] = (*of_pod.get(pod.key, ()), (address, number))
            if pod.host_network and address is not None:
                of_host_point[cidrs.point(address)] = number
    places = {atom: place for place, atom in enumerate(atoms.order)}
    return Identities(
        vocabulary=words,
        atoms=atoms,
        pods=pods,
        hosts=hosts,
        outside=outside,
        _of_pod=of_pod,
        _of_host_point=of_host_point,
        _pod_points=frozenset(taken),
        _of_outside={
            (places[one.atom], one.nodes): number for number, one in enumerate(outside, len(pods) + len(hosts))
        },
        _nodes_at=nodes_at,
    )


def _group_pods(
    cluster: Cluster, words: Vocabulary, atoms: Atoms
) -> tuple[tuple[PodIdentity, ...], tuple[HostIdentity, ...], set[int]]:
    """Group every pod at every address; the last part is all their addresses, as points."""
    pods: dict[tuple[object, ...], list[Member]] = {}
    hosts: dict[int | None, list[Member]] = {}
    taken: set[int] = set()
    names: dict[str | None, tuple[Protocol, ...]]
    names = {name: tuple(p for n, p in words.port_names if n == name) for name, _ in words.port_names}
    for pod in sorted(cluster.pods, key=lambda pod: pod.key):
        seen = () if pod.host_network else _seen(pod, words.label_keys, names)
        places: list[tuple[int, Address]] = sorted([(cidrs.point(address), address) for address in pod.addresses])
        for point, address in places or ((None, None),):
            atom = None
            if point is not None:
                taken.add(point)
                atom = atoms.of(point)
            if pod.host_network:
                hosts.setdefault(atom, []).append((pod, address))
            else:
                pods.setdefault((atom, *seen), []).append((pod, address))
    return (
        tuple(_pod_identity(members, words, atoms) for members in pods.values()),
        tuple(HostIdentity(atom=_atom(members[0], atoms), members=tuple(members)) for members in hosts.values()),
        taken,
    )


def _seen(pod: Pod, keys: tuple[str, ...], names: Mapping[str | None, tuple[Protocol, ...]]) -> tuple[object, ...]:
    """What tells pods apart, beside their address; cheap, because every pod of a cluster passes here."""
    labels = pod.labels
    ports = [(p.name, p.protocol.value, p.number) for p in pod.ports if p.protocol in names.get(p.name, ())]
    return (pod.namespace, tuple([labels.get(key) for key in keys]), frozenset(ports))


def _pod_identity(members: list[Member], words: Vocabulary, atoms: Atoms) -> PodIdentity:
    pod = members[0][0]
    numbers: dict[PortName, set[int]] = {}
    for port in pod.ports if words.port_names else ():
        if port.name is not None and (port.name, port.protocol) in words.port_names:
            numbers.setdefault((port.name, port.protocol), set()).add(port.number)
    return PodIdentity(
        namespace=pod.namespace,
        labels=tuple((key, pod.labels[key]) for key in words.label_keys if key in pod.labels),
        ports=tuple((name, tuple(sorted(numbers[name]))) for name in words.port_names if name in numbers),
        atom=_atom(members[0], atoms),
        members=tuple(members),
    )


def _atom(member: Member, atoms: Atoms) -> Atom | None:
    address = member[1]
    return None if address is None else atoms.order[atoms.of(cidrs.point(address))]


def _nodes_at(cluster: Cluster) -> dict[int, tuple[str, ...]]:
    """The nodes of each address, as points.  Several nodes may share one: a container bridge has the same on each."""
    found: dict[int, set[str]] = {}
    for name, node in cluster.nodes.items():
        for address in node.addresses:
            found.setdefault(cidrs.point(address), set()).add(name)
    return {point: tuple(sorted(names)) for point, names in found.items()}


def _group_addresses(
    atoms: Atoms, nodes_at: Mapping[int, tuple[str, ...]], taken: set[int]
) -> tuple[OutsideIdentity, ...]:
    """Split what pods leave of every atom into addresses of nodes and others."""
    known: list[set[int]] = [set() for _ in atoms.order]  # no plain outside address
    groups: dict[tuple[int, tuple[str, ...]], IntervalSet] = {}
    for point in taken:
        known[atoms.of(point)].add(point)
    of_nodes: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for point, nodes in nodes_at.items():
        if point not in taken:
            place = atoms.of(point)
            known[place].add(point)
            of_nodes.setdefault((place, nodes), []).append(point)
    for place, addresses in enumerate(atoms.addresses):
        groups[place, ()] = addresses - _points(known[place])
    groups.update((key, _points(points)) for key, points in of_nodes.items())
    identities = (
        OutsideIdentity(
            atom=atoms.order[place],
            nodes=nodes,
            addresses=addresses,
            representative=cidrs.representative(addresses),
        )
        for (place, nodes), addresses in groups.items()
        if addresses
    )
    return tuple(sorted(identities, key=_preference))


def _points(points: Iterable[int]) -> IntervalSet:
    """The set of some points, none of them twice; of many, so without `union`."""
    bounds: list[int] = []
    for point in sorted(points):
        if bounds and bounds[-1] == point:
            bounds[-1] = point + 1
        else:
            bounds += (point, point + 1)
    return IntervalSet(tuple(bounds))


def _preference(identity: OutsideIdentity) -> tuple[bool, bool, int]:
    """Sorts addresses that no node has first, then as `representative` would choose from a union."""
    address = identity.representative
    return bool(identity.nodes), cidrs.is_special(address), cidrs.point(address)
