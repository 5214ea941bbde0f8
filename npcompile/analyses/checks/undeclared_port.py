"""A rule opens a port that none of the pods behind it declares, although all of them declare ports.

Declarations (`containerPort`) are for information, and a container may listen on others; but where they are kept, a
port that is in none of them is often a leftover or a typing error.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - ports: [{port: 8443}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api, ports: [{containerPort: 8080}]}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - ports: [{port: 8080}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api, ports: [{containerPort: 8080}]}]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.pods import Destinations
from npcompile.analyses.checks.service_port import ServicePorts, goes_to_pods
from npcompile.analyses.checks.wording import named, some
from npcompile.analyses.claims import Case, Claim, Textual, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.policy import PortItem, PortRange
from npcompile.ir.printer import port_item_text
from npcompile.netset.ports import FIRST_PORT, LAST_PORT
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC412", slug="undeclared-port", severity=Severity.INFO, kind=Kind.HEURISTIC)
_SHOWN = 5


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a port item that nobody declares; what `service-port` explains is left to it."""
    pods = case.pods()
    services = ServicePorts(case.program.cluster)
    for policy in case.program.policies:
        for rule in policy.rules:
            if not goes_to_pods(rule):
                continue
            found = pods.destinations(policy, rule)
            for item in rule.match.ports:
                if _nobody_declares(item, found) and services.mistaken_for(found, item) is None:
                    yield _claim(RuleOf(policy=policy, rule=rule), item, found)


def _nobody_declares(item: PortItem, found: Destinations) -> bool:
    if not found.pods or not isinstance(item, PortRange) or (item.first, item.last) == (FIRST_PORT, LAST_PORT):
        return False
    if item.protocol in found.silent:
        return False
    return not any(item.first <= number <= item.last for number in found.numbers[item.protocol])


def _claim(rule: RuleOf, item: PortItem, found: Destinations) -> Claim:
    ports = sorted(found.numbers[item.protocol])
    shown = ", ".join(str(number) for number in ports[:_SHOWN]) + (", …" if len(ports) > _SHOWN else "")
    verb = "declares" if len(found.pods) == 1 else "declare"
    return Claim(
        rule=RULE,
        message=f"{named(rule)}: no container behind it declares `{port_item_text(item)}`",
        span=item.span,
        label=f"{some(found.pods)} {verb} {item.protocol}/{shown}",
        evidence=Textual(),
        scope=Scope.INVENTORY,
        help="correct the port, or declare it as a `containerPort`",
    )
