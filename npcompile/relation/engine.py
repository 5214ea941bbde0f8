"""The relation engine: exact answers for the pods of the inventory and every address outside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from npcompile.ir.program import Program
from npcompile.questions import (
    DefeatedDeny,
    DefeatedExcept,
    DnsBlocked,
    HalfOpen,
    MixedService,
    NotDecided,
    Redundant,
    Shadowed,
    ShadowedItem,
    SplitPeer,
    Uncovered,
    Unfelt,
    Vacuous,
    WayIn,
    WideOpen,
)
from npcompile.relation import inventory
from npcompile.relation.answers import (
    defeated_denies,
    defeated_excepts,
    dns_blocked,
    half_open,
    mixed_services,
    redundant,
    shadowed,
    shadowed_items,
    split_peers,
    uncovered,
    unfelt,
    vacuous,
    ways_in,
    wide_open,
)

PIECES = 200_000


class RelationEngine:
    """Implements `questions.Engine`.

    Every answer is exact; `pieces` bounds the work on each rule or policy for the questions that could need too much.
    """

    def __init__(self, program: Program, *, pieces: int = PIECES) -> None:
        self._inventory = inventory.take(program)
        self._pieces = pieces

    def shadowed(self) -> Iterator[Shadowed | NotDecided]:
        """Rules that other rules make superfluous."""
        return iter(self._shadowed)

    def shadowed_items(self) -> Iterator[ShadowedItem | NotDecided]:
        """Peers and port items that the rest of their rule and other rules make superfluous."""
        gone = frozenset(one.subject.order for one in self._shadowed if isinstance(one, Shadowed))
        return shadowed_items.shadowed_items(self._inventory, gone, self._pieces)

    def redundant(self) -> Iterator[Redundant | NotDecided]:
        """Policies that can be removed."""
        return redundant.redundant(self._inventory, self._pieces)

    def unfelt(self) -> Iterator[Unfelt | NotDecided]:
        """Policies that decide sides of flows, and no verdict."""
        return unfelt.unfelt(self._inventory, self._pieces)

    def vacuous(self) -> Iterator[Vacuous | NotDecided]:
        """Policies and rules that match nothing."""
        return vacuous.vacuous(self._inventory)

    def half_open(self) -> Iterator[HalfOpen | NotDecided]:
        """Rules whose flows the other end denies."""
        return half_open.half_open(self._inventory)

    def wide_open(self) -> Iterator[WideOpen | NotDecided]:
        """Isolated pods that are open to everyone of a kind."""
        return wide_open.wide_open(self._inventory)

    def defeated_denies(self) -> Iterator[DefeatedDeny | NotDecided]:
        """Policies without rules whose subjects other policies open to everyone."""
        return defeated_denies.defeated_denies(self._inventory, self._pieces)

    def defeated_excepts(self) -> Iterator[DefeatedExcept | NotDecided]:
        """Excepts of ipBlocks that another rule allows again."""
        return defeated_excepts.defeated_excepts(self._inventory)

    def mixed_services(self) -> Iterator[MixedService | NotDecided]:
        """Services some of whose pods deny what others allow."""
        return mixed_services.mixed_services(self._inventory)

    def uncovered(self) -> Iterator[Uncovered | NotDecided]:
        """Holes in default-deny, by namespace and direction."""
        return uncovered.uncovered(self._inventory)

    def ways_in(self) -> Iterator[WayIn | NotDecided]:
        """What reaches pods that are isolated for ingress, and by which rule."""
        return ways_in.ways_in(self._inventory)

    def dns_blocked(self) -> Iterator[DnsBlocked | NotDecided]:
        """Pods that may send something, and cannot resolve names."""
        return dns_blocked.dns_blocked(self._inventory)

    def split_peers(self) -> Iterator[SplitPeer | NotDecided]:
        """Peers that were probably meant as one."""
        return split_peers.split_peers(self._inventory)

    @cached_property
    def _shadowed(self) -> tuple[Shadowed | NotDecided, ...]:
        return tuple(shadowed.shadowed(self._inventory, self._pieces))
