"""Interval sets against Python's own sets, and prefixes against the addresses that they stand for."""

from __future__ import annotations

from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from npcompile.netset import cidrs, intervals, ports
from npcompile.netset.intervals import IntervalSet

SMALL = st.sets(st.integers(0, 40))


def interval_set(members: set[int]) -> IntervalSet:
    return intervals.union(IntervalSet.of(m, m) for m in members)


@given(SMALL, SMALL)
def test_algebra(a: set[int], b: set[int]) -> None:
    x, y = interval_set(a), interval_set(b)
    assert x | y == interval_set(a | b)
    assert x & y == interval_set(a & b)
    assert x - y == interval_set(a - b)
    assert (x <= y) == (a <= b)
    assert x.isdisjoint(y) == a.isdisjoint(b)
    assert x.size == len(a)
    assert {m for m in range(41) if m in x} == a
    assert [m for first, last in x for m in range(first, last + 1)] == sorted(a)


@given(st.sets(st.integers(0, 300), max_size=20), st.sampled_from([0, 1 << 128, (1 << 32) - 301]))
def test_prefixes_are_disjoint_and_exact(offsets: set[int], base: int) -> None:
    addresses = interval_set({base + offset for offset in offsets})
    networks = list(cidrs.prefixes(addresses))
    assert intervals.union(cidrs.block(n) for n in networks) == addresses
    assert sum(n.num_addresses for n in networks) == addresses.size


@given(SMALL, st.sampled_from([0, 1 << 16]))
def test_aligned_blocks(offsets: set[int], base: int) -> None:
    numbers = interval_set({base + offset for offset in offsets})
    blocks = list(numbers.aligned())
    assert all(start % (1 << size) == 0 for start, size in blocks)
    assert [n for start, size in blocks for n in range(start, start + (1 << size))] == sorted(base + o for o in offsets)
    joined = {(start, size + 1) for start, size in blocks if start % (2 << size) == 0} & {
        (start - (1 << size), size + 1) for start, size in blocks
    }
    assert not joined, "two blocks that are one"


@given(st.ip_addresses())
def test_the_text_of_an_address(address: cidrs.Address) -> None:
    assert cidrs.at(cidrs.point(address)) == address
    assert cidrs.text_at(cidrs.point(address)) == str(address)


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_port_ranges(a: int, b: int) -> None:
    first, last = sorted((a, b))
    chosen = ports.port_range(ports.Protocol.UDP, first, last)
    assert ports.at(chosen.first) == (ports.Protocol.UDP, first)
    assert chosen <= ports.all_ports(ports.Protocol.UDP)
    assert chosen.isdisjoint(ports.all_ports(ports.Protocol.TCP))


def test_whole_families() -> None:
    assert [str(n) for n in cidrs.prefixes(cidrs.EVERY_ADDRESS)] == ["0.0.0.0/0", "::/0"]
    assert ports.describe(ports.EVERY_PORT) == "any port"
    assert str(cidrs.representative(cidrs.EVERY_V4)) == "1.0.0.0"


def test_special_addresses_are_a_last_resort() -> None:
    loopback = cidrs.block(IPv4Network("127.0.0.0/8"))
    assert cidrs.is_special(cidrs.representative(loopback))
    assert not cidrs.is_special(cidrs.representative(loopback | cidrs.block(IPv4Network("192.0.2.0/30"))))
