"""Measure what a change costs on one node: computing its artifact, writing it, and loading what differs.

Run it as root, with the Python of an environment that npcompile is installed in.  For the fullest node of a generated
cluster of 1,000 pods and 240 policies, in a network namespace of its own for each way of loading: the first load, one
changed policy (one port more in a rule), a pod restarted with a new address, and nothing changed.  Everything past
reading the input counts, but for the start of the two processes: `emit` is from the program to the files, `load` from
the files to the kernel.  Each run changes another policy, and changes it back.  What else the machine does only adds to
the clock, so that the goal is held against the best run, and processor time stands beside.

Below stand the programs that a loader runs, at work on the same node's artifact and alone, in the same run: what they
take is the part of a figure that npcompile cannot save, but by not running them.  Where a note tells what nf_tables
holds, its rules are not listed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_address
from itertools import count
from pathlib import Path

from baseline import GENERATOR, ROOT

sys.path.insert(0, str(ROOT))

from npcompile.backends.bpf.target import BPF
from npcompile.backends.nftables.names import TABLE
from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Options
from npcompile.driver.apply import Applied, run_apply, run_detach
from npcompile.driver.emit import emit_loaded
from npcompile.driver.inputs import read_sources
from npcompile.frontend import Loaded, load
from npcompile.ir.policy import Policy, PortRange
from npcompile.ir.program import Program
from npcompile.source import SourceFile
from tests.kernel.wire import entered, namespace

SHAPE = ("--namespaces", "20", "--workloads", "10", "--replicas", "5", "--policies", "12", "--pods-per-node", "60")
LIMIT = 50  # milliseconds for one changed policy, past reading
LOADERS: Mapping[str, tuple[str, str | None]] = {
    "iptables-legacy": ("iptables", "legacy"),
    "iptables-nft": ("iptables", "nft"),
    "nftables": ("nftables", None),
    "bpf": (BPF, None),
}
EXTRA_PORT = 7777
EMPTY = "*filter\nCOMMIT\n"
SCRATCH = f"{TABLE}-bench"


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds: by the clock, and of processor time, the kernel's and children's included."""

    wall: float
    cpu: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of change, in milliseconds: medians by the clock of both parts and their sum, the best sum, and the mean
    of processor time.
    """

    loader: str
    change: str
    emit: float
    load: float
    both: float
    best: float
    cpu: float
    steps: str


HEAD = (
    f"{'loader':<16} {'change':<16} {'emit':>6} {'load':>6} {'both':>6} {'best':>6} {'cpu':>6}   ms; {'steps':<34} goal"
)


def text(row: Row) -> str:
    """A line of the table."""
    goal = ("within" if row.best < LIMIT else "OVER") + f" {LIMIT}" if row.change == "one policy" else ""
    return (
        f"{row.loader:<16} {row.change:<16} {row.emit:>6.1f} {row.load:>6.1f} {row.both:>6.1f} {row.best:>6.1f} "
        f"{row.cpu:>6.1f}       {row.steps:<34} {goal}"
    ).rstrip()


def cost(work: Callable[[], object]) -> Cost:
    """What one call takes."""
    before, start = os.times(), time.perf_counter()
    work()
    elapsed, after = time.perf_counter() - start, os.times()
    return Cost(elapsed, sum(after[:4]) - sum(before[:4]))


def median(costs: Sequence[Cost]) -> Cost:
    """Of each on its own; processor time is counted in ticks, so that of it the mean says more."""
    return Cost(statistics.median(one.wall for one in costs), statistics.fmean(one.cpu for one in costs))


# --- what changes ---


def fullest(program: Program) -> str:
    """The node with the most pods."""
    return Counter(pod.node for pod in program.cluster.pods if pod.node is not None).most_common(1)[0][0]


def with_port(policy: Policy) -> Policy:
    """One port more in the first rule that has ports of its own."""
    rules = list(policy.rules)
    for place, rule in enumerate(rules):
        first = next((item for item in rule.match.ports if isinstance(item, PortRange)), None)
        if first is not None:
            extra = PortRange(protocol=first.protocol, first=EXTRA_PORT, last=EXTRA_PORT)
            rules[place] = replace(rule, match=replace(rule.match, ports=(*rule.match.ports, extra)))
            break
    return replace(policy, rules=tuple(rules))


def changed_policies(program: Program, node: str) -> Iterator[Program]:
    """The program with one changed policy, of which the node's artifact tells."""
    before = TARGETS["iptables"].emit(program, Options(node=node)).files
    for place, policy in enumerate(program.policies):
        policies = (*program.policies[:place], with_port(policy), *program.policies[place + 1 :])
        changed = replace(program, policies=policies)
        if TARGETS["iptables"].emit(changed, Options(node=node)).files != before:
            yield changed


def restarted_pods(program: Program, node: str) -> Iterator[Program]:
    """The program with one of the node's pods at an address that was nobody's."""
    fresh = (ip_address("198.18.0.0") + number for number in count(1))
    for place, pod in enumerate(program.cluster.pods):
        if pod.node == node and not pod.host_network:
            moved = replace(pod, addresses=(next(fresh),))
            pods = (*program.cluster.pods[:place], moved, *program.cluster.pods[place + 1 :])
            yield replace(program, cluster=replace(program.cluster, pods=pods))


# --- a node ---


@dataclass(slots=True, kw_only=True)
class Node:
    """A network namespace that stands for a node, and the last artifact that it loaded."""

    loader: str
    name: str
    directory: Path
    sources: Sequence[SourceFile]
    bindings: str | None = None
    earlier: Mapping[str, bytes] = field(default_factory=dict)
    last: Applied = field(default_factory=Applied)

    def take(self, program: Program) -> tuple[Cost, Cost]:
        """Emit and load."""
        target, variant = LOADERS[self.loader]
        options = Options(node=self.name, earlier=self.earlier if target == BPF else {})
        output = str(self.directory / self.loader)

        def emit() -> None:
            loaded = Loaded(program=program, diagnostics=())
            self.earlier = emit_loaded(loaded, self.sources, target, output, options).artifact.files

        def apply() -> None:
            self.last = run_apply(output, variant=variant, node=self.name, dry_run=False, bindings=self.bindings)
            if self.last.exit:
                raise SystemExit(f"{self.loader}: {[one.message for one in self.last.diagnostics]}")

        return cost(emit), cost(apply)

    def steps(self) -> str:
        """What the last load ran: each program, and how many lines it read."""
        return ", ".join(f"{step.command[0]} {step.text.count(chr(10))}" for step in self.last.steps) or "none"


@contextmanager
def node(loader: str, program: Program, name: str, directory: Path, sources: Sequence[SourceFile]) -> Iterator[Node]:
    """A node on which nothing is loaded; for `bpf` with an interface for each of its pods."""
    with namespace() as where, entered(where):
        here = Node(loader=loader, name=name, directory=directory, sources=sources)
        if LOADERS[loader][0] == BPF:
            pods = [pod for pod in program.cluster.pods if pod.node == name]
            links = "".join(f"link add pod{number} type veth peer name end{number}\n" for number in range(len(pods)))
            subprocess.run(["ip", "-batch", "-"], input=links, text=True, check=True)
            bindings = directory / "bindings"
            bindings.write_text("".join(f"{pod}=pod{number}\n" for number, pod in enumerate(pods)))
            here.bindings = str(bindings)
        try:
            yield here
        finally:
            run_detach(target=LOADERS[loader][0], variant=LOADERS[loader][1], dry_run=False)


def rows(here: Node, program: Program, runs: int) -> Iterator[Row]:
    """Every kind of change."""
    first = here.take(program)
    yield _row(here, "first", [first])
    for change, programs in (("one policy", changed_policies), ("one pod restarts", restarted_pods)):
        taken, steps = [], ""
        for _, changed in zip(range(runs), programs(program, here.name), strict=False):
            taken.append(here.take(changed))
            steps = steps or here.steps()
            here.take(program)
        yield _row(here, change, taken, steps)
    yield _row(here, "nothing", [here.take(program) for _ in range(runs)])


def _row(here: Node, change: str, taken: Sequence[tuple[Cost, Cost]], steps: str = "") -> Row:
    emit, loading = (median([one[part] for one in taken]) for part in (0, 1))
    sums = [one + other for one, other in taken]
    both = median(sums)
    return Row(
        loader=here.loader,
        change=change,
        emit=_ms(emit.wall),
        load=_ms(loading.wall),
        both=_ms(both.wall),
        best=_ms(min(one.wall for one in sums)),
        cpu=_ms(both.cpu),
        steps=steps or here.steps(),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


# --- the bare programs ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """A program by itself, in milliseconds."""

    loader: str
    program: str
    wall: float
    cpu: float


def bare(here: Node, runs: int) -> Iterator[Bare]:
    """The programs of a loader, beside its artifact: at work, and with nothing to do."""
    target, variant = LOADERS[here.loader]
    programs: list[tuple[str, Sequence[str], str]] = []
    if target == "iptables":
        restore = (f"iptables-{variant}-restore", "--noflush")
        chain = f"*filter\n:{SCRATCH} - [0:0]\n-A {SCRATCH} -j RETURN\nCOMMIT\n"
        programs = [
            ("ipset list", ("ipset", "list"), ""),
            (f"iptables-{variant}-save", (f"iptables-{variant}-save", "-t", "filter"), ""),
            ("ipset restore, empty", ("ipset", "restore"), ""),
            (f"iptables-{variant}-restore, empty", restore, EMPTY),
            (f"iptables-{variant}-restore, one chain again", restore, chain),
        ]
    if target == "nftables":
        chain = f"add table inet {SCRATCH}\nadd chain inet {SCRATCH} c\nflush chain inet {SCRATCH} c\n"
        programs = [
            ("nft list table", ("nft", "list", "table", "inet", TABLE), ""),
            ("nft -f, empty", ("nft", "-f", "-"), ""),
            ("nft -f, one chain again", ("nft", "-f", "-"), f"{chain}add rule inet {SCRATCH} c return\n"),
        ]
    for name, command, given in programs:

        def run(command: Sequence[str] = command, given: str = given) -> None:
            subprocess.run(command, input=given, text=True, check=True, stdout=subprocess.DEVNULL)

        run()
        found = median([cost(run) for _ in range(runs)])
        yield Bare(loader=here.loader, program=name, wall=_ms(found.wall), cpu=_ms(found.cpu))


def main() -> None:
    """Print a table, line by line, or with --json an object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, default=GENERATOR)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--loader", choices=LOADERS, action="append", help="only that one; may be repeated")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.generator.is_file():
        sys.exit(f"no generator at {arguments.generator}; name one with --generator")
    if os.geteuid() != 0:
        print("one changed policy on a node: not measured, only root may load packet filters", file=sys.stderr)
        return
    programs: list[Bare] = []
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        generate = [sys.executable, str(arguments.generator), str(directory / "cluster"), *SHAPE]
        subprocess.run(generate, check=True, stdout=subprocess.DEVNULL)
        sources = read_sources([str(directory / "cluster")])
        program = load(sources).program
        name = fullest(program)
        if not arguments.json:
            pods = sum(pod.node == name for pod in program.cluster.pods)
            print(f"{pods} pods on {name}, of {len(program.cluster.pods)}; {len(program.policies)} policies")
            print(HEAD)
        for loader in arguments.loader or LOADERS:
            with node(loader, program, name, directory, sources) as here:
                for row in rows(here, program, arguments.runs):
                    print(json.dumps(asdict(row)) if arguments.json else text(row), flush=True)
                programs += bare(here, arguments.runs)
    if not arguments.json:
        print(f"\n{'beside':<16} {'program alone':<44} {'':>6} {'clock':>6} {'cpu':>6}   ms")
    for one in programs:
        line = f"{one.loader:<16} {one.program:<44} {'':>6} {one.wall:>6.1f} {one.cpu:>6.1f}"
        print(json.dumps(asdict(one)) if arguments.json else line)


if __name__ == "__main__":
    main()
