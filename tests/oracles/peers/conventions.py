"""How the peers look at a cluster and list what they see, where npcompile does otherwise on purpose.

Each convention is one function, on the program before it is judged or on the table of what passes.  The tests know the
folders where each one matters (`differences.NEEDED`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from enum import Enum

from npcompile.ir.cluster import Namespace, Pod
from npcompile.ir.labels import NAMESPACE_NAME
from npcompile.ir.policy import PodPeer
from npcompile.ir.program import Program
from npcompile.netset.cidrs import EVERY_V4
from npcompile.netset.intervals import IntervalSet
from tests.oracles.peers.listings import NUMBERED
from tests.oracles.peers.table import End, Table


class Peer(Enum):
    """The programs that npcompile is compared with."""

    NETPOL_ANALYZER = "netpol-analyzer"
    NETWORK_CONFIG_ANALYZER = "network-config-analyzer"


class PodsDifferError(Exception):
    """It matters which pod of a workload is asked, so there is no table by workload."""


class Convention(Enum):
    """What is done to npcompile's view before it is compared."""

    POD_ADDRESSES = "an ipBlock never matches a pod's own address"
    HOST_NETWORK = "pods on their node's network are ordinary pods"
    OWN_NODE = "a node's addresses are as any other: its pods are not always open to them"
    DNS_POD = "where a policy speaks of kube-dns and no pod is it, there is one"
    SELF_PAIRS = "pairs within one workload are left out"
    IPV4 = "only IPv4 addresses are listed"
    PORTLESS = "only TCP, UDP and SCTP are listed"


def pods_without_addresses(program: Program) -> Program:
    """POD_ADDRESSES: a pod that has no address yet is in no ipBlock."""
    return _with_pods(program, (replace(pod, addresses=()) for pod in program.cluster.pods))


def host_pods_as_ordinary(program: Program) -> Program:
    """HOST_NETWORK: selectors match their labels, as those of any pod."""
    return _with_pods(program, (replace(pod, host_network=False) for pod in program.cluster.pods))


def nodes_as_ordinary(program: Program) -> Program:
    """OWN_NODE: no pod is known to run anywhere."""
    bare = replace(program, cluster=replace(program.cluster, nodes={}))
    return _with_pods(bare, (replace(pod, node=None) for pod in program.cluster.pods))


def with_dns_pod(program: Program) -> Program:
    """DNS_POD: network-config-analyzer adds the pod of its `LiveSim/dns/dns_pods.yaml`."""
    name, labels = "kube-system", {"k8s-app": "kube-dns"}
    spoken_of = any(
        (requirement.key, requirement.values) == ("k8s-app", ("kube-dns",))
        for policy in program.policies
        for rule in policy.rules
        for peer in rule.match.peers
        if isinstance(peer, PodPeer)
        for requirement in peer.pods.requirements
    )
    if not spoken_of or any(labels.items() <= pod.labels.items() for pod in program.cluster.pods):
        return program
    namespaces = {name: Namespace(name=name, labels={NAMESPACE_NAME: name}), **program.cluster.namespaces}
    wider = replace(program, cluster=replace(program.cluster, namespaces=namespaces))
    return _with_pods(wider, (*program.cluster.pods, Pod(namespace=name, name="kube-dns-livesim", labels=labels)))


def without_self_pairs(table: Table) -> Table:
    """SELF_PAIRS: neither a pod with itself nor with another of its workload."""
    return {(src, dst): ports for (src, dst), ports in table.items() if src != dst}


def ipv4_addresses(table: Table) -> Table:
    """IPV4: other addresses are left out; each block of npcompile's is of one family."""
    return {pair: ports for pair, ports in table.items() if all(isinstance(e, str) or e <= EVERY_V4 for e in pair)}


def numbered_ports(table: Table) -> Table:
    """PORTLESS: ICMP and the like are left out."""
    return {pair: ports & NUMBERED for pair, ports in table.items()}


ON_PROGRAM: Mapping[Convention, Callable[[Program], Program]] = {
    Convention.POD_ADDRESSES: pods_without_addresses,
    Convention.HOST_NETWORK: host_pods_as_ordinary,
    Convention.OWN_NODE: nodes_as_ordinary,
    Convention.DNS_POD: with_dns_pod,
}
ON_TABLE: Mapping[Convention, Callable[[Table], Table]] = {
    Convention.SELF_PAIRS: without_self_pairs,
    Convention.IPV4: ipv4_addresses,
    Convention.PORTLESS: numbered_ports,
}

CONVENTIONS: Mapping[Peer, frozenset[Convention]] = {
    Peer.NETPOL_ANALYZER: frozenset(Convention) - {Convention.DNS_POD},
    Peer.NETWORK_CONFIG_ANALYZER: frozenset(Convention) - {Convention.PORTLESS},
}


def seen_as(program: Program, conventions: Collection[Convention], connectivity: Callable[[Program], Table]) -> Table:
    """What passes between a program's workloads and addresses, under some conventions."""
    for convention, change in ON_PROGRAM.items():
        program = change(program) if convention in conventions else program
    table = by_workload(program.cluster.pods, connectivity(program))
    for convention, narrow in ON_TABLE.items():
        table = narrow(table) if convention in conventions else table
    return table


def by_workload(pods: Iterable[Pod], table: Table) -> Table:
    """A table of pods as one of their workloads; raises PodsDifferError.

    What passes within one workload is no single value, and not to be relied on.
    """
    names: dict[End, End] = {str(pod): workload_name(pod) for pod in pods}
    found: dict[tuple[End, End], IntervalSet] = {}
    for (src, dst), ports in table.items():
        pair = names.get(src, src), names.get(dst, dst)
        if found.setdefault(pair, ports) != ports and pair[0] != pair[1]:
            raise PodsDifferError(f"{pair[0]} => {pair[1]}")
    return found


def workload_name(pod: Pod) -> str:
    """A pod's workload as both peers write it: `namespace/name[Kind]`."""
    kind, name = (pod.workload.kind, pod.workload.name) if pod.workload else ("Pod", pod.name)
    return f"{pod.namespace}/{name}[{kind}]"


def _with_pods(program: Program, pods: Iterable[Pod]) -> Program:
    ordered = tuple(sorted(pods, key=lambda pod: pod.key))
    return replace(program, cluster=replace(program.cluster, pods=ordered))
