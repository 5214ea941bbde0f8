"""Measure npcompile beside baselines that are taken in the same run, in turn with it: see bench/README.md.

Run it with the Python of an environment that npcompile is installed in.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline import ANSWERED, GENERATOR, READ_YAML, ROOT

EXAMPLE = ROOT / "examples" / "payments"
CLUSTER = ("--namespaces", "20", "--workloads", "10", "--replicas", "5", "--policies", "12")
SHADOWED = "NPC101"

PASS = (sys.executable, "-c", "pass")
NPCOMPILE = (sys.executable, "-m", "npcompile")
CHECK = (*NPCOMPILE, "check", "--no-cache")


@dataclass(frozen=True, slots=True)
class Policy:
    """A generated policy: where it stands, by the first and the last line of its document."""

    file: Path
    first: int
    last: int
    namespace: str
    name: str


def seconds(command: Sequence[str]) -> float:
    """Wall time of one run; anything but an answer ends the measurement."""
    start = time.perf_counter()
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - start
    if run.returncode not in ANSWERED:
        raise SystemExit(f"{' '.join(command)}: exit code {run.returncode}\n{run.stderr}")
    return elapsed


def medians(commands: Mapping[str, Sequence[str]], runs: int) -> dict[str, float]:
    """Median wall times of commands that take turns, after one round that warms the file cache."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            elapsed = seconds(command)
            if turn:
                times[name].append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}


def planted(directory: Path) -> Iterator[Policy]:
    """The policies that are redundant by construction: their names end in -redundant."""
    for file in sorted((directory / "policies").glob("*.yaml")):
        first = 1
        for document in re.split(r"(?m)^---\n", file.read_text(encoding="utf-8")):
            lines = document.count("\n")
            name, namespace = (re.search(rf"(?m)^  {key}: (.*)$", document) for key in ("name", "namespace"))
            if name and namespace and name[1].endswith("-redundant"):
                yield Policy(file, first, first + lines - 1, namespace[1], name[1])
            first += lines + 1


def reported(policy: Policy, diagnostics: Sequence[Mapping[str, object]]) -> bool:
    """Whether a shadowing finding is about a policy: it stands in its lines, or names it."""
    return any(
        diagnostic["code"] == SHADOWED and (_within(diagnostic, policy) or _names(diagnostic, policy))
        for diagnostic in diagnostics
    )


def _within(diagnostic: Mapping[str, object], policy: Policy) -> bool:
    file, line = diagnostic.get("file"), diagnostic.get("line")
    return (
        isinstance(file, str)
        and isinstance(line, int)
        and (ROOT / file).resolve() == policy.file.resolve()
        and policy.first <= line <= policy.last
    )


def _names(diagnostic: Mapping[str, object], policy: Policy) -> bool:
    return f"{policy.namespace}/{policy.name}" in str(diagnostic["message"])


def diagnostics_of(directory: Path) -> list[Mapping[str, object]]:
    command = (*CHECK, "--output-format", "json", str(directory))
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found: list[Mapping[str, object]] = json.loads(run.stdout)["diagnostics"]
    return found


def measure(runs: int, generator: Path, directory: Path) -> dict[str, object]:
    small = medians(
        {
            "pass": PASS,
            "version": (*NPCOMPILE, "--version"),
            "example": (*CHECK, str(EXAMPLE)),
        },
        runs,
    )
    result: dict[str, object] = {
        "runs": runs,
        "python_ms": _ms(small["pass"]),
        "version_ms": _ms(small["version"]),
        "version_minus_python_ms": _ms(small["version"] - small["pass"]),
        "check_example_ms": _ms(small["example"]),
        "check_example_minus_python_ms": _ms(small["example"] - small["pass"]),
    }
    if not generator.is_file():
        return result
    made = subprocess.run(
        [sys.executable, str(generator), str(directory), *CLUSTER], capture_output=True, text=True, check=True
    )
    large = medians(
        {
            "read": (sys.executable, "-c", READ_YAML, str(directory)),
            "check": (*CHECK, str(directory)),
        },
        runs,
    )
    policies = list(planted(directory))
    diagnostics = diagnostics_of(directory)
    missed = [f"{p.namespace}/{p.name}" for p in policies if not reported(p, diagnostics)]
    return result | {
        "cluster": made.stdout.strip(),
        "read_cluster_ms": _ms(large["read"]),
        "check_cluster_ms": _ms(large["check"]),
        "check_to_read_ratio": round(large["check"] / large["read"], 2),
        "findings": len(diagnostics),
        "planted": len(policies),
        "planted_reported": len(policies) - len(missed),
        "planted_missed": missed,
    }


def _ms(value: float) -> float:
    return round(value * 1000, 1)


def report(result: Mapping[str, object], generator: Path) -> str:
    lines = [
        f"medians of {result['runs']} interleaved runs",
        f"start     {result['version_minus_python_ms']} ms over `python -c pass`"
        f"  (--version {result['version_ms']} ms, python {result['python_ms']} ms)",
        f"example   {result['check_example_minus_python_ms']} ms over `python -c pass`"
        f"  (check {result['check_example_ms']} ms)",
    ]
    if "cluster" not in result:
        return "\n".join([*lines, f"cluster   not measured: no generator {generator.name} (--generator PATH)"])
    missed = result["planted_missed"]
    return "\n".join(
        [
            *lines,
            f"cluster   {result['check_to_read_ratio']} times a bare CSafeLoader read of the same files"
            f"  (check {result['check_cluster_ms']} ms, read {result['read_cluster_ms']} ms; {result['cluster']})",
            f"planted   {result['planted_reported']} of {result['planted']} redundant policies reported,"
            f" among {result['findings']} findings" + (f"; missed: {missed}" if missed else ""),
        ]
    )


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="rounds, after one to warm up (default 5)")
    parser.add_argument("--generator", type=Path, default=GENERATOR, help="make_cluster.py")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        result = measure(arguments.runs, arguments.generator, Path(directory) / "cluster")
    print(json.dumps(result, indent=2) if arguments.json else report(result, arguments.generator))


if __name__ == "__main__":
    main()
