"""Describing a set of flows by boxes: each restricts axes on their own, and none can grow.

The flows of a set that is made of conditions on finitely many values are covered by finitely many boxes.  They are
found one after the other: the least flow that is in none yet is grown, axis by axis, as far as the set allows.  It ends
when no flow is left, so that the union of the boxes is the set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import z3

from npcompile.diagnostics.errors import InternalError
from npcompile.symbolic.encode import Encoding
from npcompile.symbolic.solve import OutOfEffortError, Query

Box = tuple[frozenset[int], ...]  # for each axis the values that it may have

LIMIT = 200  # boxes of one set: nobody reads more, and intricate sets may have more than can be counted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axis:
    """What boxes may restrict: each flow has one of `size` values, and `term` says whether it is one of some."""

    size: int
    term: Callable[[frozenset[int]], z3.BoolRef]

    @property
    def every(self) -> frozenset[int]:
        """All values."""
        return frozenset(range(self.size))


class Cover:
    """The boxes of the set of possible flows, of `scope`, for which `target` is true.

    `query` makes a query for possible flows with further constraints.  Flows that no two ends can have may lie in a
    box, and mean nothing there.
    """

    def __init__(
        self,
        encoding: Encoding,
        axes: Sequence[Axis],
        query: Callable[..., Query],
        *,
        scope: z3.BoolRef,
        target: z3.BoolRef,
    ) -> None:
        self._encoding, self._axes = encoding, axes
        self._query, self._scope, self._target = query, scope, target
        self._inside = query(scope, target)
        self._outside: Query | None = None

    def boxes(self) -> Iterator[Box]:
        """Maximal boxes that together are the set.  Raises `OutOfEffortError` where there are too many."""
        count = 0
        while self._inside.satisfiable():
            if count == LIMIT:
                raise OutOfEffortError
            box = self._grown(self._least())
            self._inside.add(z3.Not(self.term(box)))
            yield box
            count += 1

    def irredundant(self, boxes: Sequence[Box]) -> list[Box]:
        """Without those that the rest makes superfluous, the first ones being dropped first."""
        kept = list(boxes)
        for box in boxes if len(boxes) > 1 else ():
            rest = [one for one in kept if one is not box]
            if not self._query(self._scope, self.term(box), *(z3.Not(self.term(one)) for one in rest)).satisfiable():
                kept = rest
        return kept

    def term(self, box: Box) -> z3.BoolRef:
        """Whether the flow is in a box, if it is one of the scope."""
        restricted = ((axis, values) for axis, values in zip(self._axes, box, strict=True) if len(values) < axis.size)
        return self._encoding.every(axis.term(values) for axis, values in restricted)

    def _least(self) -> Box:
        """The least flow that is in no box yet, having just been told that there is one."""
        with self._inside.scope():
            return tuple(frozenset({self._first(axis)}) for axis in self._axes)

    def _first(self, axis: Axis) -> int:
        return self._inside.first_of(lambda value: axis.term(frozenset({value})), axis.size)

    def _grown(self, box: Box) -> Box:
        """A box that cannot grow.  Once an axis has all the values that it can, growing others never adds one."""
        for place in range(len(self._axes)):
            box = (*box[:place], self._possible(box, place), *box[place + 1 :])
        return box

    def _possible(self, box: Box, place: int) -> frozenset[int]:
        """All values of an axis with which, the others being as in a box, every flow is in the set."""
        if self._outside is None:
            self._outside = self._query(self._scope, z3.Not(self._target))
        outside, axis = self._outside, self._axes[place]
        values = set(axis.every - box[place])
        with outside.scope():
            outside.add(self.term((*box[:place], axis.every, *box[place + 1 :])))
            while values and outside.satisfiable(axis.term(frozenset(values))):
                refuted = {value for value in values if outside.holds(axis.term(frozenset({value})))}
                if not refuted:
                    raise InternalError("a flow has no value on an axis")
                values -= refuted
        return box[place] | values
