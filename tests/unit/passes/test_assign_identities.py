"""Identities: what splits endpoints, and what does not."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import BlockPeer
from npcompile.netset.cidrs import EVERY_ADDRESS, Family, at, block, family_of
from npcompile.netset.intervals import union
from npcompile.passes.assign_identities import (
    Atom,
    Identities,
    assign_identities,
    split_atoms,
    vocabulary,
)
from npcompile.semantics import peer_matches
from tests import strategies
from tests.unit.relation.building import block as block_peer
from tests.unit.relation.building import named, near, pod, policy, program, rule, select

POLICY = policy(
    "p",
    subjects=select(app="x"),
    ingress=[rule(near(tier="y"), block_peer("10.0.0.0/8", "10.0.0.0/24"), on=[named("http")])],
)


def _identities(*pods: object, **more: object) -> Identities:
    of = program([POLICY], pods, **more)  # type: ignore[arg-type]
    return assign_identities(of.cluster, vocabulary(of.policies))


def test_vocabulary_of_several_programs() -> None:
    words = vocabulary([POLICY, policy("q", egress=[rule(near(zone="z"))])], networks=[ip_network("192.0.2.1/32")])
    assert words.label_keys == ("app", "tier", "zone")
    assert [name for name, _ in words.port_names] == ["http"]
    assert [str(one) for one in words.networks] == ["10.0.0.0/8", "10.0.0.0/24", "192.0.2.1/32"]


def test_what_nobody_mentions_does_not_split() -> None:
    one = pod("a/one", "10.1.0.1", app="x", other="1", ports={"http": 80, "admin": 1}, node="n1")
    two = pod("a/two", "10.1.0.2", app="x", other="2", ports={"admin": 2, "http": 80})
    (identity,) = _identities(one, two).pods
    assert [member[0].name for member in identity.members] == ["one", "two"]
    assert identity.labels == (("app", "x"),)
    assert [numbers for _, numbers in identity.ports] == [(80,)]


@pytest.mark.parametrize(
    "other",
    [
        pod("b/two", "10.1.0.2", app="x", ports={"http": 80}),
        pod("a/two", "10.1.0.2", app="y", ports={"http": 80}),
        pod("a/two", "10.1.0.2", ports={"http": 80}),
        pod("a/two", "10.1.0.2", app="x", tier="", ports={"http": 80}),
        pod("a/two", "10.1.0.2", app="x", ports={"http": 81}),
        pod("a/two", "10.1.0.2", app="x"),
        pod("a/two", "10.0.0.2", app="x", ports={"http": 80}),
        pod("a/two", "192.0.2.2", app="x", ports={"http": 80}),
        pod("a/two", "fd00::2", app="x", ports={"http": 80}),
        pod("a/two", app="x", ports={"http": 80}),
    ],
    ids=["namespace", "value", "absent", "empty", "number", "undeclared", "except", "outside", "family", "unbound"],
)
def test_what_splits(other: object) -> None:
    assert len(_identities(pod("a/one", "10.1.0.1", app="x", ports={"http": 80}), other).pods) == 2


def test_a_dual_stack_pod_is_two_endpoints() -> None:
    one = pod("a/one", "fd00::1", "10.1.0.1")
    found = _identities(one)
    assert [(str(address), number) for address, number in found.of_pod(one)] == [("10.1.0.1", 0), ("fd00::1", 1)]
    assert [one.atom.family for one in found.pods if one.atom] == [Family.V4, Family.V6]


def test_pods_on_their_nodes_network_are_told_by_address_only() -> None:
    hosts = [pod(f"{ns}/agent", f"10.9.0.{n}", app=ns, node="n1", host_network=True) for n, ns in enumerate("abc")]
    found = _identities(*hosts)
    assert not found.pods
    assert len(found.hosts) == 1
    assert found.of(Endpoint(address=ip_address("10.9.0.1"))) == 0  # the same endpoint, seen as an address


def test_addresses_outside() -> None:
    found = _identities(pod("a/one", "10.0.0.1"), nodes={"n1": "10.0.0.2", "n2": "10.9.0.1"})
    assert [(str(one.atom.network), one.nodes, str(one.representative)) for one in found.outside] == [
        ("None", (), "1.0.0.0"),
        ("10.0.0.0/24", (), "10.0.0.0"),
        ("10.0.0.0/8", (), "10.0.1.0"),
        ("None", (), "100::"),
        ("10.0.0.0/24", ("n1",), "10.0.0.2"),
        ("10.0.0.0/8", ("n2",), "10.9.0.1"),
    ]
    everything = union(one.addresses for one in found.outside)
    assert everything == EVERY_ADDRESS - block(ip_network("10.0.0.1/32"))
    assert found.order[found.of(Endpoint(address=ip_address("10.9.0.1")))] == found.outside[5]
    with pytest.raises(LookupError):
        found.of(Endpoint(address=ip_address("10.0.0.1")))


def test_a_bridge_that_every_node_has() -> None:
    found = _identities(nodes={"n1": "172.17.0.1", "n2": "172.17.0.1"})
    assert found.outside[-1].nodes == ("n1", "n2")
    assert found.nodes_at(ip_address("172.17.0.1")) == ("n1", "n2")


@given(st.sets(st.sampled_from(strategies.BLOCKS)))
def test_atoms_are_a_partition_by_the_networks(networks: set[object]) -> None:
    words = vocabulary([], networks=networks)  # type: ignore[arg-type]
    atoms = split_atoms(words.networks)
    assert union(atoms.addresses) == EVERY_ADDRESS
    assert sum(addresses.size for addresses in atoms.addresses) == EVERY_ADDRESS.size
    for place, (atom, addresses) in enumerate(zip(atoms.order, atoms.addresses, strict=True)):
        for first, last in addresses:
            assert atoms.of(first) == atoms.of(last) == place
            for network in words.networks:
                assert (first in block(network)) == (last in block(network)) == _inside(atoms.order, place, network)
            assert family_of(at(first)) is atom.family


def _inside(order: tuple[Atom, ...], place: int, network: object) -> bool:
    own = order[place].network
    return own is not None and own.version == network.version and own.subnet_of(network)  # type: ignore[attr-defined,arg-type]


@given(strategies.programs())
def test_no_peer_tells_members_apart(of: object) -> None:
    """Everything that any policy can ask of two endpoints of one identity has one answer."""
    found = assign_identities(of.cluster, vocabulary(of.policies))  # type: ignore[attr-defined]
    asked = [(policy, peer) for policy in of.policies for rule in policy.rules for peer in rule.match.peers]  # type: ignore[attr-defined]
    for identity in (*found.pods, *found.hosts):
        ends = [Endpoint(pod=pod, address=address) for pod, address in identity.members]
        for owner, peer in asked:
            assert len({peer_matches(of.cluster, owner, peer, end) for end in ends}) == 1  # type: ignore[attr-defined]
    for identity in found.outside:
        for _, peer in asked:
            if isinstance(peer, BlockPeer):
                edges = [at(edge) for first, last in identity.addresses for edge in (first, last)]
                assert len({edge in peer.cidr and not any(edge in e for e in peer.excepts) for edge in edges}) == 1
