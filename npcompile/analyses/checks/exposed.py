"""A rule opens isolated pods to addresses outside the cluster.

An info: it is what an ingress controller needs and what a database never should have.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - ports: [{port: 5432}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{podSelector: {}}]
        ports: [{port: 5432}]
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.questions import WayIn

RULE = RuleCode(code="NPC303", slug="internet-exposed", severity=Severity.INFO, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a rule that lets an external address in.  What is undecided here, `ways-in` reports."""
    for answer in case.ways_in():
        if isinstance(answer, WayIn) and answer.internet is not None:
            yield Claim(
                rule=RULE,
                message=f"{named(answer.opener)} opens its pods to addresses outside the cluster",
                span=answer.opener.rule.span,
                label="lets external addresses in",
                evidence=FlowWitness(
                    flow=answer.internet.flow,
                    invented=answer.internet.invented,
                    egress_allowed=True,
                    ingress_allowed=True,
                    matched_by=answer.opener,
                ),
                scope=case.scope,
                help="name the sources in `from`, unless everyone is meant",
            )
