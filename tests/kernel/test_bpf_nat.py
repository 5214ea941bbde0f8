"""Conversations with a Service whose address the node exchanges for a backend's: each end's programs see their own side
of it, replies and ICMP errors find their way back, and a change of policy meets both.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from npcompile.backends.bpf.source import Features
from tests.kernel.bpf import document
from tests.kernel.test_bpf_live import CLIENT, SERVER, Node, connects, node, speaks
from tests.kernel.wire import entered, run

pytestmark = pytest.mark.kernel("clang", "ip", "nft")

FRONT = "10.96.0.1"
NAT = f"""
table ip services {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr {FRONT} tcp dport 80 dnat to {SERVER}:8080
    ip daddr {FRONT} udp dport 9 dnat to {SERVER}:9
  }}
}}
"""


def service(*, front: bool = True, backend: bool = True) -> bytes:
    """The client may send to the Service, and the server receive from the client; nobody may anything else."""
    sides = [(1, 3, [("tcp", "80"), ("udp", "9")])] * front + [(2, 1, [("tcp", "8080"), ("udp", "9")])] * backend
    return document(
        endpoints=[
            {"pod": "n/client", "id": 1, "egress": 1, "ingress": 4, "addresses": [CLIENT]},
            {"pod": "n/server", "id": 2, "egress": 3, "ingress": 2, "addresses": [SERVER]},
        ],
        addresses=[{"address": one, "identity": n} for n, one in enumerate((CLIENT, SERVER, FRONT), 1)],
        classes=[{"ruleset": ruleset, "identity": peer, "class": 1} for ruleset, peer, _ in sides],
        policy=[
            {"ruleset": ruleset, "class": 1, "protocol": protocol, "ports": ports, "rule": ruleset}
            for ruleset, _, opened in sides
            for protocol, ports in opened
        ],
    )


@contextmanager
def translating(features: Features) -> Iterator[Node]:
    with node(features) as at:
        run("ip", "netns", "exec", at.name, "nft", "-f", "-", text=NAT)
        at.enforce(service())
        yield at


@contextmanager
def conversation(at: Node) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection of the client with the Service, and the server's end of it."""
    with entered(at.pods["server"]):
        listener = socket.create_server((SERVER, 8080))
    with listener:
        with entered(at.pods["client"]):
            client = socket.create_connection((FRONT, 80), 1.5)
        server, (source, _) = listener.accept()
        assert source == CLIENT
        server.settimeout(1.5)
        with client, server:
            yield client, server


@pytest.mark.parametrize("closed", [{"front": False}, {"backend": False}], ids=["egress", "ingress"])
@pytest.mark.parametrize("mode", ["keep", "recheck"])
def test_a_conversation_with_a_service(mode: str, closed: dict[str, bool]) -> None:
    with translating(Features(recheck=mode == "recheck")) as at, conversation(at) as ends:
        assert speaks(*ends)
        assert not connects(at, 8080)  # the backend itself is not the Service
        at.enforce(service(**closed))
        assert speaks(*ends) == (mode == "keep")
        assert not connects(at, 80, FRONT)
        at.enforce(service())
        if mode == "keep":
            assert speaks(*ends)


def test_errors_about_a_conversation_with_a_service() -> None:
    with translating(Features()) as at:
        with entered(at.pods["client"]), pytest.raises(ConnectionRefusedError):
            socket.create_connection((FRONT, 80), 1.5)  # nobody listens behind it
        with entered(at.pods["client"]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1.5)
            client.connect((FRONT, 9))
            client.send(b"anyone?")
            with pytest.raises(ConnectionRefusedError):  # an ICMP error, whose quote the node translates back
                client.recv(64)
