"""A whole input: the policies and the cluster they are judged in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from npcompile.ir.cluster import Cluster
from npcompile.ir.flow import Flow
from npcompile.ir.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Policies, sorted by (namespace, name) and without duplicates, and their cluster."""

    policies: tuple[Policy, ...]
    cluster: Cluster


class PolicyIndex:
    """Policies by namespace, so that judging one flow does not walk over those of a whole cluster."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._by_namespace: dict[str, list[Policy]] = {}
        for policy in policies:
            self._by_namespace.setdefault(policy.namespace, []).append(policy)

    def of(self, namespace: str) -> Sequence[Policy]:
        """The policies of a namespace, in the order in which they were given."""
        return self._by_namespace.get(namespace, ())

    def judging(self, flow: Flow) -> list[Policy]:
        """The policies of both ends' namespaces: no other can decide the flow."""
        namespaces = {end.pod.namespace for end in (flow.src, flow.dst) if end.pod is not None}
        return [policy for namespace in sorted(namespaces) for policy in self.of(namespace)]
