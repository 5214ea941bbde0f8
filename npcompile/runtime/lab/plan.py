"""What a lab is made of: a pure function from a program to places, how they hang together, and what they are called.

Every place is a network namespace.  A router joins the nodes and the hosts outside the cluster; each pod hangs on its
node.  Links are veth pairs with routes to single addresses, as point-to-point plugins make them.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, RuleCode, Severity, diagnose
from npcompile.ir.cluster import Pod
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address, Family, family_of, point
from npcompile.runtime.lab.outside import UNUSABLE
from npcompile.runtime.lab.services import Forward, forwards
from npcompile.source import Span

MOST_PODS = 60

SIZE = RuleCode(code="NPC740", slug="lab-size", severity=Severity.ERROR)
"""A lab makes a network namespace of every pod that policies can select: there must be one at least, and 60 pods at
most.  Name the files of a part of the cluster."""

ADDRESS = RuleCode(code="NPC741", slug="lab-address", severity=Severity.ERROR)
"""An address cannot be had by one host of a network: it is loopback, multicast or the like, or two have it."""

_LINK_LOCAL = IPv4Network("169.254.0.0/16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A network namespace.  `name`: a pod's `namespace/name`, a node's name, or a host's address.  `ifname`: the veth
    that leads to it, at its node or at the router.  `pod`: whose it is.
    """

    name: str
    addresses: tuple[Address, ...]
    ifname: str
    pod: Pod | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlace(Place):
    """A node with its pods."""

    pods: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A lab.  `router_gateway`, `node_gateway`: the IPv4 addresses that the router and every node have on each link,
    nobody's otherwise.  `forwards`: what the nodes translate, in place of kube-proxy.
    """

    nodes: tuple[NodePlace, ...]
    outside: tuple[Place, ...]
    router_gateway: Address
    node_gateway: Address
    forwards: tuple[Forward, ...]

    @property
    def places(self) -> Iterator[Place]:
        """All of them: nodes, each with its pods behind it, then hosts outside."""
        for node in self.nodes:
            yield node
            yield from node.pods
        yield from self.outside

    @property
    def families(self) -> list[Family]:
        """The address families that it has."""
        return sorted({family_of(address) for place in self.places for address in place.addresses})


def make_plan(program: Program, outside: Sequence[Address]) -> Plan:
    """The lab of a settled program, with hosts outside the cluster; raises InputError when there can be none."""
    _refuse(program, outside)
    cluster = program.cluster
    homes: dict[str, list[Place]] = defaultdict(list)
    for pod in cluster.pods:
        if not pod.host_network and pod.node is not None:
            place = Place(name=str(pod), addresses=pod.addresses, ifname=ifname(str(pod)), pod=pod)
            homes[pod.node].append(place)
    used = {address for _, _, address in _holders(program, outside)}
    spare = (address for address in _LINK_LOCAL.hosts() if address not in used)
    return Plan(
        nodes=tuple(
            NodePlace(name=name, addresses=node.addresses, ifname=f"node{number}", pods=tuple(homes[name]))
            for number, (name, node) in enumerate(sorted(cluster.nodes.items()))
        ),
        outside=tuple(
            Place(name=str(address), addresses=(address,), ifname=f"host{number}")
            for number, address in enumerate(outside)
        ),
        router_gateway=next(spare),
        node_gateway=next(spare),
        forwards=forwards(cluster),
    )


def ifname(pod: str) -> str:
    """The name of a pod's veth on its node: within the 15 characters of linux/if.h, the same every time."""
    return f"np{hashlib.sha256(pod.encode()).hexdigest()[:12]}"


def bindings(plan: Plan) -> Mapping[str, str]:
    """The interface of each pod at its node, by `namespace/name`."""
    return {pod.name: pod.ifname for node in plan.nodes for pod in node.pods}


def _refuse(program: Program, outside: Iterable[Address]) -> None:
    problems = [*_sizes(program), *_bad_addresses(program, outside)]
    if problems:
        raise InputError(sorted(problems, key=lambda one: one.order))


def _sizes(program: Program) -> Iterator[Diagnostic]:
    pods = program.cluster.pods
    if not pods:
        yield diagnose(SIZE, None, "the input has no pods, so there is nothing to try",
                       help="name the files with the pods or workloads, too")  # fmt: skip
    if len(pods) > MOST_PODS:
        yield diagnose(SIZE, None, f"the input has {len(pods)} pods, and a lab has room for {MOST_PODS}",
                       help="name the files of a part of the cluster")  # fmt: skip


def _bad_addresses(program: Program, outside: Iterable[Address]) -> Iterator[Diagnostic]:
    owners: dict[Address, str] = {}
    for who, span, address in _holders(program, outside):
        if point(address) in UNUSABLE or (isinstance(address, IPv6Address) and address.scope_id):
            yield diagnose(ADDRESS, span, f"{who} has the address {address}, which no host of a network can have")
        elif address in owners:
            yield diagnose(ADDRESS, span, f"{who} has the address {address} of {owners[address]}",
                           help="leave out what no longer runs")  # fmt: skip
        else:
            owners[address] = who


def _holders(program: Program, outside: Iterable[Address]) -> Iterator[tuple[str, Span | None, Address]]:
    """Everything that has an address in the lab."""
    cluster = program.cluster
    for node in sorted(cluster.nodes.values(), key=lambda node: node.name):
        yield from ((f"node `{node.name}`", node.span, address) for address in node.addresses)
    for pod in cluster.pods:
        if not pod.host_network:
            yield from ((f"`{pod}`", pod.span, address) for address in pod.addresses)
    for service in cluster.services:
        yield from ((f"Service `{service}`", service.span, address) for address in service.addresses)
    yield from (("a host outside", None, address) for address in outside)
