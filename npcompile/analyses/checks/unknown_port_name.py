"""A rule names a port that no pod behind it declares.

A named port stands for the number that the *destination* pod declares under that name and protocol: the policy's own
pods for ingress, the peers for egress.  Where none declares it the item matches nothing.  Usually the name is the one
of a Service's port, which policies do not see, or the protocol is missing and so is TCP.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - ports: [{port: http}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api, ports: [{name: web, containerPort: 8080}]}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - ports: [{port: web}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api, ports: [{name: web, containerPort: 8080}]}]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.pods import Destinations
from npcompile.analyses.checks.wording import named, some
from npcompile.analyses.claims import Case, Claim, PortUndeclared, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.policy import NamedPort
from npcompile.ir.printer import port_item_text
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC410", slug="unknown-port-name", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a named port that none of the destinations declares."""
    pods = case.pods()
    for policy in case.program.policies:
        for rule in policy.rules:
            for item in rule.match.ports:
                if isinstance(item, NamedPort):
                    found = pods.destinations(policy, rule)
                    if found.pods and (item.name, item.protocol) not in found.named:
                        yield _claim(RuleOf(policy=policy, rule=rule), item, found)


def _claim(rule: RuleOf, item: NamedPort, found: Destinations) -> Claim:
    return Claim(
        rule=RULE,
        message=f"{named(rule)}: no destination declares a port `{port_item_text(item)}`",
        span=item.span,
        label=f"matches nothing on {some(found.pods)}",
        evidence=PortUndeclared(rule=rule, port=item),
        scope=Scope.INVENTORY,
        help=_advice(item, found),
    )


def _advice(item: NamedPort, found: Destinations) -> str:
    other = [protocol.value for name, protocol in found.named if name == item.name]
    if other:
        return f"they declare `{item.name}` for {' and '.join(other)}: set `protocol`"
    declared = ", ".join(f"`{name}`" for name, protocol in found.named if protocol is item.protocol)
    if declared:
        return f"they declare {declared}"
    return "write the port's number, or name it in the pods' `containerPort`"
