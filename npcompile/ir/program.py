"""A whole input: the policies and the cluster they are judged in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from npcompile.ir.cluster import Cluster
from npcompile.ir.flow import Flow
from npcompile.ir.labels import Labels, Operator
from npcompile.ir.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Policies, sorted by (namespace, name) and without duplicates, and their cluster."""

    policies: tuple[Policy, ...]
    cluster: Cluster

    @property
    def is_empty(self) -> bool:
        """Whether there is no policy, and nothing that one could be about."""
        cluster = self.cluster
        listed = any(namespace.listed for namespace in cluster.namespaces.values())
        return not (self.policies or cluster.pods or cluster.nodes or cluster.services or listed)


class PolicyIndex:
    """Policies by namespace, and within one by a label that they require, so that judging one flow does not walk over
    those of a whole cluster.
    """

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._by_namespace: dict[str, list[Policy]] = {}
        self._by_label: dict[tuple[str, str, str], list[int]] = {}
        self._by_none: dict[str, list[int]] = {}
        for policy in policies:
            listed = self._by_namespace.setdefault(policy.namespace, [])
            required = next((one for one in policy.subjects.requirements if one.operator is Operator.IN), None)
            if required is None:
                self._by_none.setdefault(policy.namespace, []).append(len(listed))
            else:
                for value in required.values:
                    self._by_label.setdefault((policy.namespace, required.key, value), []).append(len(listed))
            listed.append(policy)

    def of(self, namespace: str) -> Sequence[Policy]:
        """The policies of a namespace, in the order in which they were given."""
        return self._by_namespace.get(namespace, ())

    def near(self, namespace: str, labels: Labels) -> list[Policy]:
        """The policies of a namespace, in order, without those that require a label that is not among some."""
        found = list(self._by_none.get(namespace, ()))
        for key, value in labels.items():
            found += self._by_label.get((namespace, key, value), ())
        listed = self.of(namespace)
        return [listed[number] for number in sorted(found)]

    def judging(self, flow: Flow) -> list[Policy]:
        """The policies of both ends' namespaces: no other can decide the flow."""
        namespaces = {end.pod.namespace for end in (flow.src, flow.dst) if end.pod is not None}
        return [policy for namespace in sorted(namespaces) for policy in self.of(namespace)]
