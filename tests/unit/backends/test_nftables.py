"""The nftables artifact's text: what changes it, what does not, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings

from npcompile.backends.nftables import NftablesTarget
from npcompile.backends.target import Options
from npcompile.diagnostics.errors import InputError
from npcompile.ir.labels import EVERYTHING
from npcompile.ir.policy import BlockPeer, Direction, Match, PodPeer, PortRange
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.readers.nftables import read_nftables
from tests.strategies import programs
from tests.unit.backends.test_iptables import WEB, app, pod, policy, program, ranges

TCP, UDP = Protocol.TCP, Protocol.UDP


def emit(given_program: Program, options: Options | None = None) -> str:
    return NftablesTarget().emit(given_program, options or Options()).files["nftables.nft"].decode()


def rules(text: str, chain: str = "profile-") -> list[str]:
    """The rules of the chains whose names begin so, without comments."""
    found = re.findall(rf"^add rule inet npcompile {chain}\S* (.*)$", text, re.M)
    return [re.sub(r' comment "[^"]*"$', "", re.sub(r"-[a-z2-7]{18}\b", "", rule)) for rule in found]


@settings(max_examples=50, deadline=None)
@given(programs())
def test_the_text_is_one_transaction_of_known_ids(given_program: Program) -> None:
    artifact = NftablesTarget().emit(given_program, Options())
    text = artifact.files["nftables.nft"].decode()
    assert text.startswith(
        "add table inet npcompile\ndelete table inet npcompile\nadd table inet npcompile\nadd chain "
    )
    assert "flush" not in text
    assert text.count("delete ") == 1
    comments = set(re.findall(r'comment "([^"]+)"', text))
    assert comments <= {origin.id for origin in artifact.rules}
    assert all(len(comment) <= 128 for comment in comments)
    assert set(re.findall(r"@(\S+)", text)) == set(re.findall(r"^add (?:set|map) inet npcompile (\S+)", text, re.M))
    read_nftables(text.encode())


@settings(max_examples=50, deadline=None)
@given(programs(bound=True))
def test_binding_pods_changes_members_only(given_program: Program) -> None:
    dual = tuple(
        p if p.host_network else replace(p, addresses=(ip_address(f"10.0.0.{i}"), ip_address(f"fd00::{i}")))
        for i, p in enumerate(given_program.cluster.pods, 1)
    )
    bare = tuple(p if p.host_network else replace(p, addresses=()) for p in dual)
    texts = [emit(replace(given_program, cluster=replace(given_program.cluster, pods=pods))) for pods in (dual, bare)]
    skeletons = [[line for line in text.splitlines() if not line.startswith("add element")] for text in texts]
    assert skeletons[0] == skeletons[1]


def test_a_side_is_found_by_one_lookup() -> None:
    text = emit(program([policy("p"), policy("q", direction=Direction.EGRESS)], [pod("x", "10.0.0.1")]))
    assert [line for line in text.splitlines() if " egress " in line] == [
        "add rule inet npcompile egress ip saddr vmap @egress4",
        "add rule inet npcompile egress goto ingress",
    ]
    assert re.search(r"^add element inet npcompile egress4 \{ 10\.0\.0\.1 : goto profile-\S+ \}$", text, re.M)


def test_a_line_that_names_no_address_stands_for_both_families() -> None:
    pods = [pod("x", "10.0.0.1", app="web"), pod("y", "fd00::1")]
    wide = Match(ports=(*ranges(80), PortRange(protocol=UDP, first=53, last=53)))
    own = Match(peers=(WEB,), ports=ranges(80, (90, 99)))
    assert rules(emit(program([policy("p", wide, own)], pods))) == [
        "tcp dport 80 accept",
        "udp dport 53 accept",
        "tcp dport { 80, 90-99 } ip saddr @sel4 accept",
        "tcp dport { 80, 90-99 } ip6 saddr @sel6 accept",
        "drop",
    ]


def test_protocols_of_one_rule_share_a_line() -> None:
    both = tuple(PortRange(protocol=protocol, first=53, last=53) for protocol in (TCP, UDP))
    every = tuple(PortRange(protocol=protocol, first=1, last=65535) for protocol in (TCP, Protocol.SCTP))
    here = [pod("x", "10.0.0.1")]
    text = emit(program([policy("p", Match(ports=both), Match(ports=every), Match())], here))
    assert rules(text) == [
        "meta l4proto { tcp, udp } th dport 53 accept",
        "meta l4proto { tcp, sctp } accept",
        "accept",
        "drop",
    ]


def test_blocks_are_ranges_that_do_not_touch() -> None:
    half = BlockPeer(cidr=ip_network("203.0.113.0/24"), excepts=(ip_network("203.0.113.128/25"),))
    quarter = BlockPeer(cidr=ip_network("203.0.113.192/26"))
    everything = BlockPeer(cidr=ip_network("0.0.0.0/0"))
    text = emit(
        program([policy("p", Match(peers=(half, quarter)), Match(peers=(everything,)))], [pod("x", "10.0.0.1")])
    )
    assert sorted(re.findall(r"element inet npcompile net4-\S+ (.*)", text)) == [
        "{ 0.0.0.0-255.255.255.255 }",
        "{ 203.0.113.0-203.0.113.127, 203.0.113.192-203.0.113.255 }",
    ]


def test_a_policy_of_many_profiles_has_a_chain() -> None:
    several = Match(peers=(PodPeer(namespaces=EVERYTHING, pods=app("web")),), ports=ranges(80))
    shared = policy("shared", several, Match(ports=(PortRange(protocol=UDP, first=53, last=53),)))
    own = [policy(f"own-{value}", subjects=app(value)) for value in ("a", "b", "c")]
    pods = [pod(value, f"10.0.0.{number}", app=value) for number, value in enumerate(("a", "b", "c"), 1)]
    text = emit(program([shared, *own], pods))
    assert len(rules(text, "policy-")) == 2
    assert len(re.findall(r" jump policy-", text)) == 3


@pytest.mark.parametrize("options", [Options(accept=True), Options(mark=0x10), Options(node="nowhere")])
def test_what_it_cannot_do_is_refused(options: Options) -> None:
    with pytest.raises(InputError) as caught:
        NftablesTarget().emit(program([], []), options)
    assert [d.rule.code for d in caught.value.diagnostics] == ["NPC705"]
