"""Measure the targets `iptables` and `nftables`: what an artifact holds, how long it takes, what a packet pays.

Run it as root, with the Python of an environment that npcompile is installed in.  For a cluster of 1,000 and one of
10,000 pods, for every node and for one: emitting (CPU time past reading, since reading is measured elsewhere), rules,
sets and members, loading in a network namespace.  Then the time a forwarded packet takes over the same packet where
nothing is loaded: the first of an allowed connection between two isolated pods of the node, which walks through every
rule that a connection meets; empty and loaded take turns, and the best burst of each counts.
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

SHAPES = {
    1_000: ("--namespaces", "20", "--workloads", "10", "--replicas", "5", "--policies", "12", "--pods-per-node", "60"),
    10_000: (
        "--namespaces",
        "100",
        "--workloads",
        "20",
        "--replicas",
        "5",
        "--policies",
        "12",
        "--pods-per-node",
        "60",
    ),
}
NODE = "node-005"
LOADERS = ("iptables-legacy", "iptables-nft", "nftables")
BURST, BURSTS, TURNS, FLOWS = 2_000, 10, 2, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One artifact: CPU seconds to emit, what it holds, seconds to load, nanoseconds a packet over an empty ruleset."""

    pods: int
    loader: str
    node: str
    emit: float
    rules: int
    sets: int
    members: int
    load: float
    packet: float


def generated(pods: int, generator: Path, directory: Path) -> Program:
    """The program of a generated cluster."""
    where = directory / str(pods)
    subprocess.run([sys.executable, str(generator), str(where), *SHAPES[pods]], check=True, stdout=subprocess.DEVNULL)
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


def rows(program: Program, pods: int, runs: int) -> Iterator[Row]:
    """What each target makes of a program."""
    flows = judged_flows(program)
    for loader, node in product(LOADERS, (None, NODE)):
        with judge(loader) as here:
            artifact = emitted(program, loader, node)
            yield Row(
                pods=pods,
                loader=loader,
                node=node or "every node",
                emit=median(lambda loader=loader, node=node: emitted(program, loader, node), time.process_time, runs),
                rules=artifact.summary["lines"],
                sets=artifact.summary["sets"],
                members=artifact.summary["members"],
                load=median(lambda here=here, artifact=artifact: here.load(artifact), time.perf_counter, runs),
                packet=per_packet(here, artifact, flows),
            )


HEAD = (
    f"{'pods':>6}  {'loader':<13} {'for':<11} {'emit':>8} {'rules':>6} {'sets':>6} {'members':>8} {'load':>8} "
    f"{'a packet':>9}"
)


def text(row: Row) -> str:
    """A line of the table."""
    return (
        f"{row.pods:>6}  {row.loader:<13} {row.node:<11} {row.emit:>7.3f}s {row.rules:>6} {row.sets:>6} "
        f"{row.members:>8} {row.load:>7.3f}s {row.packet:>6.0f} ns"
    )


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


def burst(here: Judge, frames: Sequence[bytes]) -> float:
    """Nanoseconds a packet, sent one after the other; the kernel forwards each before it takes the next."""
    start = time.perf_counter_ns()
    for _ in range(BURST // len(frames)):
        for frame in frames:
            here.lab.near.send(frame)
    return (time.perf_counter_ns() - start) / (BURST // len(frames) * len(frames))


def frames_of(here: Judge, flows: Sequence[Flow]) -> list[bytes]:
    """The frames of UDP's or TCP's first packets."""

    def frame(packet: Packet) -> bytes:
        return here.lab.frame_heads["near", packet.family] + datagram(packet, b"npcompil")

    return [frame(replace(first_packet(flow), sport=30000 + number)) for number, flow in enumerate(flows)]


def per_packet(here: Judge, artifact: Artifact, flows: Sequence[Flow]) -> float:
    """Nanoseconds over an empty ruleset that the first packet of a connection takes."""
    frames = frames_of(here, flows)
    empty, loaded = [], []
    for _ in range(TURNS):
        here.clear()
        empty += [burst(here, frames) for _ in range(BURSTS)]
        here.load(artifact)
        loaded += [burst(here, frames) for _ in range(BURSTS)]
    return min(loaded) - min(empty)


def main() -> None:
    """Print a table, line by line, or with --json an object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", type=Path, default=GENERATOR)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pods", type=int, choices=SHAPES, action="append", help="only clusters of that size")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.generator.is_file():
        sys.exit(f"no generator at {arguments.generator}; name one with --generator")
    if not arguments.json:
        print(HEAD)
    with tempfile.TemporaryDirectory() as directory:
        for pods in arguments.pods or SHAPES:
            program = generated(pods, arguments.generator, Path(directory))
            for row in rows(program, pods, arguments.runs):
                print(json.dumps(asdict(row)) if arguments.json else text(row), flush=True)


if __name__ == "__main__":
    main()
