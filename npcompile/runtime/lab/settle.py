"""Gives every pod of a program what a running one has, a node and addresses, and every Service an address.

Workload templates, pods that do not run yet and manifests of Services lack them.  What the input says stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_network
from itertools import cycle

from npcompile.ir.cluster import Cluster, Node, Pod, Service
from npcompile.ir.policy import BlockPeer
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address, Family, Network, family_of

_POD_NETWORKS = {Family.V4: ip_network("10.244.0.0/16"), Family.V6: ip_network("fd00:10:244::/64")}
_NODE_NETWORKS = {Family.V4: ip_network("172.18.0.0/16"), Family.V6: ip_network("fd00:172:18::/64")}
_SERVICE_NETWORKS = {Family.V4: ip_network("10.96.0.0/16"), Family.V6: ip_network("fd00:10:96::/64")}
# Two, so that a pod has its own node and another one.
_NODES = ("lab-node-1", "lab-node-2")


def settle(program: Program, avoid: Iterable[Address] = ()) -> Program:
    """The program with a node for every pod, and addresses, none of them in `avoid`, for pods, nodes and Services.

    The families are those that pods of the input have; where no pod has an address, those that nodes, Services and
    ipBlocks have.  A pod or Service without an address gets one of each, and a node one of each that the input does
    not show.
    """
    cluster = program.cluster
    used = {*addresses(cluster), *avoid}
    families = _families(program)
    nodes = _settled_nodes(cluster, families, used)
    free = {family: _free(_POD_NETWORKS[family], used) for family in families}
    virtual = {family: _free(_SERVICE_NETWORKS[family], used) for family in families}
    services = tuple(
        replace(one, addresses=one.addresses or tuple(next(virtual[family]) for family in families))
        for one in cluster.services
    )
    homes = cycle(sorted(nodes))
    pods = []
    for pod in cluster.pods:
        node = pod.node or next(homes)
        if pod.host_network:
            own = _one_a_family(nodes[node].addresses)
        else:
            own = pod.addresses or tuple(next(free[family]) for family in families)
        pods.append(replace(pod, node=node, addresses=own, template=False))
    return replace(program, cluster=replace(cluster, pods=tuple(pods), nodes=nodes, services=services))


def _settled_nodes(cluster: Cluster, families: Iterable[Family], used: set[Address]) -> Mapping[str, Node]:
    names = {*cluster.nodes, *(pod.node for pod in cluster.pods if pod.node is not None)} or set(_NODES)
    nodes = {}
    free = {family: _free(_NODE_NETWORKS[family], used) for family in families}
    for name in sorted(names):
        node = cluster.nodes.get(name) or Node(name=name)
        known = {family_of(address) for address in node.addresses}
        added = tuple(next(free[family]) for family in families if family not in known)
        nodes[name] = replace(node, addresses=(*node.addresses, *added))
    return nodes


def _families(program: Program) -> list[Family]:
    """What the lab needs: the families of pods, or, where none has an address, everything's; IPv4 if there is none."""
    found = _pod_families(program.cluster) or {
        family_of(one) for one in (*addresses(program.cluster), *blocks(program))
    }
    return sorted(found) or [Family.V4]


def _pod_families(cluster: Cluster) -> set[Family]:
    return {family_of(address) for pod in cluster.pods for address in pod.addresses}


def addresses(cluster: Cluster) -> Iterator[Address]:
    """Those of pods, nodes and Services."""
    holders: tuple[Iterable[Pod | Node | Service], ...] = (cluster.pods, cluster.nodes.values(), cluster.services)
    return (address for some in holders for one in some for address in one.addresses)


def blocks(program: Program) -> Iterator[Network]:
    """Every prefix that an ipBlock of the policies mentions, `except` included."""
    for policy in program.policies:
        for rule in policy.rules:
            for peer in rule.match.peers:
                if isinstance(peer, BlockPeer):
                    yield from (peer.cidr, *peer.excepts)


def _free(network: Network, used: set[Address]) -> Iterator[Address]:
    return (address for address in network.hosts() if address not in used)


def _one_a_family(known: Iterable[Address]) -> tuple[Address, ...]:
    first: dict[Family, Address] = {}
    for address in known:
        first.setdefault(family_of(address), address)
    return tuple(first.values())
