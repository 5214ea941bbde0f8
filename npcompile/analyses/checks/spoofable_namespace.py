"""A rule recognises namespaces by labels that are not their names.

Whoever may edit a Namespace object may give it any label, and so join the peers of this rule.  The label
`kubernetes.io/metadata.name` is set by the API server and cannot be anything but the name.  Where labels of namespaces
are in the hands of administrators only, or an admission policy guards them, ignore this rule.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{namespaceSelector: {matchLabels: {team: payments}}}]

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: payments}}}]
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, Textual, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.ir.labels import NAMESPACE_NAME, Operator, Selector
from npcompile.ir.policy import PodPeer
from npcompile.ir.printer import selector_text
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC415", slug="spoofable-namespace", severity=Severity.INFO, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a policy and selector of namespaces."""
    for policy in case.program.policies:
        seen: set[Selector] = set()
        for rule in policy.rules:
            for peer in rule.match.peers:
                if not isinstance(peer, PodPeer) or peer.namespaces is None or peer.namespaces in seen:
                    continue
                seen.add(peer.namespaces)
                if _is_spoofable(peer.namespaces):
                    yield _claim(case, RuleOf(policy=policy, rule=rule), peer.namespaces)


def _is_spoofable(selector: Selector) -> bool:
    """Whether it wants something, and not certain names."""
    by_name = any(one.key == NAMESPACE_NAME and one.operator is Operator.IN for one in selector.requirements)
    return bool(selector.requirements) and not by_name


def _claim(case: Case, rule: RuleOf, selector: Selector) -> Claim:
    return Claim(
        rule=RULE,
        message=f"{named(rule)} trusts every namespace with `{selector_text(selector)}`, whoever labelled it",
        span=selector.span,
        evidence=Textual(),
        scope=case.scope,
        help=f"name the namespaces by `{NAMESPACE_NAME}`, or guard who may set the label",
    )
