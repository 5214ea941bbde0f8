"""The kernel does with packets what the reference evaluator says of flows: verdict, reason, and the rule that decides.

Programs by hypothesis, and those of specs/semantics, are lowered and loaded; then every endpoint sends to and receives
from every other address, one packet for each port that anything tells apart, through BPF_PROG_TEST_RUN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_address
from itertools import product

import hypothesis
import pytest
from hypothesis import given, settings

from npcompile.backends.bpf import BpfTarget
from npcompile.backends.bpf.source import Features
from npcompile.backends.target import Artifact, Options
from npcompile.diagnostics.errors import InputError
from npcompile.frontend import load
from npcompile.ir.cluster import Cluster, Pod
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Family
from npcompile.netset.ports import Protocol
from npcompile.readers.bpf_maps import Maps, read_maps
from npcompile.runtime.bpf import events
from npcompile.runtime.bpf.events import Event
from npcompile.semantics import Reason, Side, decide
from npcompile.source import SourceFile
from tests.kernel import frames as f
from tests.kernel.bpf import PASS, Bench, bench
from tests.kernel.soak import SOAK, Tally, seed
from tests.strategies import PORTS, endpoints, paired, programs
from tests.test_semantics_cases import CASES, Case

pytestmark = pytest.mark.kernel("clang", "ip")

EXAMPLES = 12 * SOAK
BATCH = 4_000  # packets between two looks at the ring buffer, which holds more events
INTERFACES = 16

REASONS = {
    Reason.SAME_POD: events.Reason.SAME_POD,
    Reason.OWN_NODE: events.Reason.FROM_OWN_NODE,
    Reason.NOT_ISOLATED: events.Reason.NOT_ISOLATED,
    Reason.RULE: events.Reason.ALLOWED_BY_RULE,
    Reason.NO_RULE: events.Reason.NO_RULE,
}
# 47 stands for the protocols without ports that are not ICMP.
NUMBERS = {Protocol.TCP: (6,), Protocol.UDP: (17,), Protocol.SCTP: (132,), Protocol.ICMP: (1, 47)}


@pytest.fixture(scope="module")
def b() -> Iterator[Bench]:
    """Nothing is remembered, so that every packet is judged."""
    with bench(Features(constants={"NP_INSERT": 0}), pods=INTERFACES) as made:
        yield made


@dataclass(frozen=True, slots=True)
class Packet:
    """A flow's first packet as one side sees it, and what is to become of it."""

    direction: Direction
    place: int
    frame: bytes
    side: Side
    flow: Flow


@dataclass(frozen=True, slots=True)
class Loaded:
    """An artifact, read back, and the interfaces of its pods by place."""

    artifact: Artifact
    maps: Maps
    places: Mapping[str, int]

    def check(self, packet: Packet, result: int, event: Event) -> None:
        told = (packet.flow, packet.direction, packet.side, event)
        assert event.reason is REASONS[packet.side.reason], told
        assert (result == PASS) == packet.side.allowed == event.reason.allows, told
        origin = ""
        if event.rule:
            origin = self.maps.rules[event.rule]
        elif event.reason is events.Reason.NO_RULE:
            origin = self.maps.rulesets[event.ruleset].origin
        decided = {one.id: (one.policy, one.rule) for one in self.artifact.rules}.get(origin, (None, None))
        assert decided == (packet.side.policy, packet.side.rule), told


def loaded(b: Bench, program: Program, node: str | None, earlier: Mapping[str, bytes]) -> Loaded:
    artifact = BpfTarget().emit(program, Options(node=node, earlier=earlier))
    maps = read_maps(artifact.files["maps.json"])
    places = {pod: place for place, pod in enumerate(maps.endpoints)}
    b.bind(artifact.files["maps.json"], {pod: b.interfaces[place] for pod, place in places.items()})
    return Loaded(artifact, maps, places)


@cache
def frame(src: str, dst: str, number: int, port: int | None) -> bytes:
    protocol = f.ICMP6 if number == f.ICMP4 and ":" in src else number
    return f.ip(src, dst, protocol, f.transport(protocol, port))


def packets(program: Program, pod: Pod, place: int, ports: tuple[int, ...]) -> Iterator[Packet]:
    """From and to one pod, for every other end and every kind of port."""
    for own, other in product(endpoints(program), endpoints(program)):
        if own.pod is None or own.pod.key != pod.key or own.address is None or other.address is None:
            continue
        for direction in Direction:
            src, dst = (own, other) if direction is Direction.EGRESS else (other, own)
            if not paired(src, dst):
                continue
            for protocol in Protocol:
                for port in ports if protocol.has_ports else (None,):
                    flow = Flow(src=src, dst=dst, protocol=protocol, port=port)
                    decision = decide(program.policies, program.cluster, flow)
                    side = decision.egress if direction is Direction.EGRESS else decision.ingress
                    for number in NUMBERS[protocol]:
                        yield Packet(
                            direction, place, frame(str(src.address), str(dst.address), number, port), side, flow
                        )


def judge(b: Bench, program: Program, ports: tuple[int, ...], tally: Tally) -> None:
    """Send everything for each node's artifact."""
    earlier: Mapping[str, bytes] = {}
    for node in sorted({pod.node for pod in program.cluster.pods}, key=str):
        here = loaded(b, program, node, earlier)
        earlier = here.artifact.files
        batch: list[tuple[Packet, int]] = []
        for pod in program.cluster.pods:
            if str(pod) in here.places and pod.node == node:
                for packet in packets(program, pod, here.places[str(pod)], ports):
                    name = "np_from_pod" if packet.direction is Direction.EGRESS else "np_to_pod"
                    batch.append((packet, b.object.program(name).run(packet.frame, b.context(packet.place)).result))
                    if len(batch) == BATCH:
                        compare(b, here, batch, tally)
        compare(b, here, batch, tally)


def compare(b: Bench, here: Loaded, batch: list[tuple[Packet, int]], tally: Tally) -> None:
    told = b.events()
    assert len(told) == len(batch)
    for (packet, result), event in zip(batch, told, strict=True):
        here.check(packet, result, event)
        tally.count(str(event.reason), passed=result == PASS)
    batch.clear()


def test_programs(b: Bench) -> None:
    tally = Tally("programs")

    @hypothesis.seed(seed())
    @settings(max_examples=EXAMPLES, deadline=None, database=None, print_blob=False)
    @given(program=programs(bound=True))
    def compared(program: Program) -> None:
        judge(b, program, (*PORTS, 2, 79, 9999), tally)

    compared()
    tally.tell()
    assert tally.packets > 1_000 * SOAK
    assert 0 < tally.passed < tally.packets


def inhabited(case: Case) -> Program:
    """The case's program; pods of templates, and those without an address yet, get some."""
    program = load([SourceFile(path="case.yaml", text=case.input)]).program
    taken = {address for pod in program.cluster.pods for address in pod.addresses}
    free = (
        (ip_address(f"10.200.0.{n}"), ip_address(f"fd20::{n:x}"))
        for n in range(1, 250)
        if ip_address(f"10.200.0.{n}") not in taken
    )
    pods = tuple(
        pod if pod.addresses or pod.host_network else replace(pod, addresses=next(free), template=False)
        for pod in program.cluster.pods
    )
    cluster: Cluster = replace(program.cluster, pods=pods)
    return replace(program, cluster=cluster)


def ports_of(case: Case) -> tuple[int, ...]:
    named = {int(flow.port.partition("/")[2]) for flow in case.flows if flow.port.partition("/")[2].isdigit()}
    return tuple(sorted(named | {1, 80, 65535}))


def is_emittable(program: Program) -> bool:
    """Two pods with one address are refused by the target."""
    addresses = [address for pod in program.cluster.pods if not pod.host_network for address in pod.addresses]
    return len(set(addresses)) == len(addresses)


@pytest.mark.parametrize("case", [case for case in CASES if not case.errors], ids=str)
def test_cases(b: Bench, case: Case) -> None:
    program = inhabited(case)
    # A Service's address is judged by its backends here, and by itself in the evaluator.
    program = replace(program, cluster=replace(program.cluster, services=()))
    if not is_emittable(program):
        with pytest.raises(InputError):
            BpfTarget().emit(program, Options())
        return
    assert len(program.cluster.pods) <= INTERFACES
    subjects = [pod for pod in program.cluster.pods if not pod.host_network]
    tally = Tally(str(case))
    judge(b, program, ports_of(case), tally)
    assert tally.packets > 0 or not subjects


def test_a_difference_would_be_seen(b: Bench) -> None:
    """With the entries of another program the comparison fails."""
    case = next(one for one in CASES if one.name == "a port without a protocol")
    program = inhabited(case)
    here = loaded(b, replace(program, policies=()), None, {})
    found = [one for one in packets(program, program.cluster.pods[0], 0, (53,)) if one.side.reason is Reason.NO_RULE]
    batch = []
    for packet in found:
        name = "np_from_pod" if packet.direction is Direction.EGRESS else "np_to_pod"
        batch.append((packet, b.object.program(name).run(packet.frame, b.context()).result))
    with pytest.raises(AssertionError):
        compare(b, here, batch, Tally("another program"))
    b.events()


def test_both_families_and_every_kind_of_port_are_asked() -> None:
    pod = Pod(namespace="a", name="p", labels={}, addresses=(ip_address("10.0.0.4"), ip_address("fd00::4")))
    program = Program(policies=(), cluster=Cluster(pods=(pod,)))
    found = list(packets(program, pod, 0, (80,)))
    assert {packet.flow.src.family for packet in found} == set(Family)
    assert {packet.flow.protocol for packet in found} == set(Protocol)
    assert Endpoint(address=ip_address("192.0.2.1")) in {packet.flow.dst for packet in found}
