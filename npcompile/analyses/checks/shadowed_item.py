"""One peer or port of a rule can be removed, and no verdict changes.

All that the rule allows by it, the rest of the rule and other rules allow already: a cidr inside another one, a port
inside a range, a selector that a wider one includes.  What is needed for that is named.  All that is reported here and
for whole rules can be removed together; a rule that is superfluous as a whole is not taken apart.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
      ingress:
      - from:
        - ipBlock: {cidr: 192.0.2.0/24}
        - ipBlock: {cidr: 192.0.2.128/25}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
      ingress:
      - from:
        - ipBlock: {cidr: 192.0.2.0/24}
        - ipBlock: {cidr: 198.51.100.128/25}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import named, place
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.ir.policy import BlockPeer, Direction, PodPeer
from npcompile.ir.printer import peer_text, port_item_text
from npcompile.questions import NotDecided, RuleOf, ShadowedItem

RULE = RuleCode(code="NPC103", slug="shadowed-item", severity=Severity.INFO, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a peer or port item that is covered."""
    for answer in case.engine.shadowed_items():
        yield undecided(RULE, answer) if isinstance(answer, NotDecided) else _claim(case, answer)


def _claim(case: Case, answer: ShadowedItem) -> Claim:
    subject, item = answer.subject, answer.item
    is_peer = isinstance(item, PodPeer | BlockPeer)
    kind = "peer" if is_peer else "port"
    text = peer_text(item) if isinstance(item, PodPeer | BlockPeer) else port_item_text(item)
    cover = " and ".join(_named(subject, rule) for rule in answer.cover)
    how = "allows" if len(answer.cover) == 1 else "allow together"
    ingress = subject.rule.direction is Direction.INGRESS
    return Claim(
        rule=RULE,
        message=f"{kind} `{text}` of {named(subject)} is shadowed: all that it allows, {cover} {how}",
        span=item.span or subject.rule.span,
        label="allows nothing that is not allowed without it",
        evidence=FlowWitness(
            flow=answer.example.flow,
            invented=answer.example.invented,
            egress_allowed=None if ingress else True,
            ingress_allowed=True if ingress else None,
            matched_by=subject,
            even_without_item=item,
        ),
        scope=case.scope,
        every_pod=case.everywhere(answer),
        notes=tuple(place(rule, f"covered by {named(rule)}") for rule in answer.cover if rule is not subject),
        help=f"remove the {kind}, or narrow what covers it if that was not meant",
    )


def _named(subject: RuleOf, rule: RuleOf) -> str:
    return "the rest of the rule" if rule is subject else named(rule)
