"""Measure the symbolic engine on policies without pods, the worst case included: see bench/README.md.

Run it with the Python of an environment that npcompile is installed in.  The processes take turns, and the medians of
their own CPU time are compared, because that is what other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

from baseline import ANSWERED, GENERATOR, READ_YAML, ROOT

START_Z3 = "import z3; solver = z3.SolverFor('QF_FD'); solver.add(z3.Bool('x')); solver.check()"

# The worst case ----------------------------------------------------------------------------------------------------

KEYS = tuple(f"key-{number}" for number in range(8))
SEED = 1
PLANTED = "shadowed"
VALUES = tuple(f"value-{number}" for number in range(6))
Labels = tuple[tuple[str, tuple[str, ...]], ...]  # values of some keys, in the order of those


@dataclass(frozen=True, slots=True)
class Shape:
    """One rule, with the subjects of its policy: labels, a network or else peers' labels, and a range of TCP ports."""

    subjects: Labels
    namespaces: Labels
    peers: Labels
    network: IPv4Network | None
    first: int
    last: int


def shapes(count: int, seed: int) -> list[tuple[str, Shape]]:
    """Rules that meet thousands of others, each with a word about it.

    Selectors speak of different keys, so that most rules have flows in common and few lie within others.  In each group
    one rule lies within another one, three are the union of two (of their ports, their subjects, their addresses or
    peers) and within neither, and one is nearly the union of two that lie within it: a port is missing.
    """
    rng = random.Random(seed)
    made: list[tuple[str, Shape]] = []
    while len(made) < count:
        made += _group(rng)
    return made[:count]


def _group(rng: random.Random) -> Iterator[tuple[str, Shape]]:
    for _ in range(4):
        yield "free", _free(rng)
    base = _free(rng)
    yield "free", base
    yield PLANTED, replace(base, first=base.first + 1, last=base.last - 1)
    for word, gap in ((PLANTED, 0), ("near-miss", 1)):
        whole = _free(rng)
        middle = (whole.first + whole.last) // 2
        part = PLANTED if gap else "part"  # the whole is then not covered, and covers them
        yield part, replace(whole, last=middle - gap)
        yield part, replace(whole, first=middle + 1)
        yield word, whole
    whole = _free(rng)
    (key, values), *others = whole.subjects
    for half in (values[::2], values[1::2]):
        yield "part", replace(whole, subjects=((key, half), *others))
    yield PLANTED, whole
    whole = _free(rng)
    if whole.network is not None:
        for network in whole.network.subnets():
            yield "part", replace(whole, network=network)
    else:
        (key, values), *others = whole.peers
        for half in (values[::2], values[1::2]):
            yield "part", replace(whole, peers=((key, half), *others))
    yield PLANTED, whole


def _free(rng: random.Random) -> Shape:
    first = rng.randrange(1, 60_000)
    network = None
    if rng.random() < 0.4:
        length = rng.randrange(9, 28)
        network = IPv4Network((10 << 24 | rng.getrandbits(24) & -(1 << 32 - length), length))
    return Shape(
        subjects=_labels(rng, 2),
        namespaces=_labels(rng, 1),
        peers=_labels(rng, 2),
        network=network,
        first=first,
        last=min(first + rng.randrange(10, 30_000), 65_535),
    )


def _labels(rng: random.Random, keys: int) -> Labels:
    chosen = sorted(rng.sample(KEYS, keys))
    return tuple((key, tuple(sorted(rng.sample(VALUES, rng.randrange(2, 5))))) for key in chosen)


def _selector(labels: Labels) -> str:
    found = (f"{{key: {key}, operator: In, values: [{', '.join(values)}]}}" for key, values in labels)
    return f"{{matchExpressions: [{', '.join(found)}]}}"


def policy(number: int, word: str, shape: Shape, namespace: str) -> str:
    """The policy of a rule."""
    if shape.network is None:
        peer = f"{{namespaceSelector: {_selector(shape.namespaces)}, podSelector: {_selector(shape.peers)}}}"
    else:
        peer = f"{{ipBlock: {{cidr: {shape.network}}}}}"
    return f"""apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: rule-{number:05d}-{word}, namespace: {namespace}}}
spec:
  podSelector: {_selector(shape.subjects)}
  policyTypes: [Ingress]
  ingress:
  - from:
    - {peer}
    ports:
    - {{protocol: TCP, port: {shape.first}, endPort: {shape.last}}}
"""


def write_worst(directory: Path, rules: int, seed: int = SEED) -> None:
    """Write the worst case of this many rules, in two namespaces.  The same arguments always write the same bytes."""
    directory.mkdir(parents=True)
    for place, namespace in enumerate(("one", "two")):
        found = enumerate(shapes(rules // 2, seed + place))
        documents = (policy(number, word, shape, namespace) for number, (word, shape) in found)
        (directory / f"{namespace}.yaml").write_text("---\n".join(documents), encoding="utf-8")


# Measuring ---------------------------------------------------------------------------------------------------------

NPCOMPILE = (sys.executable, "-m", "npcompile")
SHADOWED_RULE = "NPC101"
UNDECIDED = "NPC901"
NAME = re.compile(r"/rule-\d+-([a-z-]+)")


@dataclass(frozen=True, slots=True)
class Case:
    """Policies to write, what to ask about them, and what was promised of it."""

    name: str
    rules: int | None  # of the worst case
    cluster: tuple[str, ...]  # or of the generator of clusters, whose pods are left out
    arguments: tuple[str, ...]
    promise: str


SHADOWING = ("--symbolic", "--select", SHADOWED_RULE)
CASES = (
    Case("worst case, 1,500 rules, shadowing", 1_500, (), SHADOWING, "under 2 s"),
    Case("worst case, 1,500 rules, everything", 1_500, (), ("--symbolic",), "under 10 s"),
    Case("worst case, 10,000 rules, shadowing", 10_000, (), SHADOWING, "under 15 s"),
    Case("worst case, 10,000 rules, everything", 10_000, (), ("--symbolic",), "under 60 s"),
    Case("cluster, 5,000 policies, shadowing", None, ("--namespaces", "417"), SHADOWING, "under 15 s"),
    Case("cluster, 5,000 policies, everything", None, ("--namespaces", "417"), ("--symbolic",), "under 30 s"),
)


def seconds(command: Sequence[str]) -> float:
    """CPU seconds of a process; anything but an answer ends the measurement."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ANSWERED:
        raise SystemExit(f"{' '.join(command[:8])}: exit code {process.returncode}")
    return used.ru_utime + used.ru_stime


def measure(case: Case, directory: Path, runs: int) -> float:
    """Print a line about a case; the median of its seconds past a bare read of the same files."""
    commands = {
        "read": (sys.executable, "-c", READ_YAML, str(directory)),
        "z3": (sys.executable, "-c", START_Z3),
        "check": (*NPCOMPILE, "check", "--no-cache", *case.arguments, str(directory)),
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            found[name].append(seconds(command))
    read, z3, check = (statistics.median(found[name]) for name in commands)
    print(
        f"{case.name:<36} {check - read:7.2f} s past reading, {check / read:5.1f} times a bare CSafeLoader read"
        f"  (check {check:.2f} s, read {read:.2f} s, starting z3 {z3:.2f} s; wanted {case.promise})",
        flush=True,
    )
    return check - read


def planted(rules: int, directory: Path) -> str:
    """How many rules that were written as shadowed are reported, and how many of the others, which may be, too."""
    written = Counter(word for half in range(2) for word, _ in shapes(rules // 2, SEED + half))
    command = (*NPCOMPILE, "check", "--no-cache", *SHADOWING, "--output-format", "json", str(directory))
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=False).stdout)
    codes = Counter(one["code"] for one in answer["diagnostics"])
    subjects = (one["message"].split("`")[1] for one in answer["diagnostics"] if one["code"] == SHADOWED_RULE)
    found = Counter(match[1] if (match := NAME.search(name)) else "?" for name in subjects)
    others = ", ".join(f"{found[word]:,} of {written[word]:,} {word}" for word in sorted(written) if word != PLANTED)
    return (
        f"  reported {found[PLANTED]:,} of {written[PLANTED]:,} planted shadowings; by chance {others}; "
        f"undecided {codes[UNDECIDED]:,}"
    )


def main() -> None:
    """Print a line for each case, and how the worst case grows from 1,500 to 10,000 rules."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--generator", type=Path, default=GENERATOR, help="make_cluster.py")
    parser.add_argument("--write", type=Path, help="only write the worst case of 10,000 rules to this new directory")
    arguments = parser.parse_args()
    if arguments.write:
        write_worst(arguments.write, 10_000)
        return
    worst: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as made:
        for case in CASES:
            directory = Path(made) / ("cluster" if case.rules is None else str(case.rules)) / "policies"
            if case.rules is not None:
                if not directory.exists():
                    write_worst(directory, case.rules)
                took = measure(case, directory, arguments.runs)
                if case.arguments == SHADOWING:
                    worst[case.rules] = took
                    print(planted(case.rules, directory), flush=True)
            elif arguments.generator.is_file():
                if not directory.exists():
                    command = (sys.executable, str(arguments.generator), str(directory.parent), *case.cluster)
                    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                measure(case, directory, arguments.runs)
            else:
                print(f"{case.name:<36} not measured: no generator {arguments.generator.name} (--generator PATH)")
    (few, shorter), (many, longer) = sorted(worst.items())
    print(f"{many / few:.1f} times the rules of the worst case take {longer / shorter:.1f} times as long")


if __name__ == "__main__":
    main()
