"""From the objects of all files to one program: duplicates, namespaces that are only mentioned, workloads and nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from npcompile.diagnostics.model import Diagnostic, Note, Severity, diagnose
from npcompile.frontend import codes
from npcompile.frontend.inventory import InventoryObject, PodObject, WorkloadObject
from npcompile.ir.cluster import Cluster, Namespace, Node, Pod, Service, Workload
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
    workloads = [one for one in unique if isinstance(one, WorkloadObject)]
    services = [one for one in unique if isinstance(one, Service)]
    pods = sorted(_pods(pod_objects, workloads), key=lambda pod: pod.key)
    _find_shared_addresses(pods, problems)
    mentioned = {one.namespace for group in (policies, pods, services) for one in group}
    listed = {one.name: one for one in unique if isinstance(one, Namespace)}
    cluster = Cluster(
        namespaces={name: listed.get(name) or _mentioned(name) for name in sorted(mentioned | listed.keys())},
        pods=tuple(pods),
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
    """The first of each identity.  Equal repetitions are harmless; others would hide each other in a cluster."""
    first: dict[_Key, Object] = {}
    for one in objects:
        key = _identity(one)
        known = first.setdefault(key, one)
        if known is one or key[2].endswith("*"):
            continue
        kind, namespace, name = key
        where = f"`{namespace}/{name}`" if namespace else f"`{name}`"
        severity = Severity.INFO if _same(known, one) else Severity.ERROR
        problems.append(
            replace(
                diagnose(
                    codes.DUPLICATE_OBJECT, one.span,
                    f"{kind} {where} is defined twice" + (", identically" if severity is Severity.INFO else ""),
                    notes=(Note(text="the first definition", span=known.span),),
                    help="keep one" if severity is Severity.INFO else "keep one: in a cluster the last one applied "
                    "wins; for several clusters in one repository, name each with `[[program]]` in `npcompile.toml`",
                ),
                severity=severity,
            )
        )  # fmt: skip
    return list(first.values())


def _same(a: Object, b: Object) -> bool:
    """Whether two objects mean the same; where they stand does not matter."""
    return a == b


def _pods(pod_objects: list[PodObject], workloads: list[WorkloadObject]) -> list[Pod]:
    """Every endpoint that is a pod: the unfinished pods, and the templates of workloads that no pod shows."""
    owners = {(one.template.namespace, one.workload): one.owner for one in workloads}
    running = []
    shown: set[tuple[str, Workload]] = set()
    for one in pod_objects:
        chain = _owners(one.pod.namespace, one.owner, owners)
        shown.update((one.pod.namespace, owner) for owner in chain)
        if not one.finished:
            running.append(replace(one.pod, workload=chain[-1] if chain else None))
    orphans = [one.pod for one in pod_objects if one.owner is None]
    for workload in workloads:
        key = (workload.template.namespace, workload.workload)
        owned = workload.owner is not None and (workload.template.namespace, workload.owner) in owners
        if owned or key in shown or _has_orphans(workload, orphans):
            continue
        running.append(workload.template)
    return running


def _owners(
    namespace: str, owner: Workload | None, owners: dict[tuple[str, Workload], Workload | None]
) -> list[Workload]:
    """The chain of owners, outwards.  A ReplicaSet that the input does not have still tells its Deployment's name."""
    chain: list[Workload] = []
    while owner is not None and owner not in chain:
        chain.append(owner)
        guess = Workload(kind="Deployment", name=owner.name.rpartition("-")[0])
        known = owners.get((namespace, owner))
        owner = known or (guess if owner.kind == "ReplicaSet" and (namespace, guess) in owners else None)
    return chain


def _has_orphans(workload: WorkloadObject, orphans: list[Pod]) -> bool:
    """Whether pods that name no owner are this workload's, by its selector."""
    selector = workload.selector
    return bool(selector) and any(
        pod.namespace == workload.template.namespace
        and all(pod.labels.get(key) == value for key, value in (selector or {}).items())
        for pod in orphans
    )


def _nodes(listed: list[Node], pod_objects: list[PodObject]) -> dict[str, Node]:
    """Nodes under every address that anything shows: their own status, and their pods' hostIPs."""
    nodes = {one.name: one for one in listed}
    addresses: dict[str, dict[Address, None]] = {one.name: dict.fromkeys(one.addresses) for one in listed}
    for one in pod_objects:
        if one.pod.node is not None:
            own = (*one.host_addresses, *(one.pod.addresses if one.pod.host_network else ()))
            addresses.setdefault(one.pod.node, {}).update(dict.fromkeys(own))
    return {
        name: replace(nodes[name], addresses=tuple(found)) if name in nodes else Node(name=name, addresses=tuple(found))
        for name, found in sorted(addresses.items())
    }


def _find_shared_addresses(pods: list[Pod], problems: list[Diagnostic]) -> None:
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
