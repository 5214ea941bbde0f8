"""The forms of a map: a table or a report for people; JSON, a versioned contract, and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TypeVar, assert_never

from npcompile.analyses.parties import ExternalParty, GroupBy, NodeParty, Party, PodParty
from npcompile.analyses.reach import Edge
from npcompile.driver.map import Map
from npcompile.driver.map_report import report
from npcompile.driver.map_words import any_outside, counted, described, holding, pods_of, with_internet
from npcompile.ir.policy import Direction
from npcompile.ir.printer import rule_text
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import Protocol, all_ports, at
from npcompile.questions import RuleOf

VERSION = 1
_Part = TypeVar("_Part")
_WIDEST = 48  # a longer cell pushes the rest of its line to the right
_CONNECTED = {Direction.INGRESS: "reaching", Direction.EGRESS: "reached"}
_NOUNS = {GroupBy.POD: "pods", GroupBy.WORKLOAD: "workloads", GroupBy.NAMESPACE: "namespaces"}


def summary(found: Map) -> str:
    """One line about a map, without any of its data."""
    if not found.pods:
        return "the input has no pods: there is nothing to map"
    pods, policies = counted(found.pods, "pod"), f"{found.policies} polic{'y' if found.policies == 1 else 'ies'}"
    return f"{counted(len(found.edges), 'row')}: {pods}, {policies}"


def render_table(found: Map) -> Iterator[str]:
    """Rows; with `--to` or `--from`, a report on the ways in or out; with `--exposure`, both directions apart."""
    if found.options.report is not None:
        yield from report(found)
    elif found.options.exposure:
        yield from _exposure(found)
    else:
        yield from _rows(found.edges)


def _rows(edges: Iterable[Edge]) -> Iterator[str]:
    cells = [("FROM", "TO", "PORTS", "PAIRS")]
    name = _Names()
    cells += [(name(edge.src), name(edge.dst), described(edge.ports), holding(edge)) for edge in edges]
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*cells, strict=True)]
    form = "  ".join(f"{{:<{width}}}" for width in widths)
    for row in cells:
        yield form.format(*row).rstrip() + "\n"


class _Names:
    """The names of parties, each made once.  Parties are told apart by being the same object: hashing takes longer."""

    def __init__(self) -> None:
        self._texts: dict[int, tuple[Party, str]] = {}

    def __call__(self, party: Party) -> str:
        if id(party) not in self._texts:
            self._texts[id(party)] = (party, str(party))
        return self._texts[id(party)][1]


def _exposure(found: Map) -> Iterator[str]:
    """What is reached from outside, then what may reach outside, as far as `--from` and `--to` leave it open."""
    sources, targets = pods_of(found.sources), pods_of(found.targets)
    inward = [edge for edge in found.edges if isinstance(edge.src, ExternalParty)]
    outward = [edge for edge in found.edges if isinstance(edge.dst, ExternalParty)]
    into, out = bool(targets) and any_outside(found.sources), bool(sources) and any_outside(found.targets)
    noun = _NOUNS[found.options.group_by]
    if into:
        reached = {edge.dst for edge in inward}
        yield from _exposed("reached from outside the cluster", inward, [one in reached for one in targets], noun)
    if into and out:
        yield "\n"
    if out:
        reaching = {edge.src for edge in outward}
        yield from _exposed("may reach outside the cluster", outward, [one in reaching for one in sources], noun)


def _exposed(title: str, edges: list[Edge], concerned: list[bool], noun: str) -> Iterator[str]:
    """The internet first, then the ranges."""
    yield f"{title}:\n"
    if edges:
        yield from _rows(sorted(edges, key=lambda edge: not with_internet(edge)))
    rest = concerned.count(False)
    yield f"nothing{' else' if edges else ''}: {rest} of {len(concerned)} {noun} {'is' if rest == 1 else 'are'} not\n"


def render_json(found: Map) -> Iterator[str]:
    """One object; each edge on a line of its own."""
    options = found.options
    head = {
        "version": VERSION,
        "group_by": str(options.group_by),
        "from": options.src,
        "to": options.dst,
        "exposure": options.exposure,
        "unbound": found.unbound,
        "closing": None
        if found.closing is None or options.report is None
        else {
            f"{_CONNECTED[options.report]}_classes": found.closing.connected,
            "other_classes": len(found.closing.denied),
        },
    }
    yield _dump(head)[:-1] + ', "edges": ['
    known = _Known()
    for place, edge in enumerate(found.edges):
        yield ("," if place else "") + "\n" + known.edge(edge)
    yield "\n]}\n" if found.edges else "]}\n"


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Known:
    """Makes JSON of edges, and of each of their parts once.  Parts are told apart by being the same object."""

    def __init__(self) -> None:
        self._texts: dict[int, tuple[object, str]] = {}
        self._word = cache(_dump)

    def _part(self, part: _Part, as_json: Callable[[_Part], object]) -> str:
        if id(part) not in self._texts:
            self._texts[id(part)] = (part, _dump(as_json(part)))
        return self._texts[id(part)][1]

    def edge(self, edge: Edge) -> str:
        """An edge as an object."""
        flow = edge.example
        ends = f'"src": {self._word(str(flow.src))}, "dst": {self._word(str(flow.dst))}'
        return (
            f'{{"src": {self._part(edge.src, _party)}, "dst": {self._part(edge.dst, _party)}, '
            f'"ports": {self._part(edge.ports, _ranges)}, "holds": "{edge.holds}", '
            f'"family": {"null" if edge.family is None else edge.family.value}, '
            f'"rules": {self._part(edge.rules, _rules)}, "unisolated": {self._part(edge.unisolated, _directions)}, '
            f'"example": {{{ends}, "port": "{flow.port_text}"}}}}'
        )


def _party(party: Party) -> dict[str, object]:
    match party:
        case PodParty():
            return {
                "kind": str(party.by),
                "namespace": party.namespace,
                "name": party.name,
                "workload": party.workload,
                "host_network": party.host_network,
                "pods": party.pods,
            }
        case NodeParty():
            return {"kind": "nodes", "address": None if party.address is None else str(party.address)}
        case ExternalParty():
            return {"kind": "external", "internet": party.internet, "cidrs": [str(one) for one in party.cidrs]}
        case _:
            assert_never(party)


def _ranges(ports: IntervalSet) -> list[dict[str, object]]:
    return [
        {"protocol": protocol.value, "first": at(first)[1], "last": at(last)[1]}
        for protocol in Protocol
        for first, last in ports & all_ports(protocol)
    ]


def _directions(unisolated: tuple[Direction, ...]) -> list[str]:
    return [str(one) for one in unisolated]


def _rules(rules: tuple[RuleOf, ...]) -> list[dict[str, object]]:
    return [_rule(one) for one in rules]


def _rule(one: RuleOf) -> dict[str, object]:
    span = one.rule.span or one.policy.span
    return {
        "direction": str(one.rule.direction),
        "policy": str(one.policy),
        "rule": one.rule.index,
        "file": span.file.path if span else None,
        "line": span.line if span else None,
    }


_COLUMNS = ("src_kind", "src", "dst_kind", "dst", "family", "pairs", "protocol", "first_port", "last_port", "rules")


def render_csv(found: Map) -> Iterator[str]:
    """A line for each range of ports of each edge."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for edge in found.edges:
        rules = " + ".join(rule_text(one.policy, one.rule) for one in edge.rules)
        ends = (*_cell(edge.src), *_cell(edge.dst))
        family = "" if edge.family is None else edge.family.value
        for ports in _ranges(edge.ports):
            writer.writerow((*ends, family, edge.holds, *ports.values(), rules))
    yield out.getvalue()


def _cell(party: Party) -> tuple[str, str]:
    match party:
        case PodParty():
            return str(party.by), str(party)
        case NodeParty():
            return "nodes", str(party)
        case ExternalParty():
            cidrs = " ".join(str(one) for one in party.cidrs)
            return ("internet" if party.internet else "external"), cidrs
        case _:
            assert_never(party)


RENDERERS: Mapping[str, Callable[[Map], Iterator[str]]] = {
    "table": render_table,
    "json": render_json,
    "csv": render_csv,
}
"""By the names of `--output-format`."""
