"""Flows: what belongs to one passes, for a while, and nothing else does for its sake."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from npcompile.backends.bpf.source import Features
from npcompile.runtime.bpf.events import Reason
from tests.kernel import frames as f
from tests.kernel.bpf import Bench, bench, document

pytestmark = pytest.mark.kernel("clang", "ip")

A, B, PEER, OTHER, ROUTER = "10.0.0.1", "10.0.0.2", "10.0.0.8", "10.0.0.9", "192.0.2.9"
A6, PEER6, ROUTER6 = "fd00::1", "fd00::8", "fd00:1::9"
R = Reason
KNOWN = (R.ESTABLISHED,)  # which the helper says of replies, too


def maps(*allowed: tuple[str, str], ruleset: int = 1) -> bytes:
    """Two pods, isolated both ways: what is allowed is allowed with PEER, in both directions."""
    both = {"egress": ruleset, "ingress": ruleset + 1}
    pods = [{"pod": "n/a", "id": 1, **both, "addresses": [A, A6]}, {"pod": "n/b", "id": 2, **both, "addresses": [B]}]
    known = {A: 1, A6: 1, B: 1, PEER: 2, PEER6: 2}
    return document(
        endpoints=pods,
        addresses=[{"address": address, "identity": identity} for address, identity in known.items()],
        classes=[{"ruleset": one, "identity": 2, "class": 1} for one in both.values()],
        policy=[
            {"ruleset": one, "class": 1, "protocol": protocol, "ports": ports, "rule": rule}
            for one in both.values()
            for rule, (protocol, ports) in enumerate(allowed, 1)
        ],
    )


WEB_AND_DNS = maps(("tcp", "80"), ("udp", "53"), ("sctp", "99"))


@pytest.fixture(scope="module")
def loaded() -> Iterator[Bench]:
    with bench() as made:
        yield made


@pytest.fixture
def b(loaded: Bench) -> Bench:
    loaded.forget()
    loaded.bind(WEB_AND_DNS)
    return loaded


def tcp(src: str, dst: str, source: int, destination: int, flags: int = f.SYN) -> bytes:
    return f.ip(src, dst, f.TCP, f.tcp(source, destination, flags))


def udp(src: str, dst: str, source: int, destination: int) -> bytes:
    return f.ip(src, dst, f.UDP, f.udp(source, destination))


@pytest.mark.parametrize(("own", "peer"), [(A, PEER), (A6, PEER6)])
def test_replies_pass(b: Bench, own: str, peer: str) -> None:
    assert b.into(tcp(peer, own, 80, 40000, f.SYN | f.ACK)) is R.NO_RULE  # nobody asked
    assert b.out(tcp(own, peer, 40000, 80)) is R.ALLOWED_BY_RULE
    assert b.into(tcp(peer, own, 80, 40000, f.SYN | f.ACK)) in KNOWN
    assert b.into(tcp(peer, own, 80, 40001, f.SYN | f.ACK)) is R.NO_RULE
    assert b.into(tcp(peer, own, 81, 40000, f.SYN | f.ACK)) is R.NO_RULE
    assert b.out(udp(own, peer, 40000, 53)) is R.ALLOWED_BY_RULE
    assert b.into(udp(peer, own, 53, 40000)) in KNOWN
    assert b.into(udp(peer, own, 53, 40001)) is R.NO_RULE


def test_replies_of_a_pod_to_who_may_reach_it(b: Bench) -> None:
    assert b.out(tcp(A, PEER, 80, 50000, f.SYN | f.ACK)) is R.NO_RULE
    assert b.into(tcp(PEER, A, 50000, 80)) is R.ALLOWED_BY_RULE
    assert b.out(tcp(A, PEER, 80, 50000, f.SYN | f.ACK)) in KNOWN


def test_what_one_pod_was_allowed_serves_no_other(b: Bench) -> None:
    assert b.out(tcp(A, PEER, 40000, 80), place=0) is R.ALLOWED_BY_RULE
    assert b.into(tcp(PEER, B, 80, 40000, f.SYN | f.ACK), place=1) is R.NO_RULE
    # Not even where the other one claims its address.
    assert b.out(tcp(A, PEER, 40000, 80, f.ACK), place=1) is R.SPOOFED_SOURCE
    assert b.into(tcp(PEER, A, 80, 40000, f.ACK), place=1) is R.FOREIGN_DESTINATION


def test_a_flow_the_other_way_is_another_flow(b: Bench) -> None:
    assert b.out(tcp(A, PEER, 40000, 80)) is R.ALLOWED_BY_RULE
    assert b.into(tcp(PEER, A, 80, 40000, f.SYN)) is R.NO_RULE
    assert b.out(f.ip(A, PEER, f.SCTP, f.sctp(40000, 99))) is R.ALLOWED_BY_RULE
    assert b.into(f.ip(PEER, A, f.SCTP, f.sctp(99, 40000, chunk=2))) in KNOWN
    assert b.into(f.ip(PEER, A, f.SCTP, f.sctp(99, 40000, chunk=1))) is R.NO_RULE
    b.bind(document_any())
    assert b.out(f.ip(A, PEER, f.ICMP4, f.icmp(8))) is R.ALLOWED_BY_RULE
    assert b.into(f.ip(PEER, A, f.ICMP4, f.icmp(0))) in KNOWN
    assert b.into(f.ip(PEER, A, f.ICMP4, f.icmp(8))) is R.NO_RULE


def document_any() -> bytes:
    """Pod A may send anything to PEER, and receive nothing."""
    return document(
        endpoints=[{"pod": "n/a", "id": 1, "egress": 1, "ingress": 2, "addresses": [A, A6]}],
        addresses=[{"address": address, "identity": number} for address, number in ((A, 1), (A6, 1), (PEER, 2))],
        classes=[{"ruleset": 1, "identity": 2, "class": 1}],
        policy=[{"ruleset": 1, "class": 1, "protocol": "any", "ports": "*", "rule": 1}],
    )


def test_answers_to_icmp_requests_and_protocols_without_ports(b: Bench) -> None:
    b.bind(document_any())
    assert b.into(f.ip(PEER, A, f.ICMP4, f.icmp(0))) is R.NO_RULE
    for request, answer in ((8, 0), (13, 14)):
        assert b.out(f.ip(A, PEER, f.ICMP4, f.icmp(request, identifier=5))) is R.ALLOWED_BY_RULE
        assert b.into(f.ip(PEER, A, f.ICMP4, f.icmp(answer, identifier=5))) in KNOWN
        assert b.into(f.ip(PEER, A, f.ICMP4, f.icmp(answer, identifier=6))) is R.NO_RULE
    assert b.out(f.ip(A, PEER, f.ICMP4, f.icmp(10))) is R.ALLOWED_BY_RULE  # it has no answer
    assert b.into(f.ip(PEER, A, f.ICMP4, f.icmp(10))) is R.NO_RULE
    assert b.out(f.ip(A, PEER, 47, bytes(8))) is R.ALLOWED_BY_RULE
    assert b.into(f.ip(PEER, A, 47, bytes(8))) in KNOWN


@pytest.mark.parametrize(("kind", "code"), [(3, 1), (3, 4), (4, 0), (5, 1), (11, 0), (12, 0)])
def test_icmp_errors_only_about_known_flows(b: Bench, kind: int, code: int) -> None:
    def error(src: str, dst: str, quoted: bytes) -> bytes:
        return f.ipv4(src, dst, f.ICMP4, f.icmp_error(kind, quoted, code))

    sent = tcp(A, PEER, 40000, 80)
    assert b.into(error(ROUTER, A, sent)) is R.ICMP_ERROR
    assert b.out(sent) is R.ALLOWED_BY_RULE
    assert b.into(error(ROUTER, A, sent)) is R.RELATED
    assert b.into(error(ROUTER, A, f.ipv4(A, PEER, 6, f.tcp(40000, 80), options=bytes(8)))) is R.RELATED
    assert b.into(error(ROUTER, A, sent[: 14 + 28])) is R.RELATED  # eight bytes are what RFC 792 promises
    assert b.into(error(ROUTER, A, sent[: 14 + 27])) is R.ICMP_ERROR
    assert b.into(error(ROUTER, A, tcp(A, PEER, 40000, 81))) is R.ICMP_ERROR
    assert b.into(error(ROUTER, A, udp(A, PEER, 40000, 80))) is R.ICMP_ERROR
    assert b.into(error(ROUTER, A, tcp(B, PEER, 40000, 80))) is R.ICMP_ERROR
    assert b.into(error(ROUTER, A, tcp(PEER, A, 80, 40000))) is R.ICMP_ERROR  # which the pod did not send
    assert b.into(error(ROUTER, A, f.ipv4(A, PEER, 6, f.tcp(40000, 80), fragment=1))) is R.ICMP_ERROR
    assert b.into(error(ROUTER, A, f.ipv4(A, PEER, 6, f.tcp(40000, 80), words=4))) is R.ICMP_ERROR
    # The pod's own errors, to who sent it what they quote, and to nobody else.
    received = udp(PEER, A, 53, 40000)
    assert b.out(error(A, PEER, received)) is R.ICMP_ERROR
    assert b.out(udp(A, PEER, 40000, 53)) is R.ALLOWED_BY_RULE
    assert b.out(error(A, PEER, received)) is (R.ICMP_ERROR if kind == 5 else R.RELATED)  # a pod is no router
    assert b.out(error(A, OTHER, received)) is R.ICMP_ERROR


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_icmpv6_errors_only_about_known_flows(b: Bench, kind: int) -> None:
    def error(quoted: bytes) -> bytes:
        return f.ipv6(ROUTER6, A6, f.ICMP6, f.icmp_error(kind, quoted))

    sent = tcp(A6, PEER6, 40000, 80)
    assert b.into(error(sent)) is R.ICMP_ERROR
    assert b.out(sent) is R.ALLOWED_BY_RULE
    assert b.into(error(sent)) is R.RELATED
    assert b.into(error(sent[: 14 + 47])) is R.ICMP_ERROR
    assert b.into(error(tcp(A6, PEER6, 40000, 81))) is R.ICMP_ERROR
    assert b.into(error(f.ipv6(A6, PEER6, 60, f.extension(6) + f.tcp(40000, 80)))) is R.ICMP_ERROR


def test_errors_about_pings(b: Bench) -> None:
    b.bind(document_any())
    sent = f.ip(A, PEER, f.ICMP4, f.icmp(8, identifier=3))
    error = f.ipv4(ROUTER, A, f.ICMP4, f.icmp_error(11, sent))
    assert b.into(error) is R.ICMP_ERROR
    assert b.out(sent) is R.ALLOWED_BY_RULE
    assert b.into(error) is R.RELATED


# --- when policy changes ---


@pytest.mark.parametrize("mode", ["keep", "recheck"])
def test_established_flows_when_policy_tightens(mode: str) -> None:
    with bench(Features(recheck=mode == "recheck")) as b:
        b.bind(WEB_AND_DNS)
        assert b.out(tcp(A, PEER, 40000, 80)) is R.ALLOWED_BY_RULE
        assert b.out(udp(A, PEER, 40000, 53)) is R.ALLOWED_BY_RULE
        assert b.into(tcp(PEER, A, 50000, 80)) is R.ALLOWED_BY_RULE
        b.bind(maps(("udp", "53"), ruleset=3))
        expected = (R.ESTABLISHED,) if mode == "keep" else (R.NO_RULE,)
        assert b.out(tcp(A, PEER, 40000, 80, f.ACK)) in expected
        assert b.into(tcp(PEER, A, 80, 40000, f.ACK)) in expected
        assert b.into(tcp(PEER, A, 50000, 80, f.ACK)) in expected
        assert b.out(tcp(A, PEER, 80, 50000, f.ACK)) in expected
        assert b.out(udp(A, PEER, 40000, 53)) in KNOWN
        assert b.into(udp(PEER, A, 53, 40000)) in KNOWN
        assert b.out(tcp(A, PEER, 40000, 80)) is R.NO_RULE  # opening it again is a new flow
        b.bind(WEB_AND_DNS)
        assert b.out(tcp(A, PEER, 40000, 80, f.ACK)) in KNOWN


def test_rechecked_flows_of_the_own_node_go_on() -> None:
    with bench(Features(recheck=True)) as b:
        b.bind(WEB_AND_DNS)
        assert b.into(tcp(OTHER, A, 40000, 22), arrived=0) is R.FROM_OWN_NODE
        b.bind(maps(ruleset=3))
        assert b.out(tcp(A, OTHER, 22, 40000, f.SYN | f.ACK)) in KNOWN
        assert b.into(tcp(OTHER, A, 40000, 22, f.ACK), arrived=0) in KNOWN


# --- ageing ---

SHORT = Features(
    constants={
        "NP_TCP_ESTABLISHED": 3,
        "NP_TCP_OPENING": 1,
        "NP_TCP_CLOSING": 0,
        "NP_STREAM": 3,
        "NP_OPENING": 1,
    }
)


def test_entries_age_out() -> None:
    with bench(SHORT) as b:
        b.bind(WEB_AND_DNS)
        b.out(tcp(A, PEER, 40000, 80))  # answered, and confirmed
        b.into(tcp(PEER, A, 80, 40000, f.SYN | f.ACK))
        b.out(tcp(A, PEER, 40000, 80, f.ACK))
        b.out(tcp(A, PEER, 40001, 80))  # unanswered
        b.out(tcp(A, PEER, 40002, 80))  # reset
        b.into(tcp(PEER, A, 80, 40002, f.RST | f.ACK))
        b.out(tcp(A, PEER, 40003, 80))  # closed by both ends
        b.into(tcp(PEER, A, 80, 40003, f.FIN | f.ACK))
        b.out(tcp(A, PEER, 40003, 80, f.FIN | f.ACK))
        b.out(udp(A, PEER, 40000, 53))  # answered
        b.into(udp(PEER, A, 53, 40000))
        b.out(udp(A, PEER, 40001, 53))  # unanswered
        assert b.into(tcp(PEER, A, 80, 40002, f.ACK)) is R.NO_RULE
        assert b.into(tcp(PEER, A, 80, 40003, f.ACK)) is R.NO_RULE
        time.sleep(1.2)
        assert b.into(tcp(PEER, A, 80, 40001, f.ACK)) is R.NO_RULE
        assert b.into(udp(PEER, A, 53, 40001)) is R.NO_RULE
        assert b.into(tcp(PEER, A, 80, 40000, f.ACK)) in KNOWN
        assert b.into(udp(PEER, A, 53, 40000)) in KNOWN
        time.sleep(2.2)  # the last packets were in time
        assert b.into(tcp(PEER, A, 80, 40000, f.ACK)) in KNOWN
        time.sleep(3.2)
        assert b.into(tcp(PEER, A, 80, 40000, f.ACK)) is R.NO_RULE
        assert b.into(udp(PEER, A, 53, 40000)) is R.NO_RULE


def test_what_the_map_has_no_room_for_opens_nothing(b: Bench) -> None:
    """Which flows the kernel forgets is its own choice: it keeps lists a processor, and takes what is old about."""
    ports = range(1024, 1024 + 20000)
    for port in ports:
        b.object.program("np_from_pod").run(tcp(A, PEER, port, 80), b.context())
    answers = {port: b.into(tcp(PEER, A, 80, port, f.ACK)) for port in ports[::97]}
    forgotten = [port for port, reason in answers.items() if reason is R.NO_RULE]
    assert len(forgotten) > len(answers) / 2  # there is room for a fifth
    assert all(reason in KNOWN for port, reason in answers.items() if port not in forgotten)
    assert b.out(tcp(A, PEER, forgotten[0], 80, f.ACK)) is R.ALLOWED_BY_RULE  # judged again
