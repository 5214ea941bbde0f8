"""Pods, workloads, namespaces, nodes and Services, read leniently: the API server has accepted them elsewhere, and
npcompile needs a few of their fields only.  What it needs and cannot understand is an error all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from npcompile.frontend import codes
from npcompile.frontend.fields import Problems, fields_of, labels_of, refuse_unprintable
from npcompile.frontend.nodes import Mapping as MappingNode
from npcompile.frontend.nodes import Node, Scalar, is_plain, items_of, span_of
from npcompile.frontend.resolve import DEFAULT_NAMESPACE
from npcompile.frontend.scalars import NULLS, BadScalarError, resolve_plain, value_of
from npcompile.ir import cluster as ir
from npcompile.ir.labels import NAMESPACE_NAME, Labels
from npcompile.netset.cidrs import Address
from npcompile.netset.ports import Protocol
from npcompile.source import Span

_FINISHED = ("Succeeded", "Failed")
_PROTOCOLS = {protocol.value: protocol for protocol in (Protocol.TCP, Protocol.UDP, Protocol.SCTP)}
_Fields = Mapping[str, Node]


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
    retired: bool  # an earlier revision of a Deployment, which makes no pods any more
    span: Span = field(compare=False, repr=False)


InventoryObject = PodObject | WorkloadObject | ir.Namespace | ir.Node | ir.Service


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTraits:
    """What the pods of one workload mostly have in common."""

    namespace: str
    labels: Labels
    host_network: bool
    ports: tuple[ir.ContainerPort, ...]
    finished: bool
    owner: ir.Workload | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodHost:
    """What the pods of one node have in common."""

    node: str | None
    addresses: tuple[Address, ...]


class PodFields(NamedTuple):
    """A pod's node, and the fields of its parts."""

    node: MappingNode
    metadata: _Fields
    spec: _Fields
    status: _Fields


def read_pod(problems: Problems, node: MappingNode, top: _Fields) -> PodObject:
    """A v1 Pod; `top`: its fields."""
    fields = pod_fields(problems, node, top)
    traits, host = traits_of(problems, fields), host_of(problems, fields)
    return pod_of(problems, fields, traits, host, span_of(problems.file, node))


def pod_fields(problems: Problems, node: MappingNode, top: _Fields) -> PodFields:
    """The parts of a pod, by its fields."""
    metadata, spec, status = (fields_of(problems, top.get(name)) for name in ("metadata", "spec", "status"))
    return PodFields(node, metadata, spec, status)


def traits_of(problems: Problems, fields: PodFields) -> PodTraits:
    """What a pod most likely shares with others."""
    _, metadata, spec, status = fields
    return PodTraits(
        namespace=_namespace(problems, metadata),
        labels=labels_of(problems, metadata.get("labels")),
        host_network=_is_true(spec.get("hostNetwork")),
        ports=_container_ports(problems, spec),
        finished=_text(status.get("phase")) in _FINISHED,
        owner=_owner(problems, metadata),
    )


def host_of(problems: Problems, fields: PodFields) -> PodHost:
    """Where a pod runs, as far as it says."""
    return PodHost(
        node=_word(problems, fields.spec.get("nodeName")) or None,
        addresses=_addresses(problems, fields.status, "hostIPs", "hostIP"),
    )


def pod_of(problems: Problems, fields: PodFields, traits: PodTraits, host: PodHost, span: Span) -> PodObject:
    """A pod of these traits on this host, with what is its own: name and addresses."""
    return PodObject(
        pod=ir.Pod(
            namespace=traits.namespace,
            name=_name(problems, fields.node, fields.metadata),
            labels=traits.labels,
            addresses=_addresses(problems, fields.status, "podIPs", "podIP"),
            node=host.node,
            host_network=traits.host_network,
            ports=traits.ports,
            span=span,
        ),
        finished=traits.finished,
        host_addresses=host.addresses,
        owner=traits.owner,
        span=span,
    )


def read_workload(problems: Problems, node: MappingNode, top: _Fields, *, kind: str) -> WorkloadObject:
    """A workload of any kind, with its pod template."""
    metadata, spec = fields_of(problems, top.get("metadata")), fields_of(problems, top.get("spec"))
    job = fields_of(problems, fields_of(problems, spec.get("jobTemplate")).get("spec")) if kind == "CronJob" else spec
    template = fields_of(problems, job.get("template"))
    pod_metadata, pod_spec = (fields_of(problems, template.get(name)) for name in ("metadata", "spec"))
    selector = spec.get("selector")
    if kind != "ReplicationController":
        selector = fields_of(problems, selector).get("matchLabels")
    owner = _owner(problems, metadata)
    workload = ir.Workload(kind=kind, name=_name(problems, node, metadata))
    return WorkloadObject(
        workload=workload,
        template=ir.Pod(
            namespace=_namespace(problems, metadata),
            name=workload.name,
            labels=labels_of(problems, pod_metadata.get("labels")),
            node=_word(problems, pod_spec.get("nodeName")) or None,
            host_network=_is_true(pod_spec.get("hostNetwork")),
            ports=_container_ports(problems, pod_spec),
            workload=workload,
            template=True,
            span=span_of(problems.file, node),
        ),
        owner=owner,
        selector=labels_of(problems, selector) if selector is not None else None,
        retired=kind == "ReplicaSet" and owner is not None and _number(spec.get("replicas")) == 0,
        span=span_of(problems.file, node),
    )


def read_namespace(problems: Problems, node: MappingNode, top: _Fields) -> ir.Namespace:
    """A v1 Namespace.  The API server sets the name label, whatever the manifest says."""
    metadata = fields_of(problems, top.get("metadata"))
    name = _name(problems, node, metadata)
    labels = {**labels_of(problems, metadata.get("labels")), NAMESPACE_NAME: name}
    return ir.Namespace(name=name, labels=labels, span=span_of(problems.file, node))


def read_node(problems: Problems, node: MappingNode, top: _Fields) -> ir.Node:
    """A v1 Node, under every IP address of its status."""
    addresses: list[Address] = []
    for item in items_of(fields_of(problems, top.get("status")).get("addresses")):
        address = fields_of(problems, item)
        if _text(address.get("type")) in ("InternalIP", "ExternalIP"):
            addresses += _address(problems, address.get("address"))
    name = _name(problems, node, fields_of(problems, top.get("metadata")))
    return ir.Node(name=name, addresses=tuple(dict.fromkeys(addresses)), span=span_of(problems.file, node))


def read_service(problems: Problems, node: MappingNode, top: _Fields) -> ir.Service:
    """A v1 Service.  Without a selector, and as an ExternalName, its endpoints are not told by labels."""
    metadata, spec = fields_of(problems, top.get("metadata")), fields_of(problems, top.get("spec"))
    selector = labels_of(problems, spec.get("selector"))
    texts = (*items_of(spec.get("clusterIPs")), spec.get("clusterIP"))
    addresses = [one for text in texts if _text(text) != "None" for one in _address(problems, text)]
    return ir.Service(
        namespace=_namespace(problems, metadata),
        name=_name(problems, node, metadata),
        selector=selector if selector and _text(spec.get("type")) != "ExternalName" else None,
        addresses=tuple(dict.fromkeys(addresses)),
        ports=tuple(_service_port(problems, item) for item in items_of(spec.get("ports"))),
        span=span_of(problems.file, node),
    )


READERS: Mapping[tuple[str, str], Callable[[Problems, MappingNode, _Fields], InventoryObject]] = {
    ("v1", "Pod"): read_pod,
    ("v1", "Namespace"): read_namespace,
    ("v1", "Node"): read_node,
    ("v1", "Service"): read_service,
    **{
        (version, kind): partial(read_workload, kind=kind)
        for versions, kinds in (
            (("v1",), ("ReplicationController",)),
            (("apps/v1",), ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")),
            (("apps/v1beta2",), ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")),
            (("apps/v1beta1",), ("Deployment", "StatefulSet")),
            (("extensions/v1beta1",), ("Deployment", "ReplicaSet", "DaemonSet")),
            (("batch/v1",), ("Job", "CronJob")),
            (("batch/v1beta1", "batch/v2alpha1"), ("CronJob",)),
        )
        for version in versions
        for kind in kinds
    },
}
"""By (apiVersion, kind); versions that API servers no longer have, too: what they say of pods has not changed."""


def _container_ports(problems: Problems, spec: _Fields) -> tuple[ir.ContainerPort, ...]:
    """The ports of containers, and of init containers that go on running beside them (sidecars)."""
    found: list[ir.ContainerPort] = []
    for item in items_of(spec.get("containers")):
        found += _ports(problems, fields_of(problems, item))
    for item in items_of(spec.get("initContainers")):
        container = fields_of(problems, item)
        if _text(container.get("restartPolicy")) == "Always":
            found += _ports(problems, container)
    return tuple(found) if len(found) < 2 else tuple(dict.fromkeys(found))


def _ports(problems: Problems, container: _Fields) -> Iterator[ir.ContainerPort]:
    for item in items_of(container.get("ports")):
        port = fields_of(problems, item)
        number, protocol = _number(port.get("containerPort")), _protocol(problems, port.get("protocol"))
        if "containerPort" not in port:
            problems.add(
                item, "a container's port without `containerPort`: no policy will find it", rule=codes.ODD_OBJECT
            )
        elif number is None or not 1 <= number <= 65535:
            problems.add(port["containerPort"], "`containerPort` must be a number between 1 and 65535")
        else:
            yield ir.ContainerPort(name=_word(problems, port.get("name")) or None, protocol=protocol, number=number)


def _service_port(problems: Problems, node: Node) -> ir.ServicePort:
    port = fields_of(problems, node)
    number, target = _number(port.get("port")), port.get("targetPort")
    if number is None or not 1 <= number <= 65535:
        problems.add(port.get("port", node), "a Service's `port` must be a number between 1 and 65535")
    word = _number(target) if _number(target) is not None else _word(problems, target)
    if isinstance(word, int) and not 0 <= word <= 65535:  # 0 is as if it was not there
        problems.add(port["targetPort"], "a Service's `targetPort` must be a number between 1 and 65535, or a name")
    return ir.ServicePort(
        name=_word(problems, port.get("name")) or None,
        protocol=_protocol(problems, port.get("protocol")),
        number=number or 0,
        target=word or number or 0,
    )


def _owner(problems: Problems, metadata: _Fields) -> ir.Workload | None:
    """The owner that controls an object (the first, where none says so).  A static pod's is its node: no workload."""
    owners = [fields_of(problems, item) for item in items_of(metadata.get("ownerReferences"))]
    chosen = next((owner for owner in owners if _is_true(owner.get("controller"))), owners[0] if owners else None)
    if chosen is None or _text(chosen.get("kind")) == "Node":
        return None
    return ir.Workload(kind=_word(problems, chosen.get("kind")), name=_word(problems, chosen.get("name")))


def _addresses(problems: Problems, status: _Fields, plural: str, singular: str) -> tuple[Address, ...]:
    """The addresses of a pod or its host, one a family at most, as the API has it."""
    nodes = [fields_of(problems, item).get("ip") for item in items_of(status.get(plural))]
    nodes.append(status.get(singular))  # it repeats the first of the others
    unique = tuple(dict.fromkeys(one for node in nodes for one in _address(problems, node)))
    if len(unique) > 1 and len(unique) > len({one.version for one in unique}):
        at = status.get(plural) or status[singular]
        words = ", ".join(str(one) for one in unique)
        problems.add(at, f"`{plural}` and `{singular}` have several addresses of one family: {words}")
    return unique


def _address(problems: Problems, node: Node | None) -> tuple[Address, ...]:
    text = _text(node)
    if node is None or not text:
        return ()
    address = _parsed(text)
    if address is None:
        problems.add(node, f"`{text}` is no IP address")
        return ()
    return (address,)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Address | None:
    """An address, an IPv4-mapped one as the IPv4 address that it is on the wire; None for anything else."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address


def _text(node: Node | None) -> str:
    """A scalar's text; empty for null and for what is no scalar."""
    if not isinstance(node, Scalar) or (node.value in NULLS and is_plain(node)):
        return ""
    return node.value


def _word(problems: Problems, node: Node | None) -> str:
    """A text that output repeats, which with a control character in it could forge a line of that."""
    text = _text(node)
    if node is not None:
        refuse_unprintable(problems, node, text)
    return text


def _number(node: Node | None) -> int | None:
    if not isinstance(node, Scalar):
        return None
    try:
        value = value_of(node)
    except BadScalarError:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_true(node: Node | None) -> bool:
    return isinstance(node, Scalar) and is_plain(node) and resolve_plain(node.value) is True


def _protocol(problems: Problems, node: Node | None) -> Protocol:
    text = _text(node) or "TCP"
    if node is not None and text not in _PROTOCOLS:
        problems.add(node, f"`protocol` must be one of `TCP`, `UDP`, `SCTP`, not `{text}`")
    return _PROTOCOLS.get(text, Protocol.TCP)


def _name(problems: Problems, node: MappingNode, metadata: _Fields) -> str:
    """An object's name; the prefix that is to become one, with a star."""
    name, prefix = (_word(problems, metadata.get(key)) for key in ("name", "generateName"))
    if not name and not prefix:
        problems.add(node, "`metadata.name` is required")
    elif "{{" in name or "{{" in prefix:
        problems.template(metadata.get("name", metadata.get("generateName")))
    return name or f"{prefix}*"


def _namespace(problems: Problems, metadata: _Fields) -> str:
    text = _word(problems, metadata.get("namespace")) or DEFAULT_NAMESPACE
    if "{{" in text:
        problems.template(metadata["namespace"])
    return text
