"""What `npcompile diff` prints: text for people, a table for pull requests, and a machine format.

The JSON is a contract (version 1, `docs/diff.md`): fields are added, and never change their meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from npcompile.analyses.diff import Changed
from npcompile.analyses.diff_ends import OneSided
from npcompile.analyses.diff_parties import Party
from npcompile.diagnostics.model import Scope
from npcompile.driver.diff import SURPRISE, Confirmed, ConfirmedSurprise, DiffReport
from npcompile.ir.classes import EndClass, LabelCondition, PodClass
from npcompile.ir.flow import Flow
from npcompile.ir.policy import Direction, Policy, Rule
from npcompile.ir.printer import class_text, declared_text, endpoint_text, rule_text
from npcompile.ir.versions import Change
from npcompile.netset.cidrs import EVERY_ADDRESS, prefixes
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import describe
from npcompile.questions import PossibleChange
from npcompile.source import Span

VERSION = 1
_SHOWN = 8  # lines of rules for people, a direction
IN_GENERAL = "every pod that could exist"


def render_text(report: DiffReport) -> str:
    """A block a box; nothing where nothing differs, as diff(1) has it."""
    blocks = ["\n".join(_text(one)) for one in report.changes]
    if report.comparison.assumptions and blocks:
        blocks.append("\n".join(_assumed(report)))
    rest = [*_only_lines(report), *([f"UNDECIDED  {report.undecided}"] if report.undecided else [])]
    return "\n\n".join([*blocks, *(["\n".join(rest)] if rest else [])]) + ("\n" if blocks or rest else "")


def _text(one: Confirmed) -> Iterator[str]:
    changed = one.changed
    surprise = "  (surprise)" if one.surprise else ""
    yield f"{str(changed.change).upper()}  {_ports_text(changed)}{surprise}"
    yield f"  from     {_names(changed.sources)}"
    yield f"  to       {_names(changed.targets)}"
    allows = [f"  {changed.change.passing!s:<7}  allows  {line}" for line in _why(one)]
    denies = [f"  {changed.change.passing.other!s:<7}  denies  {line}" for line in _blocked(one)]
    yield from (*allows, *denies) if changed.change is Change.OPENED else (*denies, *allows)
    yield f"  witness  {_witness(one)}"
    if one.surprise:
        yield f"  note     {SURPRISE.code} {SURPRISE.slug}: {_surprise(one.surprise)}"


def _assumed(report: DiffReport) -> Iterator[str]:
    yield f"SCOPE  {IN_GENERAL}; what is assumed of them:"
    yield from (f"  - {assumption}" for assumption in report.comparison.assumptions)


def _names(parties: Iterable[Party | EndClass]) -> str:
    found = [str(party) if isinstance(party, Party) else class_text(party) for party in parties]
    return ("; " if any(", " in one for one in found) else ", ").join(found)


def _ports_text(changed: Changed | PossibleChange) -> str:
    declared = declared_text(changed.declared) if isinstance(changed, PossibleChange) else ""
    return f"{describe(changed.ports)} {declared}".rstrip()


def _why(one: Confirmed) -> Iterator[str]:
    why = one.changed.why
    for direction in Direction:
        rules = [of for of in why.rules if of.rule.direction is direction]
        shown = rules if len(rules) <= _SHOWN else rules[: _SHOWN - 1]
        yield from (f"{direction}: by {_rule(of.policy, of.rule)}" for of in shown)
        if len(shown) < len(rules):
            yield f"{direction}: by {len(rules) - len(shown)} other rules, which JSON lists"
    yield from (f"{direction}: no policy isolates {_subject(direction.value)}" for direction in why.not_isolated)
    if why.own_node:
        yield "ingress: a pod's own node always reaches it"


def _subject(direction: str) -> str:
    return "the source" if direction == "egress" else "the destination"


def _blocked(one: Confirmed) -> Iterator[str]:
    for blocker in one.changed.blockers:
        yield f"{blocker.direction}: isolated by {blocker.policy}{_place(blocker.policy.span)}, and no rule matches"


def _rule(policy: Policy, rule: Rule) -> str:
    return f"{rule_text(policy, rule)}{_place(rule.span or policy.span)}"


def _place(span: Span | None) -> str:
    return f" ({span})" if span else ""


def _witness(one: Confirmed) -> str:
    old, new = one.witness
    verdicts = " -> ".join(str(decision.verdict) for decision in one.decisions)
    ends = f"{endpoint_text(new.src)} -> {endpoint_text(new.dst)}"
    before = f"{endpoint_text(old.src)} -> {endpoint_text(old.dst)}"
    was = "" if before == ends else f"  (in OLD: {before})"
    return f"{ends}  {new.port_text}  {verdicts}{was}"


def _surprise(surprise: ConfirmedSurprise) -> str:
    policy, rule = surprise.policy, surprise.rule
    end = surprise.witness.src if surprise.direction.value == "egress" else surprise.witness.dst
    word = "the new" if surprise.added else "the changed"
    return (
        f"{word} {policy}{_place(policy.span)} isolates {end} for {surprise.direction}, while "
        f"{_rule(rule.policy, rule.rule)} at the other end still allows {_flow(surprise.witness)}"
    )


def _flow(flow: Flow) -> str:
    return f"{endpoint_text(flow.src)} -> {endpoint_text(flow.dst)} {flow.port_text}"


def _only_lines(report: DiffReport) -> Iterator[str]:
    for one in report.comparison.one_sided:
        yield f"ONLY IN {one.version}  {_one_sided(one)}  (its flows are not compared)"


def _one_sided(one: OneSided) -> str:
    return f"{one.pod} (IPv{int(one.family)})" if one.family else str(one.pod)


# Markdown


def render_markdown(report: DiffReport) -> str:
    """For a pull request: one table, and lists of what was not compared."""
    return "\n".join(_markdown(report)) + "\n"


def _markdown(report: DiffReport) -> Iterator[str]:
    opened, closed = len(report.of(Change.OPENED)), len(report.of(Change.CLOSED))
    yield f"### NetworkPolicy: {_md(report.options.old)} → {_md(report.options.new)}"
    yield ""
    whom = IN_GENERAL if report.scope is Scope.ANY_POD else f"the {report.comparison.pods} pods that are in both"
    if report.undecided:
        yield f"**Undecided**: {_md(report.undecided)}"
        yield ""
    if report.changes:
        yield f"**{opened} opened, {closed} closed**, for {whom}."
        yield ""
        yield from _table(report.changes)
    elif report.undecided:
        yield f"What else may have changed for {whom} is not known."
    elif report.comparison.pods or report.comparison.assumptions:
        yield f"No flow opens or closes for {whom}."
    else:
        yield "No difference: the policies and namespaces are equal."
    if report.comparison.assumptions:
        yield ""
        yield "Assumed of them:"
        yield ""
        yield from (f"- {_md(assumption)}" for assumption in report.comparison.assumptions)
    if report.comparison.one_sided:
        yield ""
        yield "Not compared:"
        yield ""
        yield from (f"- {_md(_one_sided(one))}, only in {one.version}" for one in report.comparison.one_sided)


def _table(changes: Sequence[Confirmed]) -> Iterator[str]:
    yield "| | from | to | ports | why | witness |"
    yield "|---|---|---|---|---|---|"
    for one in changes:
        changed = one.changed
        mark = f"**{changed.change}**" + (" (surprise)" if one.surprise else "")
        passing, denying = changed.change.passing, changed.change.passing.other
        why = [f"{passing} allows {line}" for line in _why(one)]
        why += [f"{denying} denies {line}" for line in _blocked(one)]
        why += [f"{SURPRISE.code} {SURPRISE.slug}: {_surprise(one.surprise)}"] if one.surprise else []
        cells = [
            mark,
            *(_md(text) for text in (_names(changed.sources), _names(changed.targets), _ports_text(changed))),
            "<br>".join(_md(line) for line in why),
            _md(_witness(one)),
        ]
        yield "| " + " | ".join(cells) + " |"


_SPECIAL = re.compile(r"[\\`*_{}\[\]#|~<>&@$:]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def _md(text: str) -> str:
    """Text as itself: no markup, no table cells, no HTML, no mentions, issues or links."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", _CONTROL.sub(" ", text))


# JSON


def render_json(report: DiffReport) -> str:
    """One object; every key is always there."""
    comparison = report.comparison
    document = {
        "version": VERSION,
        "old": report.options.old,
        "new": report.options.new,
        "scope": str(report.scope),
        "assumptions": list(comparison.assumptions),
        "opened": [_change_json(one) for one in report.of(Change.OPENED)],
        "closed": [_change_json(one) for one in report.of(Change.CLOSED)],
        "not_compared": [
            {
                "pod": str(one.pod),
                "only_in": str(one.version).lower(),
                "family": int(one.family) if one.family else None,
            }
            for one in comparison.one_sided
        ],
        "policies": {
            "added": list(comparison.policies.added),
            "removed": list(comparison.policies.removed),
            "changed": list(comparison.policies.changed),
        },
        "undecided": report.undecided,
        "summary": {
            "opened": len(report.of(Change.OPENED)),
            "closed": len(report.of(Change.CLOSED)),
            "surprises": report.surprises,
            "pods_compared": comparison.pods,
            "maximal": comparison.complete,
            "exit_code": int(report.exit_code),
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _change_json(one: Confirmed) -> dict[str, object]:
    changed = one.changed
    return {
        "from": [_party_json(party) for party in changed.sources],
        "to": [_party_json(party) for party in changed.targets],
        "ports": _ports(changed.ports),
        "named": _named(changed),
        "allowed_by": [
            {**_rule_json(of.policy, of.rule), "reason": "rule"} for of in changed.why.rules
        ] + [
            {**_rule_json(None, None), "direction": str(direction), "reason": "not-isolated"}
            for direction in changed.why.not_isolated
        ] + [
            {**_rule_json(None, None), "direction": "ingress", "reason": "own-node"}
            for _ in range(changed.why.own_node)
        ],
        "denied_by": [
            {**_rule_json(blocker.policy, None), "direction": str(blocker.direction)} for blocker in changed.blockers
        ],
        "witness": {
            **_flow_json(one.witness.new),
            "old": str(one.decisions.old.verdict),
            "new": str(one.decisions.new.verdict),
        },
        "surprise": _surprise_json(one.surprise) if one.surprise else None,
    }  # fmt: skip


def _ports(ports: IntervalSet) -> list[str]:
    """`tcp/80`, `tcp/1000-2000`, `udp/*`, `icmp`."""
    words = describe(ports)
    if words == "any port":
        return ["tcp/*", "udp/*", "sctp/*", "icmp"]
    return [
        f"{protocol}/{span}" if span else protocol
        for protocol, _, spans in (word.partition("/") for word in words.split())
        for span in spans.split(",")
    ]


def _named(changed: Changed | PossibleChange) -> list[dict[str, object]]:
    ports = changed.declared if isinstance(changed, PossibleChange) else ()
    return [{"name": one.name, "protocol": str(one.protocol), "declared": one.declared} for one in ports]


def _party_json(party: Party | EndClass) -> dict[str, object]:
    if isinstance(party, Party):
        return {
            "kind": party.kind.value,
            "name": party.name,
            "workload": party.workload.kind if party.workload else None,
            "family": int(party.family) if party.family else None,
            "pods": [str(pod) for pod in party.pods],
            "addresses": [str(one) for one in (*party.cidrs, *party.addresses)],
            "conditions": None,
        }
    anywhere = isinstance(party, PodClass) and party.addresses == EVERY_ADDRESS
    return {
        "kind": "possible-pods" if isinstance(party, PodClass) else "external",
        "name": class_text(party),
        "workload": None,
        "family": None,
        "pods": [],
        "addresses": [] if anywhere else [str(one) for one in prefixes(party.addresses)],
        "conditions": _conditions_json(party) if isinstance(party, PodClass) else None,
    }


def _conditions_json(pods: PodClass) -> dict[str, object]:
    return {
        "namespaces": {"names": list(pods.names), "excluded": pods.excluded},
        "namespace_labels": [_condition_json(one) for one in pods.namespace_labels],
        "namespace_labels_in": None if pods.labels_in is None else str(pods.labels_in).lower(),
        "labels": [_condition_json(one) for one in pods.labels],
        "any_address": pods.addresses == EVERY_ADDRESS,
        "no_address": pods.unaddressed,
    }


def _condition_json(one: LabelCondition) -> dict[str, object]:
    return {"key": one.key, "values": list(one.values), "excluded": one.excluded, "absent": one.absent}


def _rule_json(policy: Policy | None, rule: Rule | None) -> dict[str, object]:
    span = (rule.span if rule else None) or (policy.span if policy else None)
    return {
        "direction": str(rule.direction) if rule else None,
        "policy": str(policy) if policy else None,
        "rule": rule.index if rule else None,
        "file": span.file.path if span else None,
        "line": span.line if span else None,
    }


def _flow_json(flow: Flow) -> dict[str, object]:
    return {
        "src": str(flow.src),
        "src_address": str(flow.src.address) if flow.src.address else None,
        "dst": str(flow.dst),
        "dst_address": str(flow.dst.address) if flow.dst.address else None,
        "port": flow.port_text,
    }


def _surprise_json(surprise: ConfirmedSurprise) -> dict[str, object]:
    return {
        "code": SURPRISE.code,
        "isolated_by": {**_rule_json(surprise.policy, None), "direction": str(surprise.direction)},
        "added": surprise.added,
        "still_allowed_by": _rule_json(surprise.rule.policy, surprise.rule.rule),
        "witness": _flow_json(surprise.witness),
        "note": _surprise(surprise),
    }


FORMATS: Mapping[str, Callable[[DiffReport], str]] = {
    "text": render_text,
    "json": render_json,
    "markdown": render_markdown,
}
"""By the names of `--output-format`."""
