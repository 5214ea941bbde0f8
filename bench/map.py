"""Measure `npcompile map` beside a bare read of the same files and beside reading them into a program: see main().

Run it with the Python of an environment that npcompile is installed in.  The processes take turns, and the medians of
their own CPU time are compared, because that is what other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATOR = ROOT.parent / "shared" / "bench" / "make_cluster.py"

READ_YAML = """
import pathlib, sys, yaml
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.yaml")):
    with path.open(encoding="utf-8") as file:
        for document in yaml.load_all(file, Loader=yaml.CSafeLoader):
            pass
"""
LOAD = """
import sys
import npcompile.cli.map
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
load(read_sources(sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A cluster to generate, a form of the map, and what was promised of it."""

    name: str
    cluster: tuple[str, ...]
    arguments: tuple[str, ...]
    promise: str


SMALL = ("--namespaces", "20", "--workloads", "10", "--replicas", "5", "--policies", "12")
LARGE = ("--namespaces", "100", "--workloads", "20", "--replicas", "5", "--policies", "12")
CASES = (
    Case("1,000 pods, each", SMALL, ("--group-by", "pod"), "under 0.5 s past reading"),
    Case("1,000 pods, each, JSON", SMALL, ("--group-by", "pod", "-o", "json"), "under 0.5 s past reading"),
    Case("1,000 pods by workload", SMALL, (), "under 0.5 s past reading"),
    Case("10,000 pods by workload", LARGE, (), "under 5 s and 1 GB"),
    Case("10,000 pods by namespace", LARGE, ("--group-by", "namespace"), "under 5 s and 1 GB"),
    Case("10,000 pods to one namespace", LARGE, ("--to", "ns-001"), "under 5 s and 1 GB"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """CPU seconds and peak memory in MB of a process, and the lines that it wrote."""

    seconds: float
    megabytes: float
    lines: int


def run(command: Sequence[str]) -> Run:
    """Run a process; anything but success ends the measurement."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command[:8])}: exit code {process.returncode}")
        out.seek(0)
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: out.read(1 << 20), b""))
    return Run(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, lines)


def measure(case: Case, directory: Path, runs: int) -> str:
    """One line: medians of all three processes, and their ratios."""
    commands = {
        "read": (sys.executable, "-c", READ_YAML, str(directory)),
        "load": (sys.executable, "-c", LOAD, str(directory)),
        "map": (sys.executable, "-m", "npcompile", "map", str(directory), *case.arguments),
    }
    found: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            found[name].append(run(command))
    read, load, mapped = (statistics.median(one.seconds for one in found[name]) for name in commands)
    last = found["map"][-1]
    return (
        f"{case.name:<29} {mapped / read:5.2f} times a bare CSafeLoader read, {mapped - load:5.2f} s past reading"
        f"  (map {mapped:.2f} s, load {load:.2f} s, read {read:.2f} s; {last.megabytes:.0f} MB,"
        f" {last.lines} lines; wanted {case.promise})"
    )


def main() -> None:
    """Print a line for each case: the map's CPU time as a multiple of a bare read, and past npcompile's own reading."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--generator", type=Path, default=GENERATOR, help="make_cluster.py")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        for case in CASES:
            place = Path(directory) / "-".join(case.cluster).replace("--", "")
            if not place.exists():
                subprocess.run([sys.executable, str(arguments.generator), str(place), *case.cluster],
                               check=True, stdout=subprocess.DEVNULL)  # fmt: skip
            print(measure(case, place, arguments.runs), flush=True)


if __name__ == "__main__":
    main()
