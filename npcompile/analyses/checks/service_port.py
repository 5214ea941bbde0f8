"""A rule has the port of a Service where the pods' own port belongs.

Traffic to a Service reaches a pod on its target port, and that is where policies judge it: a rule for port 80 does not
open pods that listen on 8080 behind a Service whose port is 80.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - ports: [{port: 80}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api}]}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: api, namespace: web}
    spec: {selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}

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
    spec: {containers: [{name: main, image: api}]}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: api, namespace: web}
    spec: {selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from npcompile.analyses.checks.pods import Pods
from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, Textual, Undecided
from npcompile.diagnostics.model import Kind, Note, RuleCode, Scope, Severity
from npcompile.ir.cluster import Pod, Service, ServicePort
from npcompile.ir.policy import Direction, PodPeer, PortItem, PortRange, Rule
from npcompile.ir.printer import port_item_text
from npcompile.netset.ports import Protocol
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC413", slug="service-port", severity=Severity.WARNING, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a port item that a Service has, and none of the pods behind it."""
    pods = Pods(case.program.cluster)
    services = case.program.cluster.services
    for policy in case.program.policies:
        for rule in policy.rules:
            if not services or not goes_to_pods(rule):
                continue
            found = pods.destinations(policy, rule)
            for item in rule.match.ports:
                meant = mistaken_for(services, found, item)
                if meant is not None:
                    yield _claim(RuleOf(policy=policy, rule=rule), item, *meant)


def goes_to_pods(rule: Rule) -> bool:
    """Whether all that a rule's flows go to are pods that it names by labels."""
    peers = rule.match.peers
    return rule.direction is Direction.INGRESS or (bool(peers) and all(isinstance(peer, PodPeer) for peer in peers))


def mistaken_for(
    services: Sequence[Service], found: Sequence[Pod], item: PortItem
) -> tuple[Service, ServicePort] | None:
    """The Service of the pods whose port an item has, where none of the pods is known to serve that port itself."""
    if not isinstance(item, PortRange) or item.first != item.last:
        return None
    wanted, protocol = item.first, item.protocol
    candidate = None
    for service in services:
        behind = [pod for pod in found if _is_behind(pod, service)]
        for port in service.ports:
            if not behind or port.protocol is not protocol:
                continue
            if any(_serves(pod, port.target, wanted, protocol) for pod in behind):
                return None
            if port.number == wanted and candidate is None:
                candidate = (service, port)
    if any((port.number, port.protocol) == (wanted, protocol) for pod in found for port in pod.ports):
        return None
    return candidate


def _is_behind(pod: Pod, service: Service) -> bool:
    selector = service.selector
    return (
        bool(selector)
        and selector is not None
        and pod.namespace == service.namespace
        and selector.items() <= pod.labels.items()
    )


def _serves(pod: Pod, target: int | str, wanted: int, protocol: Protocol) -> bool:
    """Whether a Service's traffic arrives on a pod's port `wanted`, as far as is known."""
    if isinstance(target, int):
        return target == wanted
    return any((port.name, port.protocol, port.number) == (target, protocol, wanted) for port in pod.ports)


def _claim(rule: RuleOf, item: PortItem, service: Service, port: ServicePort) -> Claim:
    return Claim(
        rule=RULE,
        message=f"{named(rule)}: `{port_item_text(item)}` is the port of Service `{service}`, not of its pods",
        span=item.span,
        evidence=Textual(),
        scope=Scope.INVENTORY,
        notes=(Note(text=f"`{service}` sends what comes to {port.number} on to `{port.target}`", span=service.span),),
        help=f"policies judge the pods' port: write `port: {port.target}`",
    )
