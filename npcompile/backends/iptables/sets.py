"""The sets of an artifact: made where a line first needs one, shared by every line that means the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from npcompile.backends.iptables.inventory import Inventory, Profile, address_of
from npcompile.backends.iptables.names import Names, Part
from npcompile.backends.iptables.structure import Declared, InSet, IpSet, Members, SetKind, Side
from npcompile.ir.cluster import Pod
from npcompile.ir.labels import Selector
from npcompile.ir.policy import BlockPeer, NamedPort, PodPeer
from npcompile.netset.cidrs import Address, Family, Network, block_except, every_address, prefixes
from npcompile.netset.intervals import union

SMALLEST_MAXELEM = 65536  # the kernel's default


class SetBook:
    """The sets of one family, by what they mean."""

    def __init__(self, family: Family, inventory: Inventory, names: Names) -> None:
        self._family = family
        self._inventory = inventory
        self._names = names
        self._made: dict[tuple[str, Part], IpSet] = {}

    @property
    def sets(self) -> tuple[IpSet, ...]:
        """Every set made so far, by name."""
        return tuple(sorted(self._made.values(), key=lambda one: one.name))

    def selected(self, peers: Iterable[PodPeer], home: str, side: Side) -> InSet:
        """The packet's `side` is a pod that one of `peers` means, in a policy of the namespace `home`.

        The name tells the selectors, not the pods: a pod's restart leaves it alone.
        """
        chosen = tuple(peers)
        meaning: Part = tuple(sorted({_peer_part(peer, home) for peer in chosen}))
        if (made := self._made.get(("sel", meaning))) is None:
            pods = (pod for peer in chosen for pod in self._inventory.selected(peer, home))
            made = self._make("sel", meaning, SetKind.ADDRESSES, self._addresses(pods))
        return InSet(made.name, made.kind, side)

    def blocks(self, peers: Iterable[BlockPeer], side: Side) -> InSet | None:
        """The packet's `side` is in one of the ipBlocks; None when they hold no address of this family.

        The prefixes are disjoint.  The kernel's sets have no prefix of length 0: everything is its two halves.
        """
        members = union(block_except(peer.cidr, peer.excepts) for peer in peers) & every_address(self._family)
        if not members:
            return None
        networks = tuple(part for network in prefixes(members) for part in _storable(network))
        made = self._make("net", tuple(str(network) for network in networks), SetKind.NETWORKS, networks)
        return InSet(made.name, made.kind, side)

    def declared(self, item: NamedPort, home: str | None) -> InSet:
        """The packet goes to a port that its pod declares under the item's name and protocol.

        `home`: only pods of that namespace count; None: every pod.
        """
        scope: Part = () if home is None else (home,)
        meaning: Part = (scope, item.protocol.value, item.name)
        if (made := self._made.get(("port", meaning))) is None:
            pods = self._inventory.pods if home is None else self._inventory.in_namespace(home)
            members = {
                Declared(address, port.protocol, port.number)
                for pod in pods
                if (address := address_of(pod, self._family)) is not None
                for port in pod.ports
                if (port.name, port.protocol) == (item.name, item.protocol)
            }
            made = self._make("port", meaning, SetKind.PORTS, tuple(sorted(members, key=lambda one: one.order)))
        return InSet(made.name, made.kind, Side.DESTINATION)

    def profile(self, profile: Profile, dispatch: str, side: Side) -> InSet:
        """The packet's `side` is a pod of a profile.

        `dispatch` stands for all the profiles of the direction.  It is part of the name, so that whenever a profile
        comes or goes, new sets go with the new dispatch chain, and the old chain keeps the sets it was written for.
        Else a pod that moves to a new profile would be in none between the loading of sets and of chains.
        """
        meaning: Part = (profile.direction.value, dispatch, profile.key)
        made = self._make("pro", meaning, SetKind.ADDRESSES, self._addresses(profile.pods), isolates=True)
        return InSet(made.name, made.kind, side)

    def every_pod(self, side: Side) -> InSet:
        """The packet's `side` is a pod, isolated or not."""
        made = self._make("pod", (), SetKind.ADDRESSES, self._addresses(self._inventory.pods))
        return InSet(made.name, made.kind, side)

    def _addresses(self, pods: Iterable[Pod]) -> tuple[Address, ...]:
        found = {address for pod in pods if (address := address_of(pod, self._family)) is not None}
        return tuple(sorted(found, key=int))

    def _make(self, kind: str, meaning: Part, type_: SetKind, members: Members, *, isolates: bool = False) -> IpSet:
        key = (kind, meaning)
        if key not in self._made:
            maxelem = room_for(len(members))
            # The kernel refuses to create a set anew with another maxelem, so an unusual one is part of the name.
            named: Part = meaning if maxelem == SMALLEST_MAXELEM else (meaning, maxelem)
            name = self._names.set(self._family, kind, named)
            self._made[key] = IpSet(
                name=name, kind=type_, family=self._family, maxelem=maxelem, members=members, isolates=isolates
            )
        return self._made[key]


def room_for(members: int) -> int:
    """The `maxelem` of a set: a power of two, at least twice its members, so that old and new ones fit at once."""
    return max(SMALLEST_MAXELEM, 1 << (2 * members - 1).bit_length()) if members else SMALLEST_MAXELEM


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
