"""Every pod of a namespace is isolated, but only because of the labels that its pods have today.

The policies that isolate select by labels, and together they happen to reach every pod there is.  The next pod with
other labels is open to everyone, and nobody is told.  Isolation that does not depend on labels is structural: a policy
with `podSelector: {}`, or selectors that leave no label out.  Namespaces with pods that are open already are those of
`not-isolated`.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: web, labels: {app: db}}
    spec: {containers: [{name: main, image: db}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: all-but-db, namespace: web}
    spec:
      podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db]}]}
      policyTypes: [Ingress]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: web, labels: {app: db}}
    spec: {containers: [{name: main, image: db}]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.claims import Case, Claim, FlowWitness, Undecided, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.policy import Direction, Policy
from npcompile.ir.printer import labels_text
from npcompile.questions import NotDecided, Uncovered

RULE = RuleCode(code="NPC304", slug="isolated-by-labels", severity=Severity.INFO, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a namespace and direction.  Where no inventory is asked about, `not-isolated` says it all."""
    waiting = _by_labels(case) if case.scope is Scope.INVENTORY else {}
    if not waiting:
        return
    for answer in case.any_pod([policy for policies in waiting.values() for policy in policies]).uncovered():
        if isinstance(answer, NotDecided):
            yield undecided(RULE, answer)
        elif policies := waiting.get((answer.namespace.name, answer.direction)):
            yield _claim(answer, policies[0])


def _by_labels(case: Case) -> dict[tuple[str, Direction], list[Policy]]:
    """The policies that isolate every pod of a namespace, where there are pods, and none of them selects everything."""
    inhabited = {pod.namespace for pod in case.pods().on_pod_network}
    found: dict[tuple[str, Direction], list[Policy]] = {}
    for policy in case.program.policies:
        for direction in policy.directions if policy.namespace in inhabited else ():
            found.setdefault((policy.namespace, direction), []).append(policy)
    if not found:
        return {}
    open_now = {(one.namespace.name, one.direction) for one in case.engine.uncovered() if isinstance(one, Uncovered)}
    return {
        place: policies
        for place, policies in found.items()
        if place not in open_now and all(policy.subjects.requirements for policy in policies)
    }


def _claim(answer: Uncovered, policy: Policy) -> Claim:
    name, direction = answer.namespace.name, answer.direction
    labels = labels_text(answer.pods[0].labels)
    shown = f"with {labels}" if labels else "without labels"
    return Claim(
        rule=RULE,
        message=f"all pods of `{name}` are isolated for {direction}, and one {shown} would not be",
        span=policy.subjects.span or policy.span,
        label="selects by labels, as all policies do that isolate here",
        evidence=FlowWitness(
            flow=answer.example.flow, invented=answer.example.invented, egress_allowed=True, ingress_allowed=True
        ),
        scope=Scope.ANY_POD,
        help=f"add a policy to `{name}` with `podSelector: {{}}`, `policyTypes: [{_TYPES[direction]}]` and no rules",
    )


_TYPES = {Direction.INGRESS: "Ingress", Direction.EGRESS: "Egress"}
