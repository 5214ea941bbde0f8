"""Which flows a lab tries, and the packets that it writes itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Family
from npcompile.netset.ports import Protocol
from npcompile.runtime.lab.observation import Observation, Observed
from npcompile.runtime.lab.outside import outside
from npcompile.runtime.lab.packets import (
    Heard,
    crc32c,
    echo_request,
    payload,
    read_echo,
    read_sctp,
    sctp_answer,
    sctp_init,
)
from npcompile.runtime.lab.plan import make_plan
from npcompile.runtime.lab.probes import every_trial, probe
from npcompile.runtime.lab.settle import settle
from npcompile.semantics import decide
from tests.kernel.wire import checksum
from tests.strategies import programs


@settings(max_examples=30)
@given(programs(max_pods=3))
def test_ports_between_those_that_are_tried_get_no_other_verdict(program: Program) -> None:
    """Whatever verdict some port gets between two ends of a lab, a port that is tried gets it, too."""
    settled = settle(program)
    plan = make_plan(settled, outside(settled).addresses[:4])
    tried: dict[tuple[Endpoint, Endpoint], dict[tuple[Protocol, int | None], Verdict]] = {}
    for trial in every_trial(settled, plan):
        flow = trial.flow
        verdict = decide(settled.policies, settled.cluster, flow).verdict
        tried.setdefault((flow.src, flow.dst), {})[flow.protocol, flow.port] = verdict
    for (src, dst), verdicts in tried.items():
        assert src.pod or dst.pod
        assert {protocol for protocol, _ in verdicts} == set(Protocol)
        for protocol in (Protocol.TCP, Protocol.UDP, Protocol.SCTP):
            of_tried = {verdict for (one, _), verdict in verdicts.items() if one is protocol}
            everywhere = {
                decide(settled.policies, settled.cluster, Flow(src=src, dst=dst, protocol=protocol, port=port)).verdict
                for port in (1, 2, 52, 53, 54, 79, 80, 81, 82, 442, 443, 444, 8079, 8080, 8081, 65534, 65535)
            }
            assert everywhere <= of_tried


@settings(max_examples=30)
@given(programs())
def test_everyone_is_tried_with_everyone(program: Program) -> None:
    settled = settle(program)
    plan = make_plan(settled, ())
    ends = {(place.name, address) for place in plan.places for address in place.addresses}
    pods = {str(pod) for pod in settled.cluster.pods}
    wanted = {
        (a, b) for src, a in ends for dst, b in ends if a.version == b.version and (src in pods or dst in pods)
    }  # fmt: skip
    probes = [probe(trial) for trial in every_trial(settled, plan, [(Protocol.TCP, 80)])]
    assert {(one.src, one.dst) for one in probes} == wanted
    assert all(one.arrival == (one.dst, one.port) for one in probes)


# --- packets ---

tokens = st.integers(1, 2**32 - 1)
numbers = st.integers(1, 65535)


@given(st.sampled_from(Family), numbers, tokens)
def test_echo(family: Family, identifier: int, token: int) -> None:
    request = echo_request(family, identifier, token)
    assert read_echo(family, request) == Heard(True, token)
    if family is Family.V4:
        assert checksum(request) == 0
    reply = bytes([0 if family is Family.V4 else 129]) + request[1:]
    assert read_echo(family, reply) == Heard(False, token)
    header = bytes([0x46]) + bytes(23)
    assert payload(Family.V4, header + request) == request


@given(numbers, numbers, tokens)
def test_sctp(sport: int, dport: int, token: int) -> None:
    init = sctp_init(sport, dport, token)
    heard = read_sctp(init)
    assert heard == Heard(True, token, sport, dport)
    answer = sctp_answer(heard)
    assert read_sctp(answer) == Heard(False, token, dport, sport)
    for packet in (init, answer):
        assert packet[8:12] == crc32c(packet[:8] + bytes(4) + packet[12:]).to_bytes(4, "little")


def test_an_abort_is_an_answer() -> None:
    """The kernel's own SCTP, where there is one, refuses an association that nobody listens for (RFC 9260, 8.4)."""
    abort = sctp_init(80, 5000, 1)[:4] + (77).to_bytes(4, "big") + bytes(4) + bytes([6, 0, 0, 4])
    assert read_sctp(abort) == Heard(False, 77, 80, 5000)


@given(st.binary(max_size=64))
def test_other_packets_are_nothing_to_a_lab(data: bytes) -> None:
    for family in Family:
        read_echo(family, payload(family, data))
    read_sctp(data)


def test_the_checksum_of_the_rfc() -> None:
    assert crc32c(b"123456789") == 0xE306_9283


# --- what was seen ---


@pytest.mark.parametrize(
    ("observed", "expected", "differs"),
    [
        (Observed.ALLOW, Verdict.ALLOW, False),
        (Observed.ALLOW, Verdict.DENY, True),
        (Observed.DENY, Verdict.DENY, False),
        (Observed.DENY, Verdict.ALLOW, True),
        (Observed.ONE_WAY, Verdict.DENY, True),
        (Observed.ONE_WAY, Verdict.ALLOW, True),
        (Observed.UNKNOWN, Verdict.DENY, False),
    ],
)
def test_differences(observed: Observed, expected: Verdict, differs: bool) -> None:
    assert Observation(observed).differs(expected) is differs
