"""Pods, workloads, namespaces, nodes and Services, read leniently: the API server has accepted them elsewhere, and
npcompile needs a few of their fields only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from npcompile.frontend.fields import Problems
from npcompile.frontend.nodes import Mapping as MappingNode
from npcompile.frontend.nodes import Node, Scalar, get, items_of, span_of
from npcompile.frontend.resolve import DEFAULT_NAMESPACE
from npcompile.frontend.scalars import BadScalarError, key_of, resolve_plain, value_of
from npcompile.ir import cluster as ir
from npcompile.ir.labels import NAMESPACE_NAME, Labels
from npcompile.netset.cidrs import Address
from npcompile.netset.ports import Protocol
from npcompile.source import SourceFile, Span

_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodObject:
    """A Pod object: the pod, whether it has finished (then it has no endpoint), and what shows its node and owner."""

    pod: ir.Pod
    finished: bool
    host_addresses: tuple[Address, ...]
    owner: ir.Workload | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadObject:
    """A workload and the pod that its template makes.  `selector`: which pods are its own, where they do not say."""

    workload: ir.Workload
    template: ir.Pod
    owner: ir.Workload | None
    selector: Labels | None
    span: Span = field(compare=False, repr=False)


InventoryObject = PodObject | WorkloadObject | ir.Namespace | ir.Node | ir.Service


def read_pod(problems: Problems, node: Node) -> PodObject:
    """A v1 Pod."""
    file = problems.file
    status = get(node, "status")
    addresses = _addresses(problems, status, "podIPs", "podIP")
    phase = _text(get(status, "phase"))
    pod = _pod(file, node, get(node, "spec"), get(node, "metadata", "labels"), addresses=addresses)
    return PodObject(
        pod=pod,
        finished=phase in _FINISHED,
        host_addresses=_addresses(problems, status, "hostIPs", "hostIP"),
        owner=_owner(node),
        span=span_of(file, node),
    )


def read_workload(problems: Problems, node: Node) -> WorkloadObject:
    """A workload of any kind, with its pod template."""
    file = problems.file
    kind, name = _text(get(node, "kind")), _name(node)
    workload = ir.Workload(kind=kind, name=name)
    template = get(node, "spec", "jobTemplate", "spec", "template") or get(node, "spec", "template")
    selector = get(node, "spec", "selector", "matchLabels") or (
        get(node, "spec", "selector") if kind == "ReplicationController" else None
    )
    return WorkloadObject(
        workload=workload,
        template=_pod(
            file, node, get(template, "spec"), get(template, "metadata", "labels"), workload=workload, template=True
        ),
        owner=_owner(node),
        selector=_labels(selector) if selector is not None else None,
        span=span_of(file, node),
    )


def read_namespace(problems: Problems, node: Node) -> ir.Namespace:
    """A v1 Namespace.  The API server sets the name label, whatever the manifest says."""
    name = _name(node)
    labels = {**_labels(get(node, "metadata", "labels")), NAMESPACE_NAME: name}
    return ir.Namespace(name=name, labels=labels, span=span_of(problems.file, node))


def read_node(problems: Problems, node: Node) -> ir.Node:
    """A v1 Node, under every IP address of its status."""
    addresses = []
    for item in items_of(get(node, "status", "addresses")):
        if _text(get(item, "type")) in ("InternalIP", "ExternalIP"):
            addresses += _address(problems, get(item, "address"))
    return ir.Node(name=_name(node), addresses=tuple(dict.fromkeys(addresses)), span=span_of(problems.file, node))


def read_service(problems: Problems, node: Node) -> ir.Service:
    """A v1 Service."""
    spec = get(node, "spec")
    selector = get(spec, "selector")
    plural = get(spec, "clusterIPs") is not None
    texts = list(items_of(get(spec, "clusterIPs"))) if plural else [get(spec, "clusterIP")]
    addresses = [one for text in texts if _text(text) != "None" for one in _address(problems, text)]
    named = isinstance(selector, MappingNode) and bool(selector.entries)
    return ir.Service(
        namespace=_namespace(node),
        name=_name(node),
        selector=_labels(selector) if named and _text(get(spec, "type")) != "ExternalName" else None,
        addresses=tuple(addresses),
        ports=tuple(_service_port(item) for item in items_of(get(spec, "ports"))),
        span=span_of(problems.file, node),
    )


READERS: Mapping[tuple[str, str], Callable[[Problems, Node], InventoryObject]] = {
    ("", "Pod"): read_pod,
    ("", "Namespace"): read_namespace,
    ("", "Node"): read_node,
    ("", "Service"): read_service,
    ("", "ReplicationController"): read_workload,
    **{(group, kind): read_workload
       for group in ("apps", "extensions")
       for kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")},
    ("batch", "Job"): read_workload,
    ("batch", "CronJob"): read_workload,
}  # fmt: skip
"""By (API group, kind)."""


def _pod(
    file: SourceFile,
    node: Node,
    spec: Node | None,
    labels: Node | None,
    *,
    addresses: tuple[Address, ...] = (),
    workload: ir.Workload | None = None,
    template: bool = False,
) -> ir.Pod:
    return ir.Pod(
        namespace=_namespace(node),
        name=_name(node),
        labels=_labels(labels),
        addresses=addresses,
        node=_text(get(spec, "nodeName")) or None,
        host_network=_is_true(get(spec, "hostNetwork")),
        ports=tuple(_container_ports(spec)),
        workload=workload,
        template=template,
        span=span_of(file, node),
    )


def _container_ports(spec: Node | None) -> Iterator[ir.ContainerPort]:
    """The ports of containers, and of init containers that go on running beside them (sidecars)."""
    sidecars = (item for item in items_of(get(spec, "initContainers")) if _text(get(item, "restartPolicy")) == "Always")
    for container in (*items_of(get(spec, "containers")), *sidecars):
        for port in items_of(get(container, "ports")):
            number, protocol = _number(get(port, "containerPort")), _protocol(get(port, "protocol"))
            if number is not None and protocol is not None:
                name = _text(get(port, "name")) or None
                yield ir.ContainerPort(name=name, protocol=protocol, number=number)


def _service_port(node: Node) -> ir.ServicePort:
    number = _number(get(node, "port")) or 0
    target = get(node, "targetPort")
    named = _number(target) is None and bool(_text(target))
    return ir.ServicePort(
        name=_text(get(node, "name")) or None,
        protocol=_protocol(get(node, "protocol")) or Protocol.TCP,
        number=number,
        target=_text(target) if named else _number(target) or number,
    )


def _owner(node: Node) -> ir.Workload | None:
    """The owner that controls an object (the first, where none says so)."""
    owners = list(items_of(get(node, "metadata", "ownerReferences")))
    chosen = next((owner for owner in owners if _is_true(get(owner, "controller"))), owners[0] if owners else None)
    if chosen is None:
        return None
    return ir.Workload(kind=_text(get(chosen, "kind")), name=_text(get(chosen, "name")))


def _addresses(problems: Problems, status: Node | None, plural: str, singular: str) -> tuple[Address, ...]:
    found = [one for item in items_of(get(status, plural)) for one in _address(problems, get(item, "ip"))]
    return tuple(dict.fromkeys(found or _address(problems, get(status, singular))))


def _address(problems: Problems, node: Node | None) -> list[Address]:
    text = _text(node)
    if node is None or not text:
        return []
    try:
        return [ip_address(text)]
    except ValueError:
        problems.add(node, f"`{text}` is no IP address")
        return []


def _labels(node: Node | None) -> dict[str, str]:
    if not isinstance(node, MappingNode):
        return {}
    return {_key(key): _text(value) for key, value in node.entries}


def _key(node: Scalar) -> str:
    if not node.plain:
        return node.text
    try:
        return key_of(node) or node.text
    except BadScalarError:
        return node.text


def _text(node: Node | None) -> str:
    """A scalar's text; empty for null and for what is no scalar."""
    if not isinstance(node, Scalar) or (node.plain and resolve_plain(node.text) is None):
        return ""
    return node.text


def _number(node: Node | None) -> int | None:
    if not isinstance(node, Scalar):
        return None
    try:
        value = value_of(node)
    except BadScalarError:
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_true(node: Node | None) -> bool:
    return isinstance(node, Scalar) and node.plain and resolve_plain(node.text) is True


def _protocol(node: Node | None) -> Protocol | None:
    text = _text(node) or "TCP"
    return Protocol(text) if text in ("TCP", "UDP", "SCTP") else None


def _name(node: Node) -> str:
    return _text(get(node, "metadata", "name")) or f"{_text(get(node, 'metadata', 'generateName'))}*"


def _namespace(node: Node) -> str:
    return _text(get(node, "metadata", "namespace")) or DEFAULT_NAMESPACE
