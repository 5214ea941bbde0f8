"""Real packets get the verdicts of the reference evaluator, whichever target was emitted and whoever loads it.

Each case of specs/semantics, policies that hypothesis makes, and cases that other programs get wrong, as frames through
a node that has loaded the artifact for every node, or its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from ipaddress import ip_address

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from npcompile.backends.iptables import lower
from npcompile.backends.iptables.lower import MOST_IN_ONE_DISPATCH
from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Options
from npcompile.frontend import load
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address, Family
from npcompile.netset.ports import Protocol
from npcompile.readers.packet import Packet
from npcompile.semantics import decide
from npcompile.source import SourceFile
from tests.kernel.judging import LOADERS, PROGRAMS, TARGET, Judge, judge, judged
from tests.kernel.wire import datagram, forwarded
from tests.strategies import PORTS, endpoints, paired, programs
from tests.test_semantics_cases import CASES, Case, flows_of

pytestmark = pytest.mark.kernel("sysctl", *PROGRAMS)


@pytest.fixture(scope="module", params=LOADERS)
def node(request: pytest.FixtureRequest) -> Iterator[Judge]:
    with judge(request.param) as made:
        yield made


def wrong(node: Judge, program: Program, flows: Iterable[Flow], *, by_node: bool = False) -> list[str]:
    """The flows that real packets do not get the evaluator's verdict of.

    `by_node`: every node loads its own artifact, and what has no node any of them; otherwise all load the same.
    """
    expected = {flow: decide(program.policies, program.cluster, flow).verdict is Verdict.ALLOW for flow in flows}
    found = dict.fromkeys(expected, True)
    for name in sorted(program.cluster.nodes) if by_node else [None]:
        node.load(TARGETS[TARGET[node.loader]].emit(program, Options(node=name)))
        mine = [
            (flow, (hook, packet))
            for flow in expected
            for where, hook, packet in judged(flow, program.cluster)
            if name is None or where in {name, None}
        ]
        passed = node.passed([what for _, what in mine])
        # A frame may be lost on a busy machine, so whatever must pass has a second chance.
        lost = [i for i, (flow, _) in enumerate(mine) if not passed[i] and expected[flow]]
        for i, again in zip(lost, node.passed([mine[i][1] for i in lost]), strict=True):
            passed[i] = again
        for (flow, _), one in zip(mine, passed, strict=True):
            found[flow] &= one
    return [f"{flow}: {'passed' if found[flow] else 'dropped'}" for flow in expected if found[flow] != expected[flow]]


# --- the normative cases ---


@cache
def cases() -> Mapping[Case, tuple[Program, tuple[Flow, ...]]]:
    """The cases that say something of flows, their pods bound to addresses."""
    found = {}
    for case in CASES:
        if case.flows and not case.divergence:
            program = _bound(load([SourceFile(path=f"{case.file}.yaml", text=case.input)]).program)
            flows = (flow for expected in case.flows for flow in flows_of(program.cluster, expected))
            found[case] = (program, tuple(dict.fromkeys(flow for flow in flows if _sent(flow))))
    return found


def _sent(flow: Flow) -> bool:
    """Whether its packets leave an address for another: not those of a pod to itself, or of an unknown node's pods."""
    return None not in {flow.src.address, flow.dst.address} and flow.src.address != flow.dst.address


def _bound(program: Program) -> Program:
    """The program with an address for each pod that has none."""
    numbers = iter(range(1, 255))
    pods = tuple(
        pod if pod.addresses or pod.host_network else replace(pod, addresses=(_free(next(numbers)),))
        for pod in program.cluster.pods
    )
    return replace(program, cluster=replace(program.cluster, pods=pods))


def _free(number: int) -> Address:
    return ip_address(f"198.19.0.{number}")


def test_every_packet_of_the_cases_passes_where_nothing_is_loaded(node: Judge) -> None:
    node.clear()
    packets = [
        what[1:] for program, flows in cases().values() for flow in flows for what in judged(flow, program.cluster)
    ]
    assert len(packets) > 400
    assert all(node.passed(packets))


@pytest.mark.parametrize(("by_node", "most"), [(False, MOST_IN_ONE_DISPATCH), (True, MOST_IN_ONE_DISPATCH), (False, 0)])
def test_the_cases(node: Judge, by_node: bool, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "MOST_IN_ONE_DISPATCH", most)
    differing = {
        str(case): found
        for case, (program, flows) in cases().items()
        if not by_node or program.cluster.nodes
        if (found := wrong(node, program, flows, by_node=by_node))
    }
    assert differing == {}


# --- policies at random ---


@settings(max_examples=12, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(data=st.data(), program=programs(bound=True), by_node=st.booleans())
def test_policies_at_random(node: Judge, data: st.DataObject, program: Program, by_node: bool) -> None:
    ends = [end for end in endpoints(program) if end.address is not None]
    pairs = [(a, b) for a in ends for b in ends if paired(a, b) and a.address != b.address]
    ports = (*PORTS, 2)
    carried = [(Protocol.ICMP, None), *((p, n) for p in (Protocol.TCP, Protocol.UDP, Protocol.SCTP) for n in ports)]
    every = [Flow(src=a, dst=b, protocol=p, port=n) for a, b in pairs for p, n in carried]
    dice = data.draw(st.randoms(use_true_random=False))
    assert wrong(node, program, dice.sample(every, min(len(every), 200)), by_node=by_node) == []


# --- what other programs get wrong ---

PODS = """
---
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 172.16.0.1}]}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: api, labels: {app: api}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 9090}]}]}
status: {podIP: 10.1.0.2}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: client, labels: {app: client}}
spec: {nodeName: n1, containers: [{name: c}]}
status: {podIP: 10.1.0.3}
"""


def program_of(spec: str) -> Program:
    """The pods above, and one policy of their namespace."""
    policy = (
        f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: shop, name: p}}\nspec: {spec}"
    )
    return load([SourceFile(path="p.yaml", text=policy + PODS)]).program


def flow(program: Program, src: str, dst: str, port: int) -> Flow:
    def end(word: str) -> Endpoint:
        pod = next((pod for pod in program.cluster.pods if pod.name == word), None)
        return Endpoint(pod=pod, address=pod.addresses[0] if pod else ip_address(word))

    return Flow(src=end(src), dst=end(dst), protocol=Protocol.TCP, port=port)


def verdicts(node: Judge, program: Program, flows: Mapping[tuple[str, str, int], bool]) -> None:
    """Assert that flows pass, or do not, by the evaluator and in the kernel."""
    made = {flow(program, *words): passes for words, passes in flows.items()}
    decided = {one: decide(program.policies, program.cluster, one).verdict is Verdict.ALLOW for one in made}
    assert decided == made
    assert wrong(node, program, made) == []
    assert wrong(node, program, made, by_node=True) == []


def test_two_blocks_that_leave_out_each_other_are_their_union(node: Judge) -> None:
    program = program_of(
        "{podSelector: {matchLabels: {app: web}}, ingress: [{from: ["
        "{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.128/25]}}, "
        "{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/25]}}]}]}"
    )
    inside = {(f"203.0.113.{last}", "web", 80): True for last in (0, 1, 127, 128, 255)}
    verdicts(node, program, {**inside, ("203.0.112.255", "web", 80): False, ("203.0.114.0", "web", 80): False})


def test_a_block_inside_what_another_leaves_out(node: Judge) -> None:
    program = program_of(
        "{podSelector: {matchLabels: {app: web}}, ingress: [{from: ["
        "{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.128/25]}}, {ipBlock: {cidr: 203.0.113.192/26}}]}]}"
    )
    edges = {0: True, 127: True, 128: False, 191: False, 192: True, 255: True}
    verdicts(node, program, {(f"203.0.113.{last}", "web", 80): passes for last, passes in edges.items()})


def test_a_named_port_of_egress_without_to_is_each_destinations_own(node: Judge) -> None:
    program = program_of(
        "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"
    )
    expected = {("client", "web", 8080): True, ("client", "web", 9090): False}
    expected |= {("client", "api", 9090): True, ("client", "api", 8080): False}
    expected |= {("client", "203.0.113.1", port): False for port in (80, 8080, 9090)}
    verdicts(node, program, {**expected, ("client", "172.16.0.1", 8080): False})


def test_a_cold_start_closes_once_and_never_opens_again(node: Judge) -> None:
    program = program_of(
        "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}]}"
    )
    denied, allowed = flow(program, "client", "web", 80), flow(program, "api", "web", 80)
    artifact = TARGETS[TARGET[node.loader]].emit(program, Options())
    node.clear()
    for time_of_loading in ("first", "again", "and again"):
        with node.flooded([judged(one, program.cluster)[0][2] for one in (denied, allowed)]) as passed:
            node.load(artifact, clear=False)
        closed, opened = passed
        assert len(closed) > 100
        assert all(opened)
        assert closed == sorted(closed, reverse=True), "a denied packet passed behind a dropped one"
        assert time_of_loading == "first" or not any(closed)
        assert not closed[-1]


# --- what is said about a connection ---

TCP_ONLY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: tcp-only}
spec: {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{ports: [{}]}], egress: [{ports: [{protocol: TCP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web}
spec: {nodeName: n1, containers: [{name: c}]}
status: {podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: "fd01::1"}]}
"""
ENDS = {Family.V4: ("10.1.0.1", "203.0.113.1", "198.51.100.1"), Family.V6: ("fd01::1", "2001:db8::1", "2001:db8::ffff")}


def too_big(about: Packet, router: str, tag: bytes) -> bytes:
    """A router's complaint about a packet: RFC 792 and 1191, RFC 4443."""
    kind, head = ((1, (3, 4)), 20) if about.family is Family.V4 else ((58, (2, 0)), 40)
    quoted = datagram(about, b"")[: head + 8]
    bare = Packet(src=ip_address(router), dst=about.src, protocol=kind[0], icmp=kind[1])
    return datagram(bare, quoted + tag)


@pytest.mark.parametrize("family", Family)
def test_a_routers_complaint_passes_if_it_is_about_what_passed(node: Judge, family: Family) -> None:
    """Policies that allow TCP only let no ICMP in: no echo, and no complaint about a connection that there is not."""
    pod, peer, router = ENDS[family]
    program = load([SourceFile(path="p.yaml", text=TCP_ONLY)]).program
    node.load(TARGETS[TARGET[node.loader]].emit(program, Options()))
    known = replace(forwarded(pod, peer, 6), sport=next(node.clients), dport=80)
    assert node.lab.passed([known]) == [True]
    echo = Packet(
        src=ip_address(peer),
        dst=ip_address(pod),
        protocol=1 if family is Family.V4 else 58,
        icmp=(8, 0) if family is Family.V4 else (128, 0),
    )
    sent = {tag: os.urandom(8) for tag in ("echo", "of another", "of a known one")}
    unknown = replace(known, sport=known.sport + 20000)
    node.lab.into_far(datagram(echo, sent["echo"]), family)
    node.lab.into_far(too_big(unknown, router, sent["of another"]), family)
    node.lab.into_far(too_big(known, router, sent["of a known one"]), family)
    assert node.lab.out_of_near(sent) == {"of a known one"}
