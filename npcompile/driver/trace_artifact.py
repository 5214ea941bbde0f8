"""`npcompile trace --artifact`: the way of a flow's first packet through an artifact, line by line, back to the source.

The artifact is read from the bytes that a node would load, by readers that know nothing of how they were made.
"""

from __future__ import annotations

from pathlib import Path

from npcompile.analyses.addressing import Port
from npcompile.analyses.trace import Traced
from npcompile.driver.walk import Passed, Walk, text
from npcompile.driver.walk_bpf import BpfGuide
from npcompile.driver.walk_filters import FilterGuide
from npcompile.ir.cluster import Cluster
from npcompile.runtime.stored import read_stored

_BPF = "bpf"


class Walker:
    """An artifact, read back; raises InputError for one that is not what was emitted, or not understood."""

    def __init__(self, directory: str, cluster: Cluster) -> None:
        self._directory = directory
        stored = read_stored(Path(directory))
        self._target = stored.target
        self._node = text(stored.manifest.get("node"))
        self._guide: BpfGuide | FilterGuide = (
            BpfGuide(stored, cluster, self._node) if stored.target == _BPF else FilterGuide(stored, cluster, self._node)
        )

    def walk(self, traced: Traced, port: Port) -> Walk:
        """The way of a judged flow; `port`: the one that was asked for."""
        return Walk(
            directory=self._directory,
            target=self._target,
            node=self._node,
            passed=self._passed(traced, port),
            expected=traced.decision.verdict,
        )

    def _passed(self, traced: Traced, port: Port) -> Passed | None:
        flow = traced.flow
        if flow.src.address is None or flow.dst.address is None:
            return None
        if isinstance(self._guide, BpfGuide):
            return self._guide.passed(flow, traced.service, port)
        return self._guide.passed(flow)
