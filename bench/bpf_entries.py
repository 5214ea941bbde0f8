"""Count the map entries that the target `bpf` needs, beside one per (endpoint, identity, port).

The other layout is that of identity-based datapaths with a policy map per endpoint: an entry for each identity that an
endpoint may talk to and each port (or range of ports) that is open to it.  Both are counted for the same cluster, all
nodes together.  Identities are those of labels that policies mention, and one for each address block; of a rule
without ports the other layout is given one entry a peer, too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from baseline import GENERATOR

from npcompile.backends.bpf.lower import lower
from npcompile.backends.bpf.rulesets import make_rulesets
from npcompile.backends.target import Options
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
from npcompile.ir.program import Program
from npcompile.passes.assign_identities import assign_identities, vocabulary
from npcompile.relation.bits import set_of

PORT_BITS = 16
CLUSTERS = {
    "1,000 pods, 240 policies": ("--namespaces", "20", "--workloads", "10", "--replicas", "5", "--policies", "12"),
    "10,000 pods, 1,200 policies": ("--namespaces", "100", "--workloads", "10", "--replicas", "10", "--policies", "12"),
}


def per_endpoint(program: Program) -> int:
    """Entries of the layout with one per (endpoint, identity, port)."""
    identities = assign_identities(program.cluster, vocabulary(program.policies))
    rulesets = make_rulesets(program.policies, program.cluster, identities, program.cluster.pods)
    first_outside = len(identities.pods) + len(identities.hosts)
    blocks = {one.atom: first_outside + place for place, one in reversed(list(enumerate(identities.outside)))}
    counted = set_of([*range(len(identities.pods)), *blocks.values()])
    endpoints: Counter[int] = Counter()
    for (number, _), place in rulesets.of_identity.items():
        endpoints[place] += len(identities.pods[number].members)
    return sum(
        many * (one.identities & counted).bit_count() * len(one.openings)
        for place, many in endpoints.items()
        for one in rulesets.all[place].classes
    )


def ours(program: Program) -> dict[str, int]:
    """Entries of every map, the rules' counters among them."""
    tables, _ = lower(program, Options())
    names = ("endpoints", "addresses", "networks", "classes", "policy", "rules")
    return {name: len(getattr(tables, name)) for name in names}


def with_port_classes(program: Program) -> int:
    """Entries of our layout if a port were mapped to a class of ports by an array for each protocol.

    A class holds ports that no entry tells apart, and a peer class has an entry for each class of ports it is open to;
    what is open for every protocol is asked apart, as it is now.
    """
    entries = lower(program, Options())[0].policy
    total = sum(ours(program).values()) - sum(one.protocol is not None for one in entries)
    for protocol in {one.protocol for one in entries} - {None}:
        spans = [
            ((one.ruleset, one.peer_class), range(one.port, one.port + (1 << PORT_BITS - one.bits)))
            for one in entries
            if one.protocol is protocol
        ]
        edges = {edge for _, ports in spans for edge in (ports.start, ports.stop)}
        classes = {frozenset(who for who, ports in spans if edge in ports) for edge in edges}
        total += sum(map(len, classes)) + (1 << PORT_BITS)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", type=Path, default=GENERATOR)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.generator.is_file():
        sys.exit(f"the generator is absent: {options.generator} (name it with --generator)")
    found = []
    for name, arguments in CLUSTERS.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(options.generator), *arguments, folder]
            subprocess.run(command, check=True, capture_output=True)
            program = load(read_sources([folder])).program
        entries, other = ours(program), per_endpoint(program)
        total, arrays = sum(entries.values()), with_port_classes(program)
        found.append(
            {
                "cluster": name,
                "entries": entries,
                "total": total,
                "other": other,
                "ratio": other / total,
                "arrays": arrays,
            }
        )
        if not options.json:
            parts = ", ".join(f"{number:,} {part}" for part, number in entries.items())
            print(f"{name}: {total:,} entries ({parts})")
            print(f"  one per (endpoint, identity, port): {other:,}, {other / total:,.0f} times as many")
            print(f"  ours with arrays of port classes: {arrays:,}, {other / arrays:,.0f} times fewer than those")
    if options.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
