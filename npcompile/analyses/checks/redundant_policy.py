"""Without the policy every flow is judged as with it.

Each side of each flow is, isolation included: other policies isolate the same pods in the same directions, and their
rules match all that this one's do; or the policy isolates pods that no other one does, and allows them everything.  It
can be removed, and so can all the policies that are reported here, together.  Of two equal policies the first in the
order of (namespace, name) stays.  Often the policy is left over from before somebody wrote a wider one; sometimes the
wider one is the mistake.

An info for a policy without rules that is redundant for the pods of the inventory only: a default-deny of a namespace
does its work when the next pod comes.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
      ingress:
      - from: [{podSelector: {matchLabels: {app: web}}}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api-metrics, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
      ingress:
      - from: [{podSelector: {matchLabels: {app: web}}}]
        ports: [{port: 9090}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
      ingress:
      - from: [{podSelector: {matchLabels: {app: web}}}]
        ports: [{port: 8080}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api-metrics, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
      ingress:
      - from: [{podSelector: {matchLabels: {app: web}}}]
        ports: [{port: 9090}]
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.claims import Case, Claim, Unchanged, Undecided, undecided
from npcompile.diagnostics.model import Kind, Note, RuleCode, Severity
from npcompile.questions import NotDecided, Redundant

RULE = RuleCode(code="NPC102", slug="redundant-policy", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a redundant policy."""
    for answer in case.engine.redundant():
        yield undecided(RULE, answer) if isinstance(answer, NotDecided) else _claim(case, answer)


def _claim(case: Case, answer: Redundant) -> Claim:
    cover = " and ".join(f"`{policy}`" for policy in answer.cover)
    if not cover:
        why = "no other policy isolates its pods, and it allows them everything"
    elif len(answer.cover) == 1:
        why = f"{cover} isolates and allows the same without it"
    else:
        why = f"{cover} together isolate and allow the same without it"
    # A default-deny waits for pods that nobody has written a policy for yet.
    everywhere = case.everywhere(answer)
    waits = everywhere is False and not answer.policy.rules
    return Claim(
        rule=RULE,
        severity=Severity.INFO if waits else Severity.WARNING,
        message=f"`{answer.policy}` is redundant: {why}",
        span=answer.policy.span,
        label="no verdict changes without it",
        evidence=Unchanged(policy=answer.policy, examples=answer.examples),
        scope=case.scope,
        every_pod=everywhere,
        notes=tuple(Note(text=f"does its work: `{policy}`", span=policy.span) for policy in answer.cover),
        help="keep it for the pods that may come"
        if waits
        else "remove the policy, or narrow what makes it superfluous if that was not meant",
    )
