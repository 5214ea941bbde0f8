"""Measure `npcompile diff` beside reading both of its sides: see main().

Run it with the Python of an environment that npcompile is installed in.  The processes take turns, and the medians of
their own CPU time are compared, because that is what other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from baseline import GENERATOR
from scale import run

LOAD = """
import sys
import npcompile.cli.diff
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
for side in sys.argv[1:]:
    load(read_sources([side]))
"""


def without_one(policies: Path) -> None:
    """Remove the last policy of a namespace: some flows close or open, in that namespace."""
    file = sorted(policies.glob("*.yaml"))[0]
    documents = re.split(r"(?m)^---\n", file.read_text(encoding="utf-8"))
    file.write_text("---\n".join(documents[:-1]), encoding="utf-8")


def without_all(policies: Path) -> None:
    """Remove every policy: as many flows open as ever can."""
    shutil.rmtree(policies)
    policies.mkdir()


@dataclass(frozen=True, slots=True)
class Case:
    """A cluster to generate, what changes in it, and whether only its policies are compared, for every possible pod."""

    name: str
    cluster: tuple[str, ...]
    change: Callable[[Path], None]
    policies_only: bool = False


MIDDLE = ("--namespaces", "10", "--workloads", "10", "--replicas", "10", "--policies", "24")
LARGE = ("--namespaces", "36", "--workloads", "10", "--replicas", "10", "--policies", "12")
CASES = (
    Case("1,000 pods, one of 240 policies removed", MIDDLE, without_one),
    Case("3,600 pods, all of 432 policies removed", LARGE, without_all),
    Case("240 policies, one removed, no pods", MIDDLE, without_one, policies_only=True),
    Case("432 policies, all removed, no pods", LARGE, without_all, policies_only=True),
)


def measure(case: Case, directory: Path, runs: int) -> str:
    """One line: the medians of both processes, and their ratio."""
    sides = [str(directory / side / ("policies" if case.policies_only else "")) for side in ("old", "new")]
    commands = {
        "load": (sys.executable, "-c", LOAD, *sides),
        "diff": (sys.executable, "-m", "npcompile", "diff", *sides),
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            found[name].append(run(command, {}).seconds)
    load, diff = (statistics.median(found[name]) for name in commands)
    return f"{case.name:<40} {diff / load:5.1f} times reading both sides  (diff {diff:.2f} s, load {load:.2f} s)"


def main() -> None:
    """Print a line for each case: the CPU time of a diff as a multiple of reading both sides."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--generator", type=Path, default=GENERATOR, help="make_cluster.py")
    arguments = parser.parse_args()
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            old, new = Path(name, "old"), Path(name, "new")
            subprocess.run([sys.executable, str(arguments.generator), str(old), *case.cluster],
                           check=True, stdout=subprocess.DEVNULL)  # fmt: skip
            shutil.copytree(old, new)
            case.change(new / "policies")
            print(measure(case, Path(name), arguments.runs), flush=True)


if __name__ == "__main__":
    main()
