"""From the objects of all files to one program: duplicates, namespaces that are only mentioned, workloads and nodes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from npcompile.diagnostics.model import Diagnostic, Note, Severity, diagnose
from npcompile.frontend import codes
from npcompile.frontend.endpoints import endpoints
from npcompile.frontend.inventory import InventoryObject, PodObject, WorkloadObject
from npcompile.ir.cluster import Cluster, Namespace, Node, Pod, Service
from npcompile.ir.labels import NAMESPACE_NAME
from npcompile.ir.policy import Policy
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address
from npcompile.source import Span

Object = Policy | InventoryObject
_Key = tuple[str, str, str]
_T = TypeVar("_T", bound=Object)


@dataclass(slots=True)
class Objects:
    """All objects, in the order of the input."""

    policies: list[Policy] = field(default_factory=list)
    inventory: list[InventoryObject] = field(default_factory=list)


def assemble(objects: Objects) -> tuple[Program, list[Diagnostic]]:
    """One program of all objects, and what is wrong between them."""
    problems: list[Diagnostic] = []
    unique = _without_duplicates([*objects.policies, *objects.inventory], problems)
    policies = sorted((one for one in unique if isinstance(one, Policy)), key=lambda policy: policy.key)
    pod_objects = [one for one in unique if isinstance(one, PodObject)]
    services = [one for one in unique if isinstance(one, Service)]
    pods = endpoints(pod_objects, [one for one in unique if isinstance(one, WorkloadObject)])
    _find_shared_addresses(pods, problems)
    mentioned = {one.namespace for group in (policies, pods, services) for one in group}
    listed = {one.name: one for one in unique if isinstance(one, Namespace)}
    cluster = Cluster(
        namespaces={name: listed.get(name) or _mentioned(name) for name in sorted(mentioned | listed.keys())},
        pods=pods,
        nodes=_nodes([one for one in unique if isinstance(one, Node)], pod_objects),
        services=tuple(sorted(services, key=lambda service: (service.namespace, service.name))),
    )
    return Program(policies=tuple(policies), cluster=cluster), problems


def _mentioned(name: str) -> Namespace:
    return Namespace(name=name, labels={NAMESPACE_NAME: name}, listed=False)


def _identity(one: Object) -> _Key:
    match one:
        case Policy() | Service():
            return type(one).__name__, one.namespace, one.name
        case PodObject():
            return "Pod", one.pod.namespace, one.pod.name
        case WorkloadObject():
            return one.workload.kind, one.template.namespace, one.workload.name
        case Namespace() | Node():
            return type(one).__name__, "", one.name


def _without_duplicates(objects: Iterable[Object], problems: list[Diagnostic]) -> list[Object]:
    """The first of each identity.  Equal repetitions are harmless; others would hide each other in a cluster.

    Objects that are to get a name when they are made (`generateName`) are others each time.
    """
    first: dict[_Key, Object] = {}
    for one in objects:
        key = _identity(one)
        if key in first and key[2].endswith("*"):
            number = next(number for number in itertools.count(2) if (*key[:2], f"{key[2]}{number}") not in first)
            first[(*key[:2], f"{key[2]}{number}")] = _renamed(one, f"{key[2]}{number}")
        elif (known := first.setdefault(key, one)) is not one:
            problems.append(_duplicate(key, known, one))
    return list(first.values())


def _duplicate(key: _Key, known: Object, one: Object) -> Diagnostic:
    kind, namespace, name = key
    where = f"`{namespace}/{name}`" if namespace else f"`{name}`"
    note = (Note(text="the first definition", span=known.span),)
    if known == one:
        message = f"{kind} {where} is defined twice, and means the same both times"
        found = diagnose(codes.DUPLICATE_OBJECT, one.span, message, notes=note, help="keep one")
        return replace(found, severity=Severity.INFO)
    advice = "keep one: in a cluster the last one applied wins; for several clusters in one repository, name each " \
             "with `[[program]]` in `npcompile.toml`"  # fmt: skip
    return diagnose(codes.DUPLICATE_OBJECT, one.span, f"{kind} {where} is defined twice, and differently",
                    notes=note, help=advice)  # fmt: skip


def _renamed(one: Object, name: str) -> Object:
    match one:
        case PodObject():
            return replace(one, pod=replace(one.pod, name=name))
        case WorkloadObject():
            workload = replace(one.workload, name=name)
            return replace(one, workload=workload, template=replace(one.template, name=name, workload=workload))
        case _:
            return replace(one, name=name)


def _nodes(listed: list[Node], pod_objects: list[PodObject]) -> dict[str, Node]:
    """Nodes under every address that anything shows: their own status, and their pods' hostIPs."""
    nodes = {one.name: one for one in listed}
    addresses: dict[str, dict[Address, None]] = {one.name: dict.fromkeys(one.addresses) for one in listed}
    shown: dict[str, tuple[Address, ...]] = {}  # by the last pod of a node; most say the same
    for one in pod_objects:
        node = one.pod.node
        if node is not None:
            own = (*one.host_addresses, *one.pod.addresses) if one.pod.host_network else one.host_addresses
            if shown.get(node) != own:
                shown[node] = own
                addresses.setdefault(node, {}).update(dict.fromkeys(own))
    return {
        name: replace(nodes[name], addresses=tuple(found)) if name in nodes else Node(name=name, addresses=tuple(found))
        for name, found in sorted(addresses.items())
    }


def _find_shared_addresses(pods: Iterable[Pod], problems: list[Diagnostic]) -> None:
    owners: dict[Address, Pod] = {}
    for pod in pods:
        if pod.host_network:
            continue
        for address in pod.addresses:
            other: Pod = owners.setdefault(address, pod)
            if other is not pod:
                note: tuple[Note, ...] = (Note(text=f"`{other}` has it, too", span=_first_line(other.span)),)
                message = f"`{pod}` has the address {address} of `{other}`: no packet filter can tell them apart"
                problems.append(diagnose(codes.SHARED_ADDRESS, _first_line(pod.span), message, notes=note))


def _first_line(span: Span | None) -> Span | None:
    return None if span is None else Span(span.file, span.line, span.column, span.line, span.column + 1)
