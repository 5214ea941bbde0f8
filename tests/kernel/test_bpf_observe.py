"""`observe` and `endpoints` say in names what the datapath says in numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from npcompile.diagnostics.errors import InputError
from npcompile.driver.observe import endpoints, observe
from npcompile.ir.flow import Verdict
from npcompile.runtime.bpf.loader import BpfLoader
from tests.kernel import frames as f
from tests.kernel.applying import BOTH, stored
from tests.kernel.test_bpf_apply import BINDINGS, made, sends

pytestmark = pytest.mark.kernel("clang", "ip")


@pytest.fixture
def loaded() -> Iterator[None]:
    with made():
        BpfLoader(bindings=BINDINGS).apply(stored(BOTH, "bpf"))
        yield


def test_events_by_name(loaded: None) -> None:
    assert sends(f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40000, 80)))
    assert not sends(f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40000, 81)))
    allowed, denied = observe(None, 0.1)
    assert (allowed["verdict"], allowed["src"], allowed["dst"]) == ("ALLOW", "a/p1", "a/p2")
    assert (denied["verdict"], denied["reason"], denied["destination_port"]) == ("DENY", "no-rule", 81)
    assert allowed["endpoint"] == denied["endpoint"] == "a/p1"
    assert allowed["rule"] and denied["rule"] and allowed["rule"] != denied["rule"]
    assert not sends(f.ip("10.7.0.1", "10.7.0.2", 17, f.udp(40000, 80)))
    assert sends(f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40001, 80)))
    assert [one["protocol"] for one in observe(Verdict.DENY, 0.1)] == ["udp"]


def test_lost_events_are_said(loaded: None) -> None:
    frame = f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40000, 81))
    watching = observe(Verdict.DENY, 5)
    assert not sends(frame)
    next(watching)
    sends(frame, repeat=13_000)  # more than the ring buffer holds
    assert any("lost" in one for one in watching)


def test_endpoints(loaded: None) -> None:
    sends(f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40000, 80)))
    client, server = endpoints()
    assert (client["pod"], client["interface"], server["pod"]) == ("a/p1", "to1", "a/p2")
    assert list(client["rules"].values()) == [1]  # type: ignore[attr-defined]
    assert client["egress"] and not client["ingress"] and server["ingress"]


def test_without_anything_loaded() -> None:
    with made():
        for ask in (endpoints, lambda: list(observe(None, 0.1))):
            with pytest.raises(InputError, match="no artifact"):
                ask()
