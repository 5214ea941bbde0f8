"""What a map says of groups, address families, nodes and the outside."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from npcompile.analyses.parties import EVERYONE, Chosen, GroupBy, groups
from npcompile.analyses.reach import Edge, Reach
from npcompile.ir.cluster import Cluster, ContainerPort, Namespace, Node, Pod, Workload
from npcompile.ir.labels import EVERYTHING, NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, Direction, Match, NamedPort, Peer, PodPeer, Policy, PortItem, PortRange, Rule
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol, describe
from npcompile.relation.relation import relate

DEPLOYMENT = Workload(kind="Deployment", name="web")
TCP_80 = PortRange(protocol=Protocol.TCP, first=80, last=80)
OWN = PodPeer(namespaces=None, pods=EVERYTHING)


def pod(name: str, *addresses: str, workload: Workload | None = None, node: str | None = None, **more: object) -> Pod:
    return Pod(
        namespace="a",
        name=name,
        labels={"app": name.partition("-")[0]},
        addresses=tuple(ip_address(one) for one in addresses),
        workload=workload,
        node=node,
        **more,  # type: ignore[arg-type]
    )


def labelled(key: str, value: str) -> Selector:
    return Selector(requirements=(Requirement(key=key, operator=Operator.IN, values=(value,)),))


def block(cidr: str, *excepts: str) -> BlockPeer:
    return BlockPeer(cidr=ip_network(cidr), excepts=tuple(ip_network(one) for one in excepts))


def policy(
    peers: tuple[Peer, ...],
    *ports: PortItem,
    subjects: Selector = EVERYTHING,
    direction: Direction = Direction.INGRESS,
    name: str = "p",
) -> Policy:
    """A policy of one rule."""
    rule = Rule(direction=direction, index=0, match=Match(peers=peers, ports=ports))
    return Policy(namespace="a", name=name, subjects=subjects, directions=frozenset({direction}), rules=(rule,))


def edges(
    pods: list[Pod],
    *policies: Policy,
    by: GroupBy = GroupBy.WORKLOAD,
    nodes: dict[str, str] | None = None,
    src: Chosen = EVERYONE,
    dst: Chosen = EVERYONE,
) -> list[Edge]:
    cluster = Cluster(
        namespaces={"a": Namespace(name="a", labels={NAMESPACE_NAME: "a"})},
        pods=tuple(sorted(pods, key=lambda one: one.key)),
        nodes={name: Node(name=name, addresses=(ip_address(address),)) for name, address in (nodes or {}).items()},
    )
    relation = relate(Program(policies=tuple(sorted(policies, key=lambda one: one.key)), cluster=cluster))
    return list(Reach(relation, groups(relation, by, src), groups(relation, by, dst)).edges())


def text(found: list[Edge]) -> list[str]:
    return [
        f"{one.src} -> {one.dst} {describe(one.ports)} {one.holds}" + (f" IPv{one.family.value}" if one.family else "")
        for one in found
    ]


def test_a_port_that_only_some_pods_of_a_workload_open_is_said_of_some() -> None:
    http = NamedPort(protocol=Protocol.TCP, name="http")
    web = [
        pod("web-0", "10.0.0.1", workload=DEPLOYMENT, ports=(declared(80),)),
        pod("web-1", "10.0.0.2", workload=DEPLOYMENT, ports=(declared(81),)),
    ]
    found = edges([*web, pod("x", "10.0.0.9")], policy((), http, TCP_80, subjects=labelled("app", "web")))
    assert [one for one in text(found) if one.startswith("a/x -> a/web")] == [
        "a/x -> a/web tcp/80 all",
        "a/x -> a/web tcp/81 some",
    ]


def declared(number: int) -> ContainerPort:
    return ContainerPort(name="http", protocol=Protocol.TCP, number=number)


def test_within_a_workload_distinct_pods_count() -> None:
    two = [pod(f"web-{number}", f"10.0.0.{number + 1}", workload=DEPLOYMENT) for number in range(2)]
    inside = Chosen(namespace="a")
    assert text(edges(two, policy((OWN,)), src=inside, dst=inside)) == ["a/web -> a/web any port all"]
    assert text(edges(two[:1], policy((OWN,)), src=inside, dst=inside)) == []
    by_pod = text(edges(two, policy((OWN,)), by=GroupBy.POD, src=inside, dst=inside))
    assert by_pod == ["a/web-0 -> a/web-1 any port all", "a/web-1 -> a/web-0 any port all"]


def test_a_template_stands_for_several_pods() -> None:
    template = [pod("web", workload=DEPLOYMENT, template=True)]
    inside = Chosen(namespace="a")
    assert text(edges(template, policy((OWN,), TCP_80), src=inside, dst=inside)) == ["a/web -> a/web tcp/80 all"]
    assert text(edges(template, policy((block("10.0.0.0/8"),)), src=inside, dst=inside)) == []


def test_families_that_differ_are_told_apart() -> None:
    ends = [pod("x", "10.0.0.1", "fd00::1"), pod("y", "10.0.0.2", "fd00::2")]
    inside = Chosen(namespace="a")
    found = edges(ends, policy((block("10.0.0.0/8"),), subjects=labelled("app", "y")), src=inside, dst=inside)
    assert text(found) == ["a/x -> a/y any port all IPv4", "a/y -> a/x any port all"]


def test_pods_without_an_owner_are_one_workload_where_their_labels_agree() -> None:
    ends = [pod("web-0", "10.0.0.1"), pod("web-1", "10.0.0.2"), pod("db", "10.0.0.3")]
    inside = Chosen(namespace="a")
    assert text(edges(ends, policy((OWN,), TCP_80), src=inside, dst=inside)) == [
        "a/db -> a/web-0 and 1 alike tcp/80 all",
        "a/web-0 and 1 alike -> a/db tcp/80 all",
        "a/web-0 and 1 alike -> a/web-0 and 1 alike tcp/80 all",
    ]


def test_the_own_node_is_left_out_and_other_nodes_are_not() -> None:
    nodes = {"n1": "10.9.0.1", "n2": "10.9.0.2"}
    closed = policy((block("10.8.0.0/16"),))
    alone = [pod("x", "10.0.0.1", node="n1")]
    inside = Chosen(namespace="a")
    assert [one for one in text(edges(alone, closed, nodes=nodes, dst=inside)) if "node" in one] == []
    from_one = policy((block("10.9.0.1/32"),))
    both = [*alone, pod("y", "10.0.0.2", node="n2")]
    assert text(edges(both, from_one, nodes=nodes, dst=inside)) == ["nodes -> a/y any port all"]
    assert text(edges(both, from_one, nodes=nodes, by=GroupBy.NAMESPACE, dst=inside)) == ["nodes -> a any port some"]
    assert text(edges(alone, policy(()), nodes=nodes, src=Chosen(address=ip_address("10.9.0.1")), dst=inside)) == []


def test_pods_on_their_nodes_network_are_groups_of_their_own() -> None:
    host = pod("agent", "10.9.0.1", node="n1", host_network=True)
    ends = [host, pod("x", "10.0.0.1", node="n1"), pod("y", "10.0.0.2", node="n2")]
    inside = Chosen(namespace="a")
    found = text(edges(ends, policy((OWN,)), by=GroupBy.NAMESPACE, nodes={"n1": "10.9.0.1"}, src=inside, dst=inside))
    assert found == ["a -> a any port all", "a -> a (host network) any port all"]
    there = Chosen(address=ip_address("10.9.0.1"))
    by_address = edges(ends, policy((block("10.9.0.1/32"),)), nodes={"n1": "10.9.0.1"}, src=there, dst=inside)
    assert text(by_address) == [
        "node 10.9.0.1 -> a/agent (host network) any port all",
        "node 10.9.0.1 -> a/y any port all",
    ]


def outside(found: list[Edge]) -> list[str]:
    return [str(one.src) for one in found]


def test_the_outside_is_said_in_the_fewest_ranges() -> None:
    ends = [pod("x", "10.0.0.1")]
    come = {"src": Chosen(internet=True)}
    assert outside(edges(ends, **come)) == ["internet"]
    assert outside(edges(ends, policy(()), **come)) == ["internet"]
    assert outside(edges(ends, policy((block("0.0.0.0/0", "10.0.0.0/8"),)), **come)) == ["internet except 10.0.0.0/8"]
    assert outside(edges(ends, policy((block("10.1.0.0/17"), block("10.1.128.0/17"))), **come)) == ["10.1.0.0/16"]
    assert outside(edges(ends, policy((block("192.0.2.1/32"),)), **come)) == ["192.0.2.1"]
    # ranges that are pods' alone are neither named, nor a reason for more ranges, nor for fewer
    own = (block("192.0.2.0/24"), block("10.0.0.1/32"))
    assert outside(edges(ends, policy(own), **come)) == ["192.0.2.0/24"]
    among = (
        block("10.0.0.1/32"),
        block("10.0.0.5/32"),
        block("10.0.0.2/32"),
        block("10.0.0.3/32"),
        block("10.0.0.4/32"),
    )
    three = [pod("x", "10.0.0.2"), pod("x-1", "10.0.0.3"), pod("x-2", "10.0.0.4")]
    assert outside(edges(three, policy(among), **come)) == ["10.0.0.1, 10.0.0.5"]
    assert outside(edges(ends, policy((block("10.0.0.0/24", "10.0.0.1/32"),)), **come)) == ["10.0.0.0/24"]


def test_ranges_are_widened_over_pods_addresses_where_that_makes_fewer() -> None:
    come = {"src": Chosen(internet=True)}
    beside = policy((block("10.0.0.0/31"), block("10.0.0.2/32"), block("10.0.0.3/32")))
    assert outside(edges([pod("x", "10.0.0.3")], beside, **come)) == ["10.0.0.0/30"]
    between = policy(tuple(block(f"10.0.0.{last}/32") for last in range(4, 9)))
    assert outside(edges([pod("x", "10.0.0.5"), pod("y", "10.0.0.8")], between, **come)) == ["10.0.0.4/30"] * 2


def test_the_internet_is_what_the_other_end_can_have_to_do_with() -> None:
    come = {"src": Chosen(internet=True)}
    ipv4_only = policy((block("0.0.0.0/0"),))
    assert outside(edges([pod("x", "10.0.0.1")], ipv4_only, **come)) == ["internet"]
    assert outside(edges([pod("x", "10.0.0.1", "fd00::1")], ipv4_only, **come)) == ["0.0.0.0/0"]


def test_an_edge_names_every_deciding_rule_and_what_needs_none() -> None:
    least = policy((OWN,), TCP_80, subjects=labelled("app", "y"), name="first")
    covered = policy((OWN,), TCP_80, subjects=labelled("app", "y"), name="second")
    wider = policy((OWN,), subjects=labelled("app", "y"), name="third")
    ends = [pod("x", "10.0.0.1"), pod("y", "10.0.0.2")]
    inside = Chosen(namespace="a")
    (first, second) = edges(ends, least, covered, wider, src=inside, dst=inside)
    assert [one.policy.name for one in first.rules] == ["first", "third"]
    assert first.unisolated == (Direction.EGRESS,)
    assert (second.rules, set(second.unisolated)) == ((), {Direction.EGRESS, Direction.INGRESS})


def test_rules_of_the_same_meaning_are_all_named() -> None:
    """Pods to which the same is open, by two policies' rules: one product of identities, two profiles."""
    ends = [pod("x", "10.0.0.1"), pod("y", "10.0.0.2")]
    both = [policy((), TCP_80, subjects=labelled("app", name), name=f"for-{name}") for name in "xy"]
    (edge,) = edges(ends, *both, by=GroupBy.NAMESPACE, src=Chosen(internet=True))
    assert text([edge]) == ["internet -> a tcp/80 all"]
    assert [one.policy.name for one in edge.rules] == ["for-x", "for-y"]


def test_a_pod_on_its_nodes_network_is_the_own_node_though_the_input_has_no_node() -> None:
    host = pod("agent", "10.9.0.1", node="n1", host_network=True)
    ends = [host, pod("x", "10.0.0.1", node="n1"), pod("y", "10.0.0.2", node="n2")]
    found = edges(ends, policy((block("10.9.0.1/32"),)), src=Chosen(pods=(host,)), dst=Chosen(namespace="a"))
    assert text(found) == ["a/agent (host network) -> a/y any port all"]
