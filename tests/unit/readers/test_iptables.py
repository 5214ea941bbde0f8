"""The meaning of `iptables-restore --noflush` text.  That iptables agrees is tested in tests/kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import ip_network

import pytest

from npcompile.netset.cidrs import Family
from npcompile.netset.intervals import IntervalSet
from npcompile.readers.iptables import read_iptables
from npcompile.readers.problems import ReadingError
from npcompile.readers.rules import (
    Accept,
    AddressMatch,
    Chain,
    Drop,
    Goto,
    IcmpMatch,
    InterfaceMatch,
    Jump,
    MarkMatch,
    Match,
    Policy,
    PortMatch,
    ProtocolMatch,
    Return,
    Rule,
    Ruleset,
    SameAddressMatch,
    SetMark,
    SetMatch,
    State,
    StateMatch,
    Target,
    Way,
)
from npcompile.readers.sets import AddressSet, End

SETS = {
    "four": AddressSet(family=Family.V4, addresses=IntervalSet()),
    "six": AddressSet(family=Family.V6, addresses=IntervalSet()),
}
ALL = 0xFFFF_FFFF
SAME_V4 = "6,32 0 0 12,7 0 0 0,32 0 0 16,29 0 1 0,6 0 0 65535,6 0 0 0"
SAME_V6 = (
    "18,32 0 0 8,7 0 0 0,32 0 0 24,29 0 13 0,32 0 0 12,7 0 0 0,32 0 0 28,29 0 9 0,32 0 0 16,7 0 0 0,32 0 0 32,29 0 5 0,"
    "32 0 0 20,7 0 0 0,32 0 0 36,29 0 1 0,6 0 0 65535,6 0 0 0"
)


def read(*lines: str, family: Family = Family.V4, state: Ruleset | None = None) -> Ruleset:
    """The lines in a table with a chain A."""
    text = "".join(f"{line}\n" for line in ("*filter", ":A - [0:0]", *lines, "COMMIT"))
    return read_iptables(text.encode(), family, SETS, state=state)


def rule(spec: str, family: Family = Family.V4) -> Rule:
    (found,) = read(":B -", f"-A A {spec}".rstrip(), family=family).chains["A"].rules
    return found


def refusals(*lines: str, family: Family = Family.V4) -> list[tuple[int, str]]:
    """Line numbers, `lines` from 1, and messages."""
    with pytest.raises(ReadingError) as caught:
        read(*lines, family=family)
    return [(d.span.line - 2 if d.span else 0, d.message) for d in caught.value.diagnostics]


def specs(ruleset: Ruleset, chain: str = "A") -> list[str]:
    return [one.comment for one in ruleset.chains[chain].rules]


# --- rules ---

MATCHES: list[tuple[str, Match]] = [
    ("-s 10.0.0.5/24", AddressMatch(end=End.SRC, network=ip_network("10.0.0.0/24"))),
    ("--source 10.0.0.5", AddressMatch(end=End.SRC, network=ip_network("10.0.0.5/32"))),
    ("! -d 10.0.0.0/8", AddressMatch(end=End.DST, network=ip_network("10.0.0.0/8"), negated=True)),
    ("--dst 10.0.0.0/8", AddressMatch(end=End.DST, network=ip_network("10.0.0.0/8"))),
    ("-p tcp", ProtocolMatch(number=6)),
    ("-p TCP", ProtocolMatch(number=6)),
    ("! -p sctp", ProtocolMatch(number=132, negated=True)),
    ("-p 47", ProtocolMatch(number=47)),
    ("-i eth0", InterfaceMatch(way=Way.IN, name="eth0")),
    ("! -o cali+", InterfaceMatch(way=Way.OUT, name="cali", prefix=True, negated=True)),
    ("-i e+h", InterfaceMatch(way=Way.IN, name="e+h")),
    ("-m set --match-set four src", SetMatch(name="four", ends=(End.SRC,))),
    ("-m set ! --match-set four dst,src", SetMatch(name="four", ends=(End.DST, End.SRC), negated=True)),
    ("-m conntrack --ctstate NEW", StateMatch(states=frozenset({State.NEW}))),
    (
        "-m conntrack ! --ctstate RELATED,ESTABLISHED",
        StateMatch(states=frozenset({State.RELATED, State.ESTABLISHED}), negated=True),
    ),
    ("-m mark --mark 5", MarkMatch(value=5, mask=ALL)),
    ("-m mark ! --mark 0x10/0xF0", MarkMatch(value=16, mask=240, negated=True)),
    (f'-m bpf --bytecode "{SAME_V4}"', SameAddressMatch()),
]


@pytest.mark.parametrize(("spec", "match"), MATCHES)
def test_matches(spec: str, match: Match) -> None:
    assert rule(spec).matches == (match,)


PORT_MATCHES: list[tuple[str, PortMatch]] = [
    ("--dport 80", PortMatch(end=End.DST, ports=IntervalSet.of(80, 80))),
    ("--sport 80:90", PortMatch(end=End.SRC, ports=IntervalSet.of(80, 90))),
    ("! --dport :90", PortMatch(end=End.DST, ports=IntervalSet.of(0, 90), negated=True)),
    ("--destination-port 90:", PortMatch(end=End.DST, ports=IntervalSet.of(90, 65535))),
    ("--dport :", PortMatch(end=End.DST, ports=IntervalSet.of(0, 65535))),
    ("-m multiport --dports 1,3:4,9", PortMatch(end=End.DST, ports=IntervalSet((1, 2, 3, 5, 9, 10)))),
    ("-m multiport ! --sports 1,2", PortMatch(end=End.SRC, ports=IntervalSet.of(1, 2), negated=True)),
]


@pytest.mark.parametrize(("spec", "match"), PORT_MATCHES)
@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_ports(spec: str, match: PortMatch, protocol: str) -> None:
    number = ProtocolMatch(number={"tcp": 6, "udp": 17, "sctp": 132}[protocol])
    assert rule(f"-p {protocol} {spec}").matches == (number, match)
    assert rule(f"-p {protocol} -m {protocol} {spec}").matches == (number, match)


@pytest.mark.parametrize(
    "spec", ["-m tcp -m multiport --dports 1 --sport 2", "-m multiport --dports 1 -m tcp --sport 2"]
)
def test_multiport_beside_other_ports(spec: str) -> None:
    assert {match.end for match in rule(f"-p tcp {spec}").matches if isinstance(match, PortMatch)} == set(End)


def test_a_port_module_alone_says_nothing_more() -> None:
    assert rule("-p tcp -m tcp").matches == (ProtocolMatch(number=6),)


@pytest.mark.parametrize(
    ("spec", "kind", "code", "negated"),
    [("8", 8, None, False), ("8/1", 8, 1, False), ("echo-request", 8, None, False)],
)
def test_icmp(spec: str, kind: int, code: int | None, negated: bool) -> None:
    expected = (ProtocolMatch(number=1), IcmpMatch(type=kind, code=code))
    assert rule(f"-p icmp --icmp-type {spec}").matches == expected
    assert rule(f"-p 1 -m icmp --icmp-type {spec}").matches == expected


def test_icmp_of_ipv6() -> None:
    expected = (ProtocolMatch(number=58), IcmpMatch(type=135, negated=True))
    assert rule("-p icmpv6 ! --icmpv6-type 135", Family.V6).matches == expected
    assert rule("-p ipv6-icmp -m icmp6 ! --icmpv6-type 135", Family.V6).matches == expected


def test_another_program_that_compares_the_addresses() -> None:
    program = "6,32 0 0 16,7 0 0 0,32 0 0 12,29 1 0 7,6 0 0 0,6 0 0 1"
    assert rule(f'-m bpf --bytecode "{program}"').matches == (SameAddressMatch(),)


def test_what_does_not_restrict() -> None:
    assert rule("-s 0.0.0.0/0 -d 0.0.0.0/0 -p all -j ACCEPT") == Rule(target=Accept())
    assert rule("-s ::/0 -p 0", Family.V6) == Rule()


TARGETS: list[tuple[str, Target | None]] = [
    ("", None),
    ("-j ACCEPT", Accept()),
    ("-j DROP", Drop()),
    ("-j REJECT", Drop(reject=True)),
    ("-j REJECT --reject-with icmp-admin-prohibited", Drop(reject=True)),
    ("-p tcp -j REJECT --reject-with tcp-reset", Drop(reject=True)),
    ("-j RETURN", Return()),
    ("--jump B", Jump(chain="B")),
    ("-g B", Goto(chain="B")),
    ("-j MARK --set-mark 0x1", SetMark(value=1, mask=ALL)),
    ("-j MARK --set-mark 1/2", SetMark(value=1, mask=3)),
    ("-j MARK --set-xmark 1/2", SetMark(value=1, mask=2)),
    ("-j MARK --or-mark 4", SetMark(value=4, mask=4)),
    ("-j MARK --and-mark 0xff", SetMark(value=0, mask=0xFFFF_FF00)),
    ("-j MARK --xor-mark 4", SetMark(value=4, mask=0)),
]


@pytest.mark.parametrize(("spec", "target"), TARGETS)
def test_targets(spec: str, target: Target | None) -> None:
    assert rule(spec).target == target


@pytest.mark.parametrize(
    ("written", "comment"),
    [
        ("plain", "plain"),
        ('"two words"', "two words"),
        (r'"a \"quoted\" word and \\ and \n"', r'a "quoted" word and \ and n'),
        ('""', ""),
        ("-j", "-j"),
        ("!", "!"),
        (r"back\slash", r"back\slash"),
        ('"-j ACCEPT"', "-j ACCEPT"),
        ('"# -A A -j ACCEPT"', "# -A A -j ACCEPT"),
        (r'"x\" -j ACCEPT -m comment --comment \"y"', 'x" -j ACCEPT -m comment --comment "y'),
        ('"  two  blanks  "', "  two  blanks  "),
        ('"héé  \N{SNOWMAN}"', "héé  \N{SNOWMAN}"),
        (f'"{"x" * 255}"', "x" * 255),
    ],
)
def test_comments(written: str, comment: str) -> None:
    assert rule(f"-m comment --comment {written} -j DROP") == Rule(target=Drop(), comment=comment)


def test_the_order_of_options_of_the_fixed_part_does_not_matter() -> None:
    one = rule("-s 10.0.0.1 -p udp -i eth0 -m mark --mark 1 -j DROP")
    assert one == rule("-j DROP -m mark --mark 1 -i eth0 -p udp -s 10.0.0.1")
    assert one.matches[-1] == MarkMatch(value=1, mask=ALL)


@pytest.mark.parametrize(
    "spec",
    [
        # not understood at all
        "-m owner --uid-owner 0",
        "-m addrtype --dst-type LOCAL",
        "-m state --state NEW",
        "-m limit --limit 1/s",
        "-m frob",
        "--frob x",
        "-f",
        "-4",
        "-c 1 1",
        "-t filter",
        "frob",
        "! ! -s 1.1.1.1",
        "-s ! 1.1.1.1",
        "-s",
        "-j",
        "! -j ACCEPT",
        "-j ACCEPT !",
        "-s1.1.1.1",
        "--source=1.1.1.1",
        "--sourc 1.1.1.1",
        "-s '1.1.1.1'",
        '"-s" 1.1.1.1',
        '-s "1.1.1.1"',
        # values
        "-s 1.1.1.1,2.2.2.2",
        "-s 1.1.1",
        "-s 010.1.1.1",
        "-s 1.1.1.1/33",
        "-s 1.1.1.1/255.255.255.0",
        "-s 1.1.1.1/",
        "-s fd00::1",
        "-s localhost",
        "-s !",
        "! -s 0.0.0.0/0",
        "-p 256",
        "-p 06",
        "-p frob",
        "! -p all",
        "-i +",
        "! -i +",
        "-i abcdefghijklmnop",
        "-i a/b",
        "-m set --match-set nope src",
        "-m set --match-set six src",
        "-m set --match-set four",
        "-m set --match-set four SRC",
        "-m set --match-set four src,",
        "-m set --match-set four src,src,src,src,src,src,src",
        "-m set --match-set four src --match-set four dst",
        "-m set --match-set four src --return-nomatch",
        "! -m set --match-set four src",
        "-m conntrack --ctstate NEW,",
        "-m conntrack --ctstate new",
        "-m conntrack --ctstate DNAT",
        "-m conntrack --ctstate NEW,NEW",
        "-m conntrack --ctproto tcp",
        "-m mark --mark 010",
        "-m mark --mark 0x100000000",
        "-m mark --mark -1",
        "-m mark --mark 1/",
        "-m mark --mark " + "9" * 5000,
        "-m mark",
        # what belongs together
        "--dport 80",
        "--dport 80 -p tcp",
        "-m tcp --dport 80",
        "! -p tcp --dport 80",
        "-p icmp --dport 80",
        "-p udp -m tcp --dport 80",
        "-p tcp -m tcp --dport 80 --dport 81",
        "-p tcp -m tcp --dport 80 -m tcp --dport 81",
        "-p tcp --dport 80 -m tcp",
        "-p tcp --dport 2:1",
        "-p tcp ! --dport 0:65535",
        "-p tcp ! --sport :",
        "-p tcp -m multiport --dports 1 --sport 2",
        "-p tcp --dport 65536",
        "-p tcp --dport 080",
        "-p tcp --dport http",
        "-m multiport --dports 80",
        "-p icmp -m multiport --dports 80",
        "-p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16",
        "-p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15:16",
        "-p tcp -m multiport --dports 2:1",
        "-p tcp -m multiport --dports 2:2",
        "-p tcp -m multiport --dports 2:",
        "-p tcp -m multiport --dports 2,,3",
        "-p tcp -m multiport --ports 2",
        "-p tcp -m multiport --dports 2 --sports 3",
        "--icmp-type 8",
        "-p icmp -m icmp --icmp-type 8 --icmp-type 9",
        "-p icmp --icmp-type any",
        "-p icmp --icmp-type 255",
        "-p icmp --icmp-type 8/",
        "-p icmp --icmp-type 8/256",
        "-p icmpv6 --icmpv6-type 128",
        "-p icmpv6 -m icmp --icmp-type 8",
        # targets
        "-j LOG",
        "-j QUEUE",
        "-j CONTINUE",
        '-j ""',
        "-j nowhere",
        "-g nowhere",
        "-g ACCEPT",
        "-j INPUT",
        "-j A/B",
        "-j !",
        "-j ACCEPT -j DROP",
        "-j ACCEPT -g B",
        "-j MARK",
        "-j MARK --set-mark 1 --or-mark 2",
        "-j MARK --set-mark 010",
        "-j MARK --or-mark 1/1",
        "-j ACCEPT --set-mark 1",
        "--set-mark 1 -j MARK",
        "-j REJECT --reject-with tcp-reset",
        "! -p tcp -j REJECT --reject-with tcp-reset",
        "-j REJECT --reject-with icmp-",
        "-j REJECT --reject-with icmp6-no-route",
        "-j DROP --reject-with icmp-port-unreachable",
        # twice
        "-s 1.1.1.1 -s 1.1.1.1",
        "-p tcp -p tcp",
        "-i a -i b",
        "-m comment --comment a -m comment --comment b",
        # comments
        '-m comment --comment "unterminated',
        '-m comment --comment "a"b',
        '-m comment --comment a"b c"',
        "-m comment --comment a\\ b",
        '-m comment ! --comment "a"',
        "-m comment",
        f"-m comment --comment {'x' * 256}",
        f"-m comment --comment {'é' * 128}",
        "-m comment --comment a\N{NO-BREAK SPACE}b",
        '-m comment --comment "a\rb"',
        '-m comment --comment "a\N{LINE SEPARATOR}b"',
        # programs
        '-m bpf --bytecode "1,6 0 0 65535"',
        '-m bpf --bytecode "6,32 0 0 12,7 0 0 0,32 0 0 16,29 0 1 0,6 0 0 0,6 0 0 65535"',
        '-m bpf --bytecode "6,32 0 0 12,7 0 0 0,32 0 0 12,29 0 1 0,6 0 0 65535,6 0 0 0"',
        '-m bpf --bytecode "6,32 0 0 12,7 0 0 0,32 0 0 20,29 0 1 0,6 0 0 65535,6 0 0 0"',
        '-m bpf --bytecode "6,32 0 0 12,7 0 0 0,32 0 0 16,29 1 0 0,6 0 0 65535,6 0 0 0"',
        '-m bpf --bytecode "5,32 0 0 12,7 0 0 0,32 0 0 16,29 0 1 0,6 0 0 65535,6 0 0 0"',
        '-m bpf --bytecode "6,32 0 0 12,7 0 0 0,32 0 0 16,29 0 0 0,6 0 0 65535,6 0 0 0"',
        '-m bpf --bytecode "7,32 0 0 12,7 0 0 0,32 0 0 16,29 0 1 0,6 0 0 65535,6 0 0 0,7 0 0 0"',
        '-m bpf --bytecode "6,32 0 0 12,7 0 0 0,32 0 0 16,29 0 9 0,6 0 0 65535,6 0 0 0"',
        '-m bpf --bytecode "6,40 0 0 12,7 0 0 0,40 0 0 16,29 0 1 0,6 0 0 65535,6 0 0 0"',
        f'-m bpf --bytecode "{SAME_V6}"',
        f"-m bpf --bytecode {SAME_V4.replace(' ', '_')}",
    ],
)
def test_rules_that_are_refused(spec: str) -> None:
    assert {line for line, _ in refusals(":B - [0:0]", f"-A A {spec}")} == {2}


@pytest.mark.parametrize(
    "spec",
    [
        "-s 10.0.0.1",
        "! -s ::/0",
        "-s fd00::1%lo",
        "-p icmp --icmp-type 8",
        "-p icmp -m icmp --icmp-type 8",
        "-p icmpv6 --icmpv6-type 255",
        "-p ah",
        "-p 60",
        "-m set --match-set four src",
        "-j REJECT --reject-with icmp-port-unreachable",
        f'-m bpf --bytecode "{SAME_V4}"',
        f'-m bpf --bytecode "{SAME_V6.replace("32 0 0 36", "32 0 0 32")}"',
    ],
)
def test_rules_of_ipv6_that_are_refused(spec: str) -> None:
    assert {line for line, _ in refusals(f"-A A {spec}", family=Family.V6)} == {1}


def test_rules_of_ipv6() -> None:
    assert rule(f'-m bpf --bytecode "{SAME_V6}"', Family.V6).matches == (SameAddressMatch(),)
    assert rule("-s fd00::5/64", Family.V6).matches == (AddressMatch(end=End.SRC, network=ip_network("fd00::/64")),)
    assert rule("-j REJECT --reject-with icmp6-adm-prohibited", Family.V6).target == Drop(reject=True)


# --- chains ---


def test_an_empty_text_changes_nothing() -> None:
    for text in (b"", b"# nothing\n\n", b"*filter\nCOMMIT\n"):
        found = read_iptables(text, Family.V4, SETS)
        assert found.chains == {name: Chain(name=name, policy=Policy.ACCEPT) for name in ("FORWARD", "INPUT", "OUTPUT")}


def test_a_declaration_empties_a_users_chain_and_no_built_in_one() -> None:
    rules = ("-A A -m comment --comment a", "-A FORWARD -m comment --comment f")
    found = read(*rules, ":A - [0:0]", ":FORWARD DROP [1:2]", ":FORWARD - [0:0]")
    assert (specs(found), specs(found, "FORWARD")) == ([], ["f"])
    assert found.chains["FORWARD"].policy is Policy.DROP


def test_what_is_loaded_over_a_state() -> None:
    before = read("-A A -m comment --comment old", "-A FORWARD -m comment --comment old", "-P INPUT DROP")
    after = read("-A A -m comment --comment new", "-I FORWARD -m comment --comment new", state=before)
    assert (specs(after), specs(after, "FORWARD")) == (["new"], ["new", "old"])
    assert after.chains["INPUT"].policy is Policy.DROP


def test_inserting_and_deleting() -> None:
    found = read(
        "-A A -m comment --comment b",
        "-I A -m comment --comment a",
        "-I A 3 -m comment --comment d",
        "-I A 3 -m comment --comment c",
        "-D A 2",
        "-D A -m comment --comment d",
    )
    assert specs(found) == ["a", "c"]


def test_flushing_and_erasing() -> None:
    found = read("-A A -j DROP", "-N B", "-A A -j B", "-F A", "-X B", "-N B", "-A B -j A")
    assert found.chains["A"].rules == ()
    assert [one.target for one in found.chains["B"].rules] == [Jump(chain="A")]


def test_two_tables_of_one_name_follow_each_other() -> None:
    assert specs(read("-A A -m comment --comment a", "COMMIT", "*filter", "-A A -m comment --comment b")) == ["a", "b"]


@pytest.mark.parametrize(
    "lines",
    [
        ["-A B -j DROP"],
        ["-A A -j B"],
        ["-A A -j DROP foo"],
        [":B ACCEPT [0:0]"],
        [":B"],
        [":FORWARD RETURN [0:0]"],
        [":FORWARD REJECT"],
        [":B - [0:0] x"],
        [":B - [x:y]"],
        [f":{'c' * 29} - [0:0]"],
        [":LOG - [0:0]"],
        [":standard - [0:0]"],
        [":POSTROUTING - [0:0]"],
        [":-x - [0:0]"],
        [":!x - [0:0]"],
        [":a/b - [0:0]"],
        ["-N A"],
        ["-N FORWARD"],
        ["-X A", "-F A"],
        ["-X FORWARD"],
        ["-X"],
        ["-F"],
        ["-F B"],
        ["-Z"],
        ["-E A B"],
        ["-R A 1 -j DROP"],
        ["-L"],
        ["-A A -j DROP", "-X A"],
        ["-A FORWARD -j A", "-X A"],
        ["-P A DROP"],
        ["-P FORWARD REJECT"],
        ["-I A 0 -j DROP"],
        ["-I A 2 -j DROP"],
        ["-D A 1"],
        ["-D A -j DROP"],
        ["-A A -j DROP", "-A A -j DROP", "-D A -j DROP"],
        ["-A A -m comment --comment a", "-D A -m comment --comment b"],
        ["-A INPUT -o eth0 -j DROP"],
        ["-A OUTPUT -i eth0 -j DROP"],
        [" -A A -j DROP"],
        ["[1:2] -A A -j DROP"],
        ["   "],
        [" # x"],
        ["-A"],
        ["-A A -A A"],
        ["*filter"],
        ["*nat"],
        ["COMMIT", "COMMIT"],
        ["COMMIT", "-A A -j DROP"],
        ["COMMIT", "*mangle"],
        ["COMMIT", "foo"],
        ["COMMIT "],
        ["-A A" + " -m mark --mark 1" * 41],
        ["-A A -j A"],
        ["# " + "x" * 10240],
    ],
)
def test_lines_that_are_refused(lines: list[str]) -> None:
    assert refusals(*lines)[0][0] == len(lines)


def test_a_table_needs_its_commit_and_that_its_newline() -> None:
    for text in ("*filter\n", "*filter\nCOMMIT", "*filter\nCOMMIT\r\n", "*filter\n:A - [0:0]\n"):
        with pytest.raises(ReadingError):
            read_iptables(text.encode(), Family.V4, SETS)


def test_circles() -> None:
    assert refusals(":B -", "-A A -j B", "-A B -g A")[0][1] == "the jump to `A` closes a circle"
    found = refusals(":B -", ":C -", "-A FORWARD -j A", "-A A -j B", "-A A -j C", "-A B -j C", "-A C -j A", "-A C -j C")
    assert [line for line, _ in found] == [7, 8]
    assert refusals("-A A -j A", "COMMIT", "*filter", "-F A")[0][0] == 1


def test_chains_that_follow_each_other() -> None:
    def chain_of(length: int) -> list[str]:
        declared = [f":C{i} -" for i in range(length)]
        return [*declared, "-A FORWARD -j C0", *(f"-A C{i} -g C{i + 1}" for i in range(length - 1))]

    read(*chain_of(15))
    assert "more than 15 chains" in refusals(*chain_of(16))[0][1]


def test_a_diamond_is_no_circle() -> None:
    read(":B -", ":C -", "-A FORWARD -j A", "-A FORWARD -j B", "-A A -j B", "-A A -j C", "-A B -j C", "-A C -j DROP")


def test_all_problems_are_told_with_their_places() -> None:
    lines = ["-A A -m owner --uid-owner 0", "-A A -s x -d y -j DROP", "-A B -j DROP", "-A A -j DROP", "-A A -j nowhere"]
    with pytest.raises(ReadingError) as caught:
        read(*lines)
    spans = [d.span for d in caught.value.diagnostics]
    assert [(span.line, span.column) for span in spans if span] == [(3, 6), (4, 6), (4, 11), (5, 1), (7, 1)]
    assert caught.value.diagnostics[0].message == "not understood: `-m owner --uid-owner 0`"
    assert {d.rule.code for d in caught.value.diagnostics} == {"NPC706"}


def test_problems_behind_many_lines_keep_their_number() -> None:
    good = ["-A A -j DROP"] * 5000
    assert [line for line, _ in refusals(*good, "-A A -j nowhere", *good, "frob", "-A A -s x")] == [5001, 10002, 10003]
    assert read(*good).chains["A"].rules[4999].line == 5002


def test_lark_is_loaded_only_to_read() -> None:
    code = "import sys, json, npcompile.readers.passage; print(json.dumps('lark' in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) is False
