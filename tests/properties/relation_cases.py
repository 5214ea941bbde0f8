"""Programs in which policies have subjects, rules overlap, and the two ends of a flow often disagree.

What `tests.strategies` makes collides in every feature, but rarely in many at once; here the features are few.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from npcompile.ir.cluster import Cluster, Namespace, Node, Pod
from npcompile.ir.labels import EVERYTHING, NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, Direction, Match, NamedPort, Peer, PodPeer, Policy, PortRange, Rule
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from tests.strategies import NAMESPACES, NODE_ADDRESSES, pods


def _select(key: str, value: str, operator: Operator = Operator.IN) -> Selector:
    return Selector(requirements=(Requirement(key=key, operator=operator, values=(value,)),))


APP_X, APP_NOT_X = _select("app", "x"), _select("app", "x", Operator.NOT_IN)
SUBJECTS = (EVERYTHING, EVERYTHING, APP_X, APP_NOT_X)
SPACES = PodPeer(namespaces=_select("team", "one"), pods=EVERYTHING)
PODS = PodPeer(namespaces=None, pods=APP_X)


def _block(cidr: str, *excepts: str) -> BlockPeer:
    return BlockPeer(cidr=ip_network(cidr), excepts=tuple(ip_network(one) for one in excepts))


PEERS: tuple[tuple[Peer, ...], ...] = (
    (),
    (PODS,),
    (PodPeer(namespaces=None, pods=APP_NOT_X),),
    (PodPeer(namespaces=None, pods=EVERYTHING),),
    (PodPeer(namespaces=EVERYTHING, pods=EVERYTHING),),
    (PodPeer(namespaces=_select(NAMESPACE_NAME, "b"), pods=EVERYTHING),),
    (SPACES, PODS),
    (PODS, SPACES),
    (_block("10.0.0.0/8"),),
    (_block("10.0.0.0/24"), PODS),
    (_block("0.0.0.0/0", "10.0.0.0/8"),),
    (_block("0.0.0.0/0"), _block("::/0")),
    (_block("10.9.0.0/31"),),
    (_block("fd00::/16"),),
)
HTTP = NamedPort(protocol=Protocol.TCP, name="http")


def _tcp(first: int, last: int) -> PortRange:
    return PortRange(protocol=Protocol.TCP, first=first, last=last)


PORTS = (
    (),
    (_tcp(80, 80),),
    (_tcp(81, 81),),
    (_tcp(80, 81),),
    (_tcp(80, 80), _tcp(81, 443)),
    (_tcp(1, 65535),),
    (HTTP,),
    (_tcp(80, 80), HTTP),
    (PortRange(protocol=Protocol.UDP, first=53, last=53),),
)


@st.composite
def dense_policies(draw: st.DrawFn, name: str, pool: tuple[Match, ...]) -> Policy:
    """A policy of a few rules from `pool`."""
    directions = draw(st.sampled_from((Direction.INGRESS, Direction.EGRESS, None)))
    active = (directions,) if directions else (Direction.INGRESS, Direction.EGRESS)
    rules = []
    for direction in active:
        for index in range(draw(st.integers(0, 3))):
            rules.append(Rule(direction=direction, index=index, match=draw(st.sampled_from(pool))))
    return Policy(
        namespace=draw(st.sampled_from(("a", "a", "b"))),
        name=name,
        subjects=draw(st.sampled_from(SUBJECTS)),
        directions=frozenset(active),
        rules=tuple(rules),
    )


@st.composite
def dense_programs(draw: st.DrawFn) -> Program:
    """A program of a few policies, whose rules have peers and ports in common, and pods."""
    peers = draw(st.lists(st.sampled_from(PEERS), min_size=1, max_size=3))
    ports = draw(st.lists(st.sampled_from(PORTS), min_size=1, max_size=4))
    pool = tuple(Match(peers=some, ports=items) for some in peers for items in ports)
    policies = [draw(dense_policies(f"np{number}", pool)) for number in range(draw(st.integers(1, 4)))]
    inhabitants = [draw(pods(number, bound=draw(st.booleans()))) for number in range(draw(st.integers(2, 5)))]
    namespaces = {
        name: Namespace(name=name, labels={NAMESPACE_NAME: name, "team": draw(st.sampled_from(("one", "two")))})
        for name in NAMESPACES
    }
    nodes = {name: Node(name=name, addresses=addresses) for name, addresses in NODE_ADDRESSES.items()}
    return Program(
        policies=tuple(sorted(policies, key=lambda policy: policy.key)),
        cluster=Cluster(namespaces=namespaces, pods=tuple(sorted(inhabitants, key=lambda pod: pod.key)), nodes=nodes),
    )


_NEAR = (
    (PODS,),
    (PodPeer(namespaces=None, pods=APP_NOT_X),),
    (PodPeer(namespaces=None, pods=EVERYTHING),),
    (_block("10.0.0.0/8"),),
    (_block("0.0.0.0/0", "10.0.0.0/8"),),
    (_block("0.0.0.0/0"),),
)
_NUMBERS = ((_tcp(80, 80),), (_tcp(81, 81),), (_tcp(80, 81),), (_tcp(80, 80), _tcp(81, 81)), (HTTP,))


@st.composite
def layered_programs(draw: st.DrawFn) -> Program:
    """A program of one namespace whose rules often lie within the union of others, or meet denials at the other end."""
    directions = draw(st.sampled_from(((Direction.INGRESS,), (Direction.EGRESS,), tuple(Direction))))
    policies = []
    for number in range(draw(st.integers(2, 3))):
        direction = draw(st.sampled_from(directions))
        matches = draw(st.lists(st.tuples(st.sampled_from(_NEAR), st.sampled_from(_NUMBERS)), min_size=1, max_size=4))
        rules = (
            Rule(direction=direction, index=index, match=Match(peers=peers, ports=ports))
            for index, (peers, ports) in enumerate(matches)
        )
        policies.append(
            Policy(
                namespace="a",
                name=f"np{number}",
                subjects=draw(st.sampled_from(SUBJECTS)),
                directions=frozenset({direction}),
                rules=tuple(rules),
            )
        )
    inhabitants = tuple(replace(draw(pods(number, bound=draw(st.booleans()))), namespace="a") for number in range(3))
    namespaces = {"a": Namespace(name="a", labels={NAMESPACE_NAME: "a"})}
    nodes = {name: Node(name=name, addresses=addresses) for name, addresses in NODE_ADDRESSES.items()}
    return Program(policies=tuple(policies), cluster=Cluster(namespaces=namespaces, pods=inhabitants, nodes=nodes))


EVERY_ADDRESS = (_block("0.0.0.0/0"), _block("::/0"))  # not those pods that have none
CLOSED_OR_FAR: tuple[tuple[tuple[Peer, ...], ...], ...] = (
    (),
    (),
    (EVERY_ADDRESS,),
    (EVERY_ADDRESS,),
    ((PODS,),),
    ((PodPeer(namespaces=None, pods=APP_NOT_X),),),
    (EVERY_ADDRESS, (PODS,)),
    ((),),
)


@st.composite
def opposed_programs(draw: st.DrawFn) -> Program:
    """Few pods, some without an address, all of one namespace, and policies that often close what others open."""
    name = NAMESPACES[0]
    labels = st.sampled_from(({"app": "x"}, {"app": "y"}))
    inhabitants = tuple(
        Pod(
            namespace=name,
            name=f"pod{number}",
            labels=draw(labels),
            addresses=draw(st.sampled_from(((), (), (ip_address(f"10.0.0.{number + 1}"),)))),
        )
        for number in range(draw(st.integers(1, 3)))
    )
    policies = []
    for number in range(draw(st.integers(1, 4))):
        directions = draw(
            st.sampled_from(((Direction.INGRESS,), (Direction.EGRESS,), tuple(Direction), tuple(Direction)))
        )
        matches = [(direction, draw(st.sampled_from(CLOSED_OR_FAR))) for direction in sorted(directions, key=str)]
        rules = (
            Rule(direction=direction, index=index, match=Match(peers=peers))
            for direction, some in matches
            for index, peers in enumerate(some)
        )
        policies.append(
            Policy(
                namespace=name,
                name=f"p{number}",
                subjects=draw(st.sampled_from(SUBJECTS)),
                directions=frozenset(directions),
                rules=tuple(rules),
            )
        )
    spaces = {name: Namespace(name=name, labels={NAMESPACE_NAME: name})}
    return Program(policies=tuple(policies), cluster=Cluster(namespaces=spaces, pods=inhabitants))
