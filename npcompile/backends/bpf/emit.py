"""From the tables to `maps.json`: JSON, an entry a line, so that a change of policy reads as a diff."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from npcompile.backends.bpf.prefixes import PORT_BITS
from npcompile.backends.bpf.structure import PolicyEntry, Tables
from npcompile.backends.target import Options

VERSION = 1
EVERY_PORT = "*"
ANY_PROTOCOL = "any"
MIXED = "service-mixed"

_Entry = Mapping[str, object]


def emit_maps(tables: Tables, options: Options) -> bytes:
    """The text of docs/datapath.md."""
    node = {"name": options.node, "addresses": [str(address) for address in tables.node_addresses]}
    features = {"ipv6": True, "sctp": True, "events": True, "established": options.established.value}
    head = {"version": VERSION, "node": node, "features": features}
    parts = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=True)}" for key, value in head.items()]
    parts += [f"{json.dumps(name)}: {_lines(entries)}" for name, entries in _sections(tables)]
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode("ascii")


def _lines(entries: Iterable[_Entry]) -> str:
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
    return f"[\n{lines}\n]" if lines else "[]"


def _sections(tables: Tables) -> Iterator[tuple[str, Iterable[_Entry]]]:
    yield (
        "endpoints",
        (
            {
                "pod": str(one.pod),
                "id": one.number,
                "egress": one.egress,
                "ingress": one.ingress,
                "addresses": [str(address) for address in one.addresses],
            }
            for one in tables.endpoints
        ),
    )
    yield "addresses", ({"address": str(one), "identity": number} for one, number in tables.addresses)
    yield "networks", ({"network": str(one), "identity": number} for one, number in tables.networks)
    yield (
        "classes",
        ({"ruleset": one.ruleset, "identity": one.identity, "class": one.peer_class} for one in tables.classes),
    )
    yield (
        "policy",
        (
            {
                "ruleset": one.ruleset,
                "class": one.peer_class,
                "protocol": ANY_PROTOCOL if one.protocol is None else str(one.protocol),
                "ports": _ports(one),
                "rule": MIXED if one.rule is None else one.rule,
            }
            for one in tables.policy
        ),
    )
    yield (
        "rulesets",
        ({"id": one.number, "direction": str(one.direction), "origin": one.isolating[0]} for one in tables.rulesets),
    )
    yield "rules", ({"id": number, "origin": origin.id} for number, origin in tables.rules)


def _ports(entry: PolicyEntry) -> str:
    if entry.bits == 0:
        return EVERY_PORT
    last = entry.port + (1 << (PORT_BITS - entry.bits)) - 1
    return str(entry.port) if last == entry.port else f"{entry.port}-{last}"
