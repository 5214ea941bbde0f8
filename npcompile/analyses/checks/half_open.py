"""A rule opens one end of a flow, and the other end denies it.

Traffic needs both: the source's egress and the destination's ingress.  A warning when no flow of the rule (or of one of
its ports) gets through, so that the rule is dead; an info when some do and some do not, which is common for wide rules.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Egress]
      egress:
      - to: [{podSelector: {matchLabels: {app: db}}}]
        ports: [{port: 5432}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress]
      ingress:
      - from: [{podSelector: {matchLabels: {app: api}}}]
        ports: [{port: 5432}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Egress]
      egress:
      - to: [{podSelector: {matchLabels: {app: db}}}]
        ports: [{port: 5432}]
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import OTHER, named
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, Note, RuleCode, Severity
from npcompile.ir.policy import Direction
from npcompile.ir.printer import port_item_text
from npcompile.questions import HalfOpen, NotDecided

RULE = RuleCode(code="NPC201", slug="half-open", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a rule and port item that the other end denies."""
    for answer in case.half_open():
        yield undecided(RULE, answer) if isinstance(answer, NotDecided) else _claim(case, answer)


def _claim(case: Case, answer: HalfOpen) -> Claim:
    opener, direction = answer.opener, answer.opener.rule.direction
    far = "destination's ingress" if direction is Direction.EGRESS else "source's egress"
    port = f" on {port_item_text(answer.port)}" if answer.port else ""
    amount = "every flow" if answer.fully else "some flows"
    egress = direction is Direction.EGRESS
    return Claim(
        rule=RULE,
        severity=Severity.WARNING if answer.fully else Severity.INFO,
        message=f"{named(opener)} is half-open: {amount} that it allows{port} the {far} denies",
        span=(answer.port.span if answer.port else None) or opener.rule.span,
        label=f"allowed for {direction} here",
        evidence=FlowWitness(
            flow=answer.example.flow,
            invented=answer.example.invented,
            egress_allowed=egress,
            ingress_allowed=not egress,
            matched_by=opener,
        ),
        scope=case.scope,
        every_pod=case.everywhere(answer) if answer.fully else None,
        notes=(Note(text=f"isolated by `{answer.blocker}`, and no rule allows it", span=answer.blocker.span),),
        help=f"allow the flow for {OTHER[direction]}, too, or remove the rule",
    )
