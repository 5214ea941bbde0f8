"""Boxes that cover a box, against counting points."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.symbolic.bitsets import members, runs
from npcompile.symbolic.covers import Box, Index, OutOfStepsError, Steps, absorbed, difference, minus

UNIVERSE = (0b111, 0b1111, (1 << 40) - 1)  # the last axis has more restrictions than are looked at one by one
POINTS = [dict(enumerate(point)) for point in product(range(3), range(4), range(40))]


def boxes() -> st.SearchStrategy[Box]:
    """Boxes, on the last axis mostly runs of values."""
    run = st.tuples(st.integers(0, 39), st.integers(1, 20)).map(lambda one: ((1 << one[1]) - 1 << one[0]) & UNIVERSE[2])
    values = (
        st.integers(1, UNIVERSE[0]),
        st.integers(1, UNIVERSE[1]),
        st.one_of(run, run, st.integers(1, UNIVERSE[2])),
    )
    return st.fixed_dictionaries({}, optional=dict(enumerate(values)))


def inside(box: Box) -> Iterator[int]:
    """The numbers of the points in a box."""
    for number, point in enumerate(POINTS):
        if all(values >> point[axis] & 1 for axis, values in box.items()):
            yield number


@settings(max_examples=200, deadline=None)
@given(boxes(), st.lists(boxes(), max_size=60), st.integers(0))
def test_what_is_outside_is_outside(box: Box, others: list[Box], among: int) -> None:
    index = Index(others[:30], UNIVERSE)
    index.add(others[30:])
    among &= index.every
    chosen = [others[number] for number in members(among)]
    left = set(inside(box)).difference(*map(inside, chosen))
    found = index.outside(box, among, Steps(10_000))
    assert (found is None) == (not left)
    assert found is None or set(inside(found)) <= left
    assert set().union(*map(inside, difference([box], chosen, UNIVERSE, Steps(10_000)))) == left
    points = set(inside(box))
    assert list(members(index.meeting(box, among))) == [n for n in members(among) if points & set(inside(others[n]))]
    assert list(members(index.containing(box, among))) == [
        n for n in members(among) if points <= set(inside(others[n]))
    ]


@settings(max_examples=200, deadline=None)
@given(boxes(), st.lists(boxes(), max_size=60), st.integers(0), st.integers(0))
def test_what_is_outside_and_within(box: Box, others: list[Box], among: int, within: int) -> None:
    index = Index(others, UNIVERSE)
    among, within = among & index.every, within & index.every
    chosen, wanted = ([set(inside(others[number])) for number in members(some)] for some in (among, within))
    left = set(inside(box)).difference(*chosen)
    found = index.outside(box, among, Steps(10_000), within)
    assert (found is None) == (not left & set().union(*wanted))
    assert found is None or set(inside(found)) <= left
    assert found is None or set(inside(found)) & set().union(*wanted)
    parts = [set(inside(part)) for part in index.parts(box, among, Steps(10_000), within)]
    assert sum(map(len, parts)) == len(set().union(*parts))
    assert left & set().union(*wanted) <= set().union(*parts) <= left
    assert all(part & set().union(*wanted) for part in parts)
    assert set().union(*map(inside, index.parts(box, among, Steps(10_000)))) == left


@settings(max_examples=100, deadline=None)
@given(boxes(), boxes())
def test_the_parts_of_a_difference_are_disjoint(box: Box, other: Box) -> None:
    parts = [set(inside(part)) for part in minus(box, other, UNIVERSE)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(set(inside(box)) - set(inside(other)))


@settings(max_examples=100, deadline=None)
@given(st.lists(boxes(), max_size=60))
def test_absorbed_boxes_are_part_of_others(some: list[Box]) -> None:
    some += some[: len(some) // 2]
    points = [set(inside(box)) for box in some]
    wider = (
        any(own < other or (own == other and before < number) for before, other in enumerate(points))
        for number, own in enumerate(points)
    )
    assert absorbed(some, UNIVERSE) == [box for box, one in zip(some, wider, strict=True) if not one]


@given(st.integers(0, 1 << 70))
def test_runs(values: int) -> None:
    found = list(runs(values))
    assert sum((1 << last + 1) - (1 << first) for first, last in found) == values
    assert all(one[1] + 1 < other[0] for one, other in pairwise(found))


@given(st.one_of(st.integers(0, 1 << 70), st.integers(1 << 500, 1 << 600)))
def test_members(values: int) -> None:
    found = list(members(values))
    assert found == sorted(found)
    assert sum(1 << one for one in found) == values


def test_steps_are_bounded() -> None:
    index = Index([{0: 1}], UNIVERSE)
    with pytest.raises(OutOfStepsError):
        index.outside({}, index.every, Steps(0))
