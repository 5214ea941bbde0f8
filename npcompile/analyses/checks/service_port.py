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
from itertools import groupby

from npcompile.analyses.checks.pods import Destinations
from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, Textual, Undecided
from npcompile.diagnostics.model import Kind, Note, RuleCode, Scope, Severity
from npcompile.ir.cluster import Cluster, Pod, Service, ServicePort
from npcompile.ir.policy import Direction, PodPeer, PortItem, PortRange, Rule
from npcompile.ir.printer import port_item_text
from npcompile.netset.ports import Protocol
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC413", slug="service-port", severity=Severity.WARNING, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a port item that a Service has, and none of the pods behind it."""
    pods = case.pods()
    services = ServicePorts(case.program.cluster)
    for policy in case.program.policies:
        for rule in policy.rules:
            if not goes_to_pods(rule):
                continue
            found = pods.destinations(policy, rule)
            for item in rule.match.ports:
                meant = services.mistaken_for(found, item)
                if meant is not None:
                    yield _claim(RuleOf(policy=policy, rule=rule), item, *meant)


def goes_to_pods(rule: Rule) -> bool:
    """Whether all that a rule's flows go to are pods that it names by labels."""
    peers = rule.match.peers
    return rule.direction is Direction.INGRESS or (bool(peers) and all(isinstance(peer, PodPeer) for peer in peers))


Meant = tuple[Service, ServicePort]


class ServicePorts:
    """The Services of a cluster, by their namespaces.  What is asked of the same pods again is answered once."""

    def __init__(self, cluster: Cluster) -> None:
        self._services: dict[str, list[Service]] = {}
        for service in cluster.services:
            if service.selector:
                self._services.setdefault(service.namespace, []).append(service)
        self._answers: dict[tuple[Destinations, Protocol, int], Meant | None] = {}

    def mistaken_for(self, found: Destinations, item: PortItem) -> Meant | None:
        """The Service of the pods whose port an item has, where none of the pods is known to serve that port itself."""
        if not isinstance(item, PortRange) or item.first != item.last or item.first in found.numbers[item.protocol]:
            return None
        key = (found, item.protocol, item.first)
        if key not in self._answers:
            self._answers[key] = self._meant(found.pods, item.protocol, item.first)
        return self._answers[key]

    def _meant(self, pods: Sequence[Pod], protocol: Protocol, wanted: int) -> Meant | None:
        """A Service's target that is a name needs no look: it is a port that the pods declare."""
        meant = None
        for namespace, group in groupby(pods, key=lambda pod: pod.namespace):
            members = list(group)
            for service in self._services.get(namespace, ()):
                ports = [port for port in service.ports if port.protocol is protocol]
                if any(wanted in (port.number, port.target) for port in ports) and _is_before(service, members):
                    if any(port.target == wanted for port in ports):
                        return None
                    meant = meant or (service, next(port for port in ports if port.number == wanted))
        return meant


def _is_before(service: Service, pods: Sequence[Pod]) -> bool:
    """Whether some of the pods are behind a Service."""
    return any(service.selects(pod) for pod in pods)


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
