"""`observe` and `endpoints` say in names what the datapath says in numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from npcompile.backends.bpf import BpfTarget
from npcompile.backends.target import Established, Options
from npcompile.diagnostics.errors import InputError
from npcompile.driver.emit import manifest
from npcompile.driver.endpoints import endpoints
from npcompile.driver.observe import observe
from npcompile.frontend import load
from npcompile.ir.flow import Verdict
from npcompile.runtime.bpf.loader import BpfLoader
from npcompile.runtime.loader import Stored
from npcompile.source import SourceFile
from tests.kernel import frames as f
from tests.kernel.applying import BOTH, stored
from tests.kernel.test_bpf_apply import BINDINGS, Node, made, sends
from tests.kernel.wire import run

pytestmark = pytest.mark.kernel("clang", "ip")

ALLOWED = f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40000, 80))
DENIED = f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40000, 81))
LOADER = BpfLoader(bindings=BINDINGS)


@pytest.fixture
def loaded() -> Iterator[Node]:
    with made() as node:
        LOADER.apply(stored(BOTH, "bpf"))
        yield node


def test_events_by_name(loaded: Node) -> None:
    assert sends(ALLOWED)
    assert not sends(DENIED)
    allowed, denied = observe(None, 0.1, earlier=True)
    assert (allowed["verdict"], allowed["src"], allowed["dst"]) == ("ALLOW", "a/p1", "a/p2")
    assert (denied["verdict"], denied["reason"], denied["destination_port"]) == ("DENY", "no-rule", 81)
    assert allowed["endpoint"] == denied["endpoint"] == "a/p1"
    assert allowed["rule"] and denied["rule"] and allowed["rule"] != denied["rule"]
    assert not sends(f.ip("10.7.0.1", "10.7.0.2", 17, f.udp(40000, 80)))
    assert sends(f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40001, 80)))
    assert [one["protocol"] for one in observe(Verdict.DENY, 0.1, earlier=True)] == ["udp"]


def test_events_of_before_are_skipped_and_counted(loaded: Node) -> None:
    for _ in range(3):
        assert not sends(DENIED)
    watching = observe(None, 5)
    assert next(watching) == {"skipped": 3}
    assert sends(ALLOWED)
    assert next(watching)["verdict"] == "ALLOW"


def test_lost_events_are_counted_and_said(loaded: Node) -> None:
    watching = observe(Verdict.DENY, 5)
    assert not sends(DENIED)
    next(watching)
    sent = 13_000  # more than the ring buffer holds
    sends(DENIED, repeat=sent)
    told = lost = 0
    for one in watching:
        if "lost" in one:
            lost += int(str(one["lost"]))
        else:
            told += 1
        if told + lost == sent:
            break
    assert told + lost == sent and told > 1_000 and lost > 1_000


def test_one_observes_at_a_time(loaded: Node) -> None:
    watching = observe(None, 60, earlier=True)
    assert not sends(DENIED)
    next(watching)
    with pytest.raises(InputError, match="observes already"):
        next(observe(None, 1))
    watching.close()
    assert list(observe(None, 0.1)) == []


POLICY = """{lines}{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{namespace: a, name: out}},
  spec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{{ports: [{{port: {port}}}]}}]}}}}
---
{{apiVersion: v1, kind: Pod, metadata: {{namespace: a, name: p1}}, status: {{podIP: 10.7.0.1}}}}
"""


def apply(port: int, lines: int, established: Established = Established.KEEP) -> None:
    """An egress policy for one port, behind so many empty lines of its file."""
    source = SourceFile(path=f"policy-{port}.yaml", text=POLICY.format(lines="\n" * lines, port=port))
    options = Options(established=established)
    artifact = BpfTarget().emit(load([source]).program, options)
    LOADER.apply(Stored(target="bpf", files=artifact.files, manifest=manifest(artifact, options)))


def test_the_line_of_the_rule_that_decided_after_several_changes() -> None:
    """Each event is told by the names of its own generation, although that has gone when it is read; other programs,
    and the same entries from other lines, are among the changes.
    """
    with made():
        apply(80, 0)
        watching = observe(None, 60, earlier=True)
        changes = [(80, 0), (81, 4), (80, 7), (80, 2), (81, 1)]
        for number, (port, lines) in enumerate(changes):
            apply(port, lines, Established.RECHECK if number == 3 else Established.KEEP)
            assert sends(f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40000 + number, port)))
            told = next(watching)
            assert told["rule"] == f"a/out egress[0] (policy-{port}.yaml:{lines + 2})"
        # Nobody reads while the policy changes twice.
        assert not sends(f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(50000, 80)))
        apply(80, 9)
        assert sends(f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(50001, 80)))
        denied, allowed = next(watching), next(watching)
        assert denied["rule"] == "a/out egress (policy-81.yaml:2)"
        assert allowed["rule"] == "a/out egress[0] (policy-80.yaml:11)"


def test_observing_ends_with_the_datapath(loaded: Node) -> None:
    watching = observe(None, 20)
    assert not sends(DENIED)
    next(watching)
    LOADER.detach()
    assert list(watching) == [{"removed": True}]


def test_endpoints(loaded: Node) -> None:
    sends(ALLOWED)
    client, server = endpoints()
    assert (client["pod"], client["interface"], server["pod"]) == ("a/p1", "to1", "a/p2")
    assert list(client["rules"].values()) == [1]  # type: ignore[attr-defined]
    assert client["egress"] and not client["ingress"] and server["ingress"]
    assert client["attached"] and server["attached"]
    run("ip", "netns", "exec", loaded.name, "tc", "filter", "delete", "dev", "to1", "egress")
    assert [one["attached"] for one in endpoints()] == [False, True]
    said = subprocess.run([sys.executable, "-m", "npcompile", "endpoints"], capture_output=True, text=True, check=True)
    first, *_ = said.stdout.splitlines()
    assert "identity" in first and "NOT ENFORCED" in first and said.stdout.count("NOT ENFORCED") == 1


def test_without_anything_loaded() -> None:
    with made():
        for ask in (endpoints, lambda: list(observe(None, 0.1))):
            with pytest.raises(InputError, match="no artifact"):
                ask()


# --- the command ---


@contextmanager
def observing(*options: str, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """`npcompile observe`, once it has printed an event."""
    command = [sys.executable, "-m", "npcompile", "observe", "--output-format", "jsonl", *options]
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def first_line(child: subprocess.Popen[str]) -> dict[str, object]:
    """Send until something is said: the command takes a while to begin."""
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        sends(DENIED)
        time.sleep(0.05)
        if line := child.stdout.readline():
            os.set_blocking(child.stdout.fileno(), True)
            return json.loads(line)  # type: ignore[no-any-return]
    raise AssertionError("nothing was said")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_everything_said(loaded: Node, number: signal.Signals) -> None:
    with observing() as child:
        first_line(child)
        sends(DENIED, repeat=500)
        child.send_signal(number)
        out, err = child.communicate(timeout=10)
        assert child.returncode == 0 and err == ""
        assert len([line for line in out.splitlines() if json.loads(line).get("destination_port") == 81]) >= 500


def test_lines_for_people_have_ports_where_there_are_any(loaded: Node) -> None:
    """A source of IPv6 is told from its port, and what was not read of a packet is not told as zeros."""
    strangers = f.ipv6("fd00::1", "fd00::2", 17, f.udp(40000, 80))
    arp = f.arp("10.7.0.1", "10.7.0.2", 1)
    for frame in (ALLOWED, f.ip("10.7.0.1", "10.7.0.2", 1, f.icmp(8)), strangers, arp):
        sends(frame)
    command = [sys.executable, "-m", "npcompile", "observe", "--earlier", "--seconds", "0"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line[5:].split("  ")[1:3] for line in said] == [
        ["a/p1:40000 -> a/p2", "tcp/80"],
        ["a/p1 -> a/p2", "icmp"],
        ["[fd00::1]:40000 -> fd00::2", "udp/80"],
        ["? -> ?", "?"],
    ]


def test_it_ends_when_nobody_reads_any_more(loaded: Node) -> None:
    with observing() as child:
        first_line(child)
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.wait(timeout=10) == 0  # although nothing happens that it could print
        assert child.stderr.read() == ""
