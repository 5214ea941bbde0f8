"""The sets of an artifact: made where a line first needs one, shared by every line that means the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from npcompile.backends.filters.inventory import Inventory, Profile, addresses_of, in_family
from npcompile.backends.filters.matches import Declared, FilterSet, InSet, Members, SetKind, Side
from npcompile.backends.filters.names import BLOCKS, Names, Part
from npcompile.ir.labels import Selector
from npcompile.ir.policy import BlockPeer, NamedPort, PodPeer
from npcompile.netset.cidrs import Family, Network, block_except, every_address, prefixes
from npcompile.netset.intervals import union


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How large a target makes sets that it cannot enlarge later.

    `usual`: the size that most sets have; a set of another size gets a name of its own.  `of`: the size for a number
    of members, at least `usual`.
    """

    usual: int
    of: Callable[[int], int]


class SetBook:
    """The sets of one family, by what they mean.  `capacity` None: the target's sets have no bound."""

    def __init__(self, family: Family, inventory: Inventory, names: Names, capacity: Capacity | None = None) -> None:
        self.family = family
        self._inventory = inventory
        self._names = names
        self._capacity = capacity
        self._made: dict[tuple[str, Part], FilterSet] = {}
        self._profiles: dict[str, Profile] = {}

    @property
    def sets(self) -> tuple[FilterSet, ...]:
        """Every set made so far, by name."""
        return tuple(sorted(self._made.values(), key=lambda one: one.name))

    @property
    def profiles(self) -> tuple[tuple[str, Profile], ...]:
        """The sets that hold the pods of one profile, by name."""
        return tuple(sorted(self._profiles.items(), key=lambda item: item[0]))

    def selected(self, peers: Iterable[PodPeer], home: str, side: Side) -> InSet:
        """The packet's `side` is a pod that one of `peers` means, in a policy of the namespace `home`.

        The name tells the selectors, not the pods: a pod's restart leaves it alone.
        """
        chosen = tuple(peers)
        meaning: Part = tuple(sorted({_peer_part(peer, home) for peer in chosen}))
        if (made := self._made.get(("sel", meaning))) is None:
            members = in_family(self._inventory.selected(chosen, home), self.family)
            made = self._make("sel", meaning, SetKind.ADDRESSES, members)
        return self._asked(made, side)

    def blocks(self, peers: Iterable[BlockPeer], side: Side) -> InSet | None:
        """The packet's `side` is in one of the ipBlocks; None when they hold no address of this family.

        The prefixes are disjoint.  The kernel's sets have no prefix of length 0: everything is its two halves.
        """
        members = union(block_except(peer.cidr, peer.excepts) for peer in peers) & every_address(self.family)
        if not members:
            return None
        networks = tuple(part for network in prefixes(members) for part in _storable(network))
        made = self._make(BLOCKS, tuple(str(network) for network in networks), SetKind.NETWORKS, networks)
        return self._asked(made, side)

    def declared(self, item: NamedPort, home: str | None) -> InSet:
        """The packet goes to a port that its pod declares under the item's name and protocol.

        `home`: only pods count that policies of that namespace can isolate here; None: every pod.
        """
        scope: Part = () if home is None else (home,)
        meaning: Part = (scope, item.protocol.value, item.name)
        if (made := self._made.get(("port", meaning))) is None:
            pods = self._inventory.pods if home is None else self._inventory.subjects_of(home)
            members = {
                Declared(address, port.protocol, port.number)
                for pod in pods
                for port in pod.ports
                if (port.name, port.protocol) == (item.name, item.protocol)
                for address in addresses_of((pod,), self.family)
            }
            made = self._make("port", meaning, SetKind.PORTS, tuple(sorted(members, key=lambda one: one.order)))
        return self._asked(made, Side.DESTINATION)

    def profile(self, profile: Profile, dispatch: str, side: Side) -> InSet:
        """The packet's `side` is a pod of a profile.

        `dispatch` stands for all the profiles of the direction.  It is part of the name, so that whenever a profile
        comes or goes, new sets go with the new dispatch chain, and the old chain keeps the sets it was written for.
        Else a pod that moves to a new profile would be in none between the loading of sets and of chains.
        """
        meaning: Part = (profile.direction.value, dispatch, profile.key)
        made = self._make("pro", meaning, SetKind.ADDRESSES, addresses_of(profile.pods, self.family), isolates=True)
        self._profiles[made.name] = profile
        return self._asked(made, side)

    def group(self, profiles: Sequence[Profile], dispatch: str, side: Side) -> InSet:
        """The packet's `side` is a pod of one of the profiles, which stand next to each other in the dispatch."""
        pods = [pod for one in profiles for pod in one.pods]
        meaning: Part = (side.value, dispatch, profiles[0].key)
        made = self._make("grp", meaning, SetKind.ADDRESSES, addresses_of(pods, self.family), isolates=True)
        return self._asked(made, side)

    def every_pod(self, side: Side) -> InSet:
        """The packet's `side` is a pod of the node, isolated or not."""
        made = self._make("pod", (), SetKind.ADDRESSES, addresses_of(self._inventory.subjects, self.family))
        return self._asked(made, side)

    def both_in(self, kind: str) -> tuple[InSet, InSet]:
        """Both ends of the packet are in a set that has no members, until a loader needs it."""
        made = self._make(kind, (), SetKind.ADDRESSES, ())
        return self._asked(made, Side.SOURCE), self._asked(made, Side.DESTINATION)

    def _make(self, kind: str, meaning: Part, type_: SetKind, members: Members, *, isolates: bool = False) -> FilterSet:
        if (made := self._made.get((kind, meaning))) is None:
            capacity = self._capacity.of(len(members)) if self._capacity else None
            unusual = self._capacity is not None and capacity != self._capacity.usual
            named: Part = (meaning, capacity or 0) if unusual else meaning
            name = self._names.set(self.family, kind, named)
            made = self._made[kind, meaning] = FilterSet(
                name=name, kind=type_, family=self.family, members=members, capacity=capacity, isolates=isolates
            )
        return made

    def _asked(self, made: FilterSet, side: Side) -> InSet:
        return InSet(made.name, made.kind, made.family, side)


def _storable(network: Network) -> Iterator[Network]:
    """The network, or its halves where it is everything."""
    return iter((network,)) if network.prefixlen else iter(network.subnets())


def _peer_part(peer: PodPeer, home: str) -> tuple[str, Part, Part]:
    """What a peer means, `home` being the policy's namespace."""
    if peer.namespaces is None:
        return ("own", home, _selector_part(peer.pods))
    return ("any", _selector_part(peer.namespaces), _selector_part(peer.pods))


def _selector_part(selector: Selector) -> Part:
    return tuple(sorted((one.key, one.operator.value, one.values) for one in selector.requirements))
