"""Which pods there are: those that run, and those that the workloads of the input will make."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from npcompile.frontend.inventory import PodObject, WorkloadObject
from npcompile.ir.cluster import Pod, Workload

_Owned = tuple[str, Workload]  # a workload in its namespace


def endpoints(pod_objects: list[PodObject], workloads: list[WorkloadObject]) -> tuple[Pod, ...]:
    """Every endpoint that is a pod, in the order of their keys, which are unique: the unfinished pods, and the template
    of each workload that no pod shows.
    """
    owners = {(one.template.namespace, one.workload): one.owner for one in workloads}
    running, shown = _running(pod_objects, owners)
    orphans = _Orphans(one.pod for one in pod_objects if one.owner is None)
    templates = [
        one.template
        for one in workloads
        if not (one.retired or _is_part(one, owners) or _key(one) in shown or orphans.has_some_of(one))
    ]
    return tuple(sorted([*running, *_distinct(templates, running)], key=lambda pod: pod.key))


def _key(one: WorkloadObject) -> _Owned:
    return one.template.namespace, one.workload


def _is_part(one: WorkloadObject, owners: dict[_Owned, Workload | None]) -> bool:
    """Whether another workload of the input makes this one, and so its pods."""
    return one.owner is not None and (one.template.namespace, one.owner) in owners


def _running(pod_objects: list[PodObject], owners: dict[_Owned, Workload | None]) -> tuple[list[Pod], set[_Owned]]:
    """The pods that have an endpoint, under their outermost owners, and the workloads that need no template for it.

    A Job that has finished needs none either; any other workload whose pods have finished will make new ones.
    """
    running: list[Pod] = []
    shown: set[_Owned] = set()
    for one in pod_objects:
        chain = _owners(one.pod.namespace, one.owner, owners)
        if one.finished:
            shown.update((one.pod.namespace, owner) for owner in chain[:1] if owner.kind == "Job")
        else:
            shown.update((one.pod.namespace, owner) for owner in chain)
            running.append(replace(one.pod, workload=chain[-1]) if chain else one.pod)
    return running, shown


def _owners(namespace: str, owner: Workload | None, owners: dict[_Owned, Workload | None]) -> list[Workload]:
    """The chain of owners, outwards.  A ReplicaSet that the input does not have still tells its Deployment's name."""
    chain: list[Workload] = []
    while owner is not None and owner not in chain:
        chain.append(owner)
        known = owners.get((namespace, owner))
        if known is None and owner.kind == "ReplicaSet":
            guess = Workload(kind="Deployment", name=owner.name.rpartition("-")[0])
            known = guess if (namespace, guess) in owners else None
        owner = known
    return chain


class _Orphans:
    """Pods that name no owner: written by hand, or exported without it.  They are a workload's by its selector."""

    def __init__(self, pods: Iterable[Pod]) -> None:
        self.by_label: dict[tuple[str, str, str], list[Pod]] = defaultdict(list)
        for pod in pods:
            for key, value in pod.labels.items():
                self.by_label[pod.namespace, key, value].append(pod)

    def has_some_of(self, one: WorkloadObject) -> bool:
        """Whether a workload's selector, where it has one, matches any of them."""
        for key, value in (one.selector or {}).items():
            candidates = self.by_label.get((one.template.namespace, key, value), ())
            return any((one.selector or {}).items() <= pod.labels.items() for pod in candidates)
        return False


def _distinct(templates: list[Pod], running: list[Pod]) -> list[Pod]:
    """Templates under names of their own: a Deployment and a CronJob, or a pod, may have the same name."""
    uses = Counter(pod.key for pod in (*templates, *running))
    return [
        replace(pod, name=f"{pod.name}.{pod.workload.kind.lower()}") if uses[pod.key] > 1 and pod.workload else pod
        for pod in templates
    ]
