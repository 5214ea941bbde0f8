"""The inventory: namespaces, pods, nodes and Services, as far as NetworkPolicy can see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from npcompile.ir.labels import Labels
from npcompile.netset.cidrs import Address
from npcompile.netset.ports import Protocol
from npcompile.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace and its labels, `kubernetes.io/metadata.name` always among them.  Not `listed`: only mentioned."""

    name: str
    labels: Labels = field(hash=False)
    listed: bool = True
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPort:
    """A port that a container declares; only named ones matter to policies."""

    name: str | None
    protocol: Protocol
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What pods come from: the outermost owner that the input shows."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A running pod, or, where `template`, the pods that a workload will make.

    `addresses` has one entry a family at most, and is empty for a pod that has none yet.  A `host_network` pod is its
    node: no selector ever matches it.  `ports` are those of its containers and sidecars.
    """

    namespace: str
    name: str
    labels: Labels = field(hash=False)
    addresses: tuple[Address, ...] = ()
    node: str | None = None
    host_network: bool = False
    ports: tuple[ContainerPort, ...] = ()
    workload: Workload | None = None
    template: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return (self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node under all the addresses that the input shows for it."""

    name: str
    addresses: tuple[Address, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """A Service's port; `target` is a number, or the name that a container declares."""

    name: str | None
    protocol: Protocol
    number: int
    target: int | str

    def number_at(self, pod: Pod) -> int | None:
        """The port that it leads to at a pod behind it; None where the pod does not declare the name.

        Of several declarations the first counts, containers before sidecars: what the endpoint slice controller finds
        (`FindPort` of k8s.io/kubernetes/pkg/api/v1/pod).
        """
        if isinstance(self.target, int):
            return self.target
        declared = (one.number for one in pod.ports if (one.name, one.protocol) == (self.target, self.protocol))
        return next(declared, None)

    def __str__(self) -> str:
        return f"{self.protocol}/{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Service.  `selector` None: its endpoints are not told by labels, and none are known here."""

    namespace: str
    name: str
    selector: Labels | None = field(hash=False)
    addresses: tuple[Address, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def selects(self, pod: Pod) -> bool:
        """Whether a pod is behind it: one of its namespace with every label of its selector."""
        return (
            bool(self.selector)
            and pod.namespace == self.namespace
            and all(pod.labels.get(key) == value for key, value in (self.selector or {}).items())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Everything but the policies.  `namespaces` has every namespace that anything in the input lives in; pods,
    services and the mappings are in the order of their keys.
    """

    namespaces: Mapping[str, Namespace] = field(default_factory=dict, hash=False)
    pods: tuple[Pod, ...] = ()
    nodes: Mapping[str, Node] = field(default_factory=dict, hash=False)
    services: tuple[Service, ...] = ()
