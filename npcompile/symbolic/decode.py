"""From models back to flows, canonically: the same program has the same examples, whatever the solver finds first.

An example is the least flow that satisfies a query, comparing in this order: the subject's end, the other end, the
protocol (tcp, udp, sctp, port-less), the port, port names, addresses.  Of an end, a real pod comes before an address,
that before an invented pod; real pods in the order given; invented ones by namespace (the subject's own, listed,
mentioned, invented) and then by labels (absent, mentioned in sorted order, other), key by key.  An invented pod has an
address only where it needs one.  Addresses are the lowest ones that no pod or node of the input has, where possible.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count

import z3

from npcompile.ir.cluster import Cluster, ContainerPort, Namespace, Pod
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.labels import NAMESPACE_NAME
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset import cidrs
from npcompile.netset.cidrs import Address
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import FIRST_PORT, Protocol
from npcompile.questions import Example
from npcompile.symbolic.encode import Encoding
from npcompile.symbolic.ends import PROTOCOLS, End
from npcompile.symbolic.flows import EndPoint, Point
from npcompile.symbolic.solve import Query
from npcompile.symbolic.stand_ins import StandIns
from npcompile.symbolic.vocabulary import Layout, Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What an example may use: real pods, in order of preference and none on its node's network, and the addresses
    that the other end may have when it is no pod (a set that the query's ipBlocks do not cut).
    """

    subjects: Sequence[Pod] = ()
    peers: Sequence[Pod] = ()
    addresses: IntervalSet = cidrs.EVERY_ADDRESS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """What has been chosen for an end.  `real` None and `is_pod`: an invented pod, of the labels chosen."""

    real: Pod | None
    is_pod: bool
    name: int = 0  # the index of its namespace's name
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[ContainerPort, ...] = ()
    address: Address | None = None


class Decoder:
    """Makes the canonical example of a query over the variables of an encoding."""

    def __init__(self, program: Program, vocabulary: Vocabulary, encoding: Encoding, addresses: StandIns) -> None:
        self._cluster: Cluster = program.cluster
        self._vocabulary = vocabulary
        self._encoding = encoding
        self._names = tuple(vocabulary.names.indices)
        self._taken: dict[str, set[str]] = {}  # by namespace, the names of its pods
        for pod in program.cluster.pods:
            self._taken.setdefault(pod.namespace, set()).add(pod.name)
        self._pins: dict[tuple[tuple[str, str], bool], z3.BoolRef] = {}
        self._outside = addresses.outside
        self._addresses = (*addresses.outside, *addresses.inside)

    def outside(self, end: End, within: IntervalSet = cidrs.EVERY_ADDRESS) -> z3.BoolRef:
        """Whether an end is an address, one of `within`, that no pod or node of the input has.

        Up to what policies can tell apart: one or two addresses stand for all that no ipBlock separates.  `within`
        must be made of whole such intervals.
        """
        addresses = (address for address in self._outside if cidrs.point(address) in within)
        return z3.And(z3.Not(end.is_pod), self._encoding.some(self._encoding.at(end, a) for a in addresses))

    def example(self, query: Query, direction: Direction, candidates: Candidates) -> Example:
        """The least flow of a query that is satisfiable, and was just found to be.

        Adds its choices to the query, whose model is then this flow.  `direction` says which end is the subject.
        """
        subject, peer = self._encoding.subject(direction), self._encoding.peer(direction)
        chosen = self._settle(query, subject, candidates.subjects, own=None)
        others = [pod for pod in candidates.peers if chosen.real is None or pod.key != chosen.real.key]
        other = self._settle(query, peer, others, own=subject)
        flow = self._encoding.flow
        protocol = tuple(PROTOCOLS)[query.least(flow.protocol)]
        port = query.least(flow.port) if protocol.has_ports else None
        chosen, other = (
            replace(
                one,
                ports=self._declared(query, port) if end is flow.dst and one.real is None and one.is_pod else (),
                address=self._address(query, end, one, candidates.addresses),
            )
            for end, one in ((subject, chosen), (peer, other))
        )
        ends = (other, chosen) if direction is Direction.INGRESS else (chosen, other)
        return self._assemble(ends, protocol, port)

    def unconstrained(self, namespace: str, direction: Direction, pods: Sequence[Pod]) -> Example:
        """What `example` gives for a flow between any pod of a namespace and an address outside of the input."""
        real = next(iter(pods), None)
        family = cidrs.family_of(real.addresses[0]) if real is not None and real.addresses else None
        own = None if real is None or not real.addresses else real.addresses[0]
        outside = next(a for a in self._outside if family is None or cidrs.family_of(a) is family)
        subject = _Settled(real=real, is_pod=True, name=self._vocabulary.names.index(namespace), address=own)
        peer = _Settled(real=None, is_pod=False, address=outside)
        ends = (peer, subject) if direction is Direction.INGRESS else (subject, peer)
        return self._assemble(ends, Protocol.TCP, FIRST_PORT)

    def flow(self, point: Point, direction: Direction) -> Example:
        """A flow that was chosen without a query, between ends none of which is a real pod."""
        near, far = (self._settled(end) for end in (point.near, point.far))
        declared = tuple(ContainerPort(name=n, protocol=p, number=point.port or 0) for n, p in point.declared)
        if direction is Direction.INGRESS:
            return self._assemble((far, replace(near, ports=declared)), point.protocol, point.port)
        return self._assemble((near, replace(far, ports=declared)), point.protocol, point.port)

    def _settled(self, end: EndPoint) -> _Settled:
        return _Settled(
            real=None,
            is_pod=end.is_pod,
            name=end.name,
            labels=_unpacked(self._vocabulary.pod_labels, end.labels),
            namespace_labels=_unpacked(self._vocabulary.namespace_labels, end.namespace_labels),
            address=end.address,
        )

    # Choosing

    def _settle(self, query: Query, end: End, pods: Sequence[Pod], own: End | None) -> _Settled:
        distinct = self._distinct(pods)
        options = [*(self._pin(end, pod) for pod in distinct), z3.Not(end.is_pod), end.is_pod]
        index = query.first(options)
        if index == len(distinct):
            return _Settled(real=None, is_pod=False)
        real = distinct[index] if index < len(distinct) else None
        if real is not None:
            name, labels = self._vocabulary.names.index(real.namespace), real.labels
        else:
            if own is not None:
                query.first([z3.And(own.is_pod, end.namespace == own.namespace), self._encoding.constant(True)])
            name = min(query.least(end.namespace), self._vocabulary.names.other)
            labels = _unpacked(self._vocabulary.pod_labels, query.least(end.labels))
        where = {} if name in self._vocabulary.listed else self._namespace_labels(query, end)
        return _Settled(real=real, is_pod=True, name=name, labels=labels, namespace_labels=where)

    def _namespace_labels(self, query: Query, end: End) -> Mapping[str, str]:
        return _unpacked(self._vocabulary.namespace_labels, query.least(end.namespace_labels))

    def _declared(self, query: Query, port: int | None) -> tuple[ContainerPort, ...]:
        """The ports that an invented destination has to declare."""
        found = []
        for (name, protocol), declares in self._encoding.flow.declares.items():
            if query.first([z3.Not(declares), declares]) == 1 and port is not None:
                found.append(ContainerPort(name=name, protocol=protocol, number=port))
        return tuple(found)

    def _address(self, query: Query, end: End, settled: _Settled, bare: IntervalSet) -> Address | None:
        needless = settled.is_pod and not (settled.real and settled.real.addresses)
        if needless and query.first([z3.Not(end.has_address), end.has_address]) == 0:
            return None
        addresses = self._addresses if settled.real is None else settled.real.addresses
        if not settled.is_pod:
            addresses = tuple(address for address in addresses if cidrs.point(address) in bare)
        return addresses[query.first_of(lambda number: self._encoding.at(end, addresses[number]), len(addresses))]

    # Real pods

    def _distinct(self, pods: Iterable[Pod]) -> list[Pod]:
        """The first pod of each kind that no query can tell apart."""
        kinds: dict[object, Pod] = {}
        for pod in pods:
            kinds.setdefault(self._kind(pod), pod)
        return list(kinds.values())

    def _kind(self, pod: Pod) -> object:
        names = set(self._vocabulary.port_names)
        return (
            pod.namespace,
            self._vocabulary.pod_labels.pack(pod.labels),
            tuple(self._vocabulary.cell(address) for address in pod.addresses),
            frozenset((p.name, p.protocol, p.number) for p in pod.ports if (p.name, p.protocol) in names),
            pod.node if pod.node in self._cluster.nodes else None,
        )

    def _pin(self, end: End, pod: Pod) -> z3.BoolRef:
        """Whether an end is this real pod, at one of its addresses, and the other end is neither at one of them nor
        its own node.
        """
        destination = end is self._encoding.flow.dst
        other = self._encoding.flow.src if destination else self._encoding.flow.dst
        key = (pod.key, destination)
        if key not in self._pins:
            terms = [
                end.is_pod,
                self._encoding.inhabits(end, pod.namespace),
                end.labels == self._vocabulary.pod_labels.pack(pod.labels),
                self._encoding.some(self._encoding.at(end, a) for a in pod.addresses)
                if pod.addresses
                else z3.Not(end.has_address),
                *(z3.Not(self._encoding.at(other, address)) for address in pod.addresses),
            ]
            if destination:
                terms += [*self._declares(pod), *self._apart_from_node(pod)]
            self._pins[key] = self._encoding.every(terms)
        return self._pins[key]

    def _declares(self, pod: Pod) -> Iterable[z3.BoolRef]:
        flow = self._encoding.flow
        for (name, protocol), declares in flow.declares.items():
            numbers = sorted({p.number for p in pod.ports if (p.name, p.protocol) == (name, protocol)})
            yield declares == self._encoding.some(flow.port == number for number in numbers)

    def _apart_from_node(self, pod: Pod) -> Iterable[z3.BoolRef]:
        source, node = self._encoding.flow.src, self._cluster.nodes.get(pod.node or "")
        for address in node.addresses if node is not None else ():
            yield z3.Not(self._encoding.at(source, address))

    # Assembling

    def _assemble(self, ends: tuple[_Settled, _Settled], protocol: Protocol, port: int | None) -> Example:
        spaces = self._namespaces(ends)
        invented_pods: list[Pod] = []
        endpoints = []
        for one, space in zip(ends, spaces, strict=True):
            pod = one.real
            if space is not None and pod is None:
                near = {other.name for other in invented_pods if other.namespace == space.name}
                pod = _invented(one, space.name, fresh("example", self._taken.get(space.name, ()), near))
                invented_pods.append(pod)
            endpoints.append(Endpoint(pod=pod, address=one.address))
        invented = {space.name: space for space in spaces if space is not None and not space.listed}
        return Example(
            flow=Flow(src=endpoints[0], dst=endpoints[1], protocol=protocol, port=port),
            invented=tuple(invented[name] for name in sorted(invented)),
        )

    def _namespaces(self, settled: Sequence[_Settled]) -> list[Namespace | None]:
        """The namespaces of the pods among the ends; two unmentioned ones with the same labels are one."""
        made: dict[frozenset[tuple[str, str]], str] = {}
        found: list[Namespace | None] = []
        for one in settled:
            if not one.is_pod:
                found.append(None)
            elif one.name in self._vocabulary.listed:
                found.append(self._cluster.namespaces[self._names[one.name]])
            else:
                labels = frozenset(one.namespace_labels.items())
                if one.name < len(self._names):
                    name = self._names[one.name]
                elif labels in made:
                    name = made[labels]
                else:
                    name = made[labels] = fresh("example", self._vocabulary.names.indices, made.values())
                found.append(Namespace(name=name, labels={**one.namespace_labels, NAMESPACE_NAME: name}, listed=False))
        return found


def _invented(settled: _Settled, namespace: str, name: str) -> Pod:
    return Pod(
        namespace=namespace,
        name=name,
        labels=dict(settled.labels),
        addresses=() if settled.address is None else (settled.address,),
        ports=settled.ports,
    )


def fresh(word: str, *taken: Container[str]) -> str:
    """A readable name that is in none of `taken`: `word`, `word-2`, `word-3`."""
    names = chain((word,), (f"{word}-{n}" for n in count(2)))
    return next(name for name in names if not any(name in some for some in taken))


def _unpacked(layout: Layout, number: int) -> dict[str, str]:
    """The labels of a packed number; any other value than the mentioned ones is written `other`."""
    labels = {}
    for key, index in layout.unpack(number).items():
        indices = layout.domains[key].indices
        named = {index: value for value, index in indices.items()}
        labels[key] = named[index] if index in named else fresh("other", indices)
    return labels
