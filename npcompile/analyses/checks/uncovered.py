"""Pods that no policy isolates: a hole in default-deny.

What no policy selects for a direction is open for it, to everyone.  A warning in a namespace that has policies for that
direction, because somebody meant to close it; an info elsewhere.  A policy with `podSelector: {}` and no rule closes a
namespace for every pod that it will ever have.
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import count, some
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.policy import Direction
from npcompile.ir.printer import labels_text
from npcompile.questions import NotDecided, Uncovered

RULE = RuleCode(code="NPC301", slug="not-isolated", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a namespace and direction with pods that are not isolated."""
    for answer in case.engine.uncovered():
        yield undecided(RULE, answer) if isinstance(answer, NotDecided) else _claim(case, answer)


def _claim(case: Case, answer: Uncovered) -> Claim:
    name, direction, pods = answer.namespace.name, answer.direction, answer.pods
    policies = [one for one in case.program.policies if one.namespace == name and direction in one.directions]
    if case.scope is Scope.INVENTORY:
        are = "is" if len(pods) == 1 else "are"
        what = f"{count(len(pods), 'pod')} of `{name}` {are} not isolated for {direction}: {some(pods)}"
    else:
        labels = labels_text(pods[0].labels)
        shown = f"a pod with {labels}" if labels else "a pod without labels"
        what = f"`{name}` has no default-deny for {direction}: {shown} would not be isolated"
    places = (answer.namespace.span, policies[0].span if policies else None, pods[0].span)
    return Claim(
        rule=RULE,
        severity=Severity.WARNING if policies else Severity.INFO,
        message=what,
        span=next((span for span in places if span is not None), None),
        evidence=FlowWitness(
            flow=answer.example.flow,
            invented=answer.example.invented,
            egress_allowed=True,
            ingress_allowed=True,
        ),
        scope=case.scope,
        help=f"add a policy to `{name}` with `podSelector: {{}}`, `policyTypes: [{_TYPES[direction]}]` and no rules",
    )


_TYPES = {Direction.INGRESS: "Ingress", Direction.EGRESS: "Egress"}
