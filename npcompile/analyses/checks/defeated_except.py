"""What one rule excepts, another rule allows.

`except` is not a deny: it only keeps its own ipBlock from matching.  Where another rule for the same pods matches such
an address, as an ipBlock without the except or as a pod that has it, the traffic passes.  Often that is meant (everyone
outside the cluster, and some pods within it); an info, with a packet that shows it.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Egress]
      egress:
      - to:
        - ipBlock: {cidr: 0.0.0.0/0, except: [169.254.169.254/32]}
      - to:
        - ipBlock: {cidr: 169.254.0.0/16}
        ports: [{port: 80}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Egress]
      egress:
      - to:
        - ipBlock: {cidr: 0.0.0.0/0, except: [169.254.169.254/32]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import named, place
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.ir.policy import Direction
from npcompile.questions import DefeatedExcept, NotDecided

RULE = RuleCode(code="NPC203", slug="defeated-except", severity=Severity.INFO, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim an except that another rule allows."""
    for answer in case.engine.defeated_excepts():
        yield undecided(RULE, answer) if isinstance(answer, NotDecided) else _claim(case, answer)


def _claim(case: Case, answer: DefeatedExcept) -> Claim:
    ingress = answer.subject.rule.direction is Direction.INGRESS
    return Claim(
        rule=RULE,
        message=f"{named(answer.subject)} excepts `{answer.excepted}`, and {named(answer.opener)} allows some of it",
        span=answer.peer.span or answer.subject.rule.span,
        label="an except is not a deny",
        evidence=FlowWitness(
            flow=answer.example.flow,
            invented=answer.example.invented,
            egress_allowed=None if ingress else True,
            ingress_allowed=True if ingress else None,
            matched_by=answer.opener,
        ),
        scope=case.scope,
        notes=(place(answer.opener, f"allowed by {named(answer.opener)}"),),
        help="except it there, too, or drop the except if the other rule is meant",
    )
