"""A node in a network namespace that judges packets: what an artifact of either target does to each, and at which hook.

A packet is the first of its flow, sent as a frame into one end of a router.  What is forwarded comes out at the other
end, and what the node itself receives reaches raw sockets, which the kernel fills behind the hook INPUT.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import count
from threading import Event, Thread

from npcompile.backends.target import Artifact
from npcompile.ir.cluster import Cluster
from npcompile.ir.flow import Flow
from npcompile.netset.cidrs import Address, Family
from npcompile.readers.packet import Packet
from npcompile.readers.passage import first_packet, stops
from npcompile.readers.rules import Hook
from tests.kernel.wire import TOOLS, Lab, datagram, entered, router

LOADERS = ("iptables-legacy", "iptables-nft", "nftables")
TARGET = {"iptables-legacy": "iptables", "iptables-nft": "iptables", "nftables": "nftables"}
PROGRAMS = ("ip", "nft", "ipset", *(f"{tool}-{kind}-restore" for tool in TOOLS.values() for kind in ("legacy", "nft")))
_BURST = 100  # packets that a socket's buffer holds with room to spare
_PROTOCOLS = {Family.V4: (1, 6, 17, 132), Family.V6: (58, 6, 17, 132)}
_KINDS = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_STRANGER = {Family.V4: "198.18.0.1", Family.V6: "2001:2::1"}  # RFC 2544 and 5180: benchmarks, so nobody's


@dataclass(frozen=True, slots=True)
class Judge:
    """The node, and the sockets that receive what is for it."""

    lab: Lab
    loader: str
    clients: Iterator[int]
    inside: Mapping[Family, tuple[socket.socket, ...]]

    def load(self, artifact: Artifact, *, clear: bool = True) -> None:
        """Load as `Artifact.load` says, `clear`: in the place of what was loaded before."""
        if clear:
            self.clear()
        texts = {name: data.decode() for name, data in artifact.files.items()}
        if self.loader == "nftables":
            self.lab.run("nft", "-f", "-", text=texts["nftables.nft"])
            return
        self.lab.run("ipset", "restore", text=texts["ipset.restore"])
        for tool in TOOLS.values():
            self.lab.run(f"{tool}-{self.lab.variant}-restore", "--noflush", text=texts[f"{tool}.restore"])

    def clear(self) -> None:
        """Load nothing."""
        if self.loader == "nftables":
            self.lab.run("nft", "flush", "ruleset")
            return
        for tool in TOOLS.values():
            self.lab.run(f"{tool}-{self.lab.variant}-restore", text="*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n")
        for _ in range(200):  # nft lets go of sets a moment later
            if self.lab.run("ipset", "destroy", check=False).returncode == 0:
                break
            time.sleep(0.01)

    def passed(self, packets: Sequence[tuple[Hook, Packet]]) -> list[bool]:
        """Which packets pass the hooks that they are for, FORWARD or INPUT.

        They come from a port, or with an identifier, of which none came before: the node answers what it receives, so
        the same packet would be of an established connection.
        """
        found: dict[int, bool] = {}
        client = next(self.clients)
        packets = [(hook, replace(packet, sport=client)) for hook, packet in packets]
        for family in Family:
            mine = [(number, hook, packet) for number, (hook, packet) in enumerate(packets) if packet.family is family]
            forwarded = [(number, packet) for number, hook, packet in mine if hook is Hook.FORWARD]
            received = [(number, packet) for number, hook, packet in mine if hook is Hook.INPUT]
            for start in range(0, len(forwarded), _BURST):
                burst = forwarded[start : start + _BURST]
                through = self.lab.passed([packet for _, packet in burst])
                found |= dict(zip((number for number, _ in burst), through, strict=True))
            for address in sorted({packet.dst for _, packet in received}, key=str):
                asked = [(number, packet) for number, packet in received if packet.dst == address]
                with self._at_home(address):
                    for start in range(0, len(asked), _BURST):
                        burst = asked[start : start + _BURST]
                        reached = self._received(family, address, [packet for _, packet in burst])
                        found |= dict(zip((number for number, _ in burst), reached, strict=True))
        return [found[number] for number in range(len(packets))]

    @contextmanager
    def flooded(self, packets: Sequence[Packet]) -> Iterator[list[list[bool]]]:
        """Send forwarded packets in turn, each anew, and a few more behind the end.

        Gives a list that the end fills: for each packet, which of its copies passed, in the order of sending.
        """
        flood = os.urandom(4)  # what an earlier one sent may still be on its way
        sent: list[bytes] = []
        seen: set[bytes] = set()
        done = Event()

        def send() -> None:
            behind = _BURST
            while behind:
                behind -= done.is_set()
                packet = replace(packets[len(sent) % len(packets)], sport=20000 + len(sent) % 40000)
                sent.append(flood + len(sent).to_bytes(4))
                self.lab.near.send(self.lab.frame_heads["near", packet.family] + datagram(packet, sent[-1]))
                seen.update(frame[-8:] for frame in _waiting(self.lab.far))

        patience = self.lab.far.gettimeout()
        self.lab.far.setblocking(False)
        sender = Thread(target=send)
        sender.start()
        found: list[list[bool]] = []
        try:
            time.sleep(0.05)
            yield found
        finally:
            done.set()
            sender.join()
        time.sleep(0.1)
        seen.update(frame[-8:] for frame in _waiting(self.lab.far))
        self.lab.far.settimeout(patience)
        found += [[tag in seen for tag in sent[index :: len(packets)]] for index in range(len(packets))]

    @contextmanager
    def _at_home(self, address: Address) -> Iterator[None]:
        where = (f"{address}/{address.max_prefixlen}", "dev", "lo")
        self.lab.run("ip", "address", "add", *where)
        try:
            yield
        finally:
            self.lab.run("ip", "address", "delete", *where)

    def _received(self, family: Family, home: Address, packets: Sequence[Packet]) -> list[bool]:
        seen: set[bytes] = set()
        self._arrive(family, home, seen)  # an address that was just added may not be reached at once
        tags = [os.urandom(8) for _ in packets]
        for packet, tag in zip(packets, tags, strict=True):
            self.lab.near.send(self.lab.frame_heads["near", family] + datagram(packet, tag))
        self._arrive(family, home, seen)
        return [tag in seen for tag in tags]

    def _arrive(self, family: Family, home: Address, seen: set[bytes]) -> None:
        """Send what passes until it arrives: all that was sent before had its chance to, and is in `seen` if it did."""
        sentinel = Packet(src=ip_address(_STRANGER[family]), dst=home, protocol=17, sport=9, dport=9)
        sent: set[bytes] = set()
        deadline = time.monotonic() + 20
        while not sent & seen:
            assert time.monotonic() < deadline, "the sentinel did not arrive"
            tag = os.urandom(8)
            sent.add(tag)
            self.lab.near.send(self.lab.frame_heads["near", family] + datagram(sentinel, tag))
            time.sleep(0.01)
            seen.update(data[-8:] for one in self.inside[family] for data in _waiting(one))
        seen.update(data[-8:] for one in self.inside[family] for data in _waiting(one))


def _waiting(one: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield one.recv(2048)
        except BlockingIOError:
            return


@contextmanager
def judge(loader: str) -> Iterator[Judge]:
    """A node for one of LOADERS."""
    variant = loader.removeprefix("iptables-")
    with router(variant) as lab, ExitStack() as stack:
        # Whatever a packet's destination is, it goes on to the far end, unless the node has that address.
        routes = (
            ("-4", "route", "add", "default", "via", "198.18.255.6", "table", "100"),
            ("-6", "route", "add", "default", "via", "fe80::ff", "dev", "far", "table", "100"),
            *((version, "rule", "add", "iif", "near", "lookup", "100") for version in ("-4", "-6")),
        )
        for route in routes:
            lab.run("ip", *route)
        inside: dict[Family, tuple[socket.socket, ...]] = {}
        with entered(lab.router):
            for family, protocols in _PROTOCOLS.items():
                made = [stack.enter_context(socket.socket(_KINDS[family], socket.SOCK_RAW, p)) for p in protocols]
                for one in made:
                    one.setblocking(False)
                inside[family] = tuple(made)
        yield Judge(lab, loader, count(20000), inside)


def judged(flow: Flow, cluster: Cluster) -> list[tuple[str | None, Hook, Packet]]:
    """The packets of a flow that some artifact may drop, with the node that judges each."""
    packet = replace(first_packet(flow), in_interface="near", out_interface="far")
    return [(stop.node, stop.hook, packet) for stop in stops(cluster, flow) if stop.hook is not Hook.OUTPUT]
