"""What gets into the isolated pods of a namespace, and through which rules.

An info, one a namespace: nothing reaches an isolated pod but through a rule that somebody wrote, the pod's own node
apart.  Here is every such rule that lets something in, each with a packet that shows it, and then those that are shown
to let nothing in.  For every pod that could exist this holds when none of those ever could, whatever is in the cluster.

A namespace whose isolated pods nothing reaches is not mentioned; `npcompile map --to NAMESPACE` says so of it.

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

from npcompile.analyses.checks.wording import count, named, place
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.ir.policy import Direction
from npcompile.ir.printer import endpoint_text
from npcompile.questions import NoWayIn, RuleOf, WayIn

RULE = RuleCode(code="NPC302", slug="ways-in", severity=Severity.INFO, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a namespace that has ways in."""
    ways: dict[str, list[WayIn]] = {}
    unknown: set[tuple[object, ...]] = set()
    for answer in case.ways_in():
        if isinstance(answer, WayIn):
            ways.setdefault(answer.opener.policy.namespace, []).append(answer)
            continue
        yield undecided(RULE, answer)
        if answer.rule is not None:
            unknown.add(RuleOf(policy=answer.policy, rule=answer.rule).order)
    rules: dict[str, list[RuleOf]] = {}
    for policy in case.program.policies if ways else ():
        own = (RuleOf(policy=policy, rule=rule) for rule in policy.rules_of(Direction.INGRESS))
        rules.setdefault(policy.namespace, []).extend(own)
    for namespace, group in ways.items():
        open_or_unknown = unknown | {way.opener.order for way in group}
        closed = sorted((of for of in rules[namespace] if of.order not in open_or_unknown), key=lambda of: of.order)
        some_unknown = any(of.order in unknown for of in rules[namespace])
        yield _claim(case, namespace, group, closed, some_unknown=some_unknown)


def _claim(case: Case, namespace: str, ways: list[WayIn], closed: list[RuleOf], *, some_unknown: bool) -> Claim:
    first = ways[0]
    bound = "at least" if some_unknown else "only"
    return Claim(
        rule=RULE,
        message=f"the isolated pods of `{namespace}` are reached through {count(len(ways), 'rule')} {bound}, "
        "and from their own nodes",
        span=first.opener.rule.span,
        evidence=FlowWitness(
            flow=first.example.flow,
            invented=first.example.invented,
            egress_allowed=True,
            ingress_allowed=True,
            matched_by=first.opener,
        ),
        scope=case.scope,
        every_pod=None if some_unknown else case.everywhere(NoWayIn(rules=tuple(closed))),
        notes=(
            *(place(way.opener, f"{named(way.opener)} lets in {_flow(way)}") for way in ways),
            *(place(of, f"{named(of)} lets nothing in") for of in closed),
        ),
    )


def _flow(way: WayIn) -> str:
    flow = way.example.flow
    return f"{endpoint_text(flow.src)} -> {endpoint_text(flow.dst)} {flow.port_text}"
