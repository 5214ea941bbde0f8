"""Whole connectivity as a table: the ports that pass from each end to each other end.

Two tables are compared point by point, whatever blocks of addresses each is written in, and each end that a table does
not mention lets nothing through.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from npcompile.netset.cidrs import at
from npcompile.netset.intervals import EMPTY, IntervalSet, union
from npcompile.netset.ports import describe

End = str | IntervalSet  # a pod or a workload by its name, or addresses on the axis of `netset.cidrs`
Table = Mapping[tuple[End, End], IntervalSet]
_Side = list[tuple[IntervalSet, IntervalSet]]  # addresses, and the ports that pass between them and one name


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A pair of ends that two tables give different ports, as text."""

    src: str
    dst: str
    ours: IntervalSet
    theirs: IntervalSet

    def __str__(self) -> str:
        return f"{self.src} => {self.dst} : {describe(self.ours)}, not {describe(self.theirs)}"


def compare(ours: Table, theirs: Table) -> list[Difference]:
    """Every difference of two tables, in order.  Addresses have no flows among themselves."""
    found = [*_compare_names(ours, theirs), *_compare_addresses(ours, theirs)]
    return sorted(found, key=lambda one: (one.src, one.dst))


def _compare_names(ours: Table, theirs: Table) -> Iterator[Difference]:
    for src, dst in {*ours, *theirs}:
        if isinstance(src, str) and isinstance(dst, str):
            a, b = ours.get((src, dst), EMPTY), theirs.get((src, dst), EMPTY)
            if a != b:
                yield Difference(src=src, dst=dst, ours=a, theirs=b)


def _compare_addresses(ours: Table, theirs: Table) -> Iterator[Difference]:
    a, b = _by_name(ours), _by_name(theirs)
    for name, outwards in sorted({*a, *b}):
        for addresses, mine, other in _differing(a.get((name, outwards), []), b.get((name, outwards), [])):
            src, dst = (name, addresses) if outwards else (addresses, name)
            yield Difference(src=src, dst=dst, ours=mine, theirs=other)


def _by_name(table: Table) -> dict[tuple[str, bool], _Side]:
    """What passes between each name and addresses, by the name and whether it is the source."""
    found: dict[tuple[str, bool], _Side] = defaultdict(list)
    for (src, dst), ports in table.items():
        if isinstance(src, str) and isinstance(dst, IntervalSet):
            found[src, True].append((dst, ports))
        elif isinstance(src, IntervalSet) and isinstance(dst, str):
            found[dst, False].append((src, ports))
    return found


def _differing(ours: _Side, theirs: _Side) -> Iterator[tuple[str, IntervalSet, IntervalSet]]:
    """The longest ranges of addresses with one difference each, as text."""
    cuts = sorted({cut for addresses, _ in (*ours, *theirs) for cut in addresses.bounds})
    pieces = [(start, end, _at(ours, start), _at(theirs, start)) for start, end in pairwise(cuts)]
    wrong = [piece for piece in pieces if piece[2] != piece[3]]
    while wrong:
        start, end, a, b = wrong.pop(0)
        while wrong and wrong[0][0] == end and wrong[0][2:] == (a, b):
            end = wrong.pop(0)[1]
        yield f"{at(start)}-{at(end - 1)}", a, b


def _at(side: _Side, point: int) -> IntervalSet:
    return union(ports for addresses, ports in side if point in addresses)
