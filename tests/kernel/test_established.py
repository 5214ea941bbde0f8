"""Established connections across a change of policies: they go on with `keep`, and `recheck` cuts them.

A client and a server behind a node.  Both are isolated in the new state, so that neither may open a connection to the
other.  The server alone keeps sending: over TCP, and over UDP after one datagram from the client.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from npcompile.diagnostics.errors import InputError
from npcompile.ir.policy import Direction
from npcompile.runtime.loader import Loader
from tests.kernel.applying import SERVER, having, pod, policy, program, stored
from tests.kernel.test_apply import LOADERS
from tests.kernel.wire import entered, namespace, run

pytestmark = pytest.mark.kernel("ip", "ipset", "nft", "conntrack", "iptables-nft-restore", "iptables-legacy-restore")

CLIENT = pod(1, app="client", trusted="yes")
LOCKED = [policy(f"{app}-{way}", having(app=app), way) for app in ("client", "server") for way in Direction]
OPEN = program([CLIENT, SERVER])
CLOSED = program([CLIENT, SERVER], *LOCKED)
INGRESS = policy("in", having(app="server"), Direction.INGRESS, having(app="client"))
EGRESS = policy("out", having(app="client"), Direction.EGRESS, having(app="server"))
TCP_STILL = program([CLIENT, SERVER], *LOCKED, INGRESS, EGRESS)

PEER = """
import socket, sys, threading, time
role, kind, server = sys.argv[1:]
family = socket.AF_INET6 if ":" in server else socket.AF_INET
type_ = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
with socket.socket(family, type_) as one:
    if role == "server":
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((server, 80))
        if kind == "tcp":
            one.listen()
        print("ready", flush=True)
        if kind == "tcp":
            other, _ = one.accept()
            while True:
                other.send(b"x"); time.sleep(0.02)
        _, client = one.recvfrom(9)
        while True:
            try:
                one.sendto(b"x", client)
            except OSError:
                pass
            time.sleep(0.02)
    one.connect((server, 80))
    one.settimeout(0.1)
    for _ in range(50):  # the first may be lost while the way is found
        try:
            one.send(b"hello")
            if one.recv(9):
                break
        except OSError:
            pass
    print("ready", flush=True)
    for line in sys.stdin:  # how much comes in half a second, after what was on its way
        end = time.monotonic() + 1
        seen = 0
        while time.monotonic() < end:
            try:
                seen += bool(one.recv(999)) and time.monotonic() > end - 0.5
            except OSError:
                pass
        print(seen, flush=True)
"""


@contextmanager
def talking(router: str, kind: str, version: int) -> Iterator[subprocess.Popen[str]]:
    """A client that a server sends to, through a node; ask it how much comes by a line."""
    with namespace() as client, namespace() as server:
        for number, (place, one) in enumerate(((client, CLIENT), (server, SERVER))):
            veth = f"link add v{number} type veth peer name eth0 netns {place}"
            addresses = [f"address add {gateway} dev v{number} nodad" for gateway in GATEWAYS]
            routes = [f"route add {address} dev v{number}" for address in one.addresses]
            batch(router, veth, f"link set v{number} up", *addresses, *routes)
            addresses = [f"address add {address} dev eth0 nodad" for address in one.addresses]
            routes = [f"route add {gateway} dev eth0" for gateway in GATEWAYS]
            routes += [f"route add default via {gateway} dev eth0" for gateway in GATEWAYS]
            batch(place, "link set eth0 up", "link set lo up", *addresses, *routes)
        address = str(next(one for one in SERVER.addresses if one.version == version))
        with started(server, "server", kind, address), started(client, "client", kind, address) as asked:
            yield asked


GATEWAYS = ("10.9.0.1", "fd09::1")


def batch(where: str, *lines: str) -> None:
    run("ip", "-n", where, "-batch", "-", text="\n".join(lines))


@contextmanager
def started(where: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = ["ip", "netns", "exec", where, sys.executable, "-c", PEER, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def arrives(client: subprocess.Popen[str]) -> bool:
    """Whether the server still reaches the client."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write("\n")
    client.stdin.flush()
    return int(client.stdout.readline()) > 0


@contextmanager
def node() -> Iterator[str]:
    with namespace() as router, entered(router):
        for key in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            run("ip", "netns", "exec", router, "sysctl", "-qw", f"net.{key}=1")
        yield router


def apply(loader: Loader, wanted: object, established: str) -> int:
    artifact = stored(wanted, loader.target)  # type: ignore[arg-type]
    return loader.apply(replace(artifact, manifest={"established": established})).cut


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("variant", ["nft", "nftables"])
def test_keep_goes_on_and_recheck_cuts(variant: str, kind: str, version: int) -> None:
    loader = LOADERS[variant]
    with node() as router:
        apply(loader, OPEN, "keep")
        with talking(router, kind, version) as client:
            assert arrives(client)
            assert apply(loader, CLOSED, "keep") == 0
            assert arrives(client), "established connections go on"
            assert apply(loader, TCP_STILL, "recheck") == (kind == "udp")
            assert arrives(client) == (kind == "tcp"), "what is still allowed goes on"
            assert apply(loader, CLOSED, "recheck") == (kind == "tcp")
            assert not arrives(client)
            assert apply(loader, CLOSED, "recheck") == 0


def test_a_translated_connection_is_judged_by_where_it_goes() -> None:
    """A Service's address is no pod's; its backend's is."""
    loader = LOADERS["nft"]
    lines = [
        "-A -p udp -s 10.7.0.1 -d 10.96.0.1 --sport 5 --dport 53 -g 10.7.0.2:80 --timeout 600",  # to the server
        "-A -p udp -s 10.7.0.1 -d 10.7.0.2 --sport 6 --dport 80 --timeout 600",
        "-A -p udp -s 192.0.2.1 -d 192.0.2.2 --sport 5 --dport 53 --timeout 600",  # nobody's
        "-A -p udp -s 10.9.0.1 -d 10.7.0.2 --sport 5 --dport 53 --timeout 600",  # the node's own
        "-A -p udp -s 192.0.2.1 -d 10.7.0.2 --sport 5 --dport 53 -w 7 --timeout 600",
    ]
    only_egress = program([CLIENT, SERVER], policy("in", having(app="server"), Direction.INGRESS))
    with node() as router:
        run("ip", "-n", router, "-batch", "-", text="link set lo up\naddress add 10.9.0.1/32 dev lo\n")
        run("ip", "netns", "exec", router, "conntrack", "-R", "-", text="\n".join(lines) + "\n")
        assert apply(loader, only_egress, "recheck") == 3
        left = run("ip", "netns", "exec", router, "conntrack", "-L").stdout.decode()
    assert sorted(line.split("src=")[1].split()[0] for line in left.splitlines()) == ["10.9.0.1", "192.0.2.1"]


def test_recheck_needs_its_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = LOADERS["nft"]
    with node() as router:
        monkeypatch.setitem(sys.modules, "pyroute2", None)
        with pytest.raises(InputError, match="pyroute2"):
            apply(loader, CLOSED, "recheck")
        assert b"NPC" not in run("ip", "netns", "exec", router, "iptables-nft-save").stdout
