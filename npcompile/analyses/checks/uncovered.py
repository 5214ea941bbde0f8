"""Pods that no policy isolates: a hole in default-deny.

What no policy selects for a direction is open for it, to everyone.  A warning in a namespace that has policies for that
direction, because somebody meant to close it; an info elsewhere.  A policy with `podSelector: {}` and no rule closes a
namespace for every pod that it will ever have.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress, Egress]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: default-deny, namespace: web}
    spec:
      podSelector: {}
      policyTypes: [Ingress, Egress]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from npcompile.analyses.checks.wording import count, some
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.policy import Direction
from npcompile.ir.printer import labels_text
from npcompile.questions import NotDecided, Uncovered
from npcompile.source import Span

RULE = RuleCode(code="NPC301", slug="not-isolated", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a namespace and direction; a namespace without any policy gets one for both."""
    governed = {(policy.namespace, direction) for policy in case.program.policies for direction in policy.directions}
    first: dict[str, Span] = {}
    for policy in case.program.policies:
        if policy.span is not None:
            first.setdefault(policy.namespace, policy.span)
    bare: set[str] = set()
    for answer in case.engine.uncovered():
        if isinstance(answer, NotDecided):
            yield undecided(RULE, answer)
            continue
        name = answer.namespace.name
        has_policies = any((name, direction) in governed for direction in Direction)
        if has_policies or name not in bare:
            meant = (name, answer.direction) in governed
            yield _claim(case, answer, first, meant=meant, wholly=not has_policies)
        if not has_policies:
            bare.add(name)


def _claim(case: Case, answer: Uncovered, first: Mapping[str, Span], *, meant: bool, wholly: bool) -> Claim:
    """`meant`: policies of the namespace close the direction for other pods; `wholly`: it has no policy at all."""
    name, direction, pods = answer.namespace.name, answer.direction, answer.pods
    way = "" if wholly else f" for {direction}"
    if case.scope is Scope.INVENTORY:
        are = "is" if len(pods) == 1 else "are"
        what = f"{count(len(pods), 'pod')} of `{name}` {are} not isolated{way}: {some(pods)}"
    else:
        labels = labels_text(pods[0].labels)
        shown = f"a pod with {labels}" if labels else "a pod without labels"
        what = f"`{name}` has no default-deny{way}: {shown} would not be isolated"
    types = ", ".join(_TYPES.values()) if wholly else _TYPES[direction]
    return Claim(
        rule=RULE,
        severity=Severity.WARNING if meant else Severity.INFO,
        message=what,
        span=_place(answer, first),
        evidence=FlowWitness(
            flow=answer.example.flow,
            invented=answer.example.invented,
            egress_allowed=True,
            ingress_allowed=True,
        ),
        scope=case.scope,
        help=f"add a policy to `{name}` with `podSelector: {{}}`, `policyTypes: [{types}]` and no rules",
    )


def _place(answer: Uncovered, first: Mapping[str, Span]) -> Span | None:
    """Where a reader would look: the Namespace object, else its first policy, else the first pod."""
    return answer.namespace.span or first.get(answer.namespace.name) or answer.pods[0].span


_TYPES = {Direction.INGRESS: "Ingress", Direction.EGRESS: "Egress"}
