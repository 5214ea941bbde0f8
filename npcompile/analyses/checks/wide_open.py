"""A policy isolates pods, and its rules open them to everyone all the same.

To all of IPv4, all of IPv6 or every pod, by one rule or by several together: two halves of the Internet are the
Internet.  A warning when all ports are open, so that nothing is left of the isolation; an info when some are, which is
what the rules of an ingress controller and of a crawler look like.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
      ingress:
      - from:
        - ipBlock: {cidr: 0.0.0.0/1}
      - from:
        - ipBlock: {cidr: 128.0.0.0/1}

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
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from npcompile.analyses.checks.wording import named, place
from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.ir.policy import Direction
from npcompile.questions import NotDecided, WideOpen

RULE = RuleCode(code="NPC401", slug="wide-open", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim the rules that open pods to everyone; what they do to several kinds of peers is one claim."""
    found: dict[object, list[WideOpen]] = {}
    for answer in case.engine.wide_open():
        if isinstance(answer, NotDecided):
            yield undecided(RULE, answer)
        else:
            rules = tuple(rule.order for rule in answer.rules)
            found.setdefault((answer.namespace, answer.direction, rules, answer.every_port), []).append(answer)
    for answers in found.values():
        yield _claim(case, answers)


def _claim(case: Case, answers: Sequence[WideOpen]) -> Claim:
    first = answers[0]
    ingress = first.direction is Direction.INGRESS
    everyone = " and ".join(answer.breadth.value for answer in answers)
    cover = " and ".join(named(rule) for rule in first.rules)
    verb = "opens its pods" if len(first.rules) == 1 else "together open pods"
    way = "from" if ingress else "to"
    amount = "every port" if first.every_port else "some ports"
    known = [case.everywhere(answer) for answer in answers]
    everywhere = None if None in known else all(known)
    return Claim(
        rule=RULE,
        severity=Severity.WARNING if first.every_port else Severity.INFO,
        message=f"{cover} {verb} for {first.direction} {way} {everyone}, on {amount}",
        span=first.rules[0].rule.span,
        label="matches everyone" if len(first.rules) == 1 else "takes part in it",
        evidence=FlowWitness(
            flow=first.example.flow,
            invented=first.example.invented,
            egress_allowed=None if ingress else True,
            ingress_allowed=True if ingress else None,
            matched_by=first.rules[0],
        ),
        scope=case.scope,
        every_pod=everywhere,
        notes=tuple(place(rule, f"takes part: {named(rule)}") for rule in first.rules[1:]),
        help=f"name the peers in `{'from' if ingress else 'to'}`, unless everyone is meant",
    )
