"""A policy has rules for a direction that its policyTypes leaves out.

Such rules allow nothing and deny nothing; the API server keeps them silently.  Either the direction was forgotten in
`policyTypes`, and its pods are not isolated although the policy looks as if they were, or the rules are left over.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress]
      egress:
      - to: [{podSelector: {}}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress, Egress]
      egress:
      - to: [{podSelector: {}}]
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.claims import Case, Claim, Textual, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity

RULE = RuleCode(code="NPC403", slug="inactive-rules", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a policy and direction with inactive rules."""
    for policy in case.program.policies:
        if policy.inactive:
            first = policy.inactive[0]
            yield Claim(
                rule=RULE,
                message=f"`{policy}` has {first.direction} rules, but `policyTypes` leaves {first.direction} out",
                span=first.span,
                label="has no effect",
                evidence=Textual(),
                scope=Scope.ANY_POD,
                help=f"add `{first.direction.value.capitalize()}` to `policyTypes`, or remove the rules",
            )
