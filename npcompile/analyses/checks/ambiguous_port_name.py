"""A named port means one number on one pod, and another on the next.

That is what names are for, and a rule may want it; but it also opens whatever number a pod declares under that name,
and some network plugins resolve a name to one number only (`npcompile check --cni cilium` tells more).

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: monitoring, namespace: web}
    spec:
      podSelector: {}
      ingress:
      - ports: [{port: metrics}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api, ports: [{name: metrics, containerPort: 9090}]}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: web, labels: {app: db}}
    spec: {containers: [{name: main, image: db, ports: [{name: metrics, containerPort: 9187}]}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: monitoring, namespace: web}
    spec:
      podSelector: {}
      ingress:
      - ports: [{port: metrics}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api, ports: [{name: metrics, containerPort: 9090}]}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: web, labels: {app: db}}
    spec: {containers: [{name: main, image: db, ports: [{name: metrics, containerPort: 9090}]}]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, Textual, Undecided
from npcompile.diagnostics.model import Kind, Note, RuleCode, Scope, Severity
from npcompile.ir.cluster import Pod
from npcompile.ir.policy import NamedPort
from npcompile.ir.printer import port_item_text
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC411", slug="ambiguous-port-name", severity=Severity.INFO, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a named port that has several numbers among its destinations."""
    pods = case.pods()
    for policy in case.program.policies:
        for rule in policy.rules:
            for item in rule.match.ports:
                if isinstance(item, NamedPort):
                    numbers = pods.destinations(policy, rule).named.get((item.name, item.protocol), {})
                    if len(numbers) > 1:
                        yield _claim(RuleOf(policy=policy, rule=rule), item, numbers)


def _claim(rule: RuleOf, item: NamedPort, numbers: Mapping[int, Pod]) -> Claim:
    shown = " and ".join(str(number) for number in numbers)
    return Claim(
        rule=RULE,
        message=f"{named(rule)}: `{port_item_text(item)}` is port {shown}, depending on the pod",
        span=item.span,
        evidence=Textual(),
        scope=Scope.INVENTORY,
        notes=tuple(
            Note(text=f"`{pod}` declares `{item.name}` as {number}", span=pod.span) for number, pod in numbers.items()
        ),
        help="write the number, unless every one of them is meant",
    )
