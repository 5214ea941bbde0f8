"""What `npcompile lab` prints: a matrix of who reached whom, or a line a flow, and JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from npcompile.driver.lab import Prepared, Row
from npcompile.driver.trace import as_json, sides_text
from npcompile.ir.flow import Verdict
from npcompile.runtime.lab.observation import Observed
from npcompile.runtime.lab.plan import Place, Plan

_MOST_DETAILS = 20
_LEGEND = (
    "A all allowed, D all denied, 2/5 that many allowed: as expected.  `A!D` differs: observed A, expected D.  "
    "? nothing is known.\n"
)


def render_text(prepared: Prepared, rows: Sequence[Row]) -> Iterator[str]:
    """For people: what was seen beside what was expected, and every difference with its reasons."""
    if any(row.question.line for row in rows):
        yield from (_line(row) + "\n" for row in rows)
    else:
        yield from _matrix(prepared.plan, rows)
    closed = [row for row in rows if row.closes]
    for row in closed[:_MOST_DETAILS]:
        yield _closed(row)
    notable = [row for row in rows if row.differs or not row.seen.is_known]
    for row in notable[:_MOST_DETAILS]:
        yield "\n".join(_details(row)) + "\n"
    if len(notable) > _MOST_DETAILS:
        yield f"and {len(notable) - _MOST_DETAILS} more like these (`--output-format jsonl` has all)\n"


def render_json(_: Prepared, rows: Sequence[Row]) -> Iterator[str]:
    """Every flow in one document."""
    yield json.dumps({"version": 1, "flows": [_flow(row) for row in rows]}, indent=2, ensure_ascii=False) + "\n"


def render_jsonl(_: Prepared, rows: Sequence[Row]) -> Iterator[str]:
    """A flow a line."""
    for row in rows:
        yield json.dumps(_flow(row), ensure_ascii=False) + "\n"


RENDERERS: Mapping[str, Callable[[Prepared, Sequence[Row]], Iterator[str]]] = {
    "text": render_text,
    "json": render_json,
    "jsonl": render_jsonl,
}


def summary(prepared: Prepared, rows: Sequence[Row]) -> str:
    """One line of what was built, tried and found."""
    plan = prepared.plan
    amounts = [
        (sum(len(node.pods) for node in plan.nodes), "pod"), (len(plan.nodes), "node"), (len(plan.outside), "host"),
        (len(rows), "flow"),
    ]  # fmt: skip
    words = ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in amounts)
    seen = [row.seen.observed for row in rows]
    differ = sum(row.differs for row in rows)
    found = f"{seen.count(Observed.ALLOW)} allowed, {seen.count(Observed.DENY)} denied, {differ} differ"
    unknown, closed = seen.count(Observed.UNKNOWN), sum(row.closes for row in rows)
    found += f", {unknown} unknown" if unknown else ""
    return f"{words}: {found}" + (f", {closed} to a Service that the target closes" if closed else "")


def _flow(row: Row) -> dict[str, object]:
    fields = as_json(row.question, row.traced)
    fields["observed"] = str(row.seen.observed)
    if row.seen.reason:
        fields["problem"] = row.seen.reason
    if row.closes:
        fields["closed"] = True
    return fields


def _line(row: Row) -> str:
    family = f"  (IPv{int(row.traced.family)})" if row.traced.family else ""
    through = f" {row.traced.flow.dst}" if row.traced.service else ""
    asked = row.question
    expected, seen = row.traced.decision.verdict, row.seen.observed
    return f"{expected!s:<5} observed {seen!s:<7}  {asked.src} -> {asked.dst}{through}  {asked.port}{family}"


def _closed(row: Row) -> str:
    asked, at = row.question, row.traced.flow.dst
    return f"closed  {asked.src} -> {asked.dst} (at {at})  {asked.port}: not every backend is allowed by policy\n"


def _details(row: Row) -> Iterator[str]:
    asked, traced = row.question, row.traced
    family = f"  (IPv{int(traced.family)})" if traced.family else ""
    through = f" (at {traced.flow.dst} {traced.flow.port_text})" if traced.service else ""
    flow = f"{asked.src} -> {asked.dst}{through}  {asked.port}{family}"
    if row.differs:
        yield f"DIFFERS  {flow}: expected {traced.decision.verdict}, observed {row.seen.observed}"
        if row.seen.reason:
            yield f"  {row.seen.reason}"
        yield from sides_text(traced)
    else:
        yield f"UNKNOWN  {flow}: {row.seen.reason}"


# --- the matrix ---


def _matrix(plan: Plan, rows: Sequence[Row]) -> Iterator[str]:
    """Sources down, destinations across by number; Services come last, as destinations only."""
    names = {address: _title(place) for place in plan.places for address in place.addresses}
    cells: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        flow, service = row.traced.flow, row.traced.service
        src, dst = (names[end.address] for end in (flow.src, flow.dst) if end.address is not None)
        cells[src, f"Service {service}" if service else dst].append(row)
    sources = list(dict.fromkeys(names.values()))
    targets = [*sources, *sorted({dst for _, dst in cells if dst not in sources})]
    texts = {pair: _cell(found) for pair, found in cells.items()}
    columns = [
        max(len(str(number)), *(len(texts.get((src, dst), "")) for src in sources))
        for number, dst in enumerate(targets, 1)
    ]
    width, digits = max(map(len, targets)), len(str(len(targets)))
    heads = "  ".join(f"{number:>{column}}" for number, column in enumerate(columns, 1))
    yield f"{'':{digits + 1 + width}}  {heads}\n"
    for number, src in enumerate(targets, 1):
        line = "  ".join(
            f"{texts.get((src, dst), '') if src in sources else '':>{column}}"
            for dst, column in zip(targets, columns, strict=True)
        )
        yield f"{number:>{digits}} {src:<{width}}  {line}".rstrip() + "\n"
    yield _LEGEND
    yield from _parts(cells, targets)


def _parts(cells: Mapping[tuple[str, str], Sequence[Row]], targets: Sequence[str]) -> Iterator[str]:
    """What passed where not all did: the ports, and the pairs by their numbers."""
    pairs: dict[str, list[str]] = defaultdict(list)
    for (src, dst), rows in cells.items():
        passed = [row for row in rows if row.seen.observed is Observed.ALLOW]
        if 0 < len(passed) < len(rows):
            ports = " ".join(dict.fromkeys(_port(row) for row in passed))
            pairs[ports].append(f"{targets.index(src) + 1} -> {targets.index(dst) + 1}")
    yield from (f"allowed {ports}: {', '.join(found)}\n" for ports, found in pairs.items())


def _port(row: Row) -> str:
    at = f" at {row.traced.flow.dst}" if row.traced.service else ""
    return row.question.port + at


def _title(place: Place) -> str:
    if place.pod is not None:
        return place.name
    return f"host {place.name}" if place.ifname.startswith("host") else f"node {place.name}"


def _cell(rows: Sequence[Row]) -> str:
    if not all(row.seen.is_known for row in rows):
        return "?"
    observed = _share([row.seen.observed is Observed.ALLOW for row in rows])
    expected = _share([row.traced.decision.verdict is Verdict.ALLOW for row in rows])
    return f"{observed}!{expected}" if any(row.differs for row in rows) else observed


def _share(allowed: Sequence[bool]) -> str:
    if all(allowed):
        return "A"
    return f"{sum(allowed)}/{len(allowed)}" if any(allowed) else "D"
