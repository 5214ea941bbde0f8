"""Measure the targets `iptables` and `nftables`: what an artifact holds, how long it takes, what a packet pays.

Run it as root, with the Python of an environment that npcompile is installed in.  For a cluster of 1,000 and one of
10,000 pods, and for 1,000 pods under few policies and under many, for every node and for one: emitting (CPU time past
reading, since reading is measured elsewhere), rules, sets and members, loading in a network namespace.

Then the time that a forwarded packet takes over the same packet where nothing is loaded, not even connection tracking.
`new`: of a connection that was not answered yet, between two isolated pods of the node, which goes through every rule
that a connection meets.  `known`: of one that was answered, from an isolated pod of the node to an address outside.
Empty and loaded take turns, and the best burst of each counts.

In the end, how each grows from the smaller cluster to the larger one, and from few policies to many.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address
from itertools import product
from pathlib import Path

from baseline import GENERATOR, ROOT

sys.path.insert(0, str(ROOT))

from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Artifact, Options
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.program import PolicyIndex, Program
from npcompile.netset.ports import Protocol
from npcompile.readers.packet import Packet
from npcompile.readers.passage import first_packet
from npcompile.semantics import Reason, decide
from tests.kernel.judging import TARGET, Judge, judge
from tests.kernel.wire import datagram


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A generated cluster; `policies` is those of a namespace."""

    namespaces: int
    workloads: int
    policies: int

    def words(self) -> Iterator[str]:
        """What the generator is told."""
        told = {**asdict(self), "replicas": 5, "pods-per-node": 60}
        return (word for name, value in told.items() for word in (f"--{name}", str(value)))


SHAPES = {
    "1000-pods": Shape(namespaces=20, workloads=10, policies=12),
    "10000-pods": Shape(namespaces=100, workloads=20, policies=12),
    "few-policies": Shape(namespaces=20, workloads=10, policies=6),
    "many-policies": Shape(namespaces=20, workloads=10, policies=48),
}
GROWTH = (("1000-pods", "10000-pods"), ("few-policies", "many-policies"))
NODE = "node-005"
LOADERS = ("iptables-legacy", "iptables-nft", "nftables")
OUTSIDE = ip_address("198.51.100.7")
BURST, BURSTS, TURNS, FLOWS = 240, 100, 3, 12  # short bursts: on a busy machine, a long one is never left alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One artifact: CPU seconds to emit, what it holds, seconds to load, nanoseconds a packet over an empty ruleset."""

    shape: str
    policies: int
    loader: str
    node: str
    emit: float
    rules: int
    sets: int
    members: int
    load: float
    new: float
    known: float


def generated(shape: str, generator: Path, directory: Path) -> Program:
    """The program of a generated cluster."""
    where = directory / shape
    command = [sys.executable, str(generator), str(where), *SHAPES[shape].words()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return load(read_sources([str(where)])).program


def median(work: Callable[[], object], clock: Callable[[], float], runs: int) -> float:
    """The median of a few runs."""
    taken = []
    for _ in range(runs):
        start = clock()
        work()
        taken.append(clock() - start)
    return statistics.median(taken)


def emitted(program: Program, loader: str, node: str | None) -> Artifact:
    """What a node would load."""
    return TARGETS[TARGET[loader]].emit(program, Options(node=node))


def rows(program: Program, shape: str, runs: int) -> Iterator[Row]:
    """What each target makes of a program."""
    flows, outward = judged_flows(program), outward_flows(program)
    for loader, node in product(LOADERS, (None, NODE)):
        with judge(loader) as here:
            artifact = emitted(program, loader, node)
            yield Row(
                shape=shape,
                policies=len(program.policies),
                loader=loader,
                node=node or "every node",
                emit=median(lambda loader=loader, node=node: emitted(program, loader, node), time.process_time, runs),
                rules=artifact.summary["lines"],
                sets=artifact.summary["sets"],
                members=artifact.summary["members"],
                load=median(lambda here=here, artifact=artifact: here.load(artifact), time.perf_counter, runs),
                new=per_packet(here, artifact, flows),
                known=per_packet(here, artifact, outward, answered=True),
            )


HEAD = (
    f"{'cluster':<13} {'policies':>8}  {'loader':<13} {'for':<11} {'emit':>7} {'rules':>6} {'sets':>6} {'members':>8} "
    f"{'load':>7} {'new':>8} {'known':>8}"
)


def text(row: Row) -> str:
    """A line of the table."""
    return (
        f"{row.shape:<13} {row.policies:>8}  {row.loader:<13} {row.node:<11} {row.emit:>6.3f}s {row.rules:>6} "
        f"{row.sets:>6} {row.members:>8} {row.load:>6.3f}s {row.new:>5.0f} ns {row.known:>5.0f} ns"
    )


GROWTH_HEAD = (
    f"{'grows from':<13} {'to':<13}  {'loader':<13} {'for':<11} {'emit':>7} {'rules':>6} {'sets':>6} {'members':>8} "
    f"{'load':>7} {'new':>8} {'known':>8}"
)


def growth(small: Row, large: Row) -> str:
    """A line: the larger one's numbers by the smaller one's."""
    emit, rules, sets, members, load, new, known = (
        f"{getattr(large, name) / getattr(small, name):.1f}"
        for name in ("emit", "rules", "sets", "members", "load", "new", "known")
    )
    return (
        f"{small.shape:<13} {large.shape:<13}  {small.loader:<13} {small.node:<11} {emit:>7} {rules:>6} {sets:>6} "
        f"{members:>8} {load:>7} {new:>8} {known:>8}"
    )


def grown(rows: Sequence[Row]) -> Iterator[str]:
    """How each loader's numbers grow, where both ends were measured."""
    by_key = {(row.shape, row.loader, row.node): row for row in rows}
    for small, large in GROWTH:
        for shape, loader, node in by_key:
            if shape == small and (large, loader, node) in by_key:
                yield growth(by_key[small, loader, node], by_key[large, loader, node])


def judged_flows(program: Program) -> list[Flow]:
    """Allowed flows between pods that policies isolate on both sides, of which the source is on the node."""
    dice = random.Random(1)
    pods = [pod for pod in program.cluster.pods if pod.addresses and pod.ports]
    near = [pod for pod in pods if pod.node == NODE]
    index = PolicyIndex(program.policies)
    found: list[Flow] = []
    for src, dst in dice.sample(list(product(near, near)), len(near) ** 2):
        flow = Flow(
            src=Endpoint(pod=src, address=src.addresses[0]),
            dst=Endpoint(pod=dst, address=dst.addresses[0]),
            protocol=Protocol.TCP,
            port=dst.ports[0].number,
        )
        decision = decide(index.judging(flow), program.cluster, flow)
        if decision.ingress.reason is Reason.RULE and decision.egress.reason is Reason.RULE:
            found.append(flow)
    return found[:FLOWS]


def outward_flows(program: Program) -> list[Flow]:
    """Allowed flows of isolated pods of the node to an address outside of the cluster."""
    index = PolicyIndex(program.policies)
    found: list[Flow] = []
    for pod in program.cluster.pods:
        if pod.addresses and pod.node == NODE:
            src, dst = Endpoint(pod=pod, address=pod.addresses[0]), Endpoint(address=OUTSIDE)
            flow = Flow(src=src, dst=dst, protocol=Protocol.UDP, port=53)
            decision = decide(index.judging(flow), program.cluster, flow)
            if decision.egress.reason is Reason.RULE:
                found.append(flow)
    return found[:FLOWS]


def burst(here: Judge, frames: Sequence[bytes]) -> float:
    """Nanoseconds a packet, sent one after the other; the kernel forwards each before it takes the next."""
    start = time.perf_counter_ns()
    for _ in range(BURST // len(frames)):
        for frame in frames:
            here.lab.near.send(frame)
    return (time.perf_counter_ns() - start) / (BURST // len(frames) * len(frames))


def packets_of(flows: Sequence[Flow]) -> list[Packet]:
    """The first packets of flows."""
    return [replace(first_packet(flow), sport=30000 + number) for number, flow in enumerate(flows)]


def frame(here: Judge, packet: Packet) -> bytes:
    """A packet into the near end."""
    return here.lab.frame_heads["near", packet.family] + datagram(packet, b"npcompil")


def answer(here: Judge, packets: Sequence[Packet]) -> None:
    """Make connections of packets known: send each, and what answers it."""
    for packet in packets:
        here.lab.near.send(frame(here, packet))
        back = replace(packet, src=packet.dst, dst=packet.src, sport=packet.dport, dport=packet.sport)
        here.lab.send_back(back)


def per_packet(here: Judge, artifact: Artifact, flows: Sequence[Flow], *, answered: bool = False) -> float:
    """Nanoseconds over an empty ruleset that a packet of a connection takes which is new, or `answered`."""
    packets = packets_of(flows)
    frames = [frame(here, packet) for packet in packets]
    empty, loaded = [], []
    for _ in range(TURNS):
        here.clear()
        empty += [burst(here, frames) for _ in range(BURSTS)]
        here.load(artifact)
        if answered:
            answer(here, packets)
        loaded += [burst(here, frames) for _ in range(BURSTS)]
    return min(loaded) - min(empty)


def main() -> None:
    """Print a table, line by line, or with --json an object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", type=Path, default=GENERATOR)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cluster", choices=SHAPES, action="append", help="only this one; may be given again")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.generator.is_file():
        sys.exit(f"no generator at {arguments.generator}; name one with --generator")
    if not arguments.json:
        print(HEAD)
    measured: list[Row] = []
    with tempfile.TemporaryDirectory() as directory:
        for shape in arguments.cluster or SHAPES:
            program = generated(shape, arguments.generator, Path(directory))
            for row in rows(program, shape, arguments.runs):
                measured.append(row)
                print(json.dumps(asdict(row)) if arguments.json else text(row), flush=True)
    if not arguments.json and (lines := list(grown(measured))):
        print("", GROWTH_HEAD, *lines, sep="\n")


if __name__ == "__main__":
    main()
