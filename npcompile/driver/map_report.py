"""The report on one place of a map: every way into it (`--to`) or out of it (`--from`), by the rules that open each;
then the internet, and what stays closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from npcompile.analyses.parties import ExternalParty, NodeParty, Party, PodParty
from npcompile.analyses.reach import Edge, Holds
from npcompile.driver.map import Map
from npcompile.driver.map_words import (
    any_outside,
    counted,
    described,
    destination,
    holding,
    note,
    pods_of,
    source,
    with_internet,
)
from npcompile.ir.policy import Direction
from npcompile.ir.printer import rule_text


def report(found: Map) -> Iterator[str]:
    """The report that was asked for."""
    into = found.options.report is Direction.INGRESS
    place = str(found.options.dst if into else found.options.src)
    within = _within(found)
    groups = found.targets if into else found.sources
    if not groups:
        unknown = "would reach it" if into else "it would reach"
        yield f"{place} has no pods in the input: nothing is known of what {unknown}\n"
        return
    near, far = (destination, source) if into else (source, destination)
    ways: dict[Party, list[Edge]] = {group.party: [] for group in groups if not group.external}
    for edge in found.edges:
        ways.setdefault(near(edge), []).append(edge)
    for party, edges in ways.items():
        yield f"{party}\n"
        yield from (line for edge in edges for line in _way(edge, f"{'from' if into else 'to'} {far(edge)}"))
        if not edges:
            yield f"  nothing{within} reaches it\n" if into else "  reaches nothing\n"
    yield from _ways_in_closed(found, place, within) if into else _ways_out_closed(found, place)
    yield note(found)


def _within(found: Map) -> str:
    """Which sources were looked at."""
    if found.options.src is not None:
        return f" from {found.options.src}"
    return " from outside the cluster" if all(group.external for group in found.sources) else ""


def _way(edge: Edge, which: str) -> Iterator[str]:
    pairs = "" if edge.holds is Holds.ALL and edge.family is None else f" ({holding(edge)} pairs)"
    yield f"  {which}  {described(edge.ports)}{pairs}\n"
    for direction, end in ((Direction.EGRESS, edge.src), (Direction.INGRESS, edge.dst)):
        rules = [one for one in edge.rules if one.rule.direction is direction]
        if direction in edge.unisolated:
            several = isinstance(end, PodParty) and end.pods > 1
            part = "some pods of " if several and (rules or edge.holds is Holds.SOME) else ""
            yield f"    {direction!s:<8} no policy isolates {part}{end}\n"
        for one in rules:
            span = one.rule.span or one.policy.span
            yield f"    {direction!s:<8} {rule_text(one.policy, one.rule)}{f' ({span})' if span else ''}\n"


def _ways_in_closed(found: Map, place: str, within: str) -> Iterator[str]:
    checked = _checked(found)
    pods = pods_of(found.targets)
    if not pods:  # what is no pod can reach what is no pod, and no policy has a say
        yield f"no{' other' if found.edges else ''} pod{within} reaches {place}: {checked}\n"
        return
    if any_outside(found.sources):
        yield from _internet_in(found, place)
    always = "" if all(party.host_network for party in pods) else " (a pod itself and its own node always reach it)"
    yield f"nothing{' else' if found.edges else ''}{within} reaches {place}: {checked}{always}\n"


def _ways_out_closed(found: Map, place: str) -> Iterator[str]:
    checked = _checked(found)
    pods = pods_of(found.sources)
    if pods:
        yield from _internet_out(found, place)
    nodes = any(isinstance(group.party, NodeParty) for group in found.sources) or any(one.host_network for one in pods)
    exempt = ["a pod always reaches itself"] if any(not one.host_network for one in pods) else []
    exempt += ["a node always reaches its own pods"] if nodes else []
    always = f" ({', and '.join(exempt)})" if exempt else ""
    others = bool(found.edges)
    # What is no pod can reach what is no pod, and no policy has a say
    what = f"nothing{' else' if others else ''}" if pods else f"no{' other' if others else ''} pod"
    yield f"{place} reaches {what}: {checked}{always}\n"


def _checked(found: Map) -> str:
    assert found.closing is not None
    return f"{counted(len(found.closing.denied), 'other class')} checked"


def _internet_in(found: Map, place: str) -> Iterator[str]:
    inward = [edge for edge in found.edges if isinstance(edge.src, ExternalParty)]
    if not inward:
        yield f"internet: nothing from outside the cluster reaches {place}\n"
        return
    for src, edges in groupby(sorted(inward, key=lambda edge: (not with_internet(edge), str(edge.src))), source):
        ends = ", ".join(f"{edge.dst} {described(edge.ports)}" for edge in edges)
        yield f"{'internet' if str(src) == 'internet' else f'internet: {src}'} reaches {ends}\n"


def _internet_out(found: Map, place: str) -> Iterator[str]:
    outward = [edge for edge in found.edges if isinstance(edge.dst, ExternalParty)]
    if not outward:
        yield f"internet: {place} reaches nothing outside the cluster\n"
        return
    for dst, edges in groupby(sorted(outward, key=lambda edge: (not with_internet(edge), str(edge.dst))), destination):
        ends = ", ".join(f"{edge.src} {described(edge.ports)}" for edge in edges)
        yield f"{'internet' if str(dst) == 'internet' else f'internet: {dst}'} is reached from {ends}\n"
