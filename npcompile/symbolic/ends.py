"""The variables of the encoding: the two ends of one flow, its protocol and its port.

`variables` makes them free, to ask whether some flow exists; `constants` fixes them to a flow of a program, to ask what
the encoding says of it.  The terms of `encode` are the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import z3

from npcompile.ir.cluster import Cluster, Pod
from npcompile.ir.flow import Endpoint, Flow
from npcompile.netset.cidrs import Address, Family, family_of
from npcompile.netset.ports import Protocol
from npcompile.symbolic.vocabulary import Layout, Vocabulary

PROTOCOLS = {protocol: index for index, protocol in enumerate(Protocol)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class End:
    """One end of a flow.  It is a pod, which may have an address, or else an address that is no pod's.

    A pod on its node's network is no pod here: it is its node's address.  Labels are packed as `Layout` says.
    """

    is_pod: z3.BoolRef
    namespace: z3.BitVecRef
    namespace_labels: z3.BitVecRef
    labels: z3.BitVecRef
    has_address: z3.BoolRef
    is_v6: z3.BoolRef
    v4: z3.BitVecRef
    v6: z3.BitVecRef


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlowTerms:
    """A flow.  `declares` says of each port name whether the destination declares the flow's port under it: so a pod
    may declare any numbers under a name.  `same_pod` and `own_node` are the exemptions of every policy.
    """

    src: End
    dst: End
    protocol: z3.BitVecRef
    port: z3.BitVecRef
    declares: Mapping[tuple[str, Protocol], z3.BoolRef]
    same_pod: z3.BoolRef
    own_node: z3.BoolRef


def variables(vocabulary: Vocabulary, ctx: z3.Context) -> FlowTerms:
    """Free variables, for flows between two different ends, the source no address of the destination's own node."""

    return FlowTerms(
        src=_end("src", vocabulary, ctx),
        dst=_end("dst", vocabulary, ctx),
        protocol=z3.BitVec("protocol", 2, ctx),
        port=z3.BitVec("port", 16, ctx),
        declares={(n, p): z3.Bool(f"declares {p}/{n}", ctx) for n, p in vocabulary.port_names},
        same_pod=z3.BoolVal(val=False, ctx=ctx),
        own_node=z3.BoolVal(val=False, ctx=ctx),
    )


def beside(flow: FlowTerms, vocabulary: Vocabulary, ctx: z3.Context) -> FlowTerms:
    """Free variables for another flow of the same source, to another destination."""
    return replace(
        flow,
        dst=_end("dst'", vocabulary, ctx),
        protocol=z3.BitVec("protocol'", 2, ctx),
        port=z3.BitVec("port'", 16, ctx),
        declares={(n, p): z3.Bool(f"declares' {p}/{n}", ctx) for n, p in vocabulary.port_names},
    )


def _end(name: str, vocabulary: Vocabulary, ctx: z3.Context) -> End:
    return End(
        is_pod=z3.Bool(f"{name}.pod", ctx),
        namespace=z3.BitVec(f"{name}.namespace", vocabulary.names.bits, ctx),
        namespace_labels=z3.BitVec(f"{name}.namespace.labels", vocabulary.namespace_labels.width, ctx),
        labels=z3.BitVec(f"{name}.labels", vocabulary.pod_labels.width, ctx),
        has_address=z3.Bool(f"{name}.addressed", ctx),
        is_v6=z3.Bool(f"{name}.v6?", ctx),
        v4=z3.BitVec(f"{name}.v4", Family.V4.bits, ctx),
        v6=z3.BitVec(f"{name}.v6", Family.V6.bits, ctx),
    )


def constants(vocabulary: Vocabulary, cluster: Cluster, flow: Flow, ctx: z3.Context) -> FlowTerms:
    """The terms of one flow between pods and addresses of a cluster."""

    def end(endpoint: Endpoint) -> End:
        pod = _proper(endpoint)
        namespace = cluster.namespaces[pod.namespace] if pod else None
        name = vocabulary.names.index(pod.namespace) if pod else 0
        return End(
            is_pod=z3.BoolVal(val=pod is not None, ctx=ctx),
            namespace=z3.BitVecVal(name, vocabulary.names.bits, ctx),
            namespace_labels=_packed(vocabulary.namespace_labels, namespace.labels if namespace else {}, ctx),
            labels=_packed(vocabulary.pod_labels, pod.labels if pod else {}, ctx),
            has_address=z3.BoolVal(val=endpoint.address is not None, ctx=ctx),
            is_v6=z3.BoolVal(val=endpoint.family is Family.V6, ctx=ctx),
            v4=_number(endpoint.address, Family.V4, ctx),
            v6=_number(endpoint.address, Family.V6, ctx),
        )

    destination = _proper(flow.dst)
    declared = {(p.name, p.protocol) for p in destination.ports if p.number == flow.port} if destination else set()
    return FlowTerms(
        src=end(flow.src),
        dst=end(flow.dst),
        protocol=z3.BitVecVal(PROTOCOLS[flow.protocol], 2, ctx),
        port=z3.BitVecVal(flow.port or 0, 16, ctx),
        declares={key: z3.BoolVal(val=key in declared, ctx=ctx) for key in vocabulary.port_names},
        same_pod=z3.BoolVal(val=_same_pod(flow), ctx=ctx),
        own_node=z3.BoolVal(val=_from_own_node(cluster, flow), ctx=ctx),
    )


def _proper(endpoint: Endpoint) -> Pod | None:
    return endpoint.pod if endpoint.pod is not None and not endpoint.pod.host_network else None


def _packed(layout: Layout, labels: Mapping[str, str], ctx: z3.Context) -> z3.BitVecRef:
    return z3.BitVecVal(layout.pack(labels), layout.width, ctx)


def _number(address: Address | None, family: Family, ctx: z3.Context) -> z3.BitVecRef:
    fits = address is not None and family_of(address) is family
    return z3.BitVecVal(int(address) if fits and address is not None else 0, family.bits, ctx)


def _same_pod(flow: Flow) -> bool:
    """A template stands for many pods, so that its flows to itself run between two of them."""
    src, dst = flow.src.pod, flow.dst.pod
    return src is not None and dst is not None and src.key == dst.key and not src.template


def _from_own_node(cluster: Cluster, flow: Flow) -> bool:
    """Whether the source is the node that the destination pod runs on, under any of the node's addresses."""
    host = flow.dst.pod.node if flow.dst.pod is not None else None
    if host is None or _proper(flow.src) is not None:
        return False
    if flow.src.pod is not None and flow.src.pod.node == host:
        return True
    return host in cluster.nodes and flow.src.address in cluster.nodes[host].addresses
