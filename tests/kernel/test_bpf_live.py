"""The programs where they belong, at tc of the host's ends of veth pairs: odd frames, and real conversations."""

from __future__ import annotations

import errno
import random
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from npcompile.backends.bpf.source import Features
from npcompile.ir.policy import Direction
from npcompile.readers.bpf_maps import read_maps
from npcompile.runtime.bpf.attach import PROGRAMS, attach, attached, detach
from npcompile.runtime.bpf.events import Reason
from npcompile.runtime.bpf.layout import pack
from npcompile.runtime.bpf.libbpf import Map, Object
from npcompile.runtime.bpf.maps import change
from tests.kernel import frames as f
from tests.kernel.bpf import Bench, bench, document, loaded
from tests.kernel.test_bpf_packets import OTHER, PEER, PEER6, POD, POD6, SYN_80, TCP_80_ONLY
from tests.kernel.wire import entered, namespace, run

pytestmark = pytest.mark.kernel("clang", "ip")

EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS
R = Reason


def put_at(b: Bench, place: int = 0) -> None:
    attach(b.interfaces[place], {direction: b.object.program(name) for direction, name in PROGRAMS.items()})


@dataclass(frozen=True, slots=True)
class Wire:
    """A pair: what is sent into the pod's end comes from the pod, what is sent into the host's end goes to it."""

    bench: Bench
    pod: socket.socket
    host: socket.socket

    def reason(self, direction: Direction, frame: bytes) -> Reason:
        """Why a frame passed or was dropped; only those towards the pod are seen to arrive."""
        before = self.bench.hits()
        try:
            (self.pod if direction is EGRESS else self.host).send(frame)
        except OSError as error:  # the sender on this host is told
            assert error.errno == errno.ENOBUFS and direction is INGRESS
        after = self.bench.hits()
        told = [reason for reason in Reason if after[reason] != before[reason]]
        assert len(told) <= 1
        reason = told[0] if told else R.ESTABLISHED
        if direction is INGRESS:
            assert self.arrived(frame) == reason.allows
        return reason

    def arrived(self, frame: bytes) -> bool:
        """Frames arrive in order, and one that is always let through comes last."""
        last = f.ethernet(0x0806, random.randbytes(28))
        self.host.send(last)
        seen = []
        while last not in seen:
            seen.append(self.pod.recv(4096))
        return frame in seen


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with bench() as b, wired(b) as made:
        b.bind(TCP_80_ONLY)
        yield made


@contextmanager
def wired(b: Bench) -> Iterator[Wire]:
    """The programs at the first interface of a bench, and sockets at both of its ends."""
    with ExitStack() as stack:
        run("ip", "-n", b.name, "-batch", "-", text="link set d0 up\nlink set e0 up\n")
        run("ip", "netns", "exec", b.name, "sysctl", "-qw", "net.ipv6.conf.d0.disable_ipv6=1")
        run("ip", "netns", "exec", b.name, "sysctl", "-qw", "net.ipv6.conf.e0.disable_ipv6=1")
        put_at(b)
        ends = [
            stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))) for _ in range(2)
        ]
        for end, name in zip(ends, ("e0", "d0"), strict=True):
            end.bind((name, 0))
            end.settimeout(5)
        yield Wire(b, *ends)


@pytest.mark.parametrize("size", range(14, 34))
def test_frames_that_are_too_short_for_a_test_run(wire: Wire, size: int) -> None:
    """What BPF_PROG_TEST_RUN refuses to try: less than a whole IP header."""
    for direction, (source, destination) in ((EGRESS, (POD, PEER)), (INGRESS, (PEER, POD))):
        wire.bench.forget()
        assert wire.reason(direction, f.ipv4(source, destination, f.TCP, SYN_80)[:size]) is R.TRUNCATED_IP
    for direction, (source, destination) in ((EGRESS, (POD6, PEER6)), (INGRESS, (PEER6, POD6))):
        frame = f.ipv6(source, destination, f.TCP, SYN_80)
        assert wire.reason(direction, frame[:size]) is R.TRUNCATED_IP
        assert wire.reason(direction, frame[: size + 20]) is R.TRUNCATED_IP


def test_the_same_frames_whole(wire: Wire) -> None:
    wire.bench.forget()
    assert wire.reason(EGRESS, f.ipv4(POD, PEER, f.TCP, SYN_80)) is R.ALLOWED_BY_RULE
    for frame in (f.ipv4(OTHER, POD, f.TCP, SYN_80), f.ipv6(PEER6, POD6, f.TCP, SYN_80)):
        assert wire.reason(INGRESS, frame) is R.FROM_OWN_NODE  # it is this host that sends
    assert wire.reason(INGRESS, f.ipv4(PEER, OTHER, f.TCP, SYN_80)) is R.FOREIGN_DESTINATION
    assert wire.reason(EGRESS, f.ipv4(POD, OTHER, f.TCP, SYN_80)) is R.NO_RULE
    assert wire.reason(EGRESS, f.ipv4(OTHER, PEER, f.TCP, SYN_80)) is R.SPOOFED_SOURCE


@pytest.mark.parametrize("direction", [EGRESS, INGRESS])
def test_tagged_frames(wire: Wire, direction: Direction) -> None:
    """On the way up the kernel takes the tag out of the frame before the program sees it."""
    for kind in (0x8100, 0x88A8):
        assert wire.reason(direction, f.ethernet(kind, b"\0\5" + f.ipv4(POD, PEER, 6, SYN_80)[12:])) is R.VLAN


# --- conversations ---

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
CLIENT6, SERVER6 = "fd00::1", "fd00::2"


def policy(*ports: tuple[str, int]) -> bytes:
    """The client may reach the server's ports; both are isolated both ways."""
    rules = [
        {"ruleset": ruleset, "class": 1, "protocol": protocol, "ports": str(port), "rule": number}
        for ruleset in (1, 2)
        for number, (protocol, port) in enumerate(ports, 1)
    ]
    return document(
        endpoints=[
            {"pod": "n/client", "id": 1, "egress": 1, "ingress": 4, "addresses": [CLIENT, CLIENT6]},
            {"pod": "n/server", "id": 2, "egress": 3, "ingress": 2, "addresses": [SERVER, SERVER6]},
        ],
        addresses=[
            {"address": address, "identity": identity}
            for address, identity in ((CLIENT, 1), (CLIENT6, 1), (SERVER, 2), (SERVER6, 2))
        ],
        classes=[
            {"ruleset": 1, "identity": 2, "class": 1},
            {"ruleset": 2, "identity": 1, "class": 1},
        ],
        policy=rules,
    )


@dataclass(frozen=True, slots=True)
class Node:
    """A router between two pods in namespaces, with the datapath at both of its interfaces."""

    name: str
    pods: Mapping[str, str]  # namespaces, by pod
    loaded: Object
    maps: Mapping[str, Map]
    interfaces: Mapping[str, int]

    def enforce(self, data: bytes) -> None:
        with entered(self.name):
            change(self.maps, pack(read_maps(data), self.interfaces))


@contextmanager
def node(features: Features) -> Iterator[Node]:
    with namespace() as router, namespace() as client, namespace() as server:
        pods = {"client": (client, CLIENT, CLIENT6), "server": (server, SERVER, SERVER6)}
        for end, (space, address, address6) in pods.items():
            run("ip", "-batch", "-", text=f"link add {end} netns {router} type veth peer name eth0 netns {space}\n")
            for name in (router, space):
                run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0",
                    "net.ipv6.conf.default.accept_dad=0")  # fmt: skip
            run("ip", "-n", router, "-batch", "-", text=(
                f"link set {end} up\nlink set {end} addrgenmode none\naddress add fe80::1/64 dev {end} nodad\n"
                f"address add 169.254.1.1/32 dev {end}\n"
                f"route add {address}/32 dev {end}\nroute add {address6}/128 dev {end}\n"
            ))  # fmt: skip
            run("ip", "-n", space, "-batch", "-", text=(
                f"link set lo up\nlink set eth0 up\naddress add {address}/32 dev eth0\n"
                f"address add {address6}/128 dev eth0 nodad\n"
                "route add 169.254.1.1 dev eth0\nroute add default via 169.254.1.1\n"
                "route add default via fe80::1 dev eth0\n"
            ))  # fmt: skip
        run("ip", "netns", "exec", router, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        with entered(router), loaded(features) as (made, maps):
            numbers = {f"n/{name}": index for index, name in socket.if_nameindex() if name in pods}
            for index in numbers.values():
                attach(index, {direction: made.program(name) for direction, name in PROGRAMS.items()})
            assert attached() == {index: frozenset(Direction) for index in numbers.values()}
            spaces = {name: space for name, (space, *_) in pods.items()}
            yield Node(router, spaces, made, maps, numbers)
            for index in numbers.values():
                detach(index)
            assert attached() == {}


@contextmanager
def conversation(
    at: Node, port: int, address: str = SERVER, kind: int = socket.SOCK_STREAM
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connected pair, made inside the pods."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        with entered(at.pods["server"]):
            listener = stack.enter_context(socket.socket(family, kind))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
        with entered(at.pods["client"]):
            client = stack.enter_context(socket.socket(family, kind))
        for one in (listener, client):
            one.settimeout(1.5)
        if kind == socket.SOCK_STREAM:
            listener.listen()
            client.connect((address, port))
            server = stack.enter_context(listener.accept()[0])
        else:
            client.connect((address, port))
            client.send(b"first")
            _, sender = listener.recvfrom(64)
            listener.connect(sender)
            server = listener
        server.settimeout(1.5)
        yield client, server


def connects(at: Node, port: int, address: str = SERVER) -> bool:
    """Whether anything answers the client; it need not be a server."""
    try:
        with entered(at.pods["client"]), socket.create_connection((address, port), 1.5):
            return True
    except TimeoutError:
        return False


def speaks(client: socket.socket, server: socket.socket) -> bool:
    """Whether a question and its answer arrive."""
    word = random.randbytes(8)
    try:
        client.send(word)
        if server.recv(64) != word:
            return False
        server.send(word)
        return client.recv(64) == word
    except TimeoutError:
        return False


@pytest.mark.parametrize("mode", ["keep", "recheck"])
def test_conversations_across_a_change_of_policy(mode: str) -> None:
    open_, closed = policy(("tcp", 80), ("udp", 53)), policy(("udp", 53))
    with node(Features(recheck=mode == "recheck")) as at:
        at.enforce(open_)
        for address in (SERVER, SERVER6):
            with (
                conversation(at, 80, address) as web,
                conversation(at, 53, address, socket.SOCK_DGRAM) as dns,
            ):
                assert speaks(*web) and speaks(*dns)
                at.enforce(closed)
                assert speaks(*web) == (mode == "keep")
                assert speaks(*dns)
                assert not connects(at, 80, address)
                at.enforce(open_)
                assert speaks(*dns)
            with conversation(at, 80, address) as again:
                assert speaks(*again)
                assert not connects(at, 81, address)


def test_nobody_connects_the_other_way() -> None:
    with node(Features()) as at:
        at.enforce(policy(("tcp", 80)))
        with entered(at.pods["client"]):
            listener = socket.create_server((CLIENT, 80))
        with listener, entered(at.pods["server"]), pytest.raises(TimeoutError):
            socket.create_connection((CLIENT, 80), 1.5)


def test_the_node_reaches_its_pods_and_errors_find_their_way() -> None:
    with node(Features()) as at:
        at.enforce(policy(("tcp", 80)))
        with entered(at.pods["server"]):
            listener = socket.create_server((SERVER, 22))
        with listener, entered(at.name), socket.create_connection((SERVER, 22), 1.5):
            pass
        # Nobody listens on port 80: the reset comes back through both.
        with entered(at.pods["client"]), pytest.raises(ConnectionRefusedError):
            socket.create_connection((SERVER, 80), 1.5)
        at.enforce(policy(("udp", 9)))
        with entered(at.pods["client"]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1.5)
            client.connect((SERVER, 9))
            client.send(b"anyone?")
            with pytest.raises(ConnectionRefusedError):  # the server's ICMP error
                client.recv(64)


def test_interfaces_of_others_and_their_filters_stay() -> None:
    with bench() as b:
        run("ip", "netns", "exec", b.name, "tc", "qdisc", "add", "dev", "d1", "clsact")
        theirs = ("tc", "filter", "add", "dev", "d1", "ingress", "prio", "7", "protocol", "ip", "u32", "match", "u32",
                  "0", "0", "flowid", "1:1")  # fmt: skip
        run("ip", "netns", "exec", b.name, *theirs)
        before = filters(b, "d1")
        put_at(b, 1)
        put_at(b, 1)  # in the place of the first ones
        assert attached() == {b.interfaces[1]: frozenset(Direction)}
        assert filters(b, "d1").count("np_from_pod") == 2  # its section and its name, once
        detach(b.interfaces[1])
        assert filters(b, "d1") == before
        put_at(b, 0)
        detach(b.interfaces[0])
        assert "clsact" not in run("ip", "netns", "exec", b.name, "tc", "qdisc", "show", "dev", "d0").stdout.decode()


def filters(b: Bench, device: str) -> str:
    done: subprocess.CompletedProcess[bytes] = run(
        "ip", "netns", "exec", b.name, "tc", "filter", "show", "dev", device, "ingress"
    )
    return done.stdout.decode()
