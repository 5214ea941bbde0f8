"""A policy lets something in, names Egress in its policyTypes, and has no egress list: its pods may send nothing.

Not even DNS queries.  Answers to what comes in pass all the same, so that this may be meant; more often `Egress` was
copied, and the pods' own connections fail.  Who means it writes `egress: []`.  Nothing is said either where another
policy of the namespace that may select the same pods settles their egress: one with egress rules, or one without any
rules, which closes on purpose.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress, Egress]
      ingress:
      - from: [{podSelector: {matchLabels: {app: front}}}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
      ingress:
      - from: [{podSelector: {matchLabels: {app: front}}}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress, Egress]
      ingress:
      - from: [{podSelector: {matchLabels: {app: api}}}]
      egress: []
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.claims import Case, Claim, Textual, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.labels import Operator, Selector
from npcompile.ir.policy import Direction, Policy
from npcompile.ir.program import PolicyIndex

RULE = RuleCode(code="NPC422", slug="no-egress-rules", severity=Severity.INFO, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a policy that lets in only, and closes egress."""
    policies = PolicyIndex(case.program.policies)
    for policy in case.program.policies:
        if not policy.rules or not _closes(policy) or Direction.EGRESS not in policy.unlisted:
            continue
        if any(_settles(other) and _may_meet(other, policy) for other in policies.of(policy.namespace)):
            continue
        yield Claim(
            rule=RULE,
            message=f"`{policy}` has ingress rules only, and isolates for egress: it lets its pods send nothing",
            span=policy.span,
            label="`policyTypes` names `Egress`, and there is no `egress`",
            evidence=Textual(),
            scope=Scope.ANY_POD,
            help="add egress rules, DNS among them, or leave `Egress` out; write `egress: []` if this is meant",
        )


def _closes(policy: Policy) -> bool:
    return Direction.EGRESS in policy.directions and not policy.rules_of(Direction.EGRESS)


def _settles(policy: Policy) -> bool:
    return Direction.EGRESS in policy.directions and not (policy.rules and _closes(policy))


def _may_meet(one: Policy, other: Policy) -> bool:
    """Whether pods may be subjects of both: not where each wants other values of a label."""
    wanted = _values(other.subjects)
    return all(not values.isdisjoint(wanted.get(key, values)) for key, values in _values(one.subjects).items())


def _values(selector: Selector) -> dict[str, frozenset[str]]:
    """The values that a selector leaves of each label that it wants to be one of some."""
    found: dict[str, frozenset[str]] = {}
    for requirement in selector.requirements:
        if requirement.operator is Operator.IN:
            values = frozenset(requirement.values)
            found[requirement.key] = found.get(requirement.key, values) & values
    return found
