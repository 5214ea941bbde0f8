"""The axes of boxes of possible flows: what the rules of a few policies can tell apart of the two ends and the port.

What policies say of an end or a port is told in two ways: as terms (`Axis.term`), and as boxes over these axes
(`covers.Box`), which number them from a first one on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import z3

from npcompile.ir.classes import AddressClass, DeclaredPort, EndClass, LabelCondition, PodClass
from npcompile.ir.policy import NamedPort, PortItem
from npcompile.ir.versions import Version
from npcompile.netset.cidrs import EVERY_ADDRESS
from npcompile.netset.intervals import IntervalSet, union
from npcompile.netset.ports import EVERY_PORT, Protocol
from npcompile.symbolic import covers
from npcompile.symbolic.bitsets import bits
from npcompile.symbolic.boxes import LabelBox, PeerBox, Places, PodBox, port_box, void
from npcompile.symbolic.cover import Axis, Box
from npcompile.symbolic.encode import Encoding
from npcompile.symbolic.ends import End
from npcompile.symbolic.vocabulary import ABSENT, Layout, Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Ends that are looked at together: pods in some namespaces, or, without names, all addresses that are no pod's.

    `labelled`: the labels of the namespaces are free; in one version only, where `labels_in` is set.
    """

    names: frozenset[int]
    labelled: bool = False
    labels_in: Version | None = None

    @property
    def outside(self) -> bool:
        """Whether its ends are addresses."""
        return not self.names


NO_LABELS: LabelBox = {}

Conditions = tuple[tuple[str, frozenset[int]], ...]  # label keys, and the indices that each may have


@dataclass(frozen=True, slots=True, kw_only=True)
class EndBox:
    """The part of a box that is about one end, by the indices of the vocabulary; without names, an address.

    There are no conditions but those that say something, so that equal sets are equal values.
    """

    names: frozenset[int]
    namespace_labels: Conditions
    labels_in: Version | None
    labels: Conditions
    addresses: IntervalSet
    unaddressed: bool

    @property
    def order(self) -> tuple[object, ...]:
        """Sorts pods before addresses, by namespace and labels."""
        conditions = [[(key, sorted(values)) for key, values in some] for some in (self.namespace_labels, self.labels)]
        return (not self.names, sorted(self.names), conditions, self.addresses.bounds, self.labels_in or 0)


class EndAxes:
    """What may be restricted of an end of a group, if policies select such ends or match them as peers."""

    def __init__(
        self, encoding: Encoding, vocabulary: Vocabulary, end: End, group: Group, seen: Sequence[PeerBox | LabelBox]
    ) -> None:
        self.group = group
        self._vocabulary = vocabulary
        self._names = sorted(group.names)
        blocks = [one for one in seen if isinstance(one, IntervalSet)]
        boxes = [one.labels if isinstance(one, PodBox) else one for one in seen if not isinstance(one, IntervalSet)]
        places = [one.places.labels for one in seen if isinstance(one, PodBox)]
        self._addresses = list(_atoms(EVERY_ADDRESS, blocks)) if blocks else []
        pods = not group.outside
        self._labels = _keys(boxes) if pods else []
        self._namespace_labels = _keys(places) if group.labelled else []
        self.axes: list[Axis] = []
        if len(self._names) > 1:
            self._add(len(self._names), lambda values: encoding.in_names(end, self._chosen(values)))
        for key in self._namespace_labels:
            self._add_label(vocabulary.namespace_labels, key, lambda box: encoding.in_labelled(end, box))
        for key in self._labels:
            self._add_label(vocabulary.pod_labels, key, lambda box: encoding.labelled(end, box))
        if self._addresses:
            self._add(len(self._addresses) + pods, lambda values: self._at(encoding, end, values))

    @property
    def judged_by_address(self) -> bool:
        """Whether addresses are one of the axes."""
        return bool(self._addresses)

    # As boxes

    def pods(self, labels: LabelBox, places: Places | None = None, *, first: int = 0) -> list[covers.Box]:
        """The pods with some labels, in some places (None: in all of the group)."""
        if self.group.outside or void(labels):
            return []
        own = {first + self._place_of_label(key): bits(values) for key, values in labels.items()}
        return [own | there for there in ([{}] if places is None else self._in_places(places, first))]

    def _in_places(self, places: Places, first: int) -> Iterator[dict[int, int]]:
        for names, labels in ((places.listed, NO_LABELS), (places.unlisted, places.labels)):
            inside = [place for place, name in enumerate(self._names) if name in names]
            if inside and not void(labels):
                named = {} if len(self._names) == 1 else {first: bits(inside)}
                yield named | {first + self._place_of_space(key): bits(some) for key, some in labels.items()}

    def at(self, addresses: IntervalSet, *, first: int = 0) -> list[covers.Box]:
        """The ends that have one of some addresses, which the axis of addresses does not cut."""
        values = [place for place, atom in enumerate(self._addresses, not self.group.outside) if atom <= addresses]
        return [{first + self.place_of_address: bits(values)}] if values else []

    @property
    def addresses(self) -> Sequence[IntervalSet]:
        """What the values on the axis of addresses are: for a pod, after the first one, which is to have none."""
        return self._addresses

    @property
    def place_of_address(self) -> int:
        """The axis of addresses, if there is one."""
        return len(self.axes) - 1

    @property
    def places_of_namespace(self) -> dict[str, int]:
        """The axes of the labels of an end's namespace."""
        return {key: self._place_of_space(key) for key in self._namespace_labels}

    def place_of_name(self, name: int) -> int | None:
        """A namespace's value on the first axis; None where there is no such axis, because it is the only one."""
        return self._names.index(name) if len(self._names) > 1 else None

    def _place_of_space(self, key: str) -> int:
        return (len(self._names) > 1) + self._namespace_labels.index(key)

    def _place_of_label(self, key: str) -> int:
        return (len(self._names) > 1) + len(self._namespace_labels) + self._labels.index(key)

    # As terms

    def _add(self, size: int, term: Callable[[frozenset[int]], z3.BoolRef]) -> None:
        self.axes.append(Axis(size=size, term=cache(term)))

    def _add_label(self, layout: Layout, key: str, term: Callable[[LabelBox], z3.BoolRef]) -> None:
        self._add(layout.domains[key].other + 1, lambda values: term({key: values}))

    def _chosen(self, values: Iterable[int]) -> frozenset[int]:
        return frozenset(self._names[value] for value in values)

    def _at(self, encoding: Encoding, end: End, values: frozenset[int]) -> z3.BoolRef:
        addresses, unaddressed = self._address_set(values)
        at = encoding.addressed(end, addresses)
        return z3.Or(z3.Not(end.has_address), at) if unaddressed else at

    def _address_set(self, values: frozenset[int]) -> tuple[IntervalSet, bool]:
        """Addresses, and whether to have none is among the values: that is a pod's first."""
        pods = not self.group.outside
        return union(self._addresses[value - pods] for value in values if value or not pods), pods and 0 in values

    def read(self, box: Box) -> EndBox:
        """What a box, of these axes only, says of the end."""
        rest = iter(box)
        names = self._chosen(next(rest)) if len(self._names) > 1 else self.group.names
        spaces = _restricting(self._vocabulary.namespace_labels, self._namespace_labels, rest)
        labels = _restricting(self._vocabulary.pod_labels, self._labels, rest)
        pods = not self.group.outside
        addresses, unaddressed = self._address_set(next(rest)) if self._addresses else (EVERY_ADDRESS, pods)
        return EndBox(
            names=names,
            namespace_labels=spaces,
            labels_in=self.group.labels_in if spaces else None,
            labels=labels,
            addresses=addresses,
            unaddressed=unaddressed,
        )


def _restricting(layout: Layout, keys: Iterable[str], values: Iterator[frozenset[int]]) -> Conditions:
    conditions = ((key, next(values)) for key in keys)
    return tuple((key, some) for key, some in conditions if some != layout.domains[key].every)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBox:
    """The part of a box that is about the port."""

    ports: IntervalSet
    declared: tuple[DeclaredPort, ...]

    @property
    def order(self) -> tuple[object, ...]:
        """Sorts by port, then by what is declared."""
        return (self.ports.bounds, [(one.name, str(one.protocol), one.declared) for one in self.declared])


class PortAxes:
    """What may be restricted of a flow's port, by some items; `pods`: the destination may declare ports."""

    def __init__(self, encoding: Encoding, items: Sequence[PortItem], *, pods: bool) -> None:
        self._ports = list(_atoms(EVERY_PORT, [port_box(item) for item in items]))
        named = {(one.name, one.protocol) for one in items if isinstance(one, NamedPort)} if pods else set()
        self._named: list[tuple[str, Protocol]] = sorted(named, key=lambda one: (one[0], one[1].value))
        self.axes = [Axis(size=len(self._ports), term=cache(lambda values: encoding.on(self._union(values))))]
        for key in self._named:
            self.axes.append(Axis(size=2, term=partial(_declared, encoding.flow.declares[key])))

    def matching(self, items: Sequence[PortItem], *, first: int = 0) -> list[covers.Box]:
        """The ports that a rule's items match, as boxes; without items everything, port-less protocols too."""
        if not items:
            return [{}]
        numbers = union(port_box(item) for item in items if not isinstance(item, NamedPort))
        found: list[covers.Box] = [{first: self._values(numbers)}] if numbers else []
        for item in items:
            if isinstance(item, NamedPort) and (item.name, item.protocol) in self._named:
                declared = first + 1 + self._named.index((item.name, item.protocol))
                found.append({first: self._values(port_box(item)), declared: 0b10})
        return found

    def _values(self, ports: IntervalSet) -> int:
        return bits(place for place, atom in enumerate(self._ports) if atom <= ports)

    def _union(self, values: Iterable[int]) -> IntervalSet:
        return union(self._ports[value] for value in values)

    def read(self, box: Box) -> PortBox:
        """What a box, of these axes only, says of the port."""
        ports = self._union(box[0])
        declared = tuple(
            DeclaredPort(protocol=protocol, name=name, declared=1 in values)
            for (name, protocol), values in zip(self._named, box[1:], strict=True)
            if len(values) == 1
        )
        return PortBox(ports=ports, declared=declared)


def _declared(declares: z3.BoolRef, values: frozenset[int]) -> z3.BoolRef:
    return declares if 1 in values else z3.Not(declares)


def _atoms(every: IntervalSet, sets: Iterable[IntervalSet]) -> Iterator[IntervalSet]:
    """The parts of a set that some sets do not tell apart, by their least members."""
    parts = [every]
    for one in dict.fromkeys(sets):
        parts = [piece for part in parts for piece in (part & one, part - one) if piece]
    yield from sorted(parts, key=lambda part: part.first)


def _keys(boxes: Iterable[LabelBox]) -> list[str]:
    return sorted({key for box in boxes for key in box})


def described(vocabulary: Vocabulary, box: EndBox) -> EndClass:
    """What is said of an end, in the words of the input."""
    if not box.names:
        return AddressClass(addresses=box.addresses)
    names = list(vocabulary.names.indices)
    excluded = vocabulary.names.other in box.names
    shown = vocabulary.possible - box.names if excluded else box.names
    return PodClass(
        names=tuple(sorted(names[index] for index in shown)),
        excluded=excluded,
        namespace_labels=tuple(_condition(vocabulary.namespace_labels, *one) for one in box.namespace_labels),
        labels_in=box.labels_in,
        labels=tuple(_condition(vocabulary.pod_labels, *one) for one in box.labels),
        addresses=box.addresses,
        unaddressed=box.unaddressed,
    )


def _condition(layout: Layout, key: str, values: frozenset[int]) -> LabelCondition:
    domain = layout.domains[key]
    excluded = domain.other in values
    return LabelCondition(
        key=key,
        values=tuple(sorted(value for value, index in domain.indices.items() if (index in values) is not excluded)),
        excluded=excluded,
        absent=ABSENT in values,
    )
