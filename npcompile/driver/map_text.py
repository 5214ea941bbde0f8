"""The forms of a map: a table or a report for people; JSON, a versioned contract, and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import groupby
from typing import TypeVar, assert_never

from npcompile.analyses.parties import ExternalParty, Group, GroupBy, NodeParty, Party, PodParty
from npcompile.analyses.reach import Edge, Holds
from npcompile.driver.map import Map
from npcompile.ir.policy import Direction
from npcompile.ir.printer import rule_text
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import Protocol, all_ports, at, describe
from npcompile.questions import RuleOf

VERSION = 1
_Part = TypeVar("_Part")
_WIDEST = 48  # a longer cell pushes the rest of its line to the right
_NOUNS = {GroupBy.POD: "pods", GroupBy.WORKLOAD: "workloads", GroupBy.NAMESPACE: "namespaces"}


def summary(found: Map) -> str:
    """One line about a map, without any of its data."""
    if not found.pods:
        return "the input has no pods: there is nothing to map"
    pods, policies = _count(found.pods, "pod"), f"{found.policies} polic{'y' if found.policies == 1 else 'ies'}"
    return f"{_count(len(found.edges), 'row')}: {pods}, {policies}"


def note(found: Map) -> str:
    """What may change the map once all pods have addresses; empty where nothing can."""
    if not found.unbound:
        return ""
    who = f"{_count(found.unbound, 'pod')} {'has' if found.unbound == 1 else 'have'} no address yet"
    return f"note: {who}; rules with an ipBlock do not match them here, and may when they have one\n"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}es" if noun[-1] == "s" else f"{number} {noun}s"


def render_table(found: Map) -> Iterator[str]:
    """Rows; with `--to`, the report on its way in; with `--exposure`, both directions apart."""
    if found.options.dst is not None:
        yield from _report(found)
    elif found.options.exposure:
        yield from _exposure(found)
    else:
        yield from _rows(found.edges)


def _rows(edges: Iterable[Edge]) -> Iterator[str]:
    cells = [("FROM", "TO", "PORTS", "PAIRS")]
    name = _Names()
    cells += [(name(edge.src), name(edge.dst), _described(edge.ports), _pairs(edge)) for edge in edges]
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*cells, strict=True)]
    form = "  ".join(f"{{:<{width}}}" for width in widths)
    for row in cells:
        yield form.format(*row).rstrip() + "\n"


_described = cache(describe)


class _Names:
    """The names of parties, each made once.  Parties are told apart by being the same object: hashing takes longer."""

    def __init__(self) -> None:
        self._texts: dict[int, tuple[Party, str]] = {}

    def __call__(self, party: Party) -> str:
        if id(party) not in self._texts:
            self._texts[id(party)] = (party, str(party))
        return self._texts[id(party)][1]


def _pairs(edge: Edge) -> str:
    return f"{edge.holds} IPv{edge.family.value}" if edge.family else str(edge.holds)


def _exposure(found: Map) -> Iterator[str]:
    """What is reached from outside, then what may reach outside, as far as `--from` and `--to` leave it open."""
    sources, targets = _pods(found.sources), _pods(found.targets)
    inward = [edge for edge in found.edges if isinstance(edge.src, ExternalParty)]
    outward = [edge for edge in found.edges if isinstance(edge.dst, ExternalParty)]
    into, out = bool(targets) and _outside(found.sources), bool(sources) and _outside(found.targets)
    noun = _NOUNS[found.options.group_by]
    if into:
        reached = {edge.dst for edge in inward}
        yield from _exposed("reached from outside the cluster", inward, [one in reached for one in targets], noun)
    if into and out:
        yield "\n"
    if out:
        reaching = {edge.src for edge in outward}
        yield from _exposed("may reach outside the cluster", outward, [one in reaching for one in sources], noun)


def _pods(sides: Iterable[Group]) -> list[Party]:
    return [group.party for group in sides if isinstance(group.party, PodParty)]


def _outside(sides: Iterable[Group]) -> bool:
    return any(group.external for group in sides)


def _exposed(title: str, edges: list[Edge], concerned: list[bool], noun: str) -> Iterator[str]:
    """The internet first, then the ranges."""
    yield f"{title}:\n"
    if edges:
        yield from _rows(sorted(edges, key=lambda edge: not _internet(edge)))
    rest = concerned.count(False)
    yield f"nothing{' else' if edges else ''}: {rest} of {len(concerned)} {noun} {'is' if rest == 1 else 'are'} not\n"


def _internet(edge: Edge) -> bool:
    return any(isinstance(end, ExternalParty) and end.internet for end in (edge.src, edge.dst))


def _report(found: Map) -> Iterator[str]:
    """Every way into a destination, by the rules that open it; then the internet, and what stays closed."""
    to, within = str(found.options.dst), _within(found)
    if not found.targets:
        yield f"{to} has no pods in the input: nothing is known of what would reach it\n"
        return
    ways: dict[Party, list[Edge]] = {group.party: [] for group in found.targets if not group.external}
    for edge in found.edges:
        ways.setdefault(edge.dst, []).append(edge)
    for party, edges in ways.items():
        yield f"{party}\n"
        yield from (line for edge in edges for line in _way(edge))
        if not edges:
            yield f"  nothing{within} reaches it\n"
    yield from _closing(found, to, within)
    yield note(found)


def _closing(found: Map, to: str, within: str) -> Iterator[str]:
    assert found.closing is not None
    checked = _count(len(found.closing.denied), "other class")
    pods = _pods(found.targets)
    if not pods:  # what is no pod can reach what is no pod, and no policy has a say
        yield f"no{' other' if found.edges else ''} pod{within} reaches {to}: {checked} checked\n"
        return
    yield from _internet_line(found, to)
    ordinary = any(isinstance(party, PodParty) and not party.host_network for party in pods)
    always = " (a pod itself and its own node always reach it)" if ordinary else ""
    yield f"nothing{' else' if found.edges else ''}{within} reaches {to}: {checked} checked{always}\n"


def _within(found: Map) -> str:
    """Which sources were looked at."""
    if found.options.src is not None:
        return f" from {found.options.src}"
    return " from outside the cluster" if all(group.external for group in found.sources) else ""


def _way(edge: Edge) -> Iterator[str]:
    pairs = "" if edge.holds is Holds.ALL and edge.family is None else f" ({_pairs(edge)} pairs)"
    yield f"  from {edge.src}  {_described(edge.ports)}{pairs}\n"
    for direction, end in ((Direction.EGRESS, edge.src), (Direction.INGRESS, edge.dst)):
        rules = [one for one in edge.rules if one.rule.direction is direction]
        if direction in edge.unisolated:
            several = isinstance(end, PodParty) and end.pods > 1
            part = "some pods of " if several and (rules or edge.holds is Holds.SOME) else ""
            yield f"    {direction!s:<8} no policy isolates {part}{end}\n"
        for one in rules:
            span = one.rule.span or one.policy.span
            yield f"    {direction!s:<8} {rule_text(one.policy, one.rule)}{f' ({span})' if span else ''}\n"


def _internet_line(found: Map, to: str) -> Iterator[str]:
    if not _outside(found.sources):
        return
    inward = [edge for edge in found.edges if isinstance(edge.src, ExternalParty)]
    if not inward:
        yield f"internet: nothing from outside the cluster reaches {to}\n"
        return
    for src, edges in groupby(sorted(inward, key=lambda edge: (not _internet(edge), str(edge.src))), _source):
        ends = ", ".join(f"{edge.dst} {_described(edge.ports)}" for edge in edges)
        yield f"{'internet' if src == 'internet' else f'internet: {src}'} reaches {ends}\n"


def _source(edge: Edge) -> str:
    return str(edge.src)


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
        if found.closing is None
        else {"reaching_classes": found.closing.reaching, "other_classes": len(found.closing.denied)},
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
