"""What a lab is made of: addresses and nodes for who lacks them, hosts for every block, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given

from npcompile.diagnostics.errors import InputError
from npcompile.ir.cluster import Cluster, Namespace, Node, Pod, Service, ServicePort
from npcompile.ir.labels import EVERYTHING, NAMESPACE_NAME
from npcompile.ir.policy import BlockPeer, Direction, Match, Policy, Rule
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address, family_of
from npcompile.netset.ports import Protocol
from npcompile.runtime.lab.outside import MOST_HOSTS, outside
from npcompile.runtime.lab.plan import bindings, ifname, make_plan
from npcompile.runtime.lab.services import SLOTS, ruleset
from npcompile.runtime.lab.settle import settle
from tests.strategies import programs


def pod(name: str, *addresses: str, **fields: object) -> Pod:
    found = Pod(namespace="a", name=name, labels={"app": name}, addresses=tuple(ip_address(one) for one in addresses))
    return replace(found, **fields)  # type: ignore[arg-type]


def program(*pods: Pod, blocks: tuple[BlockPeer, ...] = (), **cluster: object) -> Program:
    policy = Policy(
        namespace="a",
        name="np",
        subjects=EVERYTHING,
        directions=frozenset({Direction.INGRESS}),
        rules=(Rule(direction=Direction.INGRESS, index=0, match=Match(peers=blocks)),),
    )
    bare = Cluster(namespaces={"a": Namespace(name="a", labels={NAMESPACE_NAME: "a"})}, pods=pods)
    return Program(policies=(policy,), cluster=replace(bare, **cluster))  # type: ignore[arg-type]


def block(cidr: str, *excepts: str) -> BlockPeer:
    return BlockPeer(cidr=ip_network(cidr), excepts=tuple(ip_network(one) for one in excepts))


def texts(addresses: tuple[Address, ...]) -> list[str]:
    return [str(address) for address in addresses]


# --- settle ---


@given(programs())
def test_everyone_has_a_node_and_addresses_of_one_set_of_families(found: Program) -> None:
    settled = settle(found)
    cluster = settled.cluster
    families = {family_of(address) for one in cluster.pods for address in one.addresses}
    for before, after in zip(found.cluster.pods, cluster.pods, strict=True):
        assert after.addresses
        assert after.node in cluster.nodes
        assert not after.template
        assert before.node in (None, after.node)
        if before.addresses and not before.host_network:
            assert after.addresses == before.addresses
        if after.host_network:
            assert set(after.addresses) <= set(cluster.nodes[after.node].addresses)
    for node in cluster.nodes.values():
        assert families <= {family_of(address) for address in node.addresses}
    assert settle(settled) == settled


def test_templates_are_dual_stack_where_pods_are() -> None:
    both = settle(program(pod("x", "10.0.0.1", "fd00::1"), pod("y"), blocks=(block("::/0"),)))
    assert [len(one.addresses) for one in both.cluster.pods] == [2, 2]
    single = settle(program(pod("x", "10.0.0.1"), pod("y"), blocks=(block("::/0"),)))
    assert texts(single.cluster.pods[1].addresses) == ["10.244.0.1"]


def test_without_any_pods_address_the_blocks_tell_the_families() -> None:
    six = settle(program(pod("y"), blocks=(block("2001:db8::/32"),)))
    assert texts(six.cluster.pods[0].addresses) == ["fd00:10:244::1"]
    four = settle(program(pod("y")))
    assert texts(four.cluster.pods[0].addresses) == ["10.244.0.1"]


def test_without_nodes_there_are_two() -> None:
    settled = settle(program(pod("x"), pod("y"), pod("z")))
    assert [one.node for one in settled.cluster.pods] == ["lab-node-1", "lab-node-2", "lab-node-1"]


def test_what_is_to_be_avoided_is_not_given() -> None:
    settled = settle(program(pod("x"), pod("y", "10.244.0.1")), avoid=[ip_address("10.244.0.2")])
    assert texts(settled.cluster.pods[0].addresses) == ["10.244.0.3"]


# --- hosts outside ---


def test_a_host_in_each_piece_of_the_blocks() -> None:
    found = outside(settle(program(pod("x", "10.0.0.1"), blocks=(block("192.0.2.0/24", "192.0.2.128/25"),))))
    assert texts(found.addresses) == ["1.0.0.0", "192.0.2.0", "192.0.2.128", "192.0.3.0"]
    assert found.left_out == 0


def test_hosts_are_of_the_pods_families_and_nobodys_in_the_cluster() -> None:
    found = outside(settle(program(pod("x", "10.0.0.0"), blocks=(block("10.0.0.0/31"), block("2001:db8::/32")))))
    assert texts(found.addresses) == ["1.0.0.0", "10.0.0.1", "10.0.0.2"]


def test_the_metadata_address_is_a_host_and_loopback_is_none() -> None:
    blocks = (block("0.0.0.0/0", "169.254.169.254/32"), block("127.0.0.0/8"))
    found = outside(settle(program(pod("x", "10.0.0.1"), blocks=blocks)))
    assert "169.254.169.254" in texts(found.addresses)
    assert not any(address.is_loopback for address in found.addresses)


def test_of_too_many_blocks_each_kind_comes_first() -> None:
    many = tuple(block(f"192.0.{n}.0/30") for n in range(MOST_HOSTS))
    found = outside(settle(program(pod("x", "10.0.0.1"), blocks=many)))
    assert len(found.addresses) == MOST_HOSTS
    assert found.left_out == MOST_HOSTS + 1
    inside = [a for a in found.addresses if any(a in one.cidr for one in many)]
    assert len(inside) == MOST_HOSTS - 1


# --- the plan ---


def test_names_of_interfaces_do_not_depend_on_who_else_is_there() -> None:
    one = make_plan(settle(program(pod("x"))), ())
    two = make_plan(settle(program(pod("w"), pod("x"))), ())
    assert bindings(one)["a/x"] == bindings(two)["a/x"] == ifname("a/x")
    long = ifname("n" * 63 + "/" + "p" * 253)
    assert len(long) <= 15


def test_gateways_are_addresses_that_nobody_has() -> None:
    taken = [ip_address("169.254.0.1"), ip_address("169.254.0.2")]
    plan = make_plan(settle(program(pod("x", "169.254.0.3"))), taken)
    assert {str(plan.router_gateway), str(plan.node_gateway)} == {"169.254.0.4", "169.254.0.5"}


@pytest.mark.parametrize(
    ("pods", "cluster", "said"),
    [
        ((), {}, "no pods"),
        (tuple(pod(f"x{n}") for n in range(61)), {}, "61 pods"),
        ((pod("x", "127.0.0.1"),), {}, "127.0.0.1, which no host"),
        ((pod("x", "fe80::1"),), {}, "fe80::1, which no host"),
        ((pod("x", "10.0.0.1"), pod("y", "10.0.0.1")), {}, "`a/y` has the address 10.0.0.1 of `a/x`"),
        (
            (pod("x", "10.0.0.1"),),
            {"nodes": {"n": Node(name="n", addresses=(ip_address("10.0.0.1"),))}},
            "`a/x` has the address 10.0.0.1 of node `n`",
        ),
    ],
)
def test_what_no_lab_can_be_made_of(pods: tuple[Pod, ...], cluster: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(settle(program(*pods, **cluster)), ())
    assert said in str(caught.value)


# --- Services ---


def test_source_ports_choose_among_the_pods_behind_a_service() -> None:
    service = Service(
        namespace="a",
        name="s",
        selector={"app": "x"},
        addresses=(ip_address("10.96.0.1"), ip_address("fd00:96::1")),
        ports=(ServicePort(name=None, protocol=Protocol.TCP, number=80, target=8080),),
    )
    pods = (pod("x", "10.0.0.1", "fd00::1"), replace(pod("y", "10.0.0.2"), labels={"app": "x"}))
    plan = make_plan(settle(program(*pods, services=(service,))), ())
    four, six = plan.forwards
    assert four.backends == ((ip_address("10.0.0.1"), 8080), (ip_address("10.0.0.2"), 8080))
    assert [four.slot(one) for one in four.backends] == [0, 1]
    assert six.backends == ((ip_address("fd00::1"), 8080),)
    text = ruleset(plan.forwards, plan.nodes[0].addresses)
    assert text.count(" : 10.0.0.2 . 8080") == SLOTS  # half of the slots, in two hooks
    assert "63 : fd00::1 . 8080" in text
    assert "ct status dnat ip saddr 10.0.0.2 ip daddr 10.0.0.2 snat to 172.18.0.1" in text
    assert ruleset((), plan.nodes[0].addresses) == ""
