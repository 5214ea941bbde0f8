"""A pod that may use packet sockets sends from a ring that it shares with the kernel, and changes a frame after it was
judged: what goes on is what was judged, since the kernel copies it on its way through the pair.
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from npcompile.runtime.bpf.events import Reason
from tests.kernel import frames as f
from tests.kernel.bpf import Bench, bench
from tests.kernel.test_bpf_live import put_at
from tests.kernel.test_bpf_packets import PEER, PEER6, POD, POD6, TCP_80_ONLY
from tests.kernel.wire import run

pytestmark = pytest.mark.kernel("clang", "ip")

# linux/if_packet.h
SOL_PACKET, PACKET_VERSION, PACKET_TX_RING, PACKET_VNET_HDR, TPACKET_V2 = 263, 10, 13, 15, 1
READY = 1  # TP_STATUS_SEND_REQUEST
HEADER = struct.Struct("=BBHHHH")  # struct virtio_net_hdr, of which only the third field is used here
START = 32  # where that is behind struct tpacket2_hdr
DATA = START + HEADER.size  # and where the frame is
PAGE = 4096  # one frame in one block


@dataclass(frozen=True, slots=True)
class Ring:
    """The sender's end: one frame in memory that stays the sender's."""

    socket: socket.socket
    memory: mmap.mmap

    @classmethod
    def at(cls, name: str) -> Ring:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.setsockopt(SOL_PACKET, PACKET_VERSION, struct.pack("i", TPACKET_V2))
        made.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        made.setsockopt(SOL_PACKET, PACKET_TX_RING, struct.pack("4I", PAGE, 1, PAGE, 1))
        made.bind((name, 0))
        return cls(made, mmap.mmap(made.fileno(), PAGE))

    def send(self, frame: bytes, copied: int = 0) -> None:
        """The kernel copies so many bytes into the first piece of the frame's memory, and always Ethernet's header; the
        rest stays in the ring.
        """
        self.memory[START:DATA] = HEADER.pack(0, 0, copied, 0, 0, 0)
        self.write(0, frame)
        self.memory[4:8] = struct.pack("=I", HEADER.size + len(frame))
        self.memory[0:4] = struct.pack("=I", READY)
        self.socket.send(b"")

    def write(self, at: int, data: bytes) -> None:
        self.memory[DATA + at : DATA + at + len(data)] = data

    def close(self) -> None:
        self.memory.close()
        self.socket.close()


@dataclass(frozen=True, slots=True)
class Router:
    """A pod's pair, and another pair that its packets are forwarded to."""

    bench: Bench
    ring: Ring
    far: socket.socket
    mac: bytes

    def arrived(self, frame: bytes, at: int, later: bytes) -> bytes:
        """The same bytes of a frame at the far end, after the sender has exchanged them."""
        frame = self.mac + frame[6:]
        before = self.bench.hits()
        self.ring.send(frame)
        self.ring.write(at, later)
        assert self.bench.hits()[Reason.ALLOWED_BY_RULE] == before[Reason.ALLOWED_BY_RULE] + 1
        while True:
            seen = self.far.recv(4096)
            if seen[12:14] == frame[12:14] and seen[-4:] == frame[-4:]:
                return seen[at : at + len(later)]


@pytest.fixture
def router() -> Iterator[Router]:
    with bench() as b:
        no_dad = [f"net.ipv6.conf.{name}.accept_dad=0" for name in ("default", "d0", "d1")]
        forwarding = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
        run("ip", "netns", "exec", b.name, "sysctl", "-qw", *forwarding, *no_dad)
        lines = [f"link set {name} up" for name in ("d0", "e0", "d1", "e1")]
        lines += [f"route add {PEER}/32 dev d1", f"route add {PEER6}/128 dev d1"]
        lines += [f"neighbour add {one} dev d1 lladdr 02:00:00:00:00:09 nud permanent" for one in (PEER, PEER6)]
        run("ip", "-n", b.name, "-batch", "-", text="\n".join(lines) + "\n")
        b.bind(TCP_80_ONLY)
        put_at(b)
        ring = Ring.at("e0")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as far:
            far.bind(("e1", 0))
            far.settimeout(5)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as near:
                near.bind(("d0", 0))
                mac = near.getsockname()[4]
            yield Router(b, ring, far, mac)
        ring.close()


SYN = f.tcp(40000, 80) + bytes(100) + b"last"
FRAMES = {"IPv4": (f.ipv4(POD, PEER, f.TCP, SYN), 34), "IPv6": (f.ipv6(POD6, PEER6, f.TCP, SYN), 54)}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_port_that_is_changed_behind_the_program(router: Router, kind: str) -> None:
    """Of the first frame, whose memory is the second's, too: so what is written there is what would be sent."""
    frame, transport = FRAMES[kind]
    assert router.arrived(frame, transport, f.ports(40000, 22)) == f.ports(40000, 80)
    other = frame[:transport] + f.ports(40001, 80) + frame[transport + 4 :]
    assert router.arrived(other, transport, f.ports(40001, 22)) == f.ports(40001, 80)
