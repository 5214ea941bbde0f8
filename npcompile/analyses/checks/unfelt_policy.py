"""A policy decides what may leave or enter its pods, and yet no flow of the inventory passes or fails because of it.

What it opens at its end, the other end denies; what it closes, the other end denies as well.  That is no reason to
remove it: it does its work as soon as the policies at the other end change, or other pods come.  But whoever wrote it
to let something through has not got there, and the other end's policies tell why.  Said for the pods of an inventory
only: for every pod that could exist it hardly ever holds.  Of several such policies each is judged beside all others.
Those that change nothing at either end are found by `redundant-policy`.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress]
      ingress:
      - from: [{podSelector: {matchLabels: {app: web}}}]
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
      policyTypes: [Ingress]
      ingress:
      - from: [{podSelector: {matchLabels: {app: web}}}]
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
from npcompile.questions import NotDecided, Unfelt

RULE = RuleCode(code="NPC104", slug="unfelt-policy", severity=Severity.INFO, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a policy without which every verdict is the same, and some side of a flow is not."""
    for answer in case.unfelt():
        yield undecided(RULE, answer) if isinstance(answer, NotDecided) else _claim(case, answer)


def _claim(case: Case, answer: Unfelt) -> Claim:
    return Claim(
        rule=RULE,
        message=f"no verdict depends on `{answer.policy}`: what it opens or closes is denied at the other end",
        span=answer.policy.span,
        label="each flow has the same verdict without it, though not for the same reasons",
        evidence=Unchanged(policy=answer.policy, examples=answer.examples, verdict_only=True),
        scope=case.scope,
        help="keep it, as the other end may change; if it was meant to let something through, open the other end",
    )
