"""Addresses that stand for all others, as far as policies can tell addresses apart."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from npcompile.ir.cluster import Cluster
from npcompile.netset import cidrs
from npcompile.netset.cidrs import Address
from npcompile.netset.intervals import IntervalSet
from npcompile.symbolic.vocabulary import Vocabulary, known_addresses


class StandIns(NamedTuple):
    """Addresses in order of preference: `outside` are those that no pod or node of the input has, `inside` those that
    one has.
    """

    outside: tuple[Address, ...]
    inside: tuple[Address, ...]


def stand_ins(vocabulary: Vocabulary, cluster: Cluster) -> StandIns:
    """Addresses that stand for all others, as no ipBlock separates those.

    Two of each interval where it has two, as the ends of a flow have different addresses.
    """
    known = known_addresses(cluster)
    free: list[Address] = []
    taken: list[Address] = []
    for cell in vocabulary.cells():
        first, after = cell.bounds
        inside = _slice(known, first, after)
        free += _two(cell - inside)
        taken += _two(inside)
    return StandIns(tuple(sorted(free, key=cidrs.is_special)), tuple(sorted(taken, key=cidrs.is_special)))


def _slice(values: IntervalSet, first: int, after: int) -> IntervalSet:
    """The members from first to before after, in the time of a search: `&` would read the whole set."""
    low, high = bisect_right(values.bounds, first), bisect_left(values.bounds, after)
    start = (first,) if low % 2 else ()
    end = (after,) if high % 2 else ()
    return IntervalSet((*start, *values.bounds[low:high], *end))


def _two(addresses: IntervalSet) -> Iterator[Address]:
    if addresses:
        yield (first := cidrs.representative(addresses))
        if rest := addresses - IntervalSet.of(cidrs.point(first), cidrs.point(first)):
            yield cidrs.representative(rest)
