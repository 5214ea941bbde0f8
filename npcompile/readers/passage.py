"""Whether the nodes of a cluster let a flow through, each with the artifact that it has loaded.

New connections only: what answers them is the business of connection tracking.  A flow's packets meet the `filter`
table

- in FORWARD, on the node of a pod, on their way between it and anything that is not that node;
- in INPUT, on a node whose own address they are sent to;
- in OUTPUT, on a node from whose own address they are sent.

They pass if no hook drops them.  What a pod sends to itself never leaves it.  A pod without a known node is taken to be
on none of the nodes that are known.  Interfaces have no names here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from npcompile.ir.cluster import Cluster
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.netset.cidrs import Family, family_of
from npcompile.netset.ports import Protocol
from npcompile.readers.interpreter import Outcome, judge
from npcompile.readers.packet import Packet
from npcompile.readers.rules import Hook, Ruleset

# Any port of a client will do: a policy cannot name it.
CLIENT_PORT = 40000
_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
# ICMP stands for all protocols without ports; its packet is an echo request.
_ICMP = {Family.V4: (1, (8, 0)), Family.V6: (58, (128, 0))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A hook that a flow's packets meet, and the node that it is on; None where the input does not tell."""

    hook: Hook
    node: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What became of a flow: the hooks that it meets until one drops it, in order.

    `elsewhere`: those among them of which it is not known what is loaded.
    """

    outcomes: tuple[tuple[Stop, Outcome], ...]
    elsewhere: tuple[Stop, ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        """ALLOW when no hook drops; None when no known one does, and not all are known."""
        if any(outcome.dropped for _, outcome in self.outcomes):
            return Verdict.DENY
        return None if self.elsewhere else Verdict.ALLOW


Rulesets = Mapping[Family, Ruleset]


def passage(loaded: Callable[[str | None], Rulesets | None], cluster: Cluster, flow: Flow) -> Passage:
    """Send the first packet of a flow, both of whose ends have addresses, through all hooks that it meets.

    `loaded`: the rulesets of a node, or None where they are not known; of the node None, those that hold wherever a pod
    without a known node runs.
    """
    packet = first_packet(flow)
    outcomes: list[tuple[Stop, Outcome]] = []
    elsewhere: list[Stop] = []
    for stop in stops(cluster, flow):
        rulesets = loaded(stop.node)
        if rulesets is None:
            elsewhere.append(stop)
            continue
        outcomes.append((stop, judge(rulesets[packet.family], packet, stop.hook)))
        if outcomes[-1][1].dropped:
            break
    return Passage(outcomes=tuple(outcomes), elsewhere=tuple(elsewhere))


def first_packet(flow: Flow) -> Packet:
    """The packet that opens a flow's connection."""
    src, dst = flow.src.address, flow.dst.address
    if src is None or dst is None:
        raise ValueError(f"{flow} has an end without an address")
    if flow.port is None:
        protocol, icmp = _ICMP[family_of(dst)]
        return Packet(src=src, dst=dst, protocol=protocol, icmp=icmp)
    return Packet(src=src, dst=dst, protocol=_NUMBERS[flow.protocol], sport=CLIENT_PORT, dport=flow.port)


def stops(cluster: Cluster, flow: Flow) -> Iterator[Stop]:
    """The hooks that a flow's packets meet, in order.  Between two pods' nodes FORWARD comes twice."""
    src, dst = flow.src, flow.dst
    if src.pod is not None and dst.pod is not None and src.pod.key == dst.pod.key:
        return
    src_node, dst_node = _host(cluster, src), _host(cluster, dst)
    if src_node is not None:
        yield Stop(hook=Hook.OUTPUT, node=src_node)
    elif src.pod is not None and (src.pod.node is None or src.pod.node != dst_node):
        yield Stop(hook=Hook.FORWARD, node=src.pod.node)
    if dst_node is not None:
        yield Stop(hook=Hook.INPUT, node=dst_node)
    elif dst.pod is not None and not _forwarded_before(src, dst) and (dst.pod.node is None or dst.pod.node != src_node):
        yield Stop(hook=Hook.FORWARD, node=dst.pod.node)


def _forwarded_before(src: Endpoint, dst: Endpoint) -> bool:
    """Whether two pods share a node, which forwards their packets once."""
    return src.pod is not None and dst.pod is not None and src.pod.node is not None and src.pod.node == dst.pod.node


def _host(cluster: Cluster, endpoint: Endpoint) -> str | None:
    """The node that an endpoint is an address of: a pod on its node's network, or no pod.  None: no node's."""
    if endpoint.pod is not None:
        return (endpoint.pod.node or "") if endpoint.pod.host_network else None
    for name in sorted(cluster.nodes):
        if endpoint.address in cluster.nodes[name].addresses:
            return name
    return None
