"""Two items of `from` or `to` were probably meant as one.

`- namespaceSelector: …` followed by `- podSelector: …` is OR: every pod of those namespaces, and the pods of the
policy's own namespace.  Without the second dash it is AND.  The difference is one character, and much traffic.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from:
        - namespaceSelector: {matchLabels: {team: data}}
        - podSelector: {matchLabels: {app: backup}}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from:
        - namespaceSelector: {matchLabels: {team: data}}
          podSelector: {matchLabels: {app: backup}}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import count, named
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, Note, RuleCode, Severity
from npcompile.ir.policy import Direction
from npcompile.ir.printer import selector_text
from npcompile.questions import NotDecided, SplitPeer

RULE = RuleCode(code="NPC407", slug="split-peer", severity=Severity.WARNING, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a pair of adjacent peers."""
    for answer in case.engine.split_peers():
        yield undecided(RULE, answer) if isinstance(answer, NotDecided) else _claim(case, answer)


def _claim(case: Case, answer: SplitPeer) -> Claim:
    namespaces = answer.namespaces.namespaces
    wanted = selector_text(namespaces) if namespaces else "everything"
    ingress = answer.subject.rule.direction is Direction.INGRESS
    verb = "allows" if ingress else "allows to reach"
    closes = "" if answer.closes is None else f"; closes {count(answer.closes, 'pair')} of pods"
    return Claim(
        rule=RULE,
        message=f"these two list items of {named(answer.subject)} are OR, not AND",
        span=answer.namespaces.span,
        label=f"{verb} every pod of the namespaces with {wanted}",
        evidence=FlowWitness(
            flow=answer.example.flow,
            invented=answer.example.invented,
            egress_allowed=None if ingress else True,
            ingress_allowed=True if ingress else None,
            matched_by=answer.subject,
        ),
        scope=case.scope,
        notes=(
            Note(
                text=f"{verb} {selector_text(answer.pods.pods)} in namespace {answer.subject.policy.namespace} only",
                span=answer.pods.span,
            ),
        ),
        help=f'drop the second "- " to require both{closes}',
    )
