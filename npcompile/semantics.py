"""The reference evaluator: what a NetworkPolicy means, as the Kubernetes API reference says it.

This module is normative and is written to be compared with the API's documentation by eye.  It trusts the IR and calls
nothing that computes meaning elsewhere; the set engine, the z3 encoding and the readers of artifacts are tested
against it, and every finding's witness is replayed through it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from npcompile.ir.cluster import Cluster, Pod
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.labels import Labels, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, Direction, NamedPort, Peer, PodPeer, Policy, PortItem, PortRange, Rule


class Reason(Enum):
    """Why one side of a flow allows it or does not."""

    NOT_A_POD = "not-a-pod"  # no policy applies to addresses, nor to pods on their node's network
    SAME_POD = "same-pod"
    OWN_NODE = "own-node"
    NOT_ISOLATED = "not-isolated"
    RULE = "rule"
    NO_RULE = "no-rule"  # isolated, and no rule matches: the only reason to deny


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The judgement of one side.  `policy` and `rule` are the least that decide, and None where none does."""

    reason: Reason
    policy: Policy | None = None
    rule: Rule | None = None

    @property
    def allowed(self) -> bool:
        """Whether this side lets the flow through."""
        return self.reason is not Reason.NO_RULE


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The judgement of a flow: by its source's egress and its destination's ingress."""

    egress: Side
    ingress: Side

    @property
    def verdict(self) -> Verdict:
        """ALLOW when both sides allow."""
        return Verdict.ALLOW if self.egress.allowed and self.ingress.allowed else Verdict.DENY


def decide(policies: Iterable[Policy], cluster: Cluster, flow: Flow) -> Decision:
    """Judge a flow.  `policies` may be all of them or any subset that holds those of both ends' namespaces."""
    ordered = sorted(policies, key=lambda policy: policy.key)
    return Decision(
        egress=_judge(ordered, cluster, flow, Direction.EGRESS),
        ingress=_judge(ordered, cluster, flow, Direction.INGRESS),
    )


def _judge(policies: list[Policy], cluster: Cluster, flow: Flow, direction: Direction) -> Side:
    subject, peer = (flow.src, flow.dst) if direction is Direction.EGRESS else (flow.dst, flow.src)
    if subject.pod is None or subject.pod.host_network:
        return Side(reason=Reason.NOT_A_POD)
    # Two pods of one template are two pods.
    if peer.pod is not None and peer.pod.key == subject.pod.key and not subject.pod.template:
        return Side(reason=Reason.SAME_POD)
    if direction is Direction.INGRESS and is_own_node(cluster, subject.pod, peer):
        return Side(reason=Reason.OWN_NODE)
    isolating = [p for p in policies if direction in p.directions and selects(p, subject.pod)]
    if not isolating:
        return Side(reason=Reason.NOT_ISOLATED)
    for policy in isolating:
        for rule in policy.rules_of(direction):
            if rule_matches(cluster, policy, rule, peer, flow):
                return Side(reason=Reason.RULE, policy=policy, rule=rule)
    return Side(reason=Reason.NO_RULE, policy=isolating[0])


def is_own_node(cluster: Cluster, pod: Pod, other: Endpoint) -> bool:
    """Whether `other` is an address of the node that `pod` runs on, or a pod on that node's network."""
    if pod.node is None or (other.pod is not None and not other.pod.host_network):
        return False
    if other.pod is not None and other.pod.node == pod.node:
        return True
    node = cluster.nodes.get(pod.node)
    return node is not None and other.address in node.addresses


def selects(policy: Policy, pod: Pod) -> bool:
    """Whether a policy's podSelector selects a pod: one of its own namespace that is not on its node's network."""
    return not pod.host_network and pod.namespace == policy.namespace and matches(policy.subjects, pod.labels)


def rule_matches(cluster: Cluster, policy: Policy, rule: Rule, peer: Endpoint, flow: Flow) -> bool:
    """Whether a rule speaks of the flow, `peer` being the end that is not the policy's subject."""
    peers, ports = rule.match.peers, rule.match.ports
    return (not peers or any(peer_matches(cluster, policy, item, peer) for item in peers)) and (
        not ports or any(port_matches(item, flow) for item in ports)
    )


def peer_matches(cluster: Cluster, policy: Policy, item: Peer, peer: Endpoint) -> bool:
    """Whether one item of `from` or `to` matches an endpoint.  A pod without an address is in no ipBlock."""
    match item:
        case BlockPeer():
            address = peer.address
            return address is not None and address in item.cidr and not any(address in e for e in item.excepts)
        case PodPeer():
            pod = peer.pod
            if pod is None or pod.host_network:
                return False
            if item.namespaces is None:
                return pod.namespace == policy.namespace and matches(item.pods, pod.labels)
            namespace = cluster.namespaces[pod.namespace]
            return matches(item.namespaces, namespace.labels) and matches(item.pods, pod.labels)
        case _:
            assert_never(item)


def port_matches(item: PortItem, flow: Flow) -> bool:
    """Whether one item of `ports` matches a flow's protocol and destination port."""
    if flow.port is None or item.protocol is not flow.protocol:
        return False
    match item:
        case PortRange():
            return item.first <= flow.port <= item.last
        case NamedPort():
            pod = flow.dst.pod
            return (
                pod is not None
                and not pod.host_network
                and any(
                    (port.name, port.protocol, port.number) == (item.name, item.protocol, flow.port)
                    for port in pod.ports
                )
            )
        case _:
            assert_never(item)


def matches(selector: Selector, labels: Labels) -> bool:
    """Whether a label selector matches: all of its requirements hold."""
    return all(_holds(requirement, labels) for requirement in selector.requirements)


def _holds(requirement: Requirement, labels: Labels) -> bool:
    present = requirement.key in labels
    match requirement.operator:
        case Operator.IN:
            return present and labels[requirement.key] in requirement.values
        case Operator.NOT_IN:
            return not present or labels[requirement.key] not in requirement.values
        case Operator.EXISTS:
            return present
        case Operator.DOES_NOT_EXIST:
            return not present
        case _:
            assert_never(requirement.operator)
