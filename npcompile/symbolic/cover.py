"""Describing a set of flows by boxes: each restricts axes on their own, and none can grow.

The flows of a set that is made of conditions on finitely many values are covered by finitely many boxes.  They are
found one after the other: the least flow that is in none yet is grown, axis by axis, as far as the set allows.  It ends
when no flow is left, so that the union of the boxes is the set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import z3

from npcompile.diagnostics.errors import InternalError
from npcompile.symbolic.solve import OutOfEffortError, Query

Box = tuple[frozenset[int], ...]  # for each axis the values that it may have

LIMIT = 200  # boxes of one set: nobody reads more, and intricate sets may have more than can be counted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axis:
    """What boxes may restrict: each flow has one of `size` values, and `term` says whether it is one of some."""

    size: int
    term: Callable[[frozenset[int]], z3.BoolRef]


class Covering(NamedTuple):
    """Boxes of flows of a set; all of its flows, if `complete`: else the effort did not suffice."""

    boxes: list[Box]
    complete: bool


class Cover:
    """Boxes of the flows of a query, whose axes they may restrict.

    Every flow must have one value of each axis.  Flows that the query does not have may lie in a box, and mean nothing
    there.  All questions are asked under assumptions: the values that a box leaves out are switched off.  No more boxes
    are looked for when everything in the query's context has cost more than `total`.
    """

    def __init__(self, query: Query, axes: Sequence[Axis], total: int) -> None:
        self._query, self._total = query, total
        self._has = [[query.name(axis.term(frozenset({value}))) for value in range(axis.size)] for axis in axes]
        self._lacks = [[z3.Not(literal) for literal in literals] for literals in self._has]

    def boxes(self, inside: z3.BoolRef) -> Covering:
        """Maximal boxes of which none is superfluous, and which together are the flows for which a literal is true."""
        found: list[Box] = []
        outside_of: list[z3.BoolRef] = []
        try:
            while self._query.satisfiable(switches=[inside, *outside_of]):
                if len(found) == LIMIT or self._query.spent > self._total:
                    return Covering(found, complete=False)
                found.append(self._grown(self._least([inside, *outside_of]), z3.Not(inside)))
                outside_of.append(self._query.either(_left_out(self._has, found[-1])))
            return Covering(self._irredundant(found, outside_of), complete=True)
        except OutOfEffortError:
            return Covering(found, complete=False)

    def _irredundant(self, boxes: Sequence[Box], outside_of: Sequence[z3.BoolRef]) -> list[Box]:
        """Without those that the rest makes superfluous, the first ones being dropped first."""
        kept = list(range(len(boxes)))
        for place, box in enumerate(boxes):
            rest = [one for one in kept if one != place]
            others = [outside_of[one] for one in rest]
            if rest and not self._query.satisfiable(switches=[*self.assumed(box), *others]):
                kept = rest
        return [boxes[place] for place in kept]

    def assumed(self, box: Box) -> list[z3.BoolRef]:
        """What is true of the flows in a box."""
        return _left_out(self._lacks, box)

    def _least(self, among: Sequence[z3.BoolRef]) -> Box:
        """The least flow among some, one of which was just found."""
        chosen = list(among)
        for has, lacks in zip(self._has, self._lacks, strict=True):
            value = self._value(has)
            while value and self._query.satisfiable(switches=[*chosen, *lacks[value:]]):
                value = self._value(has)
            chosen.append(has[value])
        return tuple(frozenset({self._value(has)}) for has in self._has)

    def _value(self, has: Sequence[z3.BoolRef]) -> int:
        """The value, on an axis, of the flow that was found last."""
        for value, literal in enumerate(has):
            if self._query.holds(literal):
                return value
        raise InternalError("a flow has no value on an axis")

    def _grown(self, box: Box, outside: z3.BoolRef) -> Box:
        """A box that cannot grow.  Once an axis has all the values that it can, growing others never adds one."""
        for place, (has, lacks) in enumerate(zip(self._has, self._lacks, strict=True)):
            every = frozenset(range(len(has)))
            rest = self.assumed((*box[:place], every, *box[place + 1 :]))
            known = set(box[place])  # what is in already, and what cannot be
            while self._query.satisfiable(switches=[outside, *rest, *(lacks[value] for value in known)]):
                known.add(self._value(has))
            box = (*box[:place], every - known | box[place], *box[place + 1 :])
        return box


def _left_out(literals: Sequence[Sequence[z3.BoolRef]], box: Box) -> list[z3.BoolRef]:
    """The literals of the values that a box leaves out."""
    return [
        literal
        for own, values in zip(literals, box, strict=True)
        for value, literal in enumerate(own)
        if value not in values
    ]
