"""What two versions say of the flows between two groups of ends, as boxes over the axes of both ends and the port.

Every point of these axes stands for flows that could exist and that no policy tells apart, but for what ties the two
ends together (`assume.possible`): that their addresses are different ones of one family, and that one namespace has one
set of labels.  What these rule out are boxes, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from npcompile.ir.policy import Direction, Policy
from npcompile.ir.versions import Change, Version
from npcompile.netset.cidrs import EVERY_V4, EVERY_V6
from npcompile.netset.intervals import IntervalSet
from npcompile.questions import RuleOf
from npcompile.symbolic.covers import Box, Steps, difference, intersection
from npcompile.symbolic.end_axes import EndAxes, PortAxes
from npcompile.symbolic.pairs import Pair
from npcompile.symbolic.versions import Versions


class PairBoxes:
    """The boxes of a pair.  Their axes are those of the source, then those of the target, then those of the port."""

    def __init__(self, versions: Versions, pair: Pair, source: EndAxes, target: EndAxes, port: PortAxes) -> None:
        self._versions, self._pair = versions, pair
        self._source, self._target, self._port = source, target, port
        self._second = len(source.axes)
        self._third = self._second + len(target.axes)
        axes = (*source.axes, *target.axes, *port.axes)
        self.universe = tuple((1 << axis.size) - 1 for axis in axes)
        self.impossible = tuple(self._mixed_addresses()) + tuple(self._mixed_labels())
        self._explicit: dict[tuple[Version, tuple[str, str, str, int]], list[Box]] = {}

    def changed(self, change: Change, steps: Steps) -> tuple[list[Box], list[Box]]:
        """The possible flows that a change is about, and all other possible ones: two unions of boxes."""
        lets, keeps = change.passing, change.passing.other
        allowed = self.both_allow(lets, steps)
        denied = self.some_denies(keeps, steps)
        inside = self.possible(self.join(allowed, denied, steps), steps)
        others = [*self.some_denies(lets, steps), *self.both_allow(keeps, steps)]
        return inside, self.possible(others, steps)

    def possible(self, boxes: Iterable[Box], steps: Steps) -> list[Box]:
        """The flows of boxes that could exist."""
        return difference(boxes, self.impossible, self.universe, steps)

    def both_allow(self, version: Version, steps: Steps) -> list[Box]:
        """What both ends allow."""
        leaving, entering = (self.allowed(version, direction, steps) for direction in Direction)
        return self.join(leaving, entering, steps)

    def some_denies(self, version: Version, steps: Steps) -> list[Box]:
        """What an end denies."""
        return [box for direction in Direction for box in self.denied(version, direction, steps)]

    def allowed(self, version: Version, direction: Direction, steps: Steps) -> list[Box]:
        """What one end allows: A_D."""
        side = self._pair.sides[version][direction]
        free = difference([{}], self.isolated(version, direction), self.universe, steps)
        return [*free, *(box for of in side.rules for box in self.explicit(version, of))]

    def denied(self, version: Version, direction: Direction, steps: Steps) -> list[Box]:
        """What one end denies."""
        side = self._pair.sides[version][direction]
        explicit = [box for of in side.rules for box in self.explicit(version, of)]
        return difference(self.isolated(version, direction), explicit, self.universe, steps)

    def isolated(self, version: Version, direction: Direction) -> list[Box]:
        """The flows of which a policy isolates that end: iso_D.  A subject that lies within another one is left out."""
        kept: list[Box] = []
        for policy in self._pair.sides[version][direction].policies:
            for box in self.selected(version, direction, policy):
                if not any(_within(box, other) for other in kept):
                    kept = [*(other for other in kept if not _within(other, box)), box]
        return kept

    def selected(self, version: Version, direction: Direction, policy: Policy) -> list[Box]:
        """The flows whose end a policy selects: T_p."""
        end, first = self._end(direction)
        return self._normal(end.pods(self._versions.boxes[version].subjects(policy), first=first))

    def explicit(self, version: Version, of: RuleOf) -> list[Box]:
        """What a rule allows, explicitly: T_p and M_r."""
        key = (version, of.order)
        if key not in self._explicit:
            direction = of.rule.direction
            far, first = self._end(direction.opposite)
            known = self._versions.boxes[version].rule(of)
            peers: list[Box] = [{}] if known.peers is None else []
            for peer in known.peers or ():
                if isinstance(peer, IntervalSet):
                    peers += far.at(peer, first=first) if peer else []
                else:
                    peers += far.pods(peer.labels, peer.places, first=first)
            ports = self._port.matching(of.rule.match.ports, first=self._third)
            found = _product(_product(self.selected(version, direction, of.policy), peers), ports)
            self._explicit[key] = self._normal(found)
        return self._explicit[key]

    def join(self, one: Iterable[Box], others: Sequence[Box], steps: Steps) -> list[Box]:
        """The intersection of two unions of boxes."""
        found = []
        for box in one:
            for other in others:
                steps.spend()
                both = intersection(box, other)
                if both is not None:
                    found.append(both)
        return found

    def _end(self, direction: Direction) -> tuple[EndAxes, int]:
        """The end that policies of a direction select, and its first axis."""
        return (self._source, 0) if direction is Direction.EGRESS else (self._target, self._second)

    def _normal(self, boxes: Iterable[Box]) -> list[Box]:
        return [{axis: values for axis, values in box.items() if values != self.universe[axis]} for box in boxes]

    # What ties the ends together

    def _mixed_addresses(self) -> Iterator[Box]:
        """Ends that cannot have different addresses of one family."""
        source, target = self._source, self._target
        if not source.judged_by_address or not target.judged_by_address:
            return  # where the one can be at any address, it can be at one that goes with the other's
        near, far = source.place_of_address, self._second + target.place_of_address
        for place, atom in enumerate(source.addresses, not source.group.outside):
            apart = [n for n, other in enumerate(target.addresses, not target.group.outside) if not _meet(atom, other)]
            if apart:
                yield {near: 1 << place, far: sum(1 << one for one in apart)}

    def _mixed_labels(self) -> Iterator[Box]:
        """Ends in one namespace that is not listed, with labels of that namespace that are not the same."""
        source, target, names = self._source, self._target, self._versions.vocabulary.names
        mentioned = names.every - self._versions.vocabulary.listed - {names.other}
        for name in sorted(mentioned & source.group.names & target.group.names):
            here: dict[int, int] = {}
            for end, first in ((source, 0), (target, self._second)):
                if (place := end.place_of_name(name)) is not None:
                    here[first] = 1 << place
            there = target.places_of_namespace
            for key, axis in source.places_of_namespace.items():
                if key in there:
                    other = self._second + there[key]
                    for value in range(self.universe[axis].bit_length()):
                        yield {**here, axis: 1 << value, other: self.universe[other] & ~(1 << value)}


def _product(one: Iterable[Box], others: Sequence[Box]) -> list[Box]:
    """Combinations of boxes that restrict different axes."""
    return [{**box, **other} for box in one for other in others]


def _within(box: Box, other: Box) -> bool:
    return all(axis in box and not box[axis] & ~values for axis, values in other.items())


def _meet(one: IntervalSet, other: IntervalSet) -> bool:
    """Whether there are two different addresses of one family, one in each set."""
    for family in (EVERY_V4, EVERY_V6):
        ours, theirs = one & family, other & family
        if ours and theirs and (ours | theirs).size > 1:
            return True
    return False
