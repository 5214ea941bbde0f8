"""Short ways to write programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network

from npcompile import semantics
from npcompile.ir.cluster import Cluster, ContainerPort, Namespace, Node, Pod
from npcompile.ir.labels import EVERYTHING, NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import (
    BlockPeer,
    Direction,
    Match,
    NamedPort,
    Peer,
    PodPeer,
    Policy,
    PortItem,
    PortRange,
    Rule,
)
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import Example

INGRESS, EGRESS = Direction.INGRESS, Direction.EGRESS
ANY_POD = PodPeer(namespaces=EVERYTHING, pods=EVERYTHING)


def select(**labels: str) -> Selector:
    """The pods with all of some labels."""
    requirements = (Requirement(key=key, operator=Operator.IN, values=(value,)) for key, value in labels.items())
    return Selector(requirements=tuple(requirements))


def near(**labels: str) -> PodPeer:
    """The pods of the policy's namespace with all of some labels."""
    return PodPeer(namespaces=None, pods=select(**labels))


def block(cidr: str, *excepts: str) -> BlockPeer:
    """An ipBlock."""
    return BlockPeer(cidr=ip_network(cidr), excepts=tuple(ip_network(one) for one in excepts))


def tcp(first: int, last: int | None = None) -> PortRange:
    """A TCP port, or some."""
    return PortRange(protocol=Protocol.TCP, first=first, last=last or first)


def udp(number: int) -> PortRange:
    """A UDP port."""
    return PortRange(protocol=Protocol.UDP, first=number, last=number)


def named(name: str) -> NamedPort:
    """A TCP port by name."""
    return NamedPort(protocol=Protocol.TCP, name=name)


def rule(*peers: Peer, on: Iterable[PortItem] = ()) -> Match:
    """From or to some peers, on some ports."""
    return Match(peers=peers, ports=tuple(on))


def policy(
    name: str,
    *,
    subjects: Selector = EVERYTHING,
    ingress: Iterable[Match] | None = None,
    egress: Iterable[Match] | None = None,
    namespace: str = "a",
) -> Policy:
    """A policy that isolates in the directions that are given."""
    given = {INGRESS: ingress, EGRESS: egress}
    return Policy(
        namespace=namespace,
        name=name,
        subjects=subjects,
        directions=frozenset(direction for direction, matches in given.items() if matches is not None),
        rules=tuple(
            Rule(direction=direction, index=index, match=match)
            for direction, matches in given.items()
            for index, match in enumerate(matches or ())
        ),
    )


def pod(
    name: str,
    *addresses: str,
    node: str | None = None,
    host_network: bool = False,
    ports: Mapping[str, int] | None = None,
    **labels: str,
) -> Pod:
    """A pod: `namespace/name`."""
    namespace, _, own = name.partition("/")
    return Pod(
        namespace=namespace,
        name=own,
        labels=labels,
        addresses=tuple(ip_address(address) for address in addresses),
        node=node,
        host_network=host_network,
        ports=tuple(
            ContainerPort(name=name, protocol=Protocol.TCP, number=number) for name, number in (ports or {}).items()
        ),
    )


def program(
    policies: Iterable[Policy],
    pods: Iterable[Pod],
    *,
    nodes: Mapping[str, str] | None = None,
    teams: Mapping[str, str] | None = None,
) -> Program:
    """Policies and pods in order; `nodes` by name with an address each, `teams` the label of that name by namespace."""
    inhabitants = tuple(sorted(pods, key=lambda pod: pod.key))
    ordered = tuple(sorted(policies, key=lambda policy: policy.key))
    names = {one.namespace for one in (*inhabitants, *ordered)}
    labels = {name: {"team": team} for name, team in (teams or {}).items()}
    return Program(
        policies=ordered,
        cluster=Cluster(
            namespaces={
                name: Namespace(name=name, labels={NAMESPACE_NAME: name, **labels.get(name, {})})
                for name in sorted(names)
            },
            pods=inhabitants,
            nodes={name: Node(name=name, addresses=(ip_address(address),)) for name, address in (nodes or {}).items()},
        ),
    )


def replay(of: Program, example: Example | None) -> tuple[str, bool, bool]:
    """An example's flow as text, and whether its egress and its ingress allow it."""
    assert example is not None
    decision = semantics.decide(of.policies, of.cluster, example.flow)
    return str(example.flow), decision.egress.allowed, decision.ingress.allowed
