"""Which hooks flows meet, and what becomes of them there."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from npcompile.ir.cluster import Cluster, Node, Pod
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.netset.cidrs import Family
from npcompile.netset.ports import Protocol
from npcompile.readers.artifact import load
from npcompile.readers.packet import Packet
from npcompile.readers.passage import CLIENT_PORT, Stop, first_packet, passage, stops
from npcompile.readers.problems import ReadingError
from npcompile.readers.rules import Hook


def pod(name: str, address: str, node: str | None, *, host_network: bool = False) -> Endpoint:
    one = Pod(
        namespace="n", name=name, labels={}, addresses=(ip_address(address),), node=node, host_network=host_network
    )
    return Endpoint(pod=one, address=one.addresses[0])


def outside(address: str) -> Endpoint:
    return Endpoint(address=ip_address(address))


NODES = {
    "n1": Node(name="n1", addresses=(ip_address("10.9.0.1"), ip_address("fd09::1"))),
    "n2": Node(name="n2", addresses=(ip_address("10.9.0.2"),)),
}
CLUSTER = Cluster(nodes=NODES)
P1, Q1, P2 = pod("p", "10.0.0.1", "n1"), pod("q", "10.0.0.2", "n1"), pod("r", "10.0.0.3", "n2")
NOWHERE = pod("s", "10.0.0.4", None)
HOST1, N1, N2 = pod("h", "10.9.0.1", "n1", host_network=True), outside("10.9.0.1"), outside("10.9.0.2")
WORLD = outside("192.0.2.1")
IN, FORWARD, OUT = Hook.INPUT, Hook.FORWARD, Hook.OUTPUT


def flow(src: Endpoint, dst: Endpoint) -> Flow:
    return Flow(src=src, dst=dst, protocol=Protocol.TCP, port=80)


@pytest.mark.parametrize(
    ("src", "dst", "expected"),
    [
        (P1, P1, []),
        (P1, Q1, [FORWARD]),
        (P1, P2, [FORWARD, FORWARD]),
        (P1, NOWHERE, [FORWARD, FORWARD]),
        (NOWHERE, P1, [FORWARD, FORWARD]),
        (P1, WORLD, [FORWARD]),
        (WORLD, P1, [FORWARD]),
        (P1, N1, [IN]),
        (P1, HOST1, [IN]),
        (P1, N2, [FORWARD, IN]),
        (NOWHERE, N1, [FORWARD, IN]),
        (N1, P1, [OUT]),
        (HOST1, P1, [OUT]),
        (N2, P1, [OUT, FORWARD]),
        (N1, NOWHERE, [OUT, FORWARD]),
        (HOST1, P2, [OUT, FORWARD]),
        (N1, N2, [OUT, IN]),
        (N1, HOST1, [OUT, IN]),
        (WORLD, N1, [IN]),
        (N1, WORLD, [OUT]),
        (WORLD, WORLD, []),
    ],
)
def test_hooks(src: Endpoint, dst: Endpoint, expected: list[Hook]) -> None:
    assert [stop.hook for stop in stops(CLUSTER, flow(src, dst))] == expected


def test_each_node_judges_with_what_it_has_loaded() -> None:
    none = load(b"", {})
    only_n2 = passage(lambda node: LOADED if node == "n2" else none, CLUSTER, flow(P2, Q1))
    assert [(stop.node, stop.hook, outcome.dropped) for stop, outcome in only_n2.outcomes] == [("n2", FORWARD, True)]
    only_n1 = passage(lambda node: LOADED if node == "n1" else none, CLUSTER, flow(P2, Q1))
    assert [(stop.node, stop.hook, outcome.dropped) for stop, outcome in only_n1.outcomes] == [
        ("n2", FORWARD, False),
        ("n1", FORWARD, True),
    ]


def test_first_packets() -> None:
    src, dst = P1.address, Q1.address
    assert src and dst
    assert first_packet(flow(P1, Q1)) == Packet(src=src, dst=dst, protocol=6, sport=CLIENT_PORT, dport=80)
    ping = Flow(src=P1, dst=Q1, protocol=Protocol.ICMP)
    assert first_packet(ping) == Packet(src=src, dst=dst, protocol=1, icmp=(8, 0))
    v6 = Flow(src=outside("fd00::1"), dst=outside("fd00::2"), protocol=Protocol.ICMP)
    assert (first_packet(v6).protocol, first_packet(v6).icmp) == (58, (128, 0))


def test_an_end_without_an_address_has_no_packets() -> None:
    unbound = Endpoint(pod=Pod(namespace="n", name="u", labels={}))
    with pytest.raises(ValueError, match="without an address"):
        first_packet(flow(P1, unbound))


V4_TEXT = b"""*filter
-A FORWARD -d 10.0.0.2 -j DROP
-A INPUT -p tcp --dport 80 -j DROP
-A OUTPUT -m set --match-set world dst -j DROP
COMMIT
"""
V6_TEXT = b"*filter\n-A FORWARD -d fd00::2 -j DROP\nCOMMIT\n"
LOADED = load(b"create world hash:ip\nadd world 10.0.0.3\n", {Family.V4: V4_TEXT, Family.V6: V6_TEXT})


@pytest.mark.parametrize(
    ("src", "dst", "verdict"),
    [
        (P1, Q1, Verdict.DENY),
        (Q1, P1, Verdict.ALLOW),
        (Q1, Q1, Verdict.ALLOW),
        (N1, Q1, Verdict.ALLOW),
        (N1, P2, Verdict.DENY),
        (P1, N2, Verdict.DENY),
        (P1, WORLD, Verdict.ALLOW),
        (outside("fd00::1"), pod("v6", "fd00::2", None), Verdict.DENY),
        (pod("v6", "fd00::2", None), outside("fd00::1"), Verdict.ALLOW),
    ],
)
def test_verdicts(src: Endpoint, dst: Endpoint, verdict: Verdict) -> None:
    assert passage(lambda _: LOADED, CLUSTER, flow(src, dst)).verdict is verdict


def test_the_way_ends_where_it_is_dropped() -> None:
    found = passage(lambda _: LOADED, CLUSTER, flow(N1, P2))
    walks = [(stop, [step.rule.line for step in outcome.walk]) for stop, outcome in found.outcomes]
    assert walks == [(Stop(hook=OUT, node="n1"), [4])]


def test_a_missing_text_filters_nothing() -> None:
    rulesets = load(b"", {Family.V4: b"*filter\n-P FORWARD DROP\nCOMMIT\n"})
    assert passage(lambda _: rulesets, CLUSTER, flow(P1, Q1)).verdict is Verdict.DENY
    v6 = flow(outside("fd00::1"), pod("v6", "fd00::2", None))
    assert passage(lambda _: rulesets, CLUSTER, v6).verdict is Verdict.ALLOW


def test_rules_that_name_interfaces_are_not_understood() -> None:
    with pytest.raises(ReadingError, match="interface") as caught:
        load(b"", {Family.V6: b"*filter\n-A FORWARD -j DROP\n-A FORWARD -i eth0 -j DROP\nCOMMIT\n"})
    assert [d.span.line for d in caught.value.diagnostics if d.span] == [3]
