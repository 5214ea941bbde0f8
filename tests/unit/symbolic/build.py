"""Short ways to write policies for the engine's tests."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from npcompile.ir.cluster import Cluster, ContainerPort, Namespace, Node, Pod
from npcompile.ir.labels import NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, Direction, Match, NamedPort, Peer, PodPeer, Policy, PortItem, PortRange, Rule
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol

BOTH = frozenset(Direction)


def select(*requirements: Requirement, **labels: str) -> Selector:
    """A selector of labels (`__` in a key is written `/`) and further requirements."""
    found = [Requirement(key=key, operator=Operator.IN, values=(value,)) for key, value in labels.items()]
    return Selector(requirements=(*found, *requirements))


def named(*names: str) -> Selector:
    """The namespaces of these names."""
    return select(Requirement(key=NAMESPACE_NAME, operator=Operator.IN, values=tuple(sorted(names))))


def pods(namespaces: Selector | None = None, **labels: str) -> PodPeer:
    """A peer of pods."""
    return PodPeer(namespaces=namespaces, pods=select(**labels))


def block(cidr: str, *excepts: str) -> BlockPeer:
    """An ipBlock."""
    return BlockPeer(cidr=ip_network(cidr), excepts=tuple(map(ip_network, excepts)))


def tcp(first: int, last: int | None = None) -> PortRange:
    """TCP ports."""
    return PortRange(protocol=Protocol.TCP, first=first, last=last or first)


def udp(first: int) -> PortRange:
    """A UDP port."""
    return PortRange(protocol=Protocol.UDP, first=first, last=first)


def port(name: str) -> NamedPort:
    """A TCP port by name."""
    return NamedPort(protocol=Protocol.TCP, name=name)


def rule(*items: Peer | PortItem) -> Match:
    """A rule's peers and ports."""
    peers = tuple(item for item in items if isinstance(item, PodPeer | BlockPeer))
    return Match(peers=peers, ports=tuple(item for item in items if isinstance(item, PortRange | NamedPort)))


def policy(
    name: str,
    subjects: Selector | None = None,
    *,
    namespace: str = "shop",
    ingress: Iterable[Match] | None = None,
    egress: Iterable[Match] | None = None,
) -> Policy:
    """A policy; a direction that is not None is in force."""
    given = {Direction.INGRESS: ingress, Direction.EGRESS: egress}
    rules = [
        Rule(direction=direction, index=index, match=match)
        for direction, matches in given.items()
        for index, match in enumerate(matches or ())
    ]
    return Policy(
        namespace=namespace,
        name=name,
        subjects=subjects or Selector(),
        directions=frozenset(direction for direction, matches in given.items() if matches is not None),
        rules=tuple(rules),
    )


def pod(name: str, address: str = "", *, namespace: str = "shop", node: str | None = None, **labels: str) -> Pod:
    """A pod; a label `http=8080` also declares that port."""
    numbers = [int(labels["http"])] if "http" in labels else []
    return Pod(
        namespace=namespace,
        name=name,
        labels=labels,
        addresses=(ip_address(address),) if address else (),
        node=node,
        ports=tuple(ContainerPort(name="http", protocol=Protocol.TCP, number=number) for number in numbers),
    )


def program(*parts: Policy | Pod | Namespace | Node) -> Program:
    """A program; namespaces that are not given are not listed."""
    policies = sorted((part for part in parts if isinstance(part, Policy)), key=lambda p: p.key)
    inhabitants = sorted((part for part in parts if isinstance(part, Pod)), key=lambda p: p.key)
    mentioned = {part.namespace for part in (*policies, *inhabitants)}
    namespaces = {name: Namespace(name=name, labels={NAMESPACE_NAME: name}, listed=False) for name in mentioned}
    namespaces |= {part.name: part for part in parts if isinstance(part, Namespace)}
    nodes = {part.name: part for part in parts if isinstance(part, Node)}
    cluster = Cluster(namespaces=dict(sorted(namespaces.items())), pods=tuple(inhabitants), nodes=nodes)
    return Program(policies=tuple(policies), cluster=cluster)


def listed(name: str, **labels: str) -> Namespace:
    """A namespace of the input."""
    return Namespace(name=name, labels={**labels, NAMESPACE_NAME: name})
