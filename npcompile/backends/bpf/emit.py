"""From the tables to `maps.json`: JSON, an entry a line, so that a change of policy reads as a diff."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from npcompile.backends.bpf.prefixes import PORT_BITS
from npcompile.backends.bpf.structure import PolicyEntry, Tables
from npcompile.backends.target import Options

VERSION = 1
EVERY_PORT = "*"
ANY_PROTOCOL = "any"
MIXED = "service-mixed"
_MIXED = json.dumps(MIXED)


def emit_maps(tables: Tables, options: Options) -> bytes:
    """The text of docs/datapath.md."""
    node = {"name": options.node, "addresses": [str(address) for address in tables.node_addresses]}
    features = {"ipv6": True, "sctp": True, "events": True, "established": options.established.value}
    head = {"version": VERSION, "node": node, "features": features}
    parts = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=True)}" for key, value in head.items()]
    parts += [f"{json.dumps(name)}: {_lines(entries)}" for name, entries in _sections(tables)]
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode("ascii")


def _lines(entries: Iterable[str]) -> str:
    lines = ",\n".join([f"  {{{entry}}}" for entry in entries])
    return f"[\n{lines}\n]" if lines else "[]"


def _sections(tables: Tables) -> Iterator[tuple[str, Iterable[str]]]:
    """The members of each section's entries, written out because there are thousands: of the words in them, only a
    pod's name could have what JSON escapes.
    """
    yield (
        "endpoints",
        (
            f'"pod": {json.dumps(str(one.pod))}, "id": {one.number}, "egress": {one.egress}, "ingress": {one.ingress}, '
            f'"addresses": {json.dumps([str(address) for address in one.addresses])}'
            for one in tables.endpoints
        ),
    )
    yield "addresses", (f'"address": "{one}", "identity": {number}' for one, number in tables.addresses)
    yield "networks", (f'"network": "{one}", "identity": {number}' for one, number in tables.networks)
    yield (
        "classes",
        (f'"ruleset": {one.ruleset}, "identity": {one.identity}, "class": {one.peer_class}' for one in tables.classes),
    )
    yield (
        "policy",
        (
            f'"ruleset": {one.ruleset}, "class": {one.peer_class}, "protocol": "{one.protocol or ANY_PROTOCOL}", '
            f'"ports": "{_ports(one)}", "rule": {_MIXED if one.rule is None else one.rule}'
            for one in tables.policy
        ),
    )
    yield (
        "rulesets",
        (
            f'"id": {one.number}, "direction": "{one.direction}", "origin": "{one.isolating[0]}"'
            for one in tables.rulesets
        ),
    )
    yield "rules", (f'"id": {number}, "origin": "{origin.id}"' for number, origin in tables.rules)


def _ports(entry: PolicyEntry) -> str:
    if entry.bits == 0:
        return EVERY_PORT
    last = entry.port + (1 << (PORT_BITS - entry.bits)) - 1
    return str(entry.port) if last == entry.port else f"{entry.port}-{last}"
