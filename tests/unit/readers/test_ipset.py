"""The meaning of `ipset restore` text.  That the kernel agrees is tested in tests/kernel."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from npcompile.netset.cidrs import Family, block, point
from npcompile.netset.intervals import IntervalSet, union
from npcompile.readers.ipset import read_ipset
from npcompile.readers.problems import ReadingError
from npcompile.readers.sets import AddressPortSet, AddressSet, IpSet, NetPairSet


def read(*lines: str) -> dict[str, IpSet]:
    return dict(read_ipset("".join(f"{line}\n" for line in lines).encode()))


def refusals(*lines: str) -> list[tuple[int, str]]:
    with pytest.raises(ReadingError) as caught:
        read(*lines)
    return [(d.span.line if d.span else 0, d.message) for d in caught.value.diagnostics]


def addresses(*texts: str) -> IntervalSet:
    return union(IntervalSet.of(point(ip_address(text)), point(ip_address(text))) for text in texts)


def test_nothing_is_no_sets() -> None:
    assert read_ipset(b"") == read("# nothing", "") == {}


def test_sets_are_in_the_order_of_their_names() -> None:
    assert list(read("create b hash:ip", "create a hash:ip")) == ["a", "b"]


def test_the_last_line_may_lack_its_end() -> None:
    assert read_ipset(b"create a hash:ip\nadd a 1.1.1.1")["a"] == AddressSet(
        family=Family.V4, addresses=addresses("1.1.1.1")
    )


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("1.1.1.1", addresses("1.1.1.1")),
        ("1.1.1.1/32", addresses("1.1.1.1")),
        ("1.1.1.5/30", addresses("1.1.1.4", "1.1.1.5", "1.1.1.6", "1.1.1.7")),
        ("1.1.1.255-1.1.2.1", addresses("1.1.1.255", "1.1.2.0", "1.1.2.1")),
        ("9.0.0.0/16", block(ip_network("9.0.0.0/16"))),
    ],
)
def test_entries_of_hash_ip(entry: str, expected: IntervalSet) -> None:
    assert read("create a hash:ip", f"add a {entry}") == {"a": AddressSet(family=Family.V4, addresses=expected)}


def test_entries_of_hash_ip_in_ipv6() -> None:
    found = read("create a hash:ip family inet6", "add a fd00::1", "add a fd00::2/128")
    assert found == {"a": AddressSet(family=Family.V6, addresses=addresses("fd00::1", "fd00::2"))}


def test_a_set_of_networks_is_their_union() -> None:
    found = read("create a hash:net", "add a 10.0.0.0/8", "add a 10.1.2.3/16", "add a 11.0.0.1")
    assert found["a"] == AddressSet(family=Family.V4, addresses=block(ip_network("10.0.0.0/8")) | addresses("11.0.0.1"))


def test_a_range_of_networks_is_its_prefixes() -> None:
    found = read("create a hash:net", "add a 10.0.0.1-10.0.0.6", "add a 10.0.0.0/30", "del a 10.0.0.2/31")
    assert found["a"] == AddressSet(
        family=Family.V4, addresses=IntervalSet.of(point(ip_address("10.0.0.0")), point(ip_address("10.0.0.6")))
    )


def test_entries_with_ports() -> None:
    found = read(
        "create a hash:ip,port",
        "add a 1.1.1.1,80",
        "add a 1.1.1.2,udp:53",
        "add a 1.1.1.2/31,sctp:1-2",
        "del a 1.1.1.3,sctp:1",
    )
    one, two, three = (point(ip_address(f"1.1.1.{i}")) for i in (1, 2, 3))
    assert found["a"] == AddressPortSet(
        family=Family.V4,
        members=frozenset({(one, 6, 80), (two, 17, 53), (two, 132, 1), (two, 132, 2), (three, 132, 2)}),
    )


def test_entries_with_two_networks() -> None:
    found = read("create a hash:net,net", "add a 10.0.0.0/8,0.0.0.0/0")
    ten, all_of_them = block(ip_network("10.0.0.0/8")), block(ip_network("0.0.0.0/0"))
    pair = ((ten.bounds[0], ten.bounds[1] - 1), (all_of_them.bounds[0], all_of_them.bounds[1] - 1))
    assert found["a"] == NetPairSet(family=Family.V4, pairs=frozenset({pair}))


def test_commands_on_whole_sets() -> None:
    found = read(
        "create a hash:ip maxelem 1",
        "add a 1.1.1.1",
        "create b hash:ip family inet hashsize 64 maxelem 2 comment",
        'add b 2.2.2.2 comment "with add x 1.1.1.1 in it"',
        "swap a b",
        "add a 2.2.2.3",  # a has the parameters of b now
        "rename a c",
        "create d hash:ip",
        "destroy d",
        "flush b",
    )
    assert found == {
        "b": AddressSet(family=Family.V4, addresses=IntervalSet()),
        "c": AddressSet(family=Family.V4, addresses=addresses("2.2.2.2", "2.2.2.3")),
    }
    assert read("create a hash:ip", "add a 1.1.1.1", "flush", "add a 1.1.1.1", "destroy") == {}


def test_exist_forgives_what_is_there_already() -> None:
    assert read("create a hash:ip -exist", "create a hash:ip hashsize 128 -exist") == read("create a hash:ip")
    assert read("create a hash:ip -exist", "add a 1.1.1.1 -exist", "add a 1.1.1.1 -exist") == read(
        "create a hash:ip", "add a 1.1.1.1"
    )
    assert read("create a hash:ip", "del a 1.1.1.1 -exist", "destroy b -exist") == read("create a hash:ip")


def test_exist_on_a_later_line_of_a_message_forgives_nothing() -> None:
    assert refusals("create a hash:ip", "add a 1.1.1.1", "add a 1.1.1.1 -exist")[0][0] == 3
    read("create a hash:ip", "add a 1.1.1.1", "flush a", "add a 1.1.1.1 -exist", "add a 1.1.1.1 -exist")


def test_a_line_without_exist_is_never_forgiven() -> None:
    assert refusals("create a hash:ip -exist", "add a 1.1.1.1 -exist", "add a 1.1.1.1")[0][0] == 3


def test_maxelem_counts_elements_once() -> None:
    full = ("create a hash:ip maxelem 2 -exist", "add a 1.1.1.0/31 -exist")
    read(*full, "add a 1.1.1.1 -exist")
    read(*full, "del a 1.1.1.1", "add a 1.1.1.2")
    assert refusals(*full, "add a 1.1.1.2 -exist") == [(3, "the set is full: its maxelem is 2")]
    assert refusals("create a hash:ip maxelem 2", "add a 1.1.1.0/30")[0][0] == 2
    assert refusals("create a hash:ip", "add a 9.0.0.0/16", "add a 8.0.0.1")[0][0] == 3


@pytest.mark.parametrize(
    "lines",
    [
        ["create a hash:ip", "create a hash:ip"],
        ["create a hash:ip", "create a hash:ip maxelem 2 -exist"],
        ["create a hash:ip", "create a hash:net -exist"],
        ["create a hash:ip", "create a hash:ip family inet6 -exist"],
        ["create a hash:ip", "create a hash:ip comment -exist"],
        ["create a hash:ip timeout 3"],
        ["create a hash:ip counters"],
        ["create a hash:ip maxelem 1 maxelem 1"],
        ["create a hash:ip maxelem 4294967296"],
        ["create a hash:ip maxelem 0x10"],
        ["create a hash:ip family ipv4"],
        ["create a hash:net,port"],
        ["create a list:set"],
        ["create a iphash"],
        [f"create {'a' * 32} hash:ip"],
        ["create"],
        ["create a"],
        ['create "a" hash:ip'],
        ["add a 1.1.1.1"],
        ["del a 1.1.1.1 -exist"],
        ["add a 1.1.1.1 -exist"],
        ["flush a"],
        ["destroy a"],
        ["create a hash:ip", "swap a b"],
        ["create a hash:ip", "create b hash:net", "swap a b"],
        ["create a hash:ip", "create b hash:ip family inet6", "swap a b"],
        ["create a hash:ip", "create b hash:ip", "rename a b"],
        ["create a hash:ip", f"rename a {'b' * 32}"],
        ["create a hash:ip", "destroy a", "create a hash:net"],
        ["create a hash:net", "destroy a", "create b hash:ip", "rename b a"],
        ["create a hash:ip", "add a 1.1.1.1 -exist 1.1.1.2"],
        ["create a hash:ip", "add a 1.1.1.1 timeout 0"],
        ["create a hash:ip", 'add a 1.1.1.1 comment "x"'],
        ["create a hash:ip comment", 'add a 1.1.1.1 comment "x'],
        ["create a hash:ip comment", 'add a 1.1.1.1 comment "x \\" y"'],
        ["create a hash:ip comment", f'add a 1.1.1.1 comment "{"x" * 256}"'],
        ["create a hash:ip", "COMMIT"],
        ["create a hash:ip", " add a 1.1.1.1"],
        ["create a hash:ip", "add a 1.1.1.1 # x"],
        ["create a hash:ip", "add a 1.1.1.1\r"],
        ["create a hash:ip", "add a 1.1.1.1\0"],
        ["-exist create a hash:ip"],
        ["quit"],
    ],
)
def test_what_is_refused(lines: list[str]) -> None:
    assert {line for line, _ in refusals(*lines)} == {len(lines)}


@pytest.mark.parametrize(
    ("kind", "entries"),
    [
        (
            "hash:ip",
            [
                "fd00::1",
                "1.1.1",
                "01.1.1.1",
                "localhost",
                "1.1.1.1,80",
                "0.0.0.0",
                "0.0.0.0/31",
                "1.1.1.1/0",
                "1.1.1.1/33",
            ],
        ),
        ("hash:ip", ["1.1.1.2-1.1.1.1", "1.1.1.1-", "9.0.0.0/15", "1.1.1.1/", "1.1.1.1/024", "1.1.1.1/" + "9" * 5000]),
        ("hash:ip family inet6", ["1.1.1.1", "fd00::/127", "fd00::1-fd00::2", "::", "fd00::1%lo", "[fd00::1]"]),
        ("hash:net", ["0.0.0.0/0", "1.1.1.1/0", "0.0.0.0-255.255.255.255", "10.0.0.0/8,10.0.0.0/8"]),
        ("hash:net family inet6", ["::/0", "fd00::1-fd00::2", "10.0.0.0/8", "fd00::/129"]),
        ("hash:ip,port", ["1.1.1.1", "1.1.1.1,tcp:0", "1.1.1.1,tcp:65536", "1.1.1.1,tcp:2-1", "1.1.1.1,icmp:8/0"]),
        ("hash:ip,port", ["1.1.1.1,tcp:http", "1.1.1.1,:80", "1.1.1.1,tcp:1-", "1.1.1.1,6:80", "0.0.0.0,tcp:80"]),
        ("hash:ip,port", ["1.1.1.1,tcp:1,1.1.1.1", "1.1.0.0/20,tcp:1-100", "1.1.1.1,TCP:80"]),
        ("hash:ip,port family inet6", ["fd00::/127,tcp:80", "1.1.1.1,tcp:80"]),
        ("hash:net,net", ["10.0.0.0/8", "10.0.0.0/8,fd00::/8", "10.0.0.0/8,10.0.0.0-10.0.0.1"]),
    ],
)
def test_entries_that_are_refused(kind: str, entries: list[str]) -> None:
    lines = [f"create a {kind}", *(f"add a {entry}" for entry in entries)]
    assert {line for line, _ in refusals(*lines)} == set(range(2, 2 + len(entries)))


def test_nomatch_is_refused() -> None:
    assert refusals("create a hash:net", "add a 10.0.0.0/8 nomatch")[0][0] == 2


def test_all_problems_are_told_with_their_lines() -> None:
    found = refusals("create a hash:ip", "add b 1.1.1.1", "create c hash:mac", "add a 1.1.1.1", "say hello", "add a x")
    assert [line for line, _ in found] == [2, 3, 5, 6]
    assert found[2][1] == "not understood: `say hello`"


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ReadingError, match="UTF-8"):
        read_ipset(b"create a hash:ip\nadd a \xff\n")
    with pytest.raises(ReadingError, match="longer"):
        read_ipset(b"# " + b"x" * 2000)
