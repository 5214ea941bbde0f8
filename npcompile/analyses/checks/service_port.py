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

from npcompile.analyses.checks.pods import Destinations, Pods
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
    pods = Pods(case.program.cluster)
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


class ServicePorts:
    """The Services of a cluster, by what their ports are."""

    def __init__(self, cluster: Cluster) -> None:
        self._by_number: dict[tuple[Protocol, int], list[tuple[Service, ServicePort]]] = {}
        self._in_namespace: dict[str, list[Service]] = {}
        for service in cluster.services:
            if service.selector:
                self._in_namespace.setdefault(service.namespace, []).append(service)
                for port in service.ports:
                    self._by_number.setdefault((port.protocol, port.number), []).append((service, port))

    def mistaken_for(self, found: Destinations, item: PortItem) -> tuple[Service, ServicePort] | None:
        """The Service of the pods whose port an item has, where none of the pods is known to serve that port itself."""
        if not isinstance(item, PortRange) or item.first != item.last:
            return None
        wanted, protocol = item.first, item.protocol
        if wanted in found.numbers[protocol]:
            return None
        candidates = self._by_number.get((protocol, wanted), ())
        meant = next(((one, port) for one, port in candidates if _is_before(one, found.pods)), None)
        if meant is None or any(self._is_target(namespace, item, found.pods) for namespace in _namespaces(found.pods)):
            return None
        return meant

    def _is_target(self, namespace: str, item: PortRange, pods: Sequence[Pod]) -> bool:
        """Whether a Service sends traffic to a port of its pods, by number; a name is a port that they declare."""
        return any(
            port.protocol is item.protocol and port.target == item.first and _is_before(service, pods)
            for service in self._in_namespace.get(namespace, ())
            for port in service.ports
        )


def _is_before(service: Service, pods: Sequence[Pod]) -> bool:
    """Whether some of the pods are behind a Service."""
    selector = service.selector or {}
    return any(pod.namespace == service.namespace and selector.items() <= pod.labels.items() for pod in pods)


def _namespaces(pods: Sequence[Pod]) -> list[str]:
    return sorted({pod.namespace for pod in pods})


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
