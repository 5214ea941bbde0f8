"""Every flow that the rule matches is matched by other rules already.

The rule can be removed, and no verdict changes.  Often it is left over from before somebody wrote a wider rule;
sometimes the wider rule is the mistake.  The rules that cover it are named, and none of them could be left out: either
one rule does it alone, or several do together.  Of two rules that say the same, the first in the order of (namespace,
policy name, rule) stays.  Whether the *policy* can be removed is another question, because a policy also isolates.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{podSelector: {}}]
      - from: [{podSelector: {matchLabels: {app: api}}}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{podSelector: {matchLabels: {app: api}}}]
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import named, place
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.ir.policy import Direction
from npcompile.questions import NotDecided, Shadowed

RULE = RuleCode(code="NPC101", slug="shadowed-rule", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a shadowed rule."""
    for answer in case.engine.shadowed():
        yield undecided(RULE, answer) if isinstance(answer, NotDecided) else _claim(case, answer)


def _claim(case: Case, answer: Shadowed) -> Claim:
    subject = answer.subject
    cover = " and ".join(named(rule) for rule in answer.cover)
    how = "" if len(answer.cover) == 1 else " together"
    ingress = subject.rule.direction is Direction.INGRESS
    return Claim(
        rule=RULE,
        message=f"{named(subject)} is shadowed: all that it allows, {cover} allow{'s' if not how else ''}{how}",
        span=subject.rule.span,
        label="allows nothing that is not allowed without it",
        evidence=FlowWitness(
            flow=answer.example.flow,
            invented=answer.example.invented,
            egress_allowed=None if ingress else True,
            ingress_allowed=True if ingress else None,
            matched_by=subject,
            even_without=True,
        ),
        scope=case.scope,
        every_pod=case.everywhere(answer),
        notes=tuple(place(rule, f"covered by {named(rule)}") for rule in answer.cover),
        help="remove the rule, or narrow what covers it if that was not meant",
    )
