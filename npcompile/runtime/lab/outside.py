"""Which hosts outside the cluster a lab needs to see every ipBlock of the policies from both sides.

The first and last addresses of the blocks and of their `except` cut the address space into pieces that lie either
inside or outside of each.  A host has the first free address of a piece: so the address just behind a block is tried
beside the first one in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from npcompile.ir.program import Program
from npcompile.netset.cidrs import (
    SPECIAL,
    Address,
    Family,
    at,
    block,
    every_address,
    family_of,
    point,
)
from npcompile.netset.intervals import IntervalSet, union
from npcompile.runtime.lab.settle import addresses, blocks

MOST_HOSTS = 32
# IPv4's link-local addresses are routed in a lab like any other: clouds have their metadata services there, which
# policies often except.
UNUSABLE = SPECIAL - block(IPv4Network("169.254.0.0/16"))
"""The addresses that no host of a lab can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The addresses of the hosts, and how many more the policies tell apart."""

    addresses: tuple[Address, ...]
    left_out: int


def outside(program: Program) -> Outside:
    """Hosts for a settled program, in the families of its pods; of 32 at most, those first that are in other blocks
    than any before.
    """
    cluster = program.cluster
    inside = union(IntervalSet.of(point(address), point(address)) for address in addresses(cluster))
    families = sorted({family_of(address) for pod in cluster.pods for address in pod.addresses})
    networks = sorted({block(one) for one in blocks(program)}, key=lambda one: one.bounds)
    new: list[Address] = []
    others: list[Address] = []
    seen: set[tuple[Family, frozenset[int]]] = set()
    for family in families:
        for piece in _pieces(family, networks):
            free = piece - inside - UNUSABLE
            if free:
                kind = (family, frozenset(i for i, one in enumerate(networks) if free.first in one))
                (others if kind in seen else new).append(at(free.first))
                seen.add(kind)
    chosen = [*new, *others][:MOST_HOSTS]
    return Outside(addresses=tuple(sorted(chosen, key=point)), left_out=len(new) + len(others) - len(chosen))


def _pieces(family: Family, networks: list[IntervalSet]) -> Iterator[IntervalSet]:
    everything = every_address(family)
    ((first, last),) = everything
    cuts = {first, *(cut for one in networks for cut in one.bounds if cut in everything)}
    starts = sorted(cuts)
    for start, following in zip(starts, [*starts[1:], last + 1], strict=True):
        yield IntervalSet.of(start, following - 1)
