"""What the reader makes of nftables text, and what it refuses."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from npcompile.netset.cidrs import Family
from npcompile.readers.interpreter import judge
from npcompile.readers.nftables import read_nftables
from npcompile.readers.packet import Packet
from npcompile.readers.problems import ReadingError
from npcompile.readers.rules import Hook, State

# Everything that the reader understands, in a table that nft takes (tests/kernel asks it).
HEAD = """\
add table inet npcompile
delete table inet npcompile
add table inet npcompile
add chain inet npcompile forward { type filter hook forward priority filter; policy accept; }
add chain inet npcompile a
add chain inet npcompile b
add set inet npcompile s4 { type ipv4_addr; }
add set inet npcompile s6 { type ipv6_addr; }
add set inet npcompile n4 { type ipv4_addr; flags interval; }
add set inet npcompile p4 { type ipv4_addr . inet_proto . inet_service; }
add set inet npcompile self4 { type ipv4_addr . ipv4_addr; }
add map inet npcompile m4 { type ipv4_addr : verdict; }
add map inet npcompile m6 { type ipv6_addr : verdict; }
add element inet npcompile s4 { 10.1.0.1, 10.1.0.2 }
add element inet npcompile s6 { fd01::1 }
add element inet npcompile n4 { 10.2.0.0-10.2.0.1, 10.2.0.3, 10.2.0.4-10.2.255.255 }
add element inet npcompile p4 { 10.2.0.1 . tcp . 80, 10.2.0.2 . sctp . 80, 10.2.0.2 . udp . 53 }
add element inet npcompile self4 { 10.1.0.1 . 10.1.0.1, 10.1.0.1 . 10.2.0.1 }
add element inet npcompile m4 { 10.1.0.1 : goto a, 10.1.0.2 : jump b, 10.1.1.1 : drop }
add element inet npcompile m6 { fd01::1 : goto a, fd01::2 : accept }
"""
GOOD_RULES = [
    "forward ct state established accept",
    "forward ct state invalid,untracked drop",
    "forward meta l4proto { icmp, ipv6-icmp } ct state related accept",
    "forward meta l4proto { tcp, udp } th dport { 53, 80-81 } drop",
    "forward meta l4proto sctp drop",
    "forward tcp dport 80 drop",
    "forward udp dport 53-100 drop",
    "forward icmpv6 type { 128, 130 } drop",
    "forward icmpv6 type 130 accept",
    "forward ip saddr . ip daddr @self4 drop",
    "forward ip saddr @s4 ip daddr @n4 drop",
    "forward ip daddr . meta l4proto . th dport @p4 drop",
    "forward ip6 saddr @s6 return",
    "forward ip saddr vmap @m4",
    "forward ip6 saddr vmap @m6",
    'forward jump b comment "np:abc def"',
    "forward goto a",
]
BAD_LINES = [
    "add rule inet npcompile forward ip saddr @s6 drop",
    "add rule inet npcompile forward ip saddr @p4 drop",
    "add rule inet npcompile forward ip saddr vmap @s4",
    "add rule inet npcompile forward ip saddr @none drop",
    "add rule inet npcompile none accept",
    "add rule inet npcompile forward jump none",
    "add rule inet npcompile a goto forward",
    "add rule inet npcompile forward meta l4proto { tcp, udp } tcp dport 53 accept",
    "add rule inet npcompile forward tcp dport 65536 accept",
    "add rule inet npcompile forward tcp dport 10-9 accept",
    "add rule inet npcompile forward ct state nonsense accept",
    "add rule inet npcompile forward meta l4proto nonsense accept",
    "add rule inet npcompile forward icmpv6 type 256 accept",
    f'add rule inet npcompile forward accept comment "{"x" * 129}"',
    'add rule inet npcompile forward accept comment "x',
    "add element inet npcompile none { 10.0.0.1 }",
    "add element inet npcompile s4 { fd00::1 }",
    "add element inet npcompile s4 { 10.0.0.1 . tcp . 80 }",
    "add element inet npcompile s4 { 10.0.0.0-10.0.0.9 }",
    "add element inet npcompile n4 { 10.2.0.1-10.2.0.2 }",
    "add element inet npcompile n4 { 10.2.0.9 }",
    "add element inet npcompile n4 { 10.9.0.2-10.9.0.1 }",
    "add element inet npcompile p4 { 10.2.0.1 }",
    "add element inet npcompile p4 { 10.2.0.1 . nonsense . 80 }",
    "add element inet npcompile m4 { 10.1.0.1 : goto b }",
    "add element inet npcompile m4 { 10.1.0.9 : goto none }",
    "add element inet npcompile m4 { 10.1.0.9 : goto forward }",
    "add set inet npcompile x { type ipv4_addr . nonsense; }",
    "add set inet npcompile s4 { type ipv6_addr; }",
    "add chain inet npcompile x { type filter hook nonsense priority filter; policy accept; }",
    "delete table inet other",
    "frob inet npcompile",
]
# What nft would take, or might, and the reader does not try to understand.
NOT_UNDERSTOOD = [
    "add rule inet npcompile forward tcp dport 53 meta l4proto udp accept",
    "add rule inet npcompile forward ip saddr @m4 drop",
    "add table ip npcompile",
    "add table inet other",
    "add chain inet npcompile a",
    "add chain inet npcompile accept",
    "add chain inet npcompile FORWARD",
    "add chain inet npcompile second { type filter hook forward priority filter; policy accept; }",
    "add chain inet npcompile late { type filter hook input priority 10; policy accept; }",
    "add chain inet npcompile nat { type nat hook postrouting priority srcnat; policy accept; }",
    "add rule inet npcompile forward ip saddr 10.0.0.1 drop",
    "add rule inet npcompile forward ip saddr != @s4 drop",
    "add rule inet npcompile forward iifname eth0 drop",
    "add rule inet npcompile forward th dport 53 drop",
    "add rule inet npcompile forward meta l4proto icmp th dport 53 drop",
    "add rule inet npcompile forward tcp dport http drop",
    "add rule inet npcompile forward tcp dport 080 drop",
    "add rule inet npcompile forward ip saddr @s4",
    "add rule inet npcompile forward drop; accept",
    "add rule inet npcompile forward counter drop",
    "add element inet npcompile s4 { 10.0.0.1 timeout 5s }",
    "add element inet npcompile n4 { 10.9.0.0/24 }",
    "insert rule inet npcompile forward drop",
    "flush ruleset",
    "table inet npcompile {",
    'include "/etc/passwd"',
    "define x = 1",
]
NAMES = {1: "icmp", 6: "tcp", 17: "udp"}


def text(*rules: str) -> bytes:
    return (HEAD + "".join(f"add rule inet npcompile {rule}\n" for rule in rules)).encode()


def passes(data: bytes, src: str, dst: str, protocol: int = 6, hook: Hook = Hook.FORWARD, **fields: object) -> bool:
    packet = Packet(src=ip_address(src), dst=ip_address(dst), protocol=protocol, **fields)  # type: ignore[arg-type]
    return not judge(read_nftables(data)[packet.family], packet, hook).dropped


def test_everything_that_is_understood() -> None:
    rulesets = read_nftables(text(*GOOD_RULES))
    assert set(rulesets) == set(Family)
    assert {"FORWARD", "INPUT", "OUTPUT", "a", "b"} == set(rulesets[Family.V4].chains)


@pytest.mark.parametrize("line", [*BAD_LINES, *NOT_UNDERSTOOD])
def test_what_is_refused_is_named_with_its_line(line: str) -> None:
    data = text() + line.encode() + b"\n"
    with pytest.raises(ReadingError) as caught:
        read_nftables(data)
    places = {diagnostic.span.line for diagnostic in caught.value.diagnostics if diagnostic.span}
    assert places == {HEAD.count("\n") + 1}


def test_verdict_maps() -> None:
    data = text("forward ip saddr vmap @m4", "forward ip6 saddr vmap @m6", "a drop", "b return", "forward accept")
    assert not passes(data, "10.1.0.1", "10.2.0.1")
    assert passes(data, "10.1.0.2", "10.2.0.1")
    assert not passes(data, "10.1.1.1", "10.2.0.1")
    assert passes(data, "10.1.1.2", "10.2.0.1")
    assert not passes(data, "fd01::1", "fd02::1")
    assert passes(data, "fd01::2", "fd02::1")


def test_goto_does_not_come_back_and_jump_does() -> None:
    assert passes(text("forward goto a", "forward drop"), "10.1.0.1", "10.2.0.1")
    assert not passes(text("forward jump a", "forward drop"), "10.1.0.1", "10.2.0.1")
    assert not passes(text("forward jump a", "forward drop", "a goto b", "b return"), "10.1.0.1", "10.2.0.1")


def test_addresses_intervals_and_ports() -> None:
    data = text("forward ip daddr @n4 meta l4proto { tcp, udp } th dport { 53, 80-81 } drop")
    for dst, port, passed in (
        ("10.2.0.0", 80, False),
        ("10.2.0.1", 81, False),
        ("10.2.0.1", 82, True),
        ("10.2.0.2", 80, True),
        ("10.2.0.3", 53, False),
        ("10.3.0.0", 53, True),
    ):
        assert passes(data, "10.1.0.1", dst, 17, dport=port) is passed
    assert passes(data, "10.1.0.1", "10.2.0.0", 132, dport=80)
    assert passes(data, "10.1.0.1", "10.2.0.0", 1, icmp=(8, 0))
    data = text("forward ip daddr . meta l4proto . th dport @p4 drop")
    assert not passes(data, "10.1.0.1", "10.2.0.1", 6, dport=80)
    assert passes(data, "10.1.0.1", "10.2.0.1", 17, dport=80)
    assert passes(data, "10.1.0.1", "10.2.0.1", 1, icmp=(8, 0))


def test_pairs_of_addresses() -> None:
    data = text("forward ip saddr . ip daddr @self4 drop")
    assert not passes(data, "10.1.0.1", "10.1.0.1")
    assert not passes(data, "10.1.0.1", "10.2.0.1")
    assert passes(data, "10.2.0.1", "10.1.0.1")


def test_states_and_types_of_icmp() -> None:
    data = text("forward ct state established,related drop", "forward icmpv6 type { 128, 130 } drop")
    assert not passes(data, "10.1.0.1", "10.2.0.1", state=State.RELATED)
    assert passes(data, "10.1.0.1", "10.2.0.1", state=State.NEW)
    assert not passes(data, "fd01::1", "fd02::1", 58, icmp=(130, 0))
    assert passes(data, "fd01::1", "fd02::1", 58, icmp=(129, 0))
    assert passes(data, "10.1.0.1", "10.2.0.1", 58, icmp=(130, 0))


def test_a_table_that_is_deleted_leaves_nothing() -> None:
    data = text("forward drop") + b"delete table inet npcompile\n"
    assert passes(data, "10.1.0.1", "10.2.0.1")
    assert passes(b"", "10.1.0.1", "10.2.0.1")


def test_the_policy_of_a_base_chain() -> None:
    data = text().replace(b"policy accept", b"policy drop")
    assert not passes(data, "10.1.0.1", "10.2.0.1")
    assert passes(data, "10.1.0.1", "10.2.0.1", hook=Hook.INPUT)


def test_circles_are_refused() -> None:
    with pytest.raises(ReadingError, match="circle"):
        read_nftables(text("a jump b", "b goto a"))
