"""What selectors and ipBlocks select, as bitsets of identities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from npcompile.ir.cluster import Namespace
from npcompile.ir.labels import Labels, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, Peer, PodPeer
from npcompile.netset.cidrs import Network
from npcompile.netset.ports import Protocol
from npcompile.passes.assign_identities import Identities, PortName
from npcompile.relation.bits import members


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelIndex:
    """Who carries which labels, of things that are numbered from 0."""

    everything: int
    present: Mapping[str, int]
    values: Mapping[tuple[str, str], int]
    _found: dict[tuple[Requirement, ...], int] = field(default_factory=dict, repr=False)  # only remembers

    @staticmethod
    def of(labelled: Sequence[Labels]) -> LabelIndex:
        """Index things by their labels."""
        present: dict[str, int] = {}
        values: dict[tuple[str, str], int] = {}
        for number, labels in enumerate(labelled):
            bit = 1 << number
            for key, value in labels.items():
                present[key] = present.get(key, 0) | bit
                values[key, value] = values.get((key, value), 0) | bit
        return LabelIndex(everything=(1 << len(labelled)) - 1, present=present, values=values)

    def select(self, selector: Selector) -> int:
        """Those that a selector matches."""
        if (bits := self._found.get(selector.requirements)) is None:
            bits = self.everything
            for requirement in selector.requirements:
                bits &= self._meet(requirement)
            self._found[selector.requirements] = bits
        return bits

    def _meet(self, requirement: Requirement) -> int:
        present = self.present.get(requirement.key, 0)
        one_of = 0
        for value in requirement.values:
            one_of |= self.values.get((requirement.key, value), 0)
        match requirement.operator:
            case Operator.IN:
                return one_of
            case Operator.NOT_IN:
                return self.everything & ~one_of
            case Operator.EXISTS:
                return present
            case Operator.DOES_NOT_EXIST:
                return self.everything & ~present
            case _:
                assert_never(requirement.operator)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PodIndex:
    """Whom selectors of pods mean, of classes of pods that are numbered from 0 and are each in one namespace.

    `namespaces` are bitsets of the classes by namespace.
    """

    namespaces: Mapping[str, int]
    _pods: LabelIndex = field(repr=False)
    _labels: LabelIndex = field(repr=False)  # of namespaces, in the order of `namespaces`
    _inhabitants: dict[tuple[Requirement, ...], int] = field(default_factory=dict, repr=False)  # only remembers

    @staticmethod
    def of(classes: Sequence[tuple[str, Labels]], namespaces: Mapping[str, Namespace]) -> PodIndex:
        """Index classes by their namespaces and labels."""
        inside: dict[str, int] = {}
        for number, (namespace, _) in enumerate(classes):
            inside[namespace] = inside.get(namespace, 0) | 1 << number
        return PodIndex(
            namespaces=inside,
            _pods=LabelIndex.of([labels for _, labels in classes]),
            _labels=LabelIndex.of([namespaces[name].labels for name in inside]),
        )

    def subjects(self, namespace: str, selector: Selector) -> int:
        """The pods of a namespace that a selector matches."""
        return self.namespaces.get(namespace, 0) & self._pods.select(selector)

    def peers(self, namespace: str, peer: PodPeer) -> int:
        """The pods that a peer means in a policy of `namespace`."""
        if peer.namespaces is None:
            return self.subjects(namespace, peer.pods)
        return self._inside(peer.namespaces) & self._pods.select(peer.pods)

    def _inside(self, namespaces: Selector) -> int:
        if (bits := self._inhabitants.get(namespaces.requirements)) is None:
            named = tuple(self.namespaces.values())
            bits = 0
            for place in members(self._labels.select(namespaces)):
                bits |= named[place]
            self._inhabitants[namespaces.requirements] = bits
        return bits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """What policies can say of identities.  `pods` numbers pods' identities; `networks` are bitsets of all identities
    by mentioned network, `declared` of pods' identities by port name and number.
    """

    pods: PodIndex
    networks: Mapping[Network, int]
    declared: Mapping[PortName, Mapping[int, int]]

    def peers(self, namespace: str, peer: Peer) -> int:
        """What an item of `from` or `to` matches, in a policy of `namespace`."""
        match peer:
            case PodPeer():
                return self.pods.peers(namespace, peer)
            case BlockPeer():
                bits = self.networks[peer.cidr]
                for network in peer.excepts:
                    bits &= ~self.networks[network]
                return bits
            case _:
                assert_never(peer)

    def numbers(self, name: str, protocol: Protocol) -> Mapping[int, int]:
        """Who declares which numbers under a port name."""
        return self.declared.get((name, protocol), {})


def selection(identities: Identities, namespaces: Mapping[str, Namespace]) -> Selection:
    """Index identities by all that policies can ask for."""
    declared: dict[PortName, dict[int, int]] = {}
    for number, identity in enumerate(identities.pods):
        for name, numbers in identity.ports:
            at = declared.setdefault(name, {})
            for port in numbers:
                at[port] = at.get(port, 0) | 1 << number
    return Selection(
        pods=PodIndex.of([(one.namespace, dict(one.labels)) for one in identities.pods], namespaces),
        networks=_networks(identities),
        declared=declared,
    )


def _networks(identities: Identities) -> dict[Network, int]:
    """Everything inside each network: the members of its own atom, and of those nested in it."""
    atoms = identities.atoms
    places = {atom: place for place, atom in enumerate(atoms.order)}
    bits = [0] * len(atoms.order)
    for number, identity in enumerate(identities.order):
        if identity.atom is not None:
            bits[places[identity.atom]] |= 1 << number
    for place in reversed(range(len(bits))):  # inner atoms come after outer ones
        if atoms.parents[place] >= 0:
            bits[atoms.parents[place]] |= bits[place]
    return {atom.network: bits[place] for place, atom in enumerate(atoms.order) if atom.network is not None}
