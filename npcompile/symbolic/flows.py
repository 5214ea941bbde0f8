"""Sets of flows as boxes less boxes: whether one is empty, and its least flow.

The order of flows is that of `decode`; what is decided here is what a solver would decide about the same terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from npcompile.netset import cidrs, ports
from npcompile.netset.cidrs import Address, Family
from npcompile.netset.ports import Protocol
from npcompile.symbolic.bitsets import members
from npcompile.symbolic.covers import Box, Steps, difference, intersection
from npcompile.symbolic.space import Space
from npcompile.symbolic.vocabulary import Layout, Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    """The flows that are in `box` and in none of `without`; these say nothing of where an end is but that it is a pod,
    unless the near end need not have an address.
    """

    box: Box
    without: tuple[Box, ...] = ()
    one_namespace: bool = (
        False  # set by `Chooser`: both ends are pods of one unlisted namespace, whose labels are those of both
    )

    @staticmethod
    def of(box: Box) -> Flows:
        """All flows in a box."""
        return Flows(box=box)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndPoint:
    """One end of a flow: an address, or a pod, by the index of its namespace's name and packed labels."""

    is_pod: bool
    name: int
    namespace_labels: int
    labels: int
    address: Address | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The least flow.  `declared` are the port names under which its destination has to declare its port."""

    near: EndPoint
    far: EndPoint
    protocol: Protocol
    port: int | None
    declared: tuple[tuple[str, Protocol], ...]


class Chooser:
    """Finds least flows."""

    def __init__(
        self, space: Space, vocabulary: Vocabulary, outside: Sequence[Address], inside: Sequence[Address]
    ) -> None:
        """The addresses stand for all, in order of preference: two at least of each interval that has two.  `outside`
        are those that no pod or node of the input has.
        """
        self._space = space
        self._vocabulary = vocabulary
        self._listed = sum(1 << name for name in vocabulary.listed)
        self._outside = [(address, space.at(vocabulary.cell(address) - 1)) for address in outside]
        self._every = [*self._outside, *((address, space.at(vocabulary.cell(address) - 1)) for address in inside)]
        self._families = dict.fromkeys(Family, 0)
        seen = several = 0
        for address, cell in self._every:
            self._families[cidrs.family_of(address)] |= cell
            several |= seen & cell
            seen |= cell
        self._unknown = sum({cell & space.bare for _, cell in self._outside})
        self._single = tuple(cell for _, cell in self._every if not several & cell)

    def outside(self, family: Family | None = None) -> int:
        """Where an end is at an address that no pod or node of the input has, on the axis of where an end is."""
        return self._unknown if family is None else self._unknown & self._families[family]

    def bare(self, family: Family) -> int:
        """Where an end is an address of a family that is no pod's."""
        return self._families[family] & self._space.bare

    # Existence

    def some(self, terms: Iterable[Flows], steps: Steps, *, distinct: bool = False) -> bool:
        """Whether there is any flow; with `distinct`, one whose ends have different addresses, if any."""
        return any(self._exists(term, steps) for one in terms for term in self._tied(one, distinct=distinct))

    def _exists(self, term: Flows, steps: Steps) -> bool:
        steps.spend()
        return not term.without or bool(difference((term.box,), term.without, self._space.universe, steps))

    # What ties the ends together

    def _tied(self, term: Flows, *, distinct: bool) -> Iterator[Flows]:
        """Parts of a term, within which the ends' addresses can be chosen one by one, and namespaces' labels too."""
        without = tuple(sorted(term.without, key=len))  # those that take away most come first
        for box, one_namespace in self._same_namespace(term):
            for part in self._same_family(box, distinct=distinct):
                yield Flows(box=part, without=without, one_namespace=one_namespace)

    def _same_namespace(self, term: Flows) -> Iterator[tuple[Box, bool]]:
        """Apart where both ends are pods of one unlisted namespace: its labels must then be those of both."""
        space, box = self._space, term.box
        near, far = (box.get(space.name(far=far), space.universe[space.name(far=far)]) for far in (False, True))
        shared = near & far & ~self._listed & ~(1 << self._vocabulary.names.other)
        pairs = list(zip(space.namespace_labels(far=False), space.namespace_labels(far=True), strict=True))
        where = box.get(space.where(far=True), space.universe[space.where(far=True)])
        told = {axis for one in (box, *term.without) for axis in one}
        if not shared or not where & space.pods or told.isdisjoint(chain(*pairs)):
            yield box, False
            return
        if bare := where & space.bare:
            yield {**box, space.where(far=True): bare}, False
        where &= space.pods
        if others := far & ~shared:
            yield {**box, space.where(far=True): where, space.name(far=True): others}, False
        for name in members(shared):
            if others := near & ~(1 << name):
                apart = {space.name(far=False): others, space.name(far=True): 1 << name}
                yield {**box, **apart, space.where(far=True): where}, False
            tied = dict(box)
            for one, other in pairs:
                both = box.get(one, space.universe[one]) & box.get(other, space.universe[other])
                tied |= {one: both, other: both}
            if all(tied.values()):
                same = {space.name(far=False): 1 << name, space.name(far=True): 1 << name}
                yield {**tied, **same, space.where(far=True): where}, True

    def _same_family(self, box: Box, *, distinct: bool) -> Iterator[Box]:
        """Apart by family where both ends have addresses, and where the only address of an interval is one end's."""
        space = self._space
        near_axis, far_axis = space.where(far=False), space.where(far=True)
        near = box.get(near_axis, space.universe[near_axis])
        far = box.get(far_axis, space.universe[far_axis])
        if near & space.no_address:
            yield {**box, near_axis: space.no_address}  # nothing is said of an address that it need not have
            return
        if unaddressed := far & space.no_address:
            yield {**box, far_axis: unaddressed}
        for cells in self._families.values():
            ours, theirs = near & cells, far & cells
            for cell in self._single if distinct else ():
                if ours & cell and theirs & cell:
                    if rest := theirs & ~cell:
                        yield {**box, near_axis: ours & cell, far_axis: rest}
                    ours &= ~cell
            if ours and theirs:
                yield {**box, near_axis: ours, far_axis: theirs}

    # The least flow

    def least(
        self,
        terms: Iterable[Flows],
        steps: Steps,
        *,
        near_is_destination: bool,
        outside: bool = False,
        distinct: bool = False,
    ) -> Point | None:
        """The least flow, if there is any; `outside`: with an address that no pod or node of the input has."""
        space = self._space
        tied = (part for one in terms for part in self._tied(one, distinct=distinct))
        search = _Search(space=space, steps=steps, terms=[term for term in tied if self._exists(term, steps)])
        if not search.terms:
            return None
        near = self._pod(search, far=False)
        far: tuple[int, int, int] | None = None
        if not search.prefer(space.where(far=True), space.bare):
            search.prefer(space.name(far=True), 1 << near[0])
            far = self._pod(search, far=True)
        protocol, port = ports.at(space.port_cuts[search.least(space.port)])
        order = (False, True)
        declared: tuple[tuple[str, Protocol], ...] = ()
        ends: list[Address | None] = []
        for is_far in order:
            is_pod = not is_far or far is not None
            if is_pod and is_far is not near_is_destination:
                declared = tuple(name for name, axis in space.declares.items() if search.least(axis) == 1)
            taken = ends[0] if ends and distinct else None
            ends.append(self._address(search, self._outside if outside else self._every, far=is_far, taken=taken))
        return Point(
            near=_end(near, ends[0]),
            far=_end(far, ends[1]),
            protocol=protocol,
            port=port,
            declared=declared if port is not None else (),
        )

    def _pod(self, search: _Search, *, far: bool) -> tuple[int, int, int]:
        """The name, the labels of the namespace and the pod's own labels, the last two packed."""
        space, vocabulary = self._space, self._vocabulary
        name = search.least(space.name(far=far))
        labels = _packed(vocabulary.pod_labels, map(search.least, space.labels(far=far)))
        if name in vocabulary.listed:
            return name, 0, labels
        return name, _packed(vocabulary.namespace_labels, map(search.least, space.namespace_labels(far=far))), labels

    def _address(
        self, search: _Search, addresses: Sequence[tuple[Address, int]], *, far: bool, taken: Address | None
    ) -> Address | None:
        space = self._space
        axis = space.where(far=far)
        if search.prefer(axis, space.no_address):
            return None
        left = search.left(axis)
        for address, cell in addresses:
            if left & cell and address != taken and search.prefer(axis, cell):
                return address
        return None


@dataclass(slots=True, kw_only=True)
class _Search:
    """The flows that are left while the least one is chosen, value by value."""

    space: Space
    steps: Steps
    terms: list[Flows]

    def prefer(self, axis: int, values: int) -> bool:
        """Keep the flows with one of these values, if there are any."""
        kept = [part for term in self.terms if (part := self._cut(term, axis, values)) is not None]
        if not kept:
            return False
        self.terms = kept
        return True

    def least(self, axis: int) -> int:
        """Choose the least value that some flow has."""
        everything = self.space.universe[axis]
        if not any(axis in box for term in self.terms for box in (term.box, *term.without)):
            return (everything & -everything).bit_length() - 1
        return next(value for value in members(self.left(axis)) if self.prefer(axis, 1 << value))

    def left(self, axis: int) -> int:
        """At least the values that some flow has."""
        found = 0
        for term in self.terms:
            found |= term.box.get(axis, self.space.universe[axis])
        return found

    def _cut(self, term: Flows, axis: int, values: int) -> Flows | None:
        """The flows of a term that have one of some values."""
        wanted = dict.fromkeys((axis, *self._twins(term, axis)), values)
        box = intersection(term.box, wanted)
        if box is None:
            return None
        without = tuple(other for other in term.without if intersection(box, other) is not None)
        if without and not difference((box,), without, self.space.universe, self.steps):
            return None
        return replace(term, box=box, without=without)

    def _twins(self, term: Flows, axis: int) -> Iterator[int]:
        space = self.space
        if term.one_namespace:
            pairs = zip(space.namespace_labels(far=False), space.namespace_labels(far=True), strict=True)
            yield from (other for pair in pairs if axis in pair for other in pair if other != axis)


def _end(pod: tuple[int, int, int] | None, address: Address | None) -> EndPoint:
    name, namespace_labels, labels = pod or (0, 0, 0)
    return EndPoint(
        is_pod=pod is not None, name=name, namespace_labels=namespace_labels, labels=labels, address=address
    )


def _packed(layout: Layout, values: Iterable[int]) -> int:
    return sum(value << layout.offsets[key] for key, value in zip(layout.domains, values, strict=True))
