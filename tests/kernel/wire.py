"""A router in a network namespace, and raw packets through it.

Packets travel as frames from one end of the router to the other; nothing answers them, so that every one opens a
connection.  A last frame, which every ruleset must accept, tells that those before it had their chance to arrive.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_address
from itertools import count, product
from pathlib import Path

from npcompile.netset.cidrs import Family
from npcompile.readers.packet import Packet
from npcompile.readers.rules import State
from npcompile.runtime.noted import Note

_CLONE_NEWNET = 0x40000000
_ALL_FRAMES = 3  # ETH_P_ALL
_numbers = count()
TOOLS = {Family.V4: "iptables", Family.V6: "ip6tables"}
_LAST = {Family.V4: ("10.1.99.99", "10.2.99.99"), Family.V6: ("fd01::99", "fd02::99")}


def run(*command: str, text: str = "", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run a command with `text` as its input."""
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0 or not check, f"{command}: {done.stderr.decode()}\n{text}"
    return done


@contextmanager
def namespace() -> Iterator[str]:
    """A new network namespace, gone afterwards."""
    name = f"npr{os.getpid()}x{next(_numbers)}"
    run("ip", "netns", "add", name)
    try:
        yield name
    finally:
        with entered(name):
            for note in map(Note.of_thread, ("nftables", "iptables-nft")):
                if note is not None:
                    note.remove()
        run("ip", "netns", "delete", name)


@contextmanager
def entered(name: str) -> Iterator[None]:
    """This thread in a network namespace: sockets made here stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as home, Path(f"/run/netns/{name}").open() as there:
        assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


@dataclass(frozen=True, slots=True)
class Lab:
    """A router between two interfaces, `near` and `far`, whose other ends are raw sockets."""

    router: str
    variant: str
    near: socket.socket
    far: socket.socket
    frame_heads: dict[tuple[str, Family], bytes]

    def run(self, *command: str, text: str = "", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        return run("ip", "netns", "exec", self.router, *command, text=text, check=check)

    def load(self, ipset: str, text: str, family: Family) -> None:
        """Replace what was loaded before."""
        for tool in TOOLS.values():
            self.run(f"{tool}-{self.variant}-restore", text="*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n")
        for _ in range(200):  # nft lets go of sets a moment later
            if self.run("ipset", "destroy", check=False).returncode == 0:
                break
            time.sleep(0.01)
        self.run("ipset", "restore", text=ipset)
        self.run(f"{TOOLS[family]}-{self.variant}-restore", "--noflush", text=text)

    def passed(self, packets: Sequence[Packet]) -> list[bool]:
        """Which of these packets, of one family, come out at the other end."""
        family = packets[0].family
        seen: set[bytes] = set()
        tags = [os.urandom(8) for _ in (*packets, None)]
        while _received(self.far):
            pass
        for packet, tag in zip((*packets, sentinel(family)), tags, strict=True):
            self.near.send(self.frame_heads["near", family] + datagram(packet, tag))
        deadline = time.monotonic() + 5
        while tags[-1] not in seen and time.monotonic() < deadline:
            seen.update(frame[-8:] for frame in _received(self.far))
        assert tags[-1] in seen, "the sentinel did not arrive"
        return [tag in seen for tag in tags[:-1]]

    def send_back(self, packet: Packet) -> None:
        """Send a packet into the far end."""
        self.into_far(datagram(packet, os.urandom(8)), packet.family)
        time.sleep(0.1)

    def into_far(self, data: bytes, family: Family) -> None:
        """Send a packet's bytes into the far end."""
        self.far.send(self.frame_heads["far", family] + data)

    def out_of_near(self, tags: Mapping[str, bytes]) -> set[str]:
        """Whose tags come out at the near end, until the last one's does."""
        seen: set[str] = set()
        *_, last = tags
        deadline = time.monotonic() + 5
        while last not in seen:
            assert time.monotonic() < deadline, f"{last!r} did not arrive"
            seen.update(name for frame in _received(self.near) for name, tag in tags.items() if frame.endswith(tag))
        return seen


def _received(sink: socket.socket) -> list[bytes]:
    try:
        return [sink.recv(2048)]
    except TimeoutError:
        return []


@contextmanager
def router(variant: str) -> Iterator[Lab]:
    """A lab for one of the two iptables, `legacy` or `nft`."""
    with namespace() as middle, namespace() as ends:
        commands = [
            f"link add near netns {middle} type veth peer name near netns {ends}",
            f"link add far netns {middle} type veth peer name far netns {ends}",
        ]
        run("ip", "-batch", "-", text="\n".join(commands))
        for name in (middle, ends):
            settings = ["net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"]
            settings += ["net.ipv6.conf.all.disable_ipv6=1"] if name == ends else []
            run("ip", "netns", "exec", name, "sysctl", "-qw", *settings)
            run("ip", "-n", name, "-batch", "-", text="link set near up\nlink set far up\nlink set lo up\n")
        forwarding = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
        filters = [f"net.ipv4.conf.{name}.rp_filter=0" for name in ("all", "near", "far")]
        run("ip", "netns", "exec", middle, "sysctl", "-qw", *forwarding, *filters)
        with entered(ends):
            near, far = _raw_socket("near"), _raw_socket("far")
        routes = [
            "address add 198.18.255.1/30 dev near",
            "address add 198.18.255.5/30 dev far",
            f"neighbour add 198.18.255.6 dev far lladdr {_mac(far)}",
            f"neighbour add 198.18.255.2 dev near lladdr {_mac(near)}",
            f"neighbour add fe80::ff dev far lladdr {_mac(far)}",
            f"neighbour add fe80::ff dev near lladdr {_mac(near)}",
            "route add default via 198.18.255.6",
            "route add 10.1.0.0/16 via 198.18.255.2",
            "route add ::/0 via fe80::ff dev far",
            "route add fd01::/16 via fe80::ff dev near",
        ]
        run("ip", "-n", middle, "-batch", "-", text="\n".join(routes))
        links = run("ip", "-n", middle, "-br", "link").stdout.decode().split("\n")
        macs = {line.split("@")[0]: bytes.fromhex(line.split()[2].replace(":", "")) for line in links if "@" in line}
        kinds = {Family.V4: b"\x08\x00", Family.V6: b"\x86\xdd"}
        heads = {
            (name, family): macs[name] + bytes([2, 0, 0, 0, 0, 1]) + kinds[family]
            for name, family in product(("near", "far"), Family)
        }
        with near, far:
            yield Lab(middle, variant, near, far, heads)


def _raw_socket(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_FRAMES))
    made.bind((interface, 0))
    made.settimeout(0.02)
    return made


def _mac(end: socket.socket) -> str:
    return end.getsockname()[4].hex(":")


def forwarded(src: str, dst: str, protocol: int, **fields: object) -> Packet:
    """A packet from the near end to the far one."""
    bare = Packet(src=ip_address(src), dst=ip_address(dst), protocol=protocol, in_interface="near", out_interface="far")
    return replace(bare, **fields)  # type: ignore[arg-type]


def sentinel(family: Family) -> Packet:
    """The packet that every ruleset here accepts."""
    return forwarded(*_LAST[family], 17, sport=9, dport=9)


def accept_sentinel(family: Family) -> str:
    """The line that does."""
    return f"-I FORWARD -s {_LAST[family][0]} -j ACCEPT\n"


# --- packets as bytes ---


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@cache
def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901
        table.append(value)
    return table


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc = crc >> 8 ^ _crc_table()[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF_FFFF


def payload(packet: Packet, tag: bytes) -> bytes:
    """What is behind the IP header, with `tag` at its end: SYN, INIT, an echo request; without flags when INVALID."""
    pseudo = packet.src.packed + packet.dst.packed
    if packet.family is Family.V4:
        head = lambda size: pseudo + struct.pack("!BBH", 0, packet.protocol, size)  # noqa: E731
    else:
        head = lambda size: pseudo + struct.pack("!II", size, packet.protocol)  # noqa: E731
    match packet.protocol:
        case 6:
            flags = 0 if packet.state is State.INVALID else 2
            bare = struct.pack("!HHIIBBHHH", packet.sport, packet.dport, 1, 0, 5 << 4, flags, 1024, 0, 0) + tag
            return bare[:16] + struct.pack("!H", checksum(head(len(bare)) + bare)) + bare[18:]
        case 17:
            bare = struct.pack("!HHHH", packet.sport, packet.dport, 8 + len(tag), 0) + tag
            return bare[:6] + struct.pack("!H", checksum(head(len(bare)) + bare) or 0xFFFF) + bare[8:]
        case 132:
            # The tag is a parameter that receivers ignore.
            chunk = struct.pack("!BBHIIHHI", 1, 0, 32, 7, 4096, 1, 1, 9) + struct.pack("!HH", 0xBFFF, 12) + tag
            bare = struct.pack("!HHII", packet.sport, packet.dport, 0, 0) + chunk
            return bare[:8] + struct.pack("<I", crc32c(bare)) + bare[12:]
        case 1 | 58:
            assert packet.icmp
            bare = struct.pack("!BBHHH", *packet.icmp, 0, packet.sport or 77, 1) + tag
            covered = head(len(bare)) + bare if packet.protocol == 58 else bare
            return bare[:2] + struct.pack("!H", checksum(covered)) + bare[4:]
        case _:
            return b"\0" * 16 + tag


def datagram(packet: Packet, tag: bytes) -> bytes:
    """A packet with its IP header."""
    body = payload(packet, tag)
    if packet.family is Family.V6:
        return (
            struct.pack("!IHBB", 6 << 28, len(body), packet.protocol, 64) + packet.src.packed + packet.dst.packed + body
        )
    fixed = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, packet.protocol, 0)
    header = fixed + packet.src.packed + packet.dst.packed
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body
