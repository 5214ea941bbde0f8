"""The bytes of map entries, as `bpf_templates/layout.h` declares them; a test compares both through the object's BTF.

Numbers are in the machine's byte order, addresses and ports in the network's.  What a generation means is an *image*:
by map, the keys with their slots' bytes.  A value in the kernel, or a table, holds two slots, of which the low bit of
the generation chooses.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from npcompile.netset.cidrs import Address, Family, family_of
from npcompile.netset.ports import Protocol
from npcompile.readers.bpf_lookup import identity_of
from npcompile.readers.bpf_maps import Endpoint, Entry, Maps, Special
from npcompile.runtime.bpf.packed import Packed, Slots, Spread

OWN_NODE = 0x8000_0000
MIXED = 0xFFFF_FFFF
_NUMBERS = {None: 0, Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
_PORTS = 1 << 16
_EVERY_PORT = 0  # in a key of `np_policy`
_MOST_AS_ADDRESSES = 1 << 20  # networks; with as many addresses, which `emit` allows, they fit into one table
_RANGE_KEY = struct.Struct("=IIH")  # and the port
_PORT_BITS = 16

Image = Mapping[str, Slots]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What holds two slots a value, of `slot` bytes each.  A trie's keys are prefixes, behind their length in bits."""

    name: str
    slot: int
    trie: bool = True

    def value(self, slots: tuple[bytes, bytes]) -> bytes:
        """The bytes of a value."""
        return b"".join(slots)

    def split(self, value: bytes) -> tuple[bytes, bytes]:
        """The inverse."""
        return value[: self.slot], value[self.slot :]


_ENDPOINT = struct.Struct("=IIIIII4s16s")

INTERFACES = Spread(name="np_endpoints", words=1)
ENDPOINTS = Table(name=INTERFACES.name, slot=_ENDPOINT.size, trie=False)
RANGES = Table(name="np_ranges", slot=4)
ADDRESSES = {
    Family.V4: Packed(name="np_addresses4", words=1),
    Family.V6: Packed(name="np_addresses6", words=4),
}
NETWORKS = {
    Family.V4: Table(name="np_networks4", slot=4),
    Family.V6: Table(name="np_networks6", slot=4),
}
CLASSES = Packed(name="np_classes", words=2)
POLICY = Packed(name="np_policy", words=3)
TRIES = (*NETWORKS.values(), RANGES)
TABLES = (ENDPOINTS, *TRIES)
PACKED = (*ADDRESSES.values(), CLASSES, POLICY)
HASHED = (INTERFACES, *PACKED)  # in the order of `enum table`
NAMES = (*(table.name for table in TABLES), *(packed.name for packed in PACKED))


def word(number: int) -> bytes:
    """A 32-bit number in the machine's byte order."""
    return struct.pack("=I", number)


def pack(maps: Maps, interfaces: Mapping[str, int], node_addresses: frozenset[Address] = frozenset()) -> Image:
    """The image of an artifact: `interfaces` are those of bound pods; the node has `node_addresses`, too.

    Networks of one address are found faster as addresses.  Of IPv6 they are not among those: what is, neighbour
    discovery takes for the cluster's own.
    """
    image: dict[str, dict[bytes, bytes]] = {name: {} for name in NAMES}
    ranged = {ruleset for (ruleset, _), entries in maps.policy.items() if any(_is_range(one) for one in entries)}
    for one in maps.endpoints.values():
        if one.pod in interfaces:
            image[ENDPOINTS.name][word(interfaces[one.pod])] = _endpoint(one, maps, ranged)
    own = node_addresses | set(maps.node_addresses)
    for address in {*maps.addresses, *own}:
        number = identity_of(maps, address) | (OWN_NODE if address in own else 0)
        image[ADDRESSES[family_of(address)].name][address.packed] = word(number)
    as_addresses = len(maps.networks) <= _MOST_AS_ADDRESSES
    for network, identity in maps.networks.items():
        address, family = network.network_address, family_of(network)
        if family is Family.V4 and network.prefixlen == network.max_prefixlen and as_addresses:
            image[ADDRESSES[family].name].setdefault(address.packed, word(identity))
        else:
            image[NETWORKS[family].name][word(network.prefixlen) + address.packed] = word(identity)
    for (ruleset, identity), peer_class in maps.classes.items():
        image[CLASSES.name][struct.pack("=II", ruleset, identity)] = word(peer_class)
    for (ruleset, peer_class), entries in maps.policy.items():
        for entry in entries:
            table, key = _entry_key(ruleset, peer_class, entry)
            image[table.name][key] = _rule(entry)
    return image


def _endpoint(one: Endpoint, maps: Maps, ranged: set[int]) -> bytes:
    at = {family_of(address): address for address in one.addresses}
    return _ENDPOINT.pack(
        one.id,
        (one.egress in ranged) | (one.ingress in ranged) << 1,
        one.egress,
        one.ingress,
        *(maps.addresses[at[family]] if family in at else 0 for family in Family),
        *(at[family].packed if family in at else b"" for family in Family),
    )


def unisolated(endpoint: bytes) -> bytes:
    """The slot of an endpoint as if no policy isolated it."""
    number, _, _, _, *rest = _ENDPOINT.unpack(endpoint)
    return _ENDPOINT.pack(number, 0, 0, 0, *rest)


def whose(endpoint: bytes) -> tuple[int, bytes]:
    """Of the slot of an endpoint: its number, and its addresses."""
    number, *_, address4, address6 = _ENDPOINT.unpack(endpoint)
    return number, address4 + address6


def _is_range(entry: Entry) -> bool:
    return 1 < entry.last - entry.first + 1 < _PORTS


def _entry_key(ruleset: int, peer_class: int, entry: Entry) -> tuple[Table | Packed, bytes]:
    """Where an entry is: blocks of ports are in a trie, and single ports and all of them in a table."""
    protocol = _NUMBERS[entry.protocol]
    if _is_range(entry):
        bits = _PORT_BITS - (entry.last - entry.first).bit_length()
        length = word(8 * _RANGE_KEY.size + bits)
        return RANGES, length + _RANGE_KEY.pack(ruleset, peer_class, protocol) + struct.pack("!H", entry.first)
    port = entry.first if entry.first == entry.last else _EVERY_PORT
    return POLICY, struct.pack("=II", ruleset, peer_class) + struct.pack("!HBx", port, protocol)


def _rule(entry: Entry) -> bytes:
    match entry.rule:
        case Special.SERVICE_MIXED:
            return word(MIXED)
        case int():
            return word(entry.rule)
        case _:
            assert_never(entry.rule)


def seen(table: Table, image: Slots, key: bytes) -> bytes:
    """What a slot must say at a key for the map to mean the image: zeros where nothing does.

    An entry of a trie hides those with shorter prefixes from the slot in which it does not exist.  So there it repeats
    what they say.
    """
    nothing = bytes(table.slot)
    if not table.trie or key in image:
        return image.get(key, nothing)
    length, data = struct.unpack("=I", key[:4])[0], int.from_bytes(key[4:])
    bits = 8 * (len(key) - 4)
    for shorter in range(length - 1, -1, -1):
        masked = data >> (bits - shorter) << (bits - shorter)
        if found := image.get(word(shorter) + masked.to_bytes(bits // 8)):
            return found
    return nothing
