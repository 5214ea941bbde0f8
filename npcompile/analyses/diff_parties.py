"""Whom a side of a box is made of, in few words: namespaces and workloads all of whose pods are in it, else pods.

A pod, or one of its address families, that has no comparable flow with the other side is not missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from npcompile.analyses.diff_ends import Ends, Kind
from npcompile.analyses.parties import Outside
from npcompile.diagnostics.errors import InternalError
from npcompile.ir.cluster import Pod, Workload
from npcompile.netset import cidrs
from npcompile.netset.cidrs import Address, Family, Network
from npcompile.relation.bits import members, set_of
from npcompile.relation.boxes import Box


class PartyKind(Enum):
    """What a party stands for."""

    EVERY_POD = "every-pod"
    NAMESPACE = "namespace"
    WORKLOAD = "workload"
    POD = "pod"
    NODES = "nodes"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Some ends of a side.  `pods` are the pods meant, as the new version has them; `family` is set where only their
    addresses of that family are.  `cidrs` hold addresses outside; what they hold of pods' and nodes' addresses is not
    meant.  `internet`: all that the other side can have to do with; `excepts`: what they are all but for, where that is
    shorter.  `addresses` are nodes'.
    """

    kind: PartyKind
    name: str
    pods: tuple[Pod, ...] = ()
    workload: Workload | None = None
    family: Family | None = None
    cidrs: tuple[Network, ...] = ()
    excepts: tuple[Network, ...] = ()
    internet: bool = False
    addresses: tuple[Address, ...] = ()

    def __str__(self) -> str:
        words = self.name
        if self.kind is PartyKind.WORKLOAD and self.workload is not None:
            words += f" ({self.workload.kind}" + ("" if self.pods[0].template else f", {_counted(self.pods)}") + ")"
        elif self.kind in (PartyKind.EVERY_POD, PartyKind.NAMESPACE):
            words += f" ({_counted(self.pods)})"
        elif self.pods and self.pods[0].host_network:
            words += " (host network)"
        return f"{words} (IPv{int(self.family)})" if self.family is not None else words


def _counted(pods: Sequence[Pod]) -> str:
    templates = sum(pod.template for pod in pods)
    numbers = ((len(pods) - templates, "pod"), (templates, "workload"))
    return ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in numbers if number)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Presence:
    """A pod that has flows with the other side; `family` where it is in the box with that family only."""

    pod: Pod
    inside: bool
    whole: bool
    family: Family | None


class Namer:
    """Names the sides of one comparison's boxes."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._outside = Outside(ends.relations.new)
        pods: dict[tuple[tuple[str, str], bool], tuple[Pod, int]] = {}
        for place, one in enumerate(ends.classes):
            for end in one.ends:
                if (pod := end.new.pod) is not None:
                    key = (pod.key, pod.template)
                    pods[key] = (pod, pods.get(key, (pod, 0))[1] | 1 << place)
        self._hosts: list[tuple[Pod, int]] = []  # on their node's network
        self._inhabitants: dict[str, list[tuple[Pod, int]]] = {}  # the others, by namespace
        self._meaning: dict[object, int] = {}  # classes of the pods of a namespace, a workload, a name
        self._ordinary = 0
        for key in sorted(pods):
            pod, classes = pods[key]
            (self._hosts if pod.host_network else self._inhabitants.setdefault(pod.namespace, [])).append(pods[key])
            if not pod.host_network:
                self._ordinary |= classes
            for name in (pod.key, *(() if pod.host_network else (pod.namespace, (pod.namespace, pod.workload)))):
                self._meaning[name] = self._meaning.get(name, 0) | classes
        self._kinds = {kind: set_of(n for n, one in enumerate(ends.classes) if one.kind is kind) for kind in Kind}

    def name(self, box: Box) -> tuple[tuple[Party, ...], tuple[Party, ...]]:
        """Who sends and who receives.  An address family is not said where the other side has none of its flows anyway,
        unless the names would then stand for flows that are not in the box.
        """
        related = (_related(box.peers, self._ends.callers), _related(box.subjects, self._ends.companions))
        sources, targets = self._name(box.subjects, related[0]), self._name(box.peers, related[1])
        meant = (self._meant(sources), self._meant(targets))
        if not self._holds(box, *meant):
            sources = self._name(box.subjects, _related(meant[1], self._ends.callers))
            targets = self._name(box.peers, _related(meant[0], self._ends.companions))
        return sources, targets

    def _holds(self, box: Box, sources: int, targets: int) -> bool:
        """Whether all comparable pairs of some sources and destinations are pairs of a box."""
        for source in members(sources):
            inside = box.peers if box.subjects >> source & 1 else 0
            if self._ends.companions[source] & targets & ~inside:
                return False
        return True

    def _meant(self, parties: Sequence[Party]) -> int:
        """All classes that one may take parties to stand for, seeing their names only."""
        found = 0
        for party in parties:
            match party.kind:
                case PartyKind.NODES | PartyKind.EXTERNAL:
                    found |= self._meant_there(party)
                case PartyKind.EVERY_POD:
                    found |= self._ordinary
                case PartyKind.NAMESPACE:
                    found |= self._meaning[party.pods[0].namespace]
                case PartyKind.WORKLOAD:
                    found |= self._meaning[party.pods[0].namespace, party.workload]
                case PartyKind.POD:
                    found |= self._meaning[party.pods[0].key]
                case _:
                    assert_never(party.kind)
        return found

    def _meant_there(self, party: Party) -> int:
        found = 0
        for kind in (Kind.NODE, Kind.OUTSIDE):
            for place in members(self._kinds[kind]):
                if any(_may_be_meant(end.new.address, kind, party) for end in self._ends.classes[place].ends):
                    found |= 1 << place
        return found

    def _name(self, side: int, possible: int) -> tuple[Party, ...]:
        pods = (*self._of_pods(side, possible), *self._of_hosts(side, possible))
        return (*pods, *self._of_nodes(side, possible), *self._of_outside(side, possible))

    def _of_pods(self, side: int, possible: int) -> Iterator[Party]:
        """Of those on a network of their own; no more of them is looked at than the namespaces that have some."""
        having = [name for name in self._inhabitants if self._meaning[name] & possible]
        if len(having) > 1 and not self._ordinary & possible & ~side:
            every = (one for name in having for one in self._presences(self._inhabitants[name], side, possible))
            yield Party(kind=PartyKind.EVERY_POD, name="every pod", pods=tuple(one.pod for one in every))
            return
        for name in having:
            if self._meaning[name] & possible & side:
                yield from _of_namespace(name, list(self._presences(self._inhabitants[name], side, possible)))

    def _of_hosts(self, side: int, possible: int) -> Iterator[Party]:
        return (_pod(one) for one in self._presences(self._hosts, side, possible) if one.inside)

    def _presences(self, pods: Iterable[tuple[Pod, int]], side: int, possible: int) -> Iterator[_Presence]:
        """Those of some pods that have flows with the other side."""
        for pod, classes in pods:
            having = classes & possible
            inside = having & side
            if having:
                family = None if inside in (having, 0) else self._family(inside)
                yield _Presence(pod=pod, inside=bool(inside), whole=inside == having, family=family)

    def _family(self, classes: int) -> Family:
        """The one family that a part of a pod's classes is of."""
        families = {family for place in members(classes) for family in self._ends.classes[place].families}
        if len(families) != 1:
            raise InternalError("a pod has two addresses of a family")
        return families.pop()

    def _of_nodes(self, side: int, possible: int) -> Iterator[Party]:
        nodes = self._kinds[Kind.NODE]
        found = side & nodes
        if not found:
            return
        ends = [end.new.address for place in members(found) for end in self._ends.classes[place].ends]
        addresses = tuple(sorted((one for one in ends if one is not None), key=cidrs.point))
        if found == possible & nodes and len(addresses) > 1:
            yield Party(kind=PartyKind.NODES, name="nodes", addresses=addresses)
        else:
            for address in addresses:
                yield Party(kind=PartyKind.NODES, name=f"node {address}", addresses=(address,))

    def _of_outside(self, side: int, possible: int) -> Iterator[Party]:
        plain = self._kinds[Kind.OUTSIDE]
        found = side & plain
        if found:
            numbers = [set_of(self._ends.classes[n].numbers.new for n in members(bits)) for bits in
                       (found, possible & plain)]  # fmt: skip
            party = self._outside.party(*numbers)
            yield Party(
                kind=PartyKind.EXTERNAL,
                name=str(party),
                cidrs=party.cidrs,
                excepts=party.excepts,
                internet=party.internet,
            )


def _may_be_meant(address: Address | None, kind: Kind, party: Party) -> bool:
    if party.kind is PartyKind.NODES:
        return kind is Kind.NODE and (address in party.addresses or len(party.addresses) > 1)
    if party.kind is not PartyKind.EXTERNAL or kind is not Kind.OUTSIDE or address is None:
        return False
    if party.excepts:
        return not any(address in cidr for cidr in party.excepts)
    return party.internet or any(address in cidr for cidr in party.cidrs)


def _related(others: int, partners: Sequence[int]) -> int:
    """The classes with a comparable flow with some of the other side."""
    found = 0
    for place in members(others):
        found |= partners[place]
    return found


def _of_namespace(namespace: str, present: Sequence[_Presence]) -> Iterator[Party]:
    owners: dict[Workload | tuple[str, str], list[_Presence]] = {}
    for one in present:
        owners.setdefault(one.pod.workload or one.pod.key, []).append(one)
    if len(owners) > 1 and all(one.whole for one in present):
        pods = tuple(one.pod for one in present)
        yield Party(kind=PartyKind.NAMESPACE, name=f"{namespace}/*", pods=pods)
        return
    found = [party for owner, inside in owners.items() for party in _of_owner(namespace, owner, inside)]
    yield from sorted(found, key=lambda party: (party.name, party.pods[0].key))


def _of_owner(namespace: str, owner: Workload | tuple[str, str], present: Sequence[_Presence]) -> Iterator[Party]:
    if isinstance(owner, Workload) and all(one.whole for one in present):
        yield Party(
            kind=PartyKind.WORKLOAD,
            name=f"{namespace}/{owner.name}",
            pods=tuple(one.pod for one in present),
            workload=owner,
        )
        return
    yield from (_pod(one) for one in present if one.inside)


def _pod(one: _Presence) -> Party:
    return Party(kind=PartyKind.POD, name=str(one.pod), pods=(one.pod,), workload=one.pod.workload, family=one.family)
