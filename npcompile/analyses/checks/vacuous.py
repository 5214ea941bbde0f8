"""A policy selects no pod, or a rule has peers that nothing matches.

An error when no pod could ever match, because the selector contradicts itself.  A warning when nothing in the inventory
matches: a misspelt label, a pod that was renamed, or a workload that is not deployed yet.  Until something matches, the
policy protects nothing, and a rule opens nothing.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: bd}}
      policyTypes: [Ingress]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: web, labels: {app: db}}
    spec: {containers: [{name: main, image: db}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: web, labels: {app: db}}
    spec: {containers: [{name: main, image: db}]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, NothingSelected, Undecided, Unsatisfiable, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.policy import Policy, Rule
from npcompile.ir.printer import selector_text
from npcompile.questions import NotDecided, RuleOf, Vacuous

RULE = RuleCode(code="NPC110", slug="vacuous", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a policy without subjects, and one a rule without peers."""
    answers = list(case.engine.vacuous())
    impossible: set[tuple[Policy, Rule | None]] = set()
    if answers and case.scope is Scope.INVENTORY:
        # Nothing matches here; whether anything ever could is a question for z3, and only now worth its loading time.
        for answer in case.any_pod([answer.policy for answer in answers]).vacuous():
            if isinstance(answer, Vacuous):
                impossible.add((answer.policy, answer.rule))
            else:
                yield undecided(RULE, answer)
    for answer in answers:
        if isinstance(answer, NotDecided):
            yield undecided(RULE, answer)
        else:
            yield _claim(case, answer, never=answer.impossible or (answer.policy, answer.rule) in impossible)


def _claim(case: Case, answer: Vacuous, *, never: bool) -> Claim:
    policy, rule = answer.policy, answer.rule
    whose = "any pod that could exist" if never else "the inventory"
    if rule is None:
        what = f"`{policy}` selects no pod of {whose}" if not never else f"`{policy}` can never select a pod"
        span, label = policy.subjects.span or policy.span, f"wants {selector_text(policy.subjects)}"
    else:
        subject = named(RuleOf(policy=policy, rule=rule))
        what = f"{subject} can never match a peer" if never else f"{subject} matches no peer of {whose}"
        span, label = rule.span, "nothing matches this"
    return Claim(
        rule=RULE,
        severity=Severity.ERROR if never else Severity.WARNING,
        message=what,
        span=span,
        label=label,
        evidence=Unsatisfiable() if never else NothingSelected(policy=policy, rule=rule),
        scope=Scope.ANY_POD if never else case.scope,
        help="its conditions contradict each other" if never else "compare the labels with those of the pods meant",
    )
