"""Measure `check` and `map` on generated clusters, beside a bare read of the same files, in turn with it.

Each line is a command's CPU time as a multiple of what `yaml.CSafeLoader` needs for the files, past npcompile's own
reading of them, its wall time and its peak memory; and whether that keeps what was promised.  CPU times are medians of
some rounds, because other work on the machine disturbs them least.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from baseline import ANSWERED, GENERATOR, READ_YAML, ROOT

PEER = ROOT / ".pytest_cache" / "d" / "network-config-analyzer"
PEER_INSTALLER = ROOT / "tests" / "oracles" / "peers" / "install.sh"
PEER_SECONDS = 600

LOAD = """
import sys
import npcompile.cli.map
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
load(read_sources(sys.argv[1:]))
"""


def cluster(namespaces: int, workloads: int, replicas: int) -> tuple[str, ...]:
    """The generator's arguments, with 12 policies a namespace."""
    numbers = {"namespaces": namespaces, "workloads": workloads, "replicas": replicas, "policies": 12}
    return tuple(word for name, number in numbers.items() for word in (f"--{name}", str(number)))


SMALL, LARGE, WIDE, HUGE = cluster(20, 10, 5), cluster(100, 10, 10), cluster(100, 20, 5), cluster(334, 30, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What was promised; None where nothing was."""

    times: float | None = None  # as long as a bare read
    past_reading: float | None = None  # seconds
    seconds: float | None = None
    megabytes: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command on a cluster.  `warm`: with what an earlier run left in the cache, else without any."""

    name: str
    cluster: tuple[str, ...]
    arguments: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)
    warm: bool = False


CHECK, MAP = ("check", "--output-format", "concise"), ("map",)
SOON, SMALL_MAP = Limits(past_reading=0.5), Limits(seconds=5, megabytes=1000)
CASES = (
    Case(name="check, 1,000 pods", cluster=SMALL, arguments=CHECK),
    Case(name="map, 1,000 pods, each", cluster=SMALL, arguments=(*MAP, "--group-by", "pod"), limits=SOON),
    Case(name="map, 1,000 pods by workload", cluster=SMALL, arguments=MAP, limits=SOON),
    Case(name="check, 10,000 pods", cluster=LARGE, arguments=CHECK, limits=Limits(times=1.5)),
    Case(name="check, 10,000 pods, again", cluster=LARGE, arguments=CHECK, limits=Limits(times=0.4), warm=True),
    Case(name="map, 10,000 pods by workload", cluster=LARGE, arguments=MAP, limits=SMALL_MAP),
    Case(name="map, 10,000 pods to a namespace", cluster=LARGE, arguments=(*MAP, "--to", "ns-001")),
    Case(name="map, 10,000 pods, more workloads", cluster=WIDE, arguments=MAP, limits=SMALL_MAP),
)
HUGE_CASES = (
    Case(name="check, 100,000 pods", cluster=HUGE, arguments=CHECK, limits=Limits(seconds=30, megabytes=4000)),
)


@dataclass(frozen=True, slots=True)
class Run:
    """CPU and wall seconds of a process, and its peak memory in MB."""

    seconds: float
    wall: float
    megabytes: float


class UnansweredError(Exception):
    """A process that ended with anything but an answer."""


def run(command: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Run a process; raises UnansweredError."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ANSWERED:
        raise UnansweredError(f"{' '.join(command[:8])}: exit code {process.returncode}")
    return Run(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)


def measure(cases: Sequence[Case], directory: Path, runs: int) -> Iterator[str]:
    """A line for each case of one cluster: all commands take turns."""
    cache = {"NPCOMPILE_CACHE_DIR": str(directory) + ".cache", "NPCOMPILE_CACHE_KEY": "benchmark" * 4}
    commands: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {
        "read": ((sys.executable, "-c", READ_YAML, str(directory)), {}),
        "load": ((sys.executable, "-c", LOAD, str(directory)), {}),
    }
    for case in cases:
        command = (sys.executable, "-m", "npcompile", *case.arguments, str(directory))
        commands[case.name] = (command, cache if case.warm else {"NPCOMPILE_CACHE_DIR": ""})
        if case.warm:
            run(*commands[case.name])
    found: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command_and_environment in commands.items():
            found[name].append(run(*command_and_environment))
    read, load = (statistics.median(one.seconds for one in found[name]) for name in ("read", "load"))
    for case in cases:
        yield report(case, found[case.name], read, load)


def report(case: Case, found: Sequence[Run], read: float, load: float) -> str:
    """What was measured, and what of the promises was kept."""
    seconds = statistics.median(one.seconds for one in found)
    wall = statistics.median(one.wall for one in found)
    megabytes = max(one.megabytes for one in found)
    limits = case.limits
    promises = (
        ("{} times", limits.times, seconds / read),
        ("{} s past reading", limits.past_reading, seconds - load),
        ("{} s", limits.seconds, seconds),
        ("{} MB", limits.megabytes, megabytes),
    )
    kept = [
        f"{'within' if value <= limit else 'OVER'} {words.format(limit)}" for words, limit, value in promises if limit
    ]
    return (
        f"{case.name:<33} {seconds / read:5.2f} times a bare read, {seconds - load:6.2f} s past reading"
        f"  (CPU {seconds:.2f} s, wall {wall:.2f} s, {megabytes:.0f} MB; load {load:.2f} s, read {read:.2f} s)"
        f"  {', '.join(kept)}"
    ).rstrip()


def peer(directory: Path) -> str:
    """The connectivity of the same cluster by network-config-analyzer, installed where the tests have it."""
    name = "network-config-analyzer, map"
    installed = subprocess.run(["sh", str(PEER_INSTALLER), str(PEER)], capture_output=True, check=False)
    if installed.returncode:
        return f"{name:<33} cannot be installed here"
    command = (str(PEER / "bin" / "nca"), "--connectivity", "-r", str(directory), "-o", "txt_no_fw_rules")
    try:
        one = run(("timeout", str(PEER_SECONDS), *command), {})
    except UnansweredError as error:
        return f"{name:<33} no answer: {error} (124: not within {PEER_SECONDS} s)"
    return f"{name:<33} CPU {one.seconds:.2f} s, wall {one.wall:.2f} s, {one.megabytes:.0f} MB"


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--huge", action="store_true", help="100,000 pods and 4,008 policies, too (once)")
    parser.add_argument("--no-peer", action="store_true", help="without network-config-analyzer on 1,000 pods")
    parser.add_argument("--generator", type=Path, default=GENERATOR, help="make_cluster.py")
    arguments = parser.parse_args()
    if not arguments.generator.is_file():
        raise SystemExit(f"not measured: no generator {arguments.generator} (--generator PATH)")
    sets = [(CASES, arguments.runs), *([(HUGE_CASES, 1)] if arguments.huge else [])]
    with tempfile.TemporaryDirectory() as directory:
        for cases, runs in sets:
            for shape in dict.fromkeys(case.cluster for case in cases):
                place = Path(directory) / "-".join(shape).replace("--", "")
                subprocess.run([sys.executable, str(arguments.generator), str(place), *shape],
                               check=True, stdout=subprocess.DEVNULL)  # fmt: skip
                for line in measure([case for case in cases if case.cluster == shape], place, runs):
                    print(line, flush=True)
                if shape == SMALL and not arguments.no_peer:
                    print(peer(place), flush=True)


if __name__ == "__main__":
    main()
