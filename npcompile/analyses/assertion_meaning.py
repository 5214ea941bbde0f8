"""What sentences of assertion files speak of, flow by flow: the definition that examples are held against.

It is made of `semantics` and nothing else, so that no engine confirms its own answers.
"""

from __future__ import annotations

from itertools import chain
from typing import assert_never

from npcompile import semantics
from npcompile.diagnostics.model import Scope
from npcompile.ir.assertion import (
    AllOf,
    Allowed,
    AnyOf,
    Complement,
    Denied,
    Ends,
    Flows,
    Isolated,
    Region,
    Requirement,
    Word,
    as_policy,
    together,
)
from npcompile.ir.cluster import Cluster
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.policy import BlockPeer, Direction, PodPeer
from npcompile.netset.ports import point


class Meaning:
    """What sentences speak of, end by end and flow by flow: the definition that examples are held against."""

    def __init__(self, cluster: Cluster, scope: Scope) -> None:
        self._cluster = cluster
        ends = (pod for pod in cluster.pods if not pod.host_network)
        self._pods = frozenset(chain.from_iterable(pod.addresses for pod in ends))
        hosts = (pod.addresses for pod in cluster.pods if pod.host_network)
        nodes = (node.addresses for node in cluster.nodes.values())
        self._nodes = frozenset(chain.from_iterable((*nodes, *hosts))) - self._pods
        self._any_node = scope is Scope.ANY_POD and not self._nodes
        self._nobody = as_policy((), namespace="")

    def refutes(self, requirement: Requirement, flow: Flow, decision: semantics.Decision) -> bool:
        """Whether a flow, with what is decided of it, is one that a requirement forbids."""
        match requirement:
            case Denied(region=region):
                return self.speaks_of(region, flow, decision) and decision.verdict is Verdict.ALLOW
            case Allowed(region=region):
                return self.speaks_of(region, flow, decision) and decision.verdict is Verdict.DENY
            case Isolated(side=side, direction=direction):
                inward = direction is Direction.INGRESS
                subject = flow.dst if inward else flow.src
                reason = (decision.ingress if inward else decision.egress).reason
                return self.is_one(together(side), subject) and reason is semantics.Reason.NOT_ISOLATED
            case _:
                assert_never(requirement)

    def speaks_of(self, region: Region, flow: Flow, decision: semantics.Decision) -> bool:
        """Whether a flow is one of a region."""
        reasons = {decision.egress.reason, decision.ingress.reason}
        if reasons & {semantics.Reason.SAME_POD, semantics.Reason.OWN_NODE} or reasons == {semantics.Reason.NOT_A_POD}:
            return False
        return self._is_in(region.flows, flow) and not any(self._is_in(taken, flow) for taken in region.excepts)

    def _is_in(self, flows: Flows, flow: Flow) -> bool:
        return (
            self.is_one(together(flows.src), flow.src)
            and self.is_one(together(flows.dst), flow.dst)
            and point(flow.protocol, flow.port) in flows.ports
        )

    def is_one(self, ends: Ends, end: Endpoint) -> bool:
        """Whether an end is one of some."""
        match ends:
            case Word.EVERYONE:
                return _is_pod(end) or self.is_one(Word.WORLD, end)
            case Word.WORLD:
                return end.pod is None and end.address not in self._nodes | self._pods
            case Word.NODES:
                if end.pod is not None:
                    return end.pod.host_network
                return end.address in self._nodes or (self._any_node and end.address not in self._pods)
            case PodPeer() | BlockPeer():
                return semantics.peer_matches(self._cluster, self._nobody, ends, end)
            case AllOf(parts=parts):
                return all(self.is_one(part, end) for part in parts)
            case AnyOf(parts=parts):
                return any(self.is_one(part, end) for part in parts)
            case Complement(of=of):
                return not self.is_one(of, end)
            case _:
                assert_never(ends)


def _is_pod(end: Endpoint) -> bool:
    return end.pod is not None and not end.pod.host_network
