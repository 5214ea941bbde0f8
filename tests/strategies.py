"""Hypothesis strategies for the IR: small universes in which every feature of NetworkPolicy collides often."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from npcompile.ir.cluster import Cluster, ContainerPort, Namespace, Node, Pod
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.labels import NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import (
    BlockPeer,
    Direction,
    Match,
    NamedPort,
    PodPeer,
    Policy,
    PortRange,
    Rule,
)
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address
from npcompile.netset.ports import Protocol

NAMESPACES = ("a", "b", "c")
KEYS = ("app", "tier")
VALUES = ("x", "y", "")
PORTS = (1, 53, 80, 81, 443, 8080, 65535)
PORT_NAMES = ("http", "dns")
TRANSPORTS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
NODE_ADDRESSES = {"n1": (ip_address("10.9.0.1"), ip_address("fd09::1")), "n2": (ip_address("10.9.0.2"),)}
OUTSIDE = tuple(
    ip_address(text)
    for text in (
        "10.0.0.1",
        "10.0.0.9",
        "10.0.0.200",
        "10.9.0.1",
        "10.9.0.2",
        "192.0.2.1",
        "192.0.2.130",
        "203.0.113.7",
        "fd00::9",
        "fd00::f009",
        "2001:db8::1",
        "fd09::1",
    )
)
BLOCKS = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/24",
        "10.0.0.0/25",
        "10.0.0.4/30",
        "10.0.0.5/32",
        "10.9.0.0/31",
        "192.0.2.0/24",
        "192.0.2.128/25",
        "128.0.0.0/1",
        "::/0",
        "fd00::/16",
        "fd00::/112",
        "fd00::5/128",
    )
)


def labels() -> st.SearchStrategy[dict[str, str]]:
    """Labels of a pod or namespace."""
    return st.dictionaries(st.sampled_from(KEYS), st.sampled_from((*VALUES, "z")), max_size=2)


@st.composite
def selectors(draw: st.DrawFn, keys: tuple[str, ...] = KEYS) -> Selector:
    """Selectors of up to two requirements."""
    requirements = set()
    for _ in range(draw(st.integers(0, 2))):
        operator = draw(st.sampled_from(Operator))
        values: tuple[str, ...] = ()
        if operator in (Operator.IN, Operator.NOT_IN):
            values = tuple(sorted(draw(st.sets(st.sampled_from((*VALUES, *NAMESPACES[:1])), min_size=1, max_size=2))))
        requirements.add(Requirement(key=draw(st.sampled_from(keys)), operator=operator, values=values))
    ordered = sorted(requirements, key=lambda r: (r.key, r.operator.value, r.values))
    return Selector(requirements=tuple(ordered))


@st.composite
def block_peers(draw: st.DrawFn) -> BlockPeer:
    """ipBlocks with excepts strictly inside."""
    cidr = draw(st.sampled_from(BLOCKS))
    inside = [b for b in BLOCKS if b.version == cidr.version and b != cidr and b.subnet_of(cidr)]  # type: ignore[arg-type]
    excepts = draw(st.sets(st.sampled_from(inside), max_size=2)) if inside else set()
    return BlockPeer(cidr=cidr, excepts=tuple(sorted(excepts, key=lambda n: (int(n.network_address), n.prefixlen))))


@st.composite
def pod_peers(draw: st.DrawFn) -> PodPeer:
    """Pods of the own namespace or of selected ones."""
    namespaces = draw(st.none() | selectors((*KEYS, NAMESPACE_NAME)))
    return PodPeer(namespaces=namespaces, pods=draw(selectors()))


@st.composite
def port_items(draw: st.DrawFn) -> PortRange | NamedPort:
    """A number, a range, a whole protocol, or a name."""
    protocol = draw(st.sampled_from(TRANSPORTS))
    if draw(st.integers(0, 3)) == 0:
        return NamedPort(protocol=protocol, name=draw(st.sampled_from(PORT_NAMES)))
    first = draw(st.sampled_from(PORTS))
    last = draw(st.sampled_from([port for port in PORTS if port >= first]))
    return PortRange(protocol=protocol, first=first, last=draw(st.sampled_from((first, last))))


@st.composite
def rules(draw: st.DrawFn, direction: Direction, index: int) -> Rule:
    """A rule of one direction."""
    peers = draw(st.lists(st.one_of(pod_peers(), block_peers()), max_size=2))
    ports = draw(st.lists(port_items(), max_size=2))
    return Rule(direction=direction, index=index, match=Match(peers=tuple(peers), ports=tuple(ports)))


@st.composite
def policies(draw: st.DrawFn, name: str) -> Policy:
    """A policy in one of the namespaces."""
    directions = draw(st.sets(st.sampled_from(Direction), min_size=1))
    active = []
    for direction in Direction:
        if direction in directions:
            active += [draw(rules(direction, index)) for index in range(draw(st.integers(0, 2)))]
    return Policy(
        namespace=draw(st.sampled_from(NAMESPACES[:2])),
        name=name,
        subjects=draw(selectors()),
        directions=frozenset(directions),
        rules=tuple(active),
    )


@st.composite
def pods(draw: st.DrawFn, number: int, *, bound: bool) -> Pod:
    """A pod; `bound`: it has addresses.  On its node's network it has the node's."""
    node = draw(st.none() | st.sampled_from(sorted(NODE_ADDRESSES)))
    host_network = node is not None and draw(st.integers(0, 5)) == 0
    addresses: tuple[Address, ...] = ()
    if host_network and node is not None:
        addresses = NODE_ADDRESSES[node]
    elif bound or draw(st.booleans()):
        v4, v6 = ip_address(f"10.0.0.{4 + number}"), ip_address(f"fd00::{4 + number:x}")
        addresses = draw(st.sampled_from(((v4,), (v4,), (v6,), (v4, v6))))
    declared = draw(
        st.lists(
            st.tuples(st.sampled_from(PORT_NAMES), st.sampled_from(TRANSPORTS), st.sampled_from(PORTS)), max_size=2
        )
    )
    return Pod(
        namespace=draw(st.sampled_from(NAMESPACES)),
        name=f"p{number}",
        labels=draw(labels()),
        addresses=addresses,
        node=node,
        host_network=host_network,
        template=not addresses and not bound and draw(st.booleans()),
        ports=tuple(ContainerPort(name=n, protocol=p, number=v) for n, p, v in declared),
    )


@st.composite
def programs(draw: st.DrawFn, *, max_policies: int = 4, max_pods: int = 4, bound: bool = False) -> Program:
    """A program of at least one pod; with `bound` every pod has an address."""
    chosen = tuple(
        sorted((draw(policies(f"np{i}")) for i in range(draw(st.integers(0, max_policies)))), key=lambda p: p.key)
    )
    inhabitants = tuple(
        sorted((draw(pods(i, bound=bound)) for i in range(draw(st.integers(1, max_pods)))), key=lambda p: p.key)
    )
    namespaces = {
        name: Namespace(name=name, labels={**draw(labels()), NAMESPACE_NAME: name}, listed=draw(st.booleans()))
        for name in NAMESPACES
    }
    nodes = {name: Node(name=name, addresses=addresses) for name, addresses in NODE_ADDRESSES.items()}
    return Program(policies=chosen, cluster=Cluster(namespaces=namespaces, pods=inhabitants, nodes=nodes))


def endpoints(program: Program) -> list[Endpoint]:
    """Every pod at each of its addresses (once without, if it has none), and addresses that are no pod's."""
    inside = [
        Endpoint(pod=pod, address=address) for pod in program.cluster.pods for address in pod.addresses or (None,)
    ]
    taken = {endpoint.address for endpoint in inside}
    return inside + [Endpoint(address=address) for address in OUTSIDE if address not in taken]


def paired(src: Endpoint, dst: Endpoint) -> bool:
    """Whether a flow between them can exist: one address family, and one end a pod."""
    both = src.address is not None and dst.address is not None
    return (src.pod is not None or dst.pod is not None) and not (both and src.family != dst.family)


@st.composite
def flows(draw: st.DrawFn, program: Program) -> Flow:
    """A flow of the program's cluster."""
    ends = endpoints(program)
    src, dst = draw(st.sampled_from([(a, b) for a in ends for b in ends if paired(a, b)]))
    protocol = draw(st.sampled_from(Protocol))
    port = draw(st.sampled_from((*PORTS, 2, 79, 9999))) if protocol.has_ports else None
    return Flow(src=src, dst=dst, protocol=protocol, port=port)


@st.composite
def programs_with_flow(draw: st.DrawFn, *, bound: bool = False) -> tuple[Program, Flow]:
    """A program and one of its flows."""
    program = draw(programs(bound=bound))
    return program, draw(flows(program))
