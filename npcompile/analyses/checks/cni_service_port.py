"""A Service has another port than its isolated pods, which the network plugin does not support (`--cni aws`).

The Amazon EKS user guide: "For any of your Kubernetes services, the service port must be the same as the container
port."  Otherwise traffic through the Service may be judged by the wrong port.

Bad (`--cni aws`):

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
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
      policyTypes: [Ingress]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api}]}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: api, namespace: web}
    spec: {selector: {app: api}, ports: [{port: 8080, targetPort: 8080}]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.claims import Case, Claim, Cni, Textual, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.cluster import Pod, Service, ServicePort

RULE = RuleCode(code="NPC507", slug="cni-service-port", severity=Severity.WARNING, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a Service, with pods behind it that some policy selects, that changes the port."""
    if case.cni is not Cni.AWS:
        return
    pods = case.pods()
    isolated: dict[str, dict[tuple[str, str], Pod]] = {}
    for policy in case.program.policies:
        isolated.setdefault(policy.namespace, {}).update({pod.key: pod for pod in pods.subjects(policy)})
    for service in case.program.cluster.services:
        behind = [pod for pod in isolated.get(service.namespace, {}).values() if service.selects(pod)]
        changed = next((port for port in service.ports for pod in behind if _changes(port, pod)), None)
        if changed is not None:
            yield _claim(service, changed)


def _changes(port: ServicePort, pod: Pod) -> bool:
    if isinstance(port.target, int):
        return port.target != port.number
    return any(
        (one.name, one.protocol) == (port.target, port.protocol) and one.number != port.number for one in pod.ports
    )


def _claim(service: Service, port: ServicePort) -> Claim:
    return Claim(
        rule=RULE,
        message=f"Service `{service}` has port {port.number} for `{port.target}`: {Cni.AWS} wants both to be the same",
        span=service.span,
        evidence=Textual(),
        scope=Scope.INVENTORY,
        help="give the Service the port of its containers",
    )
