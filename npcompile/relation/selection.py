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
        if selector.requirements not in self._found:
            bits = self.everything
            for requirement in selector.requirements:
                bits &= self._meet(requirement)
            self._found[selector.requirements] = bits
        return self._found[selector.requirements]

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
class Selection:
    """What policies can say of identities.  `namespaces` are bitsets of the pods' identities by namespace, `networks`
    of all identities by mentioned network, `declared` of pods' identities by port name and number.
    """

    pods: LabelIndex
    namespaces: Mapping[str, int]
    networks: Mapping[Network, int]
    declared: Mapping[PortName, Mapping[int, int]]
    _labels: LabelIndex = field(repr=False)  # of namespaces, in the order of `_named`
    _named: tuple[int, ...] = field(repr=False)  # what is in them
    _inhabitants: dict[tuple[Requirement, ...], int] = field(default_factory=dict, repr=False)  # only remembers

    def subjects(self, namespace: str, selector: Selector) -> int:
        """The pods of a namespace that a selector matches."""
        return self.namespaces.get(namespace, 0) & self.pods.select(selector)

    def peers(self, namespace: str, peer: Peer) -> int:
        """What an item of `from` or `to` matches, in a policy of `namespace`."""
        match peer:
            case PodPeer():
                if peer.namespaces is None:
                    return self.subjects(namespace, peer.pods)
                return self._inside(peer.namespaces) & self.pods.select(peer.pods)
            case BlockPeer():
                bits = self.networks[peer.cidr]
                for network in peer.excepts:
                    bits &= ~self.networks[network]
                return bits
            case _:
                assert_never(peer)

    def _inside(self, namespaces: Selector) -> int:
        if namespaces.requirements not in self._inhabitants:
            bits = 0
            for place in members(self._labels.select(namespaces)):
                bits |= self._named[place]
            self._inhabitants[namespaces.requirements] = bits
        return self._inhabitants[namespaces.requirements]

    def numbers(self, name: str, protocol: Protocol) -> Mapping[int, int]:
        """Who declares which numbers under a port name."""
        return self.declared.get((name, protocol), {})


def selection(identities: Identities, namespaces: Mapping[str, Namespace]) -> Selection:
    """Index identities by all that policies can ask for."""
    inside: dict[str, int] = {}
    declared: dict[PortName, dict[int, int]] = {}
    for number, identity in enumerate(identities.pods):
        bit = 1 << number
        inside[identity.namespace] = inside.get(identity.namespace, 0) | bit
        for name, numbers in identity.ports:
            at = declared.setdefault(name, {})
            for port in numbers:
                at[port] = at.get(port, 0) | bit
    inhabited = sorted(inside)
    return Selection(
        pods=LabelIndex.of([dict(identity.labels) for identity in identities.pods]),
        namespaces=inside,
        networks=_networks(identities),
        declared=declared,
        _labels=LabelIndex.of([namespaces[name].labels for name in inhabited]),
        _named=tuple(inside[name] for name in inhabited),
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
