"""What opens and what closes between two groups of ends, as maximal boxes, and questions about the flows of a box.

Boxes decide (`pair_boxes`, `box_cover`), exactly; what takes them more steps than the effort is worth z3 does, and what
it cannot is not decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import z3

from npcompile.diagnostics.errors import InternalError
from npcompile.ir.policy import Direction, Policy, PortItem
from npcompile.ir.versions import Change, Version
from npcompile.questions import Example, RuleOf, Unsettled
from npcompile.symbolic import covers
from npcompile.symbolic.bitsets import bits
from npcompile.symbolic.box_cover import covering
from npcompile.symbolic.boxes import LabelBox, PeerBox
from npcompile.symbolic.cover import Box, Cover, Covering
from npcompile.symbolic.covers import OutOfStepsError, Steps, difference, intersection
from npcompile.symbolic.end_axes import EndAxes, EndBox, Group, PortAxes, PortBox, described
from npcompile.symbolic.ends import End
from npcompile.symbolic.pair_boxes import PairBoxes
from npcompile.symbolic.pairs import Pair
from npcompile.symbolic.setting import EFFORT_OF_STEP
from npcompile.symbolic.solve import OutOfEffortError, Query
from npcompile.symbolic.versions import Versions

Answer = TypeVar("Answer")


class Condition(NamedTuple):
    """Some flows between two groups, told in two ways: as boxes, and as a term."""

    boxes: Callable[[Steps], Sequence[covers.Box]]
    term: Callable[[], z3.BoolRef]


class Question:
    """What opens and what closes between two groups."""

    def __init__(self, versions: Versions, pair: Pair) -> None:
        self.versions, self.pair = versions, pair
        encoding, flow = versions.encoding, versions.encoding.flow
        self._source = self._axes(flow.src, pair.source, self._seen(Direction.EGRESS))
        self._target = self._axes(flow.dst, pair.target, self._seen(Direction.INGRESS))
        self._port = PortAxes(encoding, list(self._items()), pods=not pair.target.outside)
        self.axes = (*self._source.axes, *self._target.axes, *self._port.axes)
        self.known = PairBoxes(versions, pair, self._source, self._target, self._port)
        self._steps = versions.effort // EFFORT_OF_STEP
        self._names: dict[int, tuple[z3.BoolRef, z3.BoolRef]] = {}  # literals by their terms' numbers, and the terms

    def boxes(self, change: Change, *, solver: bool) -> tuple[list[Found], bool]:
        """Boxes of what changes, and whether they are all of it; then none of them is superfluous.

        `solver`: whether z3 may be asked where the boxes take too many steps.
        """
        try:
            found, complete = self.decided(
                lambda steps: covering(*self.known.changed(change, steps), self.known.universe, steps),
                lambda: self._by_solver(change) if solver else Covering([], complete=False),
            )
        except OutOfEffortError:
            return [], False
        return [self._read(box) for box in found], complete

    def decided(self, by_boxes: Callable[[Steps], Answer], by_solver: Callable[[], Answer]) -> Answer:
        """What boxes say, or, where that takes more steps than the effort is worth, what z3 does."""
        try:
            return by_boxes(Steps(self._steps))
        except OutOfStepsError:
            return by_solver()

    @property
    def spent(self) -> int:
        """What everything that z3 was asked in the context of the versions has cost, as far as this question knows."""
        return self.query.spent if "query" in vars(self) else 0

    def unsettled(self, change: Change) -> Unsettled:
        """That not all of it was found."""
        flow, vocabulary = self.versions.encoding.flow, self.versions.vocabulary
        ends = (self._axes(flow.src, group, ()) for group in (self.pair.source, self.pair.target))
        source, target = (
            described(vocabulary, one.read(tuple(frozenset(range(axis.size)) for axis in one.axes))) for one in ends
        )
        return Unsettled(change=change, source=source, target=target)

    # What policies say of the flows

    def explicit(self, version: Version, of: RuleOf) -> Condition:
        """What a rule allows, explicitly."""
        return Condition(
            lambda _: self.known.explicit(version, of), lambda: self.versions.encodings[version].explicit(of)
        )

    def selected(self, version: Version, direction: Direction, policy: Policy) -> Condition:
        """Whose end a policy selects."""
        encoding = self.versions.encodings[version]
        return Condition(
            lambda _: self.known.selected(version, direction, policy),
            lambda: encoding.selects(policy, encoding.subject(direction)),
        )

    def isolated(self, version: Version, direction: Direction) -> Condition:
        """Whose end some policy isolates."""
        policies = self.pair.sides[version][direction].policies
        return Condition(
            lambda _: self.known.isolated(version, direction),
            lambda: self.versions.encodings[version].isolated(direction, policies),
        )

    def allowed(self, version: Version, direction: Direction) -> Condition:
        """What one end allows."""
        side = self.pair.sides[version][direction]
        return Condition(
            lambda steps: self.known.allowed(version, direction, steps),
            lambda: self.versions.encodings[version].allowed(direction, side.policies, side.rules),
        )

    # z3

    @cached_property
    def query(self) -> Query:
        """The flows between the groups."""
        apart = [self.versions.apart()] if self._source.judged_by_address and self._target.judged_by_address else []
        return self.versions.query(*self._within(), *apart)

    def name(self, term: z3.BoolRef) -> z3.BoolRef:
        """A literal for a term."""
        number = term.get_id()
        if number not in self._names:
            self._names[number] = (self.query.name(term), term)
        return self._names[number][0]

    def _by_solver(self, change: Change) -> Covering:
        passing = change.passing
        inside = self.name(z3.And(self._allows(passing), z3.Not(self._allows(passing.other))))
        if not self.query.satisfiable(switches=[inside]):
            return Covering([], complete=True)
        return self._cover.boxes(inside)

    @cached_property
    def _cover(self) -> Cover:
        return Cover(self.query, self.axes, self.versions.total)

    def _allows(self, version: Version) -> z3.BoolRef:
        encoding, sides = self.versions.encodings[version], self.pair.sides[version]
        return encoding.every(
            encoding.allowed(direction, side.policies, side.rules) for direction, side in sides.items()
        )

    def _within(self) -> Iterator[z3.BoolRef]:
        encoding, flow = self.versions.encoding, self.versions.encoding.flow
        for end, group in ((flow.src, self.pair.source), (flow.dst, self.pair.target)):
            if group.outside:
                yield z3.Not(end.is_pod)
            else:
                yield from (end.is_pod, encoding.in_names(end, group.names))

    # Axes

    def _axes(self, end: End, group: Group, seen: Iterable[PeerBox | LabelBox]) -> EndAxes:
        return EndAxes(self.versions.encoding, self.versions.vocabulary, end, group, list(seen))

    def _seen(self, direction: Direction) -> Iterator[PeerBox | LabelBox]:
        """The boxes that policies judge an end by: the subject of this direction, and the other one's peer."""
        for version in Version:
            known, sides = self.versions.boxes[version], self.pair.sides[version]
            yield from (known.subjects(policy) for policy in sides[direction].policies)
            for of in sides[direction.opposite].rules:
                yield from known.rule(of).peers or ()

    def _items(self) -> Iterator[PortItem]:
        for sides in self.pair.sides:
            for side in sides.values():
                yield from (item for of in side.rules for item in of.rule.match.ports)

    def _read(self, box: Box) -> Found:
        first = len(self._source.axes)
        second = first + len(self._target.axes)
        return Found(
            source=self._source.read(box[:first]),
            target=self._target.read(box[first:second]),
            port=self._port.read(box[second:]),
            question=self,
            box=box,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """A box between two groups, in terms of both ends and the port; `box` is that of the question's axes."""

    source: EndBox
    target: EndBox
    port: PortBox
    question: Question
    box: Box

    @property
    def order(self) -> tuple[object, ...]:
        """Sorts by target, source and port."""
        return (self.target.order, self.source.order, self.port.order)

    def some(self, has: Sequence[Condition], lacks: Sequence[Condition]) -> bool:
        """Whether some flow of the box has all of some conditions, and none of others."""

        def by_boxes(steps: Steps) -> bool:
            left = self._less(lacks, steps)
            for condition in has:
                left = self.question.known.join(left, condition.boxes(steps), steps)
            return bool(left)

        def by_solver() -> bool:
            return self.question.query.satisfiable(switches=[*self._assumed(), *self._literals(has, lacks)])

        return self.question.decided(by_boxes, by_solver)

    def first_of(self, conditions: Sequence[Condition], lacks: Sequence[Condition] = ()) -> tuple[list[int], bool]:
        """Of the flows that have none of `lacks`: which of some conditions are the first ones that one of them has, by
        their places, and whether one of them has none.
        """

        def by_boxes(steps: Steps) -> tuple[list[int], bool]:
            left = self._less(lacks, steps)
            firsts = []
            for place, condition in enumerate(conditions):
                boxes = condition.boxes(steps)
                if any(intersection(one, box) is not None for one in left for box in boxes):
                    firsts.append(place)
                    left = difference(left, boxes, self.question.known.universe, steps)
            return firsts, bool(left)

        def by_solver() -> tuple[list[int], bool]:
            query, assumed = self.question.query, [*self._assumed(), *self._literals((), lacks)]
            firsts = []
            for place, condition in enumerate(conditions):
                literal = self.question.name(condition.term())
                if query.satisfiable(switches=[*assumed, literal]):
                    firsts.append(place)
                assumed.append(z3.Not(literal))
            return firsts, query.satisfiable(switches=assumed)

        return self.question.decided(by_boxes, by_solver)

    def example(self, direction: Direction, has: Sequence[Condition] = (), lacks: Sequence[Condition] = ()) -> Example:
        """The canonical one of the flows that `some` is about; there must be one."""
        query, versions = self.question.query, self.question.versions
        wanted = [
            *self._assumed(),
            *self._literals(has, lacks),
        ]  # outside of the scope, at whose end a name loses its meaning
        with query.scope():
            query.add(*wanted, versions.apart())
            if not query.satisfiable():
                raise InternalError("a difference without a flow")
            return versions.example(query, direction)

    def _less(self, lacks: Iterable[Condition], steps: Steps) -> list[covers.Box]:
        """The possible flows of the box that have none of some conditions."""
        known = self.question.known
        restricted = ((axis, bits(values)) for axis, values in enumerate(self.box))
        left = known.possible([{axis: own for axis, own in restricted if own != known.universe[axis]}], steps)
        for condition in lacks:
            left = difference(left, condition.boxes(steps), known.universe, steps)
        return left

    def _assumed(self) -> list[z3.BoolRef]:
        """What is true of the flows of the box."""
        restricted = zip(self.question.axes, self.box, strict=True)
        return [self.question.name(axis.term(values)) for axis, values in restricted if len(values) < axis.size]

    def _literals(self, has: Iterable[Condition], lacks: Iterable[Condition]) -> Iterator[z3.BoolRef]:
        yield from (self.question.name(condition.term()) for condition in has)
        yield from (z3.Not(self.question.name(condition.term())) for condition in lacks)
