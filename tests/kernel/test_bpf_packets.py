"""What the datapath makes of every kind of frame, by BPF_PROG_TEST_RUN: each is dropped for its own reason, or judged.

One pod, isolated both ways, may speak with one peer over TCP 80 and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from npcompile.backends.bpf.source import Features
from npcompile.ir.policy import Direction
from npcompile.runtime.bpf.events import Reason
from tests.kernel import frames as f
from tests.kernel.bpf import Bench, bench, document

pytestmark = pytest.mark.kernel("clang", "ip")

POD, PEER, OTHER = "10.0.0.1", "10.0.0.2", "10.0.0.3"
POD6, PEER6, OTHER6 = "fd00::1", "fd00::2", "fd00::3"
LINK, ALL_NODES = "fe80::1", "ff02::1"
NODE = "192.0.2.1"
EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS

TCP_80_ONLY = document(
    node={"name": "n1", "addresses": [NODE]},
    endpoints=[{"pod": "a/x", "id": 1, "egress": 1, "ingress": 2, "addresses": [POD, POD6]}],
    addresses=[
        {"address": POD, "identity": 1},
        {"address": POD6, "identity": 1},
        {"address": PEER, "identity": 2},
        {"address": PEER6, "identity": 2},
    ],
    classes=[{"ruleset": ruleset, "identity": 2, "class": 1} for ruleset in (1, 2)],
    policy=[
        {"ruleset": ruleset, "class": 1, "protocol": "tcp", "ports": "80", "rule": 6 + ruleset} for ruleset in (1, 2)
    ],
)
SYN_80 = f.tcp(40000, 80)
R = Reason


@pytest.fixture(scope="module")
def loaded() -> Iterator[Bench]:
    with bench() as made:
        made.bind(TCP_80_ONLY)
        yield made


@pytest.fixture
def b(loaded: Bench) -> Bench:
    loaded.forget()
    return loaded


def from_peer(protocol: int, payload: bytes) -> tuple[bytes, bytes]:
    return f.ipv4(PEER, POD, protocol, payload), f.ipv6(PEER6, POD6, protocol, payload)


def test_what_a_rule_allows_passes_both_ways(b: Bench) -> None:
    assert b.out(f.ipv4(POD, PEER, f.TCP, SYN_80)) is R.ALLOWED_BY_RULE
    assert b.out(f.ipv6(POD6, PEER6, f.TCP, SYN_80)) is R.ALLOWED_BY_RULE
    for frame in from_peer(f.TCP, SYN_80):
        assert b.into(frame) is R.ALLOWED_BY_RULE
    events = b.events()
    assert [(one.rule, one.ruleset, one.direction) for one in events] == [(7, 1, EGRESS)] * 2 + [(8, 2, INGRESS)] * 2
    assert {(one.identity, one.peer_identity, one.endpoint) for one in events} == {(1, 2, 1)}
    assert [(str(one.source), str(one.destination)) for one in events[:2]] == [(POD, PEER), (POD6, PEER6)]
    assert {(one.source_port, one.destination_port, one.protocol) for one in events} == {(40000, 80, 6)}


@pytest.mark.parametrize("port", [1, 79, 81, 8080, 20480, 65535])
def test_no_other_port_passes(b: Bench, port: int) -> None:
    assert b.out(f.ipv4(POD, PEER, f.TCP, f.tcp(80, port))) is R.NO_RULE
    for frame in from_peer(f.TCP, f.tcp(80, port)):
        assert b.into(frame) is R.NO_RULE


@pytest.mark.parametrize(
    ("protocol", "payload"),
    [
        (f.UDP, f.udp(40000, 80)),
        (f.SCTP, f.sctp(40000, 80)),
        (f.ICMP4, f.icmp(8)),
        (47, bytes(16)),
        (136, f.udp(40000, 80)),  # UDP-Lite: to policies a protocol without ports
        (255, bytes(16)),
    ],
)
def test_no_other_protocol_passes(b: Bench, protocol: int, payload: bytes) -> None:
    assert b.out(f.ipv4(POD, PEER, protocol, payload)) is R.NO_RULE
    assert b.into(f.ipv4(PEER, POD, protocol, payload)) is R.NO_RULE
    assert b.into(f.ipv6(PEER6, POD6, protocol, payload)) is R.NO_RULE


def test_nobody_else_passes(b: Bench) -> None:
    assert b.out(f.ipv4(POD, OTHER, f.TCP, SYN_80)) is R.NO_RULE
    assert b.into(f.ipv4(OTHER, POD, f.TCP, SYN_80)) is R.NO_RULE
    assert b.into(f.ipv6(OTHER6, POD6, f.TCP, SYN_80)) is R.NO_RULE


# --- the four kinds of frame that another plugin's program, allowing TCP 80 only, lets through ---


@pytest.mark.parametrize("words", [1, 2, 10])
def test_ip_options_do_not_shift_the_port(b: Bench, words: int) -> None:
    """Options whose bytes, read as ports at a fixed offset, say 80, before a header that says 22."""
    options = f.ports(40000, 80) + bytes(4 * words - 4)
    for source, destination, send in ((POD, PEER, b.out), (PEER, POD, b.into)):
        assert send(f.ipv4(source, destination, f.TCP, f.tcp(40000, 22), options=options)) is R.NO_RULE
        assert send(f.ipv4(source, destination, f.TCP, SYN_80, options=b"\1" * (4 * words))) is R.ALLOWED_BY_RULE


@pytest.mark.parametrize("kind", [131, 137])
@pytest.mark.parametrize("before", [0, 1, 33])
def test_source_routes_are_dropped(b: Bench, kind: int, before: int) -> None:
    """The packet would go on to where no policy was asked about."""
    options = (b"\1" * before + bytes([kind, 7, 4]) + bytes([192, 0, 2, 9])).ljust(40, b"\0")
    assert b.out(f.ipv4(POD, PEER, f.TCP, SYN_80, options=options)) is R.ROUTING_HEADER
    assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80, options=options)) is R.ROUTING_HEADER


def test_other_options_pass(b: Bench) -> None:
    alert, stamps, record = bytes([148, 4, 0, 0]), bytes([68, 12, 5, 0]) + bytes(8), bytes([7, 7, 4]) + bytes(5)
    for options in (alert, stamps, record, alert + stamps + record):
        assert b.out(f.ipv4(POD, PEER, f.TCP, SYN_80, options=options)) is R.ALLOWED_BY_RULE


@pytest.mark.parametrize("offset", [1, 2, 0x1FFF])
def test_later_fragments_are_dropped(b: Bench, offset: int) -> None:
    for more in (0, 0x2000):
        assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80, fragment=offset | more)) is R.LATER_FRAGMENT
        assert b.out(f.ipv4(POD, PEER, f.TCP, SYN_80, fragment=offset | more)) is R.LATER_FRAGMENT
    piece = bytes([f.TCP, 0]) + (offset << 3).to_bytes(2) + bytes(4)
    assert b.into(f.ipv6(PEER6, POD6, 44, piece + SYN_80)) is R.LATER_FRAGMENT


@pytest.mark.parametrize("size", range(20))
def test_truncated_headers_are_dropped(b: Bench, size: int) -> None:
    for frame in from_peer(f.TCP, SYN_80[:size]):
        assert b.into(frame) is R.TRUNCATED_TRANSPORT
    # The bytes are there, but not within the packet's length: it is padding that says 80.
    assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80, length=20 + size)) is R.TRUNCATED_TRANSPORT
    assert b.into(f.ipv6(PEER6, POD6, f.TCP, SYN_80, length=size)) is R.TRUNCATED_TRANSPORT


@pytest.mark.parametrize("headers", [(0,), (60,), (0, 60), (0, 60, 60)])
@pytest.mark.parametrize("size", [8, 16, 256])
def test_extension_headers_do_not_hide_the_port(b: Bench, headers: tuple[int, ...], size: int) -> None:
    for payload, expected in ((f.tcp(40000, 22), R.NO_RULE), (SYN_80, R.ALLOWED_BY_RULE)):
        chain = payload
        for following in (f.TCP, *reversed(headers[1:])):
            chain = f.extension(following, size) + chain
        assert b.into(f.ipv6(PEER6, POD6, headers[0], chain)) is expected


# --- the rest of what cannot be judged ---


def test_more_extension_headers_than_are_followed(b: Bench) -> None:
    chain = f.extension(60) + f.extension(60) + f.extension(60) + f.extension(f.TCP) + SYN_80
    assert b.into(f.ipv6(PEER6, POD6, 60, chain)) is R.TOO_MANY_EXTENSIONS


@pytest.mark.parametrize("following", [59, 135, 139, 140, 253, 254])
def test_unknown_extension_headers(b: Bench, following: int) -> None:
    assert b.into(f.ipv6(PEER6, POD6, following, f.extension(f.TCP) + SYN_80)) is R.UNKNOWN_EXTENSION
    assert b.into(f.ipv6(PEER6, POD6, 60, f.extension(following) + SYN_80)) is R.UNKNOWN_EXTENSION


def test_hop_by_hop_elsewhere_than_first(b: Bench) -> None:
    assert b.into(f.ipv6(PEER6, POD6, 60, f.extension(0) + f.extension(f.TCP) + SYN_80)) is R.UNKNOWN_EXTENSION


def test_routing_headers(b: Bench) -> None:
    assert b.into(f.ipv6(PEER6, POD6, 43, f.extension(f.TCP) + SYN_80)) is R.ROUTING_HEADER


def test_an_extension_header_longer_than_the_packet(b: Bench) -> None:
    assert b.into(f.ipv6(PEER6, POD6, 60, bytes([f.TCP, 255]) + bytes(6) + SYN_80)) is R.TRUNCATED_TRANSPORT
    assert b.into(f.ipv6(PEER6, POD6, 60, bytes([f.TCP, 0, 1]))) is R.TRUNCATED_TRANSPORT


def test_first_fragments_are_dropped_since_the_others_are(b: Bench) -> None:
    assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80, fragment=0x2000)) is R.FIRST_FRAGMENT
    assert b.into(f.ipv6(PEER6, POD6, 44, bytes([f.TCP, 0, 0, 1, 0, 0, 0, 0]) + SYN_80)) is R.FIRST_FRAGMENT
    assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80, fragment=0x4000)) is R.ALLOWED_BY_RULE  # do not fragment


@pytest.mark.parametrize("words", range(5))
def test_an_ip_header_shorter_than_one(b: Bench, words: int) -> None:
    assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80, words=words)) is R.IP_HEADER_LENGTH


def test_lengths_that_do_not_fit(b: Bench) -> None:
    assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80, length=19)) is R.IP_LENGTH
    assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80, length=0)) is R.IP_LENGTH
    assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80, words=15)) is R.IP_LENGTH
    assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80, length=41)) is R.TRUNCATED_IP
    assert b.into(f.ipv6(PEER6, POD6, f.TCP, SYN_80, length=21)) is R.TRUNCATED_IP


def test_another_version_of_ip_than_the_frame_says(b: Bench) -> None:
    assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80, version=6)) is R.IP_VERSION
    assert b.into(f.ipv6(PEER6, POD6, f.TCP, SYN_80, version=4)) is R.IP_VERSION


def test_protocol_0(b: Bench) -> None:
    assert b.into(f.ipv4(PEER, POD, 0, SYN_80)) is R.PROTOCOL_ZERO


def test_tcp_headers_that_lie_about_their_length(b: Bench) -> None:
    for words in (0, 4, 6, 15):
        for frame in from_peer(f.TCP, f.tcp(40000, 80, words=words)):
            assert b.into(frame) is R.TCP_HEADER
    assert b.into(f.ipv4(PEER, POD, f.TCP, f.tcp(40000, 80, words=6) + bytes(4))) is R.ALLOWED_BY_RULE


@pytest.mark.parametrize(("protocol", "payload"), [(f.TCP, f.tcp(80, 0)), (f.UDP, f.udp(80, 0)), (132, f.sctp(80, 0))])
def test_port_0(b: Bench, protocol: int, payload: bytes) -> None:
    for frame in from_peer(protocol, payload):
        assert b.into(frame) is R.PORT_ZERO


@pytest.mark.parametrize("kind", [0x8100, 0x88A8, 0x9100])
def test_tagged_frames(b: Bench, kind: int) -> None:
    inner = f.ipv4(PEER, POD, f.TCP, SYN_80)
    expected = R.ETHERTYPE if kind == 0x9100 else R.VLAN
    assert b.into(f.ethernet(kind, b"\0\1" + inner[12:])) is expected
    assert b.out(f.ethernet(kind, b"\0\1" + inner[12:])) is expected


@pytest.mark.parametrize("kind", [0, 0x05DC, 0x8847, 0x8864, 0x88CC, 0x88E5, 0xFFFF])
def test_frames_that_are_no_ip(b: Bench, kind: int) -> None:
    assert b.into(f.ethernet(kind, f.ipv4(PEER, POD, f.TCP, SYN_80)[14:])) is R.ETHERTYPE


def test_arp_passes_if_a_pod_claims_no_address_but_its_own(b: Bench) -> None:
    for operation in (1, 2):
        assert b.out(f.arp(POD, PEER, operation)) is R.ARP
        assert b.out(f.arp(POD, POD, operation)) is R.ARP  # announced
        assert b.out(f.arp("0.0.0.0", POD, operation)) is R.ARP  # probed for
        for claimed in (PEER, NODE, "255.255.255.255"):
            assert b.out(f.arp(claimed, PEER, operation)) is R.FORGED_NEIGHBOUR
            assert b.into(f.arp(claimed, POD, operation)) is R.ARP
    assert b.out(f.arp(POD, PEER, 1)[:41]) is R.TRUNCATED_FRAME
    for at in (15, 17, 18, 19):  # not for Ethernet and IPv4: the address would be elsewhere
        odd = bytearray(f.arp(POD, PEER, 1))
        odd[at] += 1
        assert b.out(bytes(odd)) is R.FORGED_NEIGHBOUR
    assert b.send(EGRESS, f.arp(POD, PEER, 1), place=1) is R.NO_ENDPOINT


@pytest.mark.parametrize("kind", [133, 135, 136])
def test_genuine_neighbour_discovery_passes(b: Bench, kind: int) -> None:
    payload = f.icmp(kind, payload=ip_address(POD6).packed)
    for source, destination in ((LINK, ALL_NODES), ("::", "ff02::1:ff00:1"), (POD6, PEER6), (POD6, "fe80::9")):
        assert b.out(f.ipv6(source, destination, f.ICMP6, payload, hops=255)) is R.NEIGHBOUR_DISCOVERY
    assert b.out(f.ipv6(OTHER6, PEER6, f.ICMP6, payload, hops=255)) is R.SPOOFED_SOURCE
    assert b.into(f.ipv6(LINK, ALL_NODES, f.ICMP6, payload, hops=255)) is R.NEIGHBOUR_DISCOVERY
    assert b.into(f.ipv6(LINK, ALL_NODES, f.ICMP6, payload, hops=254)) is R.FORGED_NEIGHBOUR
    assert b.into(f.ipv6(LINK, POD6, f.ICMP6, f.icmp(kind, 1, payload=bytes(16)), hops=255)) is R.FORGED_NEIGHBOUR
    assert b.out(f.ipv4(POD, PEER, 58, payload, ttl=255)) is R.NO_RULE  # no such thing in IPv4


@pytest.mark.parametrize("kind", [133, 135, 136])
def test_neighbour_discovery_is_no_way_out(b: Bench, kind: int) -> None:
    """A router would forward it to anywhere, with whatever it carries."""
    payload = f.icmp(kind, payload=ip_address(POD6).packed + b"secret")
    assert b.out(f.ipv6(POD6, "2001:db8::1", f.ICMP6, payload, hops=255)) is R.NO_RULE
    assert b.out(f.ipv6(POD6, OTHER6, f.ICMP6, payload, hops=255)) is R.NO_RULE  # no address that the maps know
    assert b.out(f.ipv6(POD6, "ff05::2", f.ICMP6, payload, hops=255)) is R.NO_RULE  # a wider scope than the link


def test_a_pod_advertises_no_address_but_its_own(b: Bench) -> None:
    def sent(target: str, size: int = 16) -> R:
        payload = f.icmp(136, payload=ip_address(target).packed[:size])
        return b.out(f.ipv6(POD6, ALL_NODES, f.ICMP6, payload, hops=255))

    assert sent(POD6) is R.NEIGHBOUR_DISCOVERY
    assert sent("fe80::5") is R.NEIGHBOUR_DISCOVERY
    assert sent(POD6, size=15) is R.FORGED_NEIGHBOUR
    for target in (PEER6, OTHER6, "::", ALL_NODES):
        assert sent(target) is R.FORGED_NEIGHBOUR
    given = f.icmp(136, payload=ip_address(PEER6).packed)
    assert b.into(f.ipv6(PEER6, POD6, f.ICMP6, given, hops=255)) is R.NEIGHBOUR_DISCOVERY


def test_a_pod_is_no_router(b: Bench) -> None:
    advertisement = f.icmp(134, payload=bytes(16))
    assert b.out(f.ipv6(LINK, ALL_NODES, f.ICMP6, advertisement, hops=255)) is R.FORGED_NEIGHBOUR
    assert b.into(f.ipv6(LINK, ALL_NODES, f.ICMP6, advertisement, hops=255)) is R.NEIGHBOUR_DISCOVERY
    for send in (b.out, b.into):
        assert send(f.ipv6(LINK, ALL_NODES, f.ICMP6, f.icmp(137, payload=bytes(32)), hops=255)) is R.FORGED_NEIGHBOUR


@pytest.mark.parametrize("kind", [130, 131, 132, 143])
def test_multicast_listeners_pass(b: Bench, kind: int) -> None:
    def report(source: str, hops: int) -> bytes:
        return f.ipv6(source, "ff02::16", 0, f.extension(f.ICMP6) + f.icmp(kind, payload=bytes(20)), hops=hops)

    assert b.out(report(LINK, 1)) is R.MULTICAST_LISTENER
    assert b.out(report("::", 1)) is R.MULTICAST_LISTENER
    assert b.into(report(LINK, 1)) is R.MULTICAST_LISTENER
    assert b.out(report(LINK, 64)) is R.SPOOFED_SOURCE
    assert b.out(report(POD6, 1)) is R.NO_RULE


def test_spoofed_sources(b: Bench) -> None:
    for source in (PEER, OTHER, NODE, "0.0.0.0", "127.0.0.1", "255.255.255.255"):
        assert b.out(f.ipv4(source, PEER, f.TCP, SYN_80)) is R.SPOOFED_SOURCE
    for source in (PEER6, "::", "::1", LINK, "::ffff:10.0.0.1"):
        assert b.out(f.ipv6(source, PEER6, f.TCP, SYN_80)) is R.SPOOFED_SOURCE


def test_what_is_not_for_the_pod(b: Bench) -> None:
    for destination in (OTHER, "255.255.255.255", "224.0.0.1", "0.0.0.0"):
        assert b.into(f.ipv4(PEER, destination, f.TCP, SYN_80)) is R.FOREIGN_DESTINATION
        assert b.into(f.ipv4(NODE, destination, f.TCP, SYN_80), arrived=0) is R.FOREIGN_DESTINATION
    for destination in (OTHER6, ALL_NODES, "::", LINK):
        assert b.into(f.ipv6(PEER6, destination, f.TCP, SYN_80)) is R.FOREIGN_DESTINATION


def test_its_own_node_always_reaches_a_pod_and_not_the_reverse(b: Bench) -> None:
    assert b.into(f.ipv4(NODE, POD, f.TCP, f.tcp(40000, 22))) is R.FROM_OWN_NODE  # by its address
    assert b.into(f.ipv4(OTHER, POD, f.UDP, f.udp(40000, 22)), arrived=0) is R.FROM_OWN_NODE  # sent there
    assert b.out(f.ipv4(POD, NODE, f.TCP, f.tcp(22, 40000, f.SYN | f.ACK))) is R.ESTABLISHED  # the reply
    assert b.out(f.ipv4(POD, NODE, f.TCP, f.tcp(40001, 22))) is R.NO_RULE


def test_a_pod_always_reaches_itself(b: Bench) -> None:
    for send in (b.out, b.into):
        assert send(f.ipv4(POD, POD, f.UDP, f.udp(1, 2))) is R.SAME_POD
        assert send(f.ipv6(POD6, POD6, f.UDP, f.udp(1, 2))) is R.SAME_POD


def test_an_interface_of_no_endpoint(b: Bench) -> None:
    assert b.send(EGRESS, f.ipv4(POD, PEER, f.TCP, SYN_80), place=1) is R.NO_ENDPOINT
    assert b.send(INGRESS, f.ipv4(PEER, POD, f.TCP, SYN_80), place=1) is R.NO_ENDPOINT


def test_without_ipv6_there_is_none() -> None:
    with bench(Features(ipv6=False)) as b:
        b.bind(TCP_80_ONLY)
        assert b.into(f.ipv6(PEER6, POD6, f.TCP, SYN_80)) is R.ETHERTYPE
        assert b.into(f.ipv4(PEER, POD, f.TCP, SYN_80)) is R.ALLOWED_BY_RULE


def test_without_sctp_its_ports_are_not_asked() -> None:
    rules = [{"ruleset": 2, "class": 0, "protocol": "sctp", "ports": "80", "rule": 7}]
    pod = {"pod": "a/x", "id": 1, "egress": 0, "ingress": 2, "addresses": [POD]}
    data = document(endpoints=[pod], addresses=[{"address": POD, "identity": 1}], policy=rules)
    frame = f.ipv4(PEER, POD, f.SCTP, f.sctp(40000, 80))
    for features, expected in ((Features(), R.ALLOWED_BY_RULE), (Features(sctp=False), R.NO_RULE)):
        with bench(features) as b:
            b.bind(data)
            assert b.into(frame) is expected
