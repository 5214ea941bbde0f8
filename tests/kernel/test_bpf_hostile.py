"""Hostile frames: each passes or is dropped for the very reason that an independent reading of docs/datapath.md and the
reference evaluator give, in a row with all that was sent before it.

`NPCOMPILE_SOAK=100` sends so many times as much as in CI, and says the seed; `NPCOMPILE_SEED` takes one of those.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest

from npcompile.backends.bpf import BpfTarget
from npcompile.backends.bpf.source import Features
from npcompile.backends.target import Options
from npcompile.frontend import load
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.runtime.bpf.events import Reason
from npcompile.source import SourceFile
from tests.kernel.bpf import PASS, Bench, bench
from tests.kernel.mutation import Talk, hostile
from tests.kernel.packet_oracle import Oracle
from tests.kernel.soak import SOAK, Tally, seed
from tests.kernel.test_bpf_live import wired

pytestmark = pytest.mark.kernel("clang", "ip")

TAGS = (b"\x81\0", b"\x88\xa8")
BATCH = 2_000
ROUND = 400  # packets between two beginnings without flows; the ring buffer holds more
POD, PEER, OTHER, BLOCK, HOLE, NODE = "10.0.0.1", "10.0.0.2", "10.0.0.3", "198.51.100.7", "198.51.100.130", "192.0.2.1"
POD6, PEER6, OTHER6, BLOCK6, NODE6 = "fd00::1", "fd00::2", "fd00::3", "2001:db8:7::1", "fd01::1"
ENDS = (POD, POD, POD, PEER, PEER, OTHER, BLOCK, HOLE, NODE, "203.0.113.9", "255.255.255.255", "224.0.0.1", "127.0.0.1",
        POD6, POD6, POD6, PEER6, PEER6, OTHER6, BLOCK6, NODE6, "2001:db8::9", "fe80::1", "::", "::1", "ff02::1",
        "::ffff:10.0.0.2", "::ffff:10.0.0.1")  # fmt: skip
PORTS = (80, 80, 53, 443, 8003, 8008, 99, 40000, 40000, 40001, 1, 0, 65535)
TALKS = [
    Talk(protocol, ends, ports)
    for ends in ((POD, PEER), (POD, BLOCK), (POD6, PEER6), (POD6, BLOCK6), (POD, OTHER), (POD, NODE), (POD6, NODE6))
    for protocol, ports in (
        (6, (40000, 80)), (6, (80, 40000)), (17, (40000, 53)), (17, (53, 40000)), (132, (40000, 99)),
        (132, (99, 40000)), (58 if ":" in ends[0] else 1, (77, 77)), (47, (0, 0)),
    )
]  # fmt: skip

CLUSTER = """
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.0.2.1},
 {type: InternalIP, address: "fd01::1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: a, name: x, labels: {app: x}}, spec: {nodeName: n1},
 status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: a, name: peer, labels: {app: peer}}, spec: {nodeName: n1},
 status: {podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}, {ip: "fd00::2"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: a, name: other, labels: {app: other}}, spec: {nodeName: n2},
 status: {podIP: 10.0.0.3, podIPs: [{ip: 10.0.0.3}, {ip: "fd00::3"}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: a, name: x}
spec:
  podSelector: {matchLabels: {app: x}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: peer}}}]
    ports: [{port: 80}, {port: 53, protocol: UDP}, {port: 99, protocol: SCTP}, {port: 8000, endPort: 8007}]
  - from: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.128/25]}}, {ipBlock: {cidr: "2001:db8:7::/48"}}]
  egress:
  - to: [{podSelector: {matchLabels: {app: peer}}}]
    ports: [{port: 80}, {port: 53, protocol: UDP}, {port: 99, protocol: SCTP}]
  - to: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.128/25]}}, {ipBlock: {cidr: "2001:db8:7::/48"}}]
"""


@pytest.fixture(scope="module")
def program() -> Program:
    return load([SourceFile(path="cluster.yaml", text=CLUSTER)]).program


@pytest.fixture(scope="module")
def loaded(program: Program) -> Iterator[Bench]:
    with bench() as made:
        bind(made, program)
        yield made


def bind(b: Bench, program: Program) -> None:
    artifact = BpfTarget().emit(program, Options(node="n1"))
    b.bind(artifact.files["maps.json"], {"a/x": b.interfaces[0], "a/peer": b.interfaces[1]})


def oracle(program: Program) -> Oracle:
    pod = next(pod for pod in program.cluster.pods if pod.name == "x")
    node = frozenset(map(ip_address, (NODE, NODE6)))
    return Oracle(programs=[program], pod=pod, node=node, neighbours=node | {*map(ip_address, (POD6, PEER6))})


def test_hostile_frames(loaded: Bench, program: Program) -> None:
    tally = Tally("hostile frames")
    for number in range(25 * SOAK):
        send_batch(loaded, oracle(program), random.Random(f"{seed()} {number}"), tally)
    tally.tell()
    assert len(tally.reasons) > 25 and tally.passed > tally.packets / 50


CHANGED = CLUSTER.replace("[{port: 80}, {port: 53, protocol: UDP}", "[{port: 8003}").replace(
    "cidr: 198.51.100.0/24, except: [198.51.100.128/25]", "cidr: 203.0.113.0/24"
)


@pytest.mark.parametrize("recheck", [False, True])
def test_hostile_frames_while_policy_changes(program: Program, recheck: bool) -> None:
    """Flows go on under the next policy, or are judged by it, whichever way their packets go."""
    tally = Tally(f"hostile frames while policy changes, {'recheck' if recheck else 'keep'}")
    other = load([SourceFile(path="changed.yaml", text=CHANGED)]).program
    with bench(Features(recheck=recheck)) as b:
        for number in range(10 * SOAK):
            chosen = random.Random(f"{seed()} {number} {recheck}")
            expected = replace(oracle(program), recheck=recheck)
            b.forget()
            talks = chosen.sample(TALKS, 6)
            for turn in range(6):
                bind(b, expected.programs[-1])
                send(b, expected, [hostile(chosen, ENDS, PORTS, talks) for _ in range(200)], chosen, tally)
                expected.programs.append((other, program)[turn % 2])
    tally.tell()
    assert tally.reasons["established"] > tally.packets / 50 and tally.reasons["related"] > tally.packets / 200


def test_hostile_frames_over_a_wire(program: Program) -> None:
    """At tc, from frames that no test run takes on: the kernel takes tags out of those that come from the pod."""
    tally = Tally("hostile frames over a wire")
    chosen = random.Random(f"{seed()} wire")
    with bench() as b, wired(b) as wire:
        bind(b, program)
        expected = oracle(program)
        talks = TALKS
        for number in range(4_000 * SOAK):
            if number % ROUND == 0:
                b.forget()
                expected.flows.clear()
                talks = chosen.sample(TALKS, 4)
            frame = hostile(chosen, ENDS, PORTS, talks)
            if frame[12:14] in TAGS and len(frame) < 20:  # which the kernel drops before anybody sees it
                continue
            direction = chosen.choice((Direction.EGRESS, Direction.INGRESS))
            reason = expected.decide(frame, direction, local=direction is Direction.INGRESS)
            assert wire.reason(direction, frame) is reason, (str(direction), frame.hex())
            tally.count(str(reason), passed=reason.allows)
    tally.tell()
    assert len(tally.reasons) > 20


def send_batch(b: Bench, expected: Oracle, chosen: random.Random, tally: Tally) -> None:
    """Some rounds, each of which begins without flows."""
    for _ in range(BATCH // ROUND):
        b.forget()
        expected.flows.clear()
        talks = chosen.sample(TALKS, 4)
        send(b, expected, [hostile(chosen, ENDS, PORTS, talks) for _ in range(ROUND)], chosen, tally)


def send(b: Bench, expected: Oracle, frames: Sequence[bytes], chosen: random.Random, tally: Tally) -> None:
    wanted: list[tuple[Reason, bytes, Direction]] = []
    b.events()
    for frame in frames:
        direction = chosen.choice((Direction.EGRESS, Direction.INGRESS))
        if len(frame) < 54:  # less than a test run takes
            continue
        local = direction is Direction.INGRESS and chosen.random() < 0.1
        reason = expected.decide(frame, direction, local=local)
        name = "np_from_pod" if direction is Direction.EGRESS else "np_to_pod"
        ran = b.object.program(name).run(frame, b.context(arrived=0 if local else 1))
        assert (ran.result == PASS) == reason.allows, (reason, str(direction), frame.hex())
        tally.count(str(reason), passed=reason.allows)
        if reason is not Reason.ESTABLISHED:
            wanted.append((reason, frame, direction))
    told = b.events()
    assert len(told) == len(wanted)
    for event, (reason, frame, direction) in zip(told, wanted, strict=True):
        assert (event.reason, event.direction) == (reason, direction), (event.reason, reason, frame.hex())
