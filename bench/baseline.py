"""What the benchmarks share: where clusters come from, and the bare read of their files that times are set beside."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATOR = ROOT.parent / "shared" / "bench" / "make_cluster.py"
# Exit codes that are answers: clean, findings, undecided.  2 is unusable input.
ANSWERED = frozenset({0, 1, 3})

READ_YAML = """
import pathlib, sys, yaml
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.yaml")):
    with path.open(encoding="utf-8") as file:
        for document in yaml.load_all(file, Loader=yaml.CSafeLoader):
            pass
"""
