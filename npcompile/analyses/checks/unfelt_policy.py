"""A policy decides what may leave or enter its pods, and yet no flow passes or fails because of it.

What it opens at its end, the other end denies; what it closes, the other end denies as well.  That is no reason to
remove it: it does its work as soon as the policies at the other end change, or other pods come.  But whoever wrote it
to let something through has not got there, and the other end's policies tell why.  Of several such policies each is
judged beside all others.

Those that change nothing at either end are found by `redundant-policy`.  A policy that closes nothing, and of which
`shadowed-rule` or `half-open` warns of each rule, is left to those.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [api, cron]}]}}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db-from-web, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [api, web]}]}}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: to-db, namespace: shop}
    spec:
      podSelector: {matchExpressions: [{key: app, operator: In, values: [api, cron]}]}
      policyTypes: [Egress]
      egress:
      - to: [{podSelector: {matchLabels: {app: db}}}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: deny, namespace: shop}
    spec:
      podSelector: {}
      policyTypes: [Ingress, Egress]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: shop, labels: {app: api}}
    spec: {containers: [{name: main, image: api}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: cron, namespace: shop, labels: {app: cron}}
    spec: {containers: [{name: main, image: cron}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: shop, labels: {app: db}}
    spec: {containers: [{name: main, image: db}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: shop, labels: {app: web}}
    spec: {containers: [{name: main, image: web}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [api, cron]}]}}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db-from-web, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [api, web]}]}}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: to-db, namespace: shop}
    spec:
      podSelector: {matchExpressions: [{key: app, operator: In, values: [api, cron, web]}]}
      policyTypes: [Egress]
      egress:
      - to: [{podSelector: {matchLabels: {app: db}}}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: deny, namespace: shop}
    spec:
      podSelector: {}
      policyTypes: [Ingress, Egress]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: shop, labels: {app: api}}
    spec: {containers: [{name: main, image: api}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: cron, namespace: shop, labels: {app: cron}}
    spec: {containers: [{name: main, image: cron}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: shop, labels: {app: db}}
    spec: {containers: [{name: main, image: db}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: shop, labels: {app: web}}
    spec: {containers: [{name: main, image: web}]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.claims import Case, Claim, Unchanged, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.ir.policy import Policy, PortItem
from npcompile.questions import HalfOpen, NotDecided, RuleOf, Shadowed, Unfelt

RULE = RuleCode(code="NPC104", slug="unfelt-policy", severity=Severity.INFO, kind=Kind.PROVED)

Warned = tuple[tuple[str, str, str, int], PortItem | None]


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a policy without which every verdict is the same, and some side of a flow is not."""
    warned: frozenset[Warned] | None = None
    for answer in case.engine.unfelt():
        if isinstance(answer, NotDecided):
            yield undecided(RULE, answer)
            continue
        warned = _warned(case) if warned is None else warned
        if answer.closes or not all(_told(rule, warned) for rule in _rules(answer.policy)):
            yield _claim(case, answer)


def _warned(case: Case) -> frozenset[Warned]:
    """The rules that other checks warn of, or their port items."""
    shadowed = ((one.subject.order, None) for one in case.engine.shadowed() if isinstance(one, Shadowed))
    dead = (one for one in case.half_open() if isinstance(one, HalfOpen) and one.fully)
    return frozenset((*shadowed, *((one.opener.order, one.port) for one in dead)))


def _told(of: RuleOf, warned: frozenset[Warned]) -> bool:
    items = of.rule.match.ports
    return (of.order, None) in warned or (bool(items) and all((of.order, item) in warned for item in items))


def _rules(policy: Policy) -> list[RuleOf]:
    return [RuleOf(policy=policy, rule=rule) for rule in policy.rules]


def _claim(case: Case, answer: Unfelt) -> Claim:
    return Claim(
        rule=RULE,
        message=f"no verdict depends on `{answer.policy}`: what it opens or closes is denied at the other end",
        span=answer.policy.span,
        label="each flow has the same verdict without it, though not for the same reasons",
        evidence=Unchanged(policy=answer.policy, examples=answer.examples, verdict_only=True),
        scope=case.scope,
        every_pod=case.everywhere(answer),
        help="keep it, as the other end may change; if it was meant to let something through, open the other end",
    )
