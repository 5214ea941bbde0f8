"""From addresses to identities: prefixes, and an entry for each address that they would say something else of."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from npcompile.backends.bpf.classes import Classes
from npcompile.netset.cidrs import EVERY_V4, EVERY_V6, Address, Family, Network, at, point, prefixes
from npcompile.passes.assign_identities import Identities, OutsideIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressTables:
    """Addresses and networks, in order, each with the number of its identity."""

    addresses: tuple[tuple[Address, int], ...]
    networks: tuple[tuple[Network, int], ...]


def address_tables(identities: Identities, classes: Classes, named: Set[Address]) -> AddressTables:
    """The fewest entries; `named` addresses have one each in any case."""
    networks, around = _networks(identities, classes)
    known = dict(_known(identities, classes)) | {point(one): number for one, number in classes.fronts.items()}
    always = {point(one) for one in named}
    return AddressTables(
        addresses=tuple(
            (at(place), number)
            for place, number in sorted(known.items())
            if place in always or number != around[identities.atoms.of(place)]
        ),
        networks=networks,
    )


def _networks(identities: Identities, classes: Classes) -> tuple[tuple[tuple[Network, int], ...], list[int]]:
    """The networks with an entry, and what prefixes say of the addresses of each atom, by its place."""
    plain = {
        one.atom: classes.identity[number]
        for number, one in enumerate(identities.order)
        if isinstance(one, OutsideIdentity) and not one.nodes
    }
    said: list[int] = []
    entries: list[tuple[Network, int]] = []
    for atom, parent in zip(identities.atoms.order, identities.atoms.parents, strict=True):
        outer = said[parent] if parent >= 0 else classes.everywhere_0
        number = plain.get(atom, outer)  # where every address is known, prefixes need not say anything
        if number != outer:
            entries.append((atom.network or _everything(atom.family), number))
        said.append(number)
    return tuple(entries), said


def _everything(family: Family) -> Network:
    return next(prefixes(EVERY_V4 if family is Family.V4 else EVERY_V6))


def _known(identities: Identities, classes: Classes) -> Iterator[tuple[int, int]]:
    """The addresses of pods and nodes, as points on the axis of `netset.cidrs`."""
    for number, one in enumerate(identities.order):
        if not isinstance(one, OutsideIdentity):
            yield from ((point(a), classes.identity[number]) for _, a in one.members if a is not None)
        elif one.nodes:
            for first, last in one.addresses:
                yield from ((place, classes.identity[number]) for place in range(first, last + 1))
