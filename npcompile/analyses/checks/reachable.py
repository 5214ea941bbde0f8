"""What gets into the isolated pods of a namespace, and through which rules.

An info, one a namespace: nothing reaches an isolated pod but through a rule that somebody wrote, the pod's own node
apart, and here is every such rule that lets something in, each with a packet that shows it.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{podSelector: {matchLabels: {app: api}}}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress]
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from npcompile.analyses.checks.wording import count, named, place
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.ir.printer import endpoint_text
from npcompile.questions import NotDecided, WayIn

RULE = RuleCode(code="NPC302", slug="ways-in", severity=Severity.INFO, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a namespace that has ways in."""
    ways = []
    for answer in case.ways_in():
        if isinstance(answer, NotDecided):
            yield undecided(RULE, answer)
        else:
            ways.append(answer)
    for namespace, group in groupby(ways, key=lambda way: way.opener.policy.namespace):
        yield _claim(case, namespace, list(group))


def _claim(case: Case, namespace: str, ways: list[WayIn]) -> Claim:
    first = ways[0]
    return Claim(
        rule=RULE,
        message=f"the isolated pods of `{namespace}` are reached through {count(len(ways), 'rule')} only",
        span=first.opener.rule.span,
        evidence=FlowWitness(
            flow=first.example.flow,
            invented=first.example.invented,
            egress_allowed=True,
            ingress_allowed=True,
            matched_by=first.opener,
        ),
        scope=case.scope,
        notes=tuple(place(way.opener, f"{named(way.opener)} lets in {_flow(way)}") for way in ways),
    )


def _flow(way: WayIn) -> str:
    flow = way.example.flow
    return f"{endpoint_text(flow.src)} -> {endpoint_text(flow.dst)} {flow.port_text}"
