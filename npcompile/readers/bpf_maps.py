"""Reads `maps.json` (docs/datapath.md): the entries of the BPF datapath's maps.

Strict: whatever the loader would not pack, and whatever this does not know, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Address, Network, family_of
from npcompile.netset.ports import Protocol
from npcompile.readers.problems import Problems, decode

_LONGEST_LINE = 1 << 20
_LARGEST = (1 << 31) - 1
LAST_PORT = (1 << 16) - 1
_K = TypeVar("_K")
_V = TypeVar("_V")
_PROTOCOLS = {str(protocol): protocol for protocol in Protocol if protocol.has_ports}


class Special(Enum):
    """What a policy entry may say in a rule's place."""

    SERVICE_MIXED = "service-mixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A pod of the node; a ruleset of 0 does not isolate it."""

    pod: str
    id: int
    egress: int
    ingress: int
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A policy entry of one ruleset and class: ports from `first` to `last` of a protocol (None: of every one)."""

    protocol: Protocol | None
    first: int
    last: int
    rule: int | Special


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruleset:
    """A ruleset's direction, and the manifest's key of the least policy that isolates."""

    direction: Direction
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """The maps of one node.  `policy` is by (ruleset, class), `classes` by (ruleset, identity).

    Every number that an entry mentions is defined, and every endpoint's rulesets are of the right direction.
    """

    node: str | None
    node_addresses: tuple[Address, ...]
    features: Mapping[str, object]
    endpoints: Mapping[str, Endpoint]
    addresses: Mapping[Address, int]
    networks: Mapping[Network, int]
    classes: Mapping[tuple[int, int], int]
    policy: Mapping[tuple[int, int], tuple[Entry, ...]]
    rulesets: Mapping[int, Ruleset]
    rules: Mapping[int, str]


class _OddError(Exception):
    """Something of an entry that is not as it must be; the text says what."""


def read_maps(data: bytes, path: str = "maps.json") -> Maps:
    """Read the file; raises ReadingError with all that is wrong with it."""
    problems = decode(data, path, longest_line=_LONGEST_LINE)
    problems.raise_any()
    try:
        document = json.loads(problems.file.text, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        problems.add(error.lineno, f"not JSON: {error.msg.lower()}", column=error.colno)
    except _OddError as odd:
        problems.add(1, str(odd))
    problems.raise_any()
    return _Reading(problems).maps(document)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _OddError(f"a key stands twice in {dict(pairs)}")
    return dict(pairs)


def _no_constant(word: str) -> Any:
    raise _OddError(f"`{word}` is not JSON")


_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "endpoints": ("pod", "id", "egress", "ingress", "addresses"),
    "addresses": ("address", "identity"),
    "networks": ("network", "identity"),
    "classes": ("ruleset", "identity", "class"),
    "policy": ("ruleset", "class", "protocol", "ports", "rule"),
    "rulesets": ("id", "direction", "origin"),
    "rules": ("id", "origin"),
}
_FEATURES = {"ipv6": bool, "sctp": bool, "events": bool, "established": str}


def entry_lines(data: bytes) -> Iterator[tuple[str, int, Mapping[str, object]]]:
    """(section, line, entry) of each entry that has a line of its own, as all have that were emitted."""
    section = ""
    for number, line in enumerate(data.decode().split("\n"), 1):
        if line.startswith('"'):
            section = line[1:].partition('"')[0]
        elif line.startswith("  {"):
            yield section, number, json.loads(line.rstrip(","))


class _Reading:
    """One document on its way to `Maps`."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def maps(self, document: Any) -> Maps:
        wanted = {"version", "node", "features", *_SECTIONS}
        if not isinstance(document, dict) or set(document) != wanted:
            self._problems.add(1, f"the document must have exactly these keys: {', '.join(sorted(wanted))}")
        self._problems.raise_any()
        if document["version"] != 1 or isinstance(document["version"], bool):
            self._problems.add(1, f"version {document['version']!r} is not known")
        node, features = document["node"], document["features"]
        if not _shaped(node, {"name": (str, type(None)), "addresses": list}):
            self._problems.add(1, "`node` must have a name and addresses")
        if not _shaped(features, _FEATURES) or features["established"] not in ("keep", "recheck"):
            self._problems.add(1, "`features` must say ipv6, sctp, events, and established (keep or recheck)")
        self._problems.raise_any()
        rulesets = self._table("rulesets", document, lambda e: (_number(e["id"]), _ruleset(e)))
        rules = self._table("rules", document, lambda e: (_number(e["id"]), _text(e["origin"])))
        maps = Maps(
            node=node["name"],
            node_addresses=tuple(self._items("node.addresses", node["addresses"], _address)),
            features=features,
            endpoints=self._table("endpoints", document, lambda e: (_text(e["pod"]), _endpoint(e))),
            addresses=self._table("addresses", document, lambda e: (_address(e["address"]), _number(e["identity"]))),
            networks=self._table("networks", document, lambda e: (_network(e["network"]), _number(e["identity"]))),
            classes=self._table(
                "classes", document, lambda e: ((_number(e["ruleset"]), _number(e["identity"])), _number(e["class"]))
            ),
            policy=_by_class(self._table("policy", document, _policy_entry)),
            rulesets=rulesets,
            rules=rules,
        )
        self._problems.raise_any()
        for message in _dangling(maps):
            self._problems.add(1, message)
        self._problems.raise_any()
        return maps

    def _table(self, name: str, document: Mapping[str, Any], read: Callable[[Any], tuple[_K, _V]]) -> dict[_K, _V]:
        """The entries of a section by key; a key that stands twice is a problem."""

        def shaped(entry: Any) -> tuple[_K, _V]:
            if not isinstance(entry, dict) or set(entry) != set(_SECTIONS[name]):
                raise _OddError(f"an entry has exactly these keys: {', '.join(_SECTIONS[name])}")
            return read(entry)

        found: dict[_K, _V] = {}
        for number, (key, value) in enumerate(self._items(name, document[name], shaped)):
            if key in found:
                self._problems.add(1, f"{name}[{number}]: its key stands twice")
            found[key] = value
        return found

    def _items(self, name: str, items: Any, read: Callable[[Any], _V]) -> Iterator[_V]:
        if not isinstance(items, list):
            self._problems.add(1, f"{name}: not a list")
            return
        for number, item in enumerate(items):
            try:
                yield read(item)
            except _OddError as odd:
                self._problems.add(1, f"{name}[{number}]: {odd}")


def _shaped(value: Any, fields: Mapping[str, Any]) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == set(fields)
        and all(isinstance(value[key], kind) for key, kind in fields.items())
    )


def _number(value: Any, *, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
        raise _OddError(f"`{value}` is no number from {least} to {_LARGEST}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _OddError(f"`{value}` is no text")
    return value


def _address(value: Any) -> Address:
    return _canonical(value, ip_address, "address")


def _network(value: Any) -> Network:
    return _canonical(value, ip_network, "network")


def _canonical(value: Any, read: Callable[[str], _V], kind: str) -> _V:
    """What a text stands for, written in the one way that it is written; an address has no zone."""
    text = _text(value)
    try:
        found = read(text)
    except ValueError:
        raise _OddError(f"`{value}` is no {kind}") from None
    if str(found) != text or "%" in text:
        raise _OddError(f"`{value}` is not how {'an' if kind == 'address' else 'a'} {kind} is written")
    return found


def _ruleset(entry: Mapping[str, Any]) -> Ruleset:
    try:
        return Ruleset(direction=Direction(entry["direction"]), origin=_text(entry["origin"]))
    except ValueError:
        raise _OddError(f"`{entry['direction']}` is no direction") from None


def _endpoint(entry: Mapping[str, Any]) -> Endpoint:
    if not isinstance(entry["addresses"], list):
        raise _OddError("its addresses are no list")
    addresses = tuple(_address(one) for one in entry["addresses"])
    if not addresses or len({family_of(one) for one in addresses}) != len(addresses):
        raise _OddError("an endpoint has one address a family at most, and one at least")
    return Endpoint(
        pod=_text(entry["pod"]),
        id=_number(entry["id"]),
        egress=_number(entry["egress"], least=0),
        ingress=_number(entry["ingress"], least=0),
        addresses=addresses,
    )


def _policy_entry(entry: Mapping[str, Any]) -> tuple[tuple[int, int, Protocol | None, int, int], Entry]:
    """Keyed by all but the rule."""
    protocol = None if entry["protocol"] == "any" else _PROTOCOLS.get(_text(entry["protocol"]))
    if protocol is None and (entry["protocol"], entry["ports"]) != ("any", "*"):
        raise _OddError(f"protocol `{entry['protocol']}` with ports `{entry['ports']}`")
    first, last = _span(_text(entry["ports"]))
    rule = Special.SERVICE_MIXED if entry["rule"] == Special.SERVICE_MIXED.value else _number(entry["rule"])
    found = Entry(protocol=protocol, first=first, last=last, rule=rule)
    return (_number(entry["ruleset"]), _number(entry["class"], least=0), protocol, first, last), found


def _span(text: str) -> tuple[int, int]:
    """`*`, a port, or an aligned block of 2, 4, ... 32,768 ports."""
    if text == "*":
        return 0, LAST_PORT
    words = text.split("-")
    if len(words) > 2 or not all(word.isascii() and word.isdigit() and str(int(word)) == word for word in words):
        raise _OddError(f"ports `{text}`")
    first, last = int(words[0]), int(words[-1])
    size = last - first + 1
    if last > LAST_PORT or size & (size - 1) or size < len(words) or first % max(size, 1) or (first, last) == (0, 0):
        raise _OddError(f"the ports `{text}` are no aligned block")
    return first, last


def _by_class(
    entries: Mapping[tuple[int, int, Protocol | None, int, int], Entry],
) -> dict[tuple[int, int], tuple[Entry, ...]]:
    found: dict[tuple[int, int], list[Entry]] = {}
    for (ruleset, peer_class, *_), entry in entries.items():
        found.setdefault((ruleset, peer_class), []).append(entry)
    return {key: tuple(own) for key, own in found.items()}


def _dangling(maps: Maps) -> Iterator[str]:
    """Numbers that nothing defines, and what does not fit together."""
    for endpoint in maps.endpoints.values():
        for direction, number in ((Direction.EGRESS, endpoint.egress), (Direction.INGRESS, endpoint.ingress)):
            if number and (number not in maps.rulesets or maps.rulesets[number].direction is not direction):
                yield f"endpoint `{endpoint.pod}`: there is no {direction} ruleset {number}"
        for address in endpoint.addresses:
            if address not in maps.addresses:
                yield f"endpoint `{endpoint.pod}`: its address {address} has no identity"
    if len({endpoint.id for endpoint in maps.endpoints.values()}) != len(maps.endpoints):
        yield "two endpoints have one id"
    owned = [address for endpoint in maps.endpoints.values() for address in endpoint.addresses]
    if len(set(owned)) != len(owned):
        yield "two endpoints have one address"
    for ruleset in sorted({one for one, _ in (*maps.classes, *maps.policy)} - set(maps.rulesets)):
        yield f"there is no ruleset {ruleset}"
    rules = {entry.rule for entries in maps.policy.values() for entry in entries if isinstance(entry.rule, int)}
    for rule in sorted(rules - set(maps.rules)):
        yield f"there is no rule {rule}"
