"""What `cover` does, for a set of flows that is given as boxes, and so without a solver: the same boxes come out."""

from __future__ import annotations

from collections.abc import Sequence

from npcompile.symbolic import cover
from npcompile.symbolic.bitsets import members
from npcompile.symbolic.cover import Covering
from npcompile.symbolic.covers import Box, Index, Steps, difference, intersection


def covering(inside: Sequence[Box], outside: Sequence[Box], universe: Sequence[int], steps: Steps) -> Covering:
    """Maximal boxes of which none is superfluous, and which together are all flows of `inside`.

    They may hold other points, but none of `outside`.  `universe` has all values of each axis.  Raises OutOfStepsError.
    """
    found: list[Box] = []
    others = Index(outside, universe)
    rest: list[Box] = list(inside)
    while rest:
        if len(found) == cover.LIMIT:
            return Covering([_read(box, universe) for box in found], complete=False)
        found.append(_grown(_least(rest, universe, steps), others, universe, steps))
        rest = difference(rest, found[-1:], universe, steps)
    return Covering([_read(box, universe) for box in _irredundant(found, inside, universe, steps)], complete=True)


def _least(among: Sequence[Box], universe: Sequence[int], steps: Steps) -> dict[int, int]:
    """The least point in some boxes, comparing axis after axis."""
    point: dict[int, int] = {}
    for axis, every in enumerate(universe):
        steps.spend()
        lowest = min(values & -values for values in (box.get(axis, every) for box in among))
        among = [box for box in among if box.get(axis, every) & lowest]
        point[axis] = lowest
    return point


def _grown(box: dict[int, int], others: Index, universe: Sequence[int], steps: Steps) -> Box:
    """A box that cannot grow.  Once an axis has all the values that it can, growing others never adds one."""
    for axis, every in enumerate(universe):
        steps.spend()
        sideways = {place: values for place, values in box.items() if place != axis}
        taken = 0
        for number in members(others.meeting(sideways, others.every)):
            taken |= others.boxes[number].get(axis, every)
        box[axis] |= every & ~taken
    return box


def _irredundant(boxes: Sequence[Box], inside: Sequence[Box], universe: Sequence[int], steps: Steps) -> list[Box]:
    """Without those that the rest makes superfluous, the first ones being dropped first."""
    index = Index(boxes, universe)
    kept = index.every
    for place, box in enumerate(boxes):
        own = (both for one in inside if (both := intersection(one, box)) is not None)
        if (rest := kept & ~(1 << place)) and index.covers(own, rest, steps):
            kept = rest
    return [boxes[place] for place in members(kept)]


def _read(box: Box, universe: Sequence[int]) -> cover.Box:
    return tuple(frozenset(members(box.get(axis, every))) for axis, every in enumerate(universe))
