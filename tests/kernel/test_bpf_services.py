"""What a pod sends to a Service passes the loaded datapath where every backend is allowed, and only there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from npcompile.backends.bpf import BpfTarget
from npcompile.backends.target import Options
from npcompile.frontend import load
from npcompile.ir.policy import Direction
from npcompile.readers.bpf_maps import read_maps
from npcompile.runtime.bpf.events import Reason
from npcompile.source import SourceFile
from tests.bpf_service import ALIKE, MIXED, SERVICE
from tests.kernel import frames
from tests.kernel.bpf import Bench, bench

pytestmark = pytest.mark.kernel("clang", "ip")

CLIENT, FRONT, BACKEND = "10.0.0.1", "10.96.0.1", "10.0.0.2"


@pytest.fixture(scope="module")
def kernel() -> Iterator[Bench]:
    with bench() as made:
        yield made


@pytest.mark.parametrize(
    ("text", "reason"),
    [(SERVICE, Reason.SERVICE_MIXED), (SERVICE.replace(MIXED, ALIKE), Reason.ALLOWED_BY_RULE)],
    ids=["one backend of two", "both backends"],
)
def test_a_service_passes_where_every_backend_does(kernel: Bench, text: str, reason: Reason) -> None:
    maps = BpfTarget().emit(load([SourceFile(path="in.yaml", text=text)]).program, Options()).files["maps.json"]
    kernel.forget()
    kernel.bind(maps)
    place = list(read_maps(maps).endpoints).index("a/client")

    def sent(destination: str, port: int) -> Reason:
        packet = frames.ip(CLIENT, destination, frames.TCP, frames.transport(frames.TCP, port))
        return kernel.send(Direction.EGRESS, packet, place=place)

    assert sent(FRONT, 80) is reason
    assert sent(FRONT, 81) is Reason.NO_RULE
    assert sent(BACKEND, 8080) is Reason.ALLOWED_BY_RULE
