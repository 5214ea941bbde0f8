"""The walk through chains, and what matches and sets say.  That the kernel agrees is tested in tests/kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from npcompile.netset.cidrs import Family
from npcompile.readers.interpreter import Ending, judge
from npcompile.readers.ipset import read_ipset
from npcompile.readers.iptables import read_iptables
from npcompile.readers.packet import Packet
from npcompile.readers.rules import Hook, Policy, Ruleset, State

V4 = Packet(
    src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.2"), protocol=6, sport=40000, dport=80, in_interface="eth0"
)
V6 = replace(V4, src=ip_address("fd00::1"), dst=ip_address("fd00::2"))
PING = replace(V4, protocol=1, sport=None, dport=None, icmp=(8, 0))


def ruleset(*lines: str, sets: tuple[str, ...] = (), family: Family = Family.V4) -> Ruleset:
    """The lines in a table with chains A to D."""
    text = "".join(f"{line}\n" for line in ("*filter", ":A -", ":B -", ":C -", ":D -", *lines, "COMMIT"))
    return read_iptables(text.encode(), family, read_ipset("".join(f"{line}\n" for line in sets).encode()))


def walk(*lines: str, packet: Packet = V4, hook: Hook = Hook.FORWARD) -> tuple[Ending, list[str]]:
    """The ending, and the comments of the rules on the way; `!` in a line stands for a comment of its own number."""
    named = [line.replace("#", f"-m comment --comment {i}") for i, line in enumerate(lines)]
    outcome = judge(ruleset(*named, family=packet.family), packet, hook)
    return outcome.ending, [step.rule.comment for step in outcome.walk]


def matches(spec: str, packet: Packet, *sets: str) -> bool:
    outcome = judge(ruleset(f"-A FORWARD {spec} -j DROP", sets=sets, family=packet.family), packet, Hook.FORWARD)
    assert outcome.dropped is (outcome.ending is Ending.DROP)
    return outcome.dropped


# --- chains ---


def test_the_end_of_a_built_in_chain_is_its_policy() -> None:
    table = ruleset("-P FORWARD DROP", "-A FORWARD -m mark --mark 1 -j ACCEPT")
    forward, output = (judge(table, V4, hook) for hook in (Hook.FORWARD, Hook.OUTPUT))
    assert (forward.ending, forward.policy, forward.dropped) == (Ending.POLICY, Policy.DROP, True)
    assert (output.ending, output.policy, output.dropped) == (Ending.POLICY, Policy.ACCEPT, False)


def test_each_hook_has_its_chain() -> None:
    lines = ("-A INPUT # -j DROP", "-A OUTPUT # -j ACCEPT", "-A FORWARD # -j RETURN")
    assert walk(*lines, hook=Hook.INPUT) == (Ending.DROP, ["0"])
    assert walk(*lines, hook=Hook.OUTPUT) == (Ending.ACCEPT, ["1"])
    assert walk(*lines, hook=Hook.FORWARD) == (Ending.POLICY, ["2"])


def test_a_jump_comes_back_behind_itself() -> None:
    lines = ("-A FORWARD # -j A", "-A FORWARD # -j DROP", "-A A #", "-A A # -j RETURN", "-A A # -j ACCEPT")
    assert walk(*lines) == (Ending.DROP, ["0", "2", "3", "1"])


def test_the_end_of_a_chain_returns() -> None:
    lines = ("-A FORWARD # -j A", "-A FORWARD # -j DROP", "-A A # -j B", "-A A #", "-A B #")
    assert walk(*lines) == (Ending.DROP, ["0", "2", "4", "3", "1"])


def test_a_goto_returns_to_the_callers_caller() -> None:
    lines = ("-A FORWARD # -j A", "-A FORWARD # -j DROP", "-A A # -g B", "-A A # -j ACCEPT", "-A B # -j RETURN")
    assert walk(*lines) == (Ending.DROP, ["0", "2", "4", "1"])
    assert walk(*lines[:4]) == (Ending.DROP, ["0", "2", "1"])
    with_jump = (*lines[:2], "-A A # -j B", *lines[3:])
    assert walk(*with_jump) == (Ending.ACCEPT, ["0", "2", "4", "3"])


def test_a_goto_from_a_built_in_chain_returns_to_its_policy() -> None:
    assert walk("-A FORWARD # -g A", "-A FORWARD # -j DROP", "-A A # -j RETURN") == (Ending.POLICY, ["0", "2"])


def test_a_jump_from_a_chain_that_was_gone_to_comes_back_to_it() -> None:
    lines = ("-A FORWARD # -j A", "-A FORWARD # -j DROP", "-A A # -g B", "-A A # -j ACCEPT", "-A B # -j C", "-A B #")
    assert walk(*lines, "-A C # -j RETURN") == (Ending.DROP, ["0", "2", "4", "6", "5", "1"])


def test_return_in_a_built_in_chain_ends_it() -> None:
    assert walk("-A FORWARD # -j RETURN", "-A FORWARD # -j DROP") == (Ending.POLICY, ["0"])


def test_marks_are_seen_by_later_rules_and_in_the_end() -> None:
    lines = (
        "-A FORWARD -j MARK --set-xmark 0x3/0x3",
        "-A FORWARD -j A",
        "-A FORWARD -m mark --mark 0x12/0xff -j DROP",
        "-A A -m mark --mark 0x13/0xff -j MARK --and-mark 0xfffffffe",
    )
    outcome = judge(ruleset(*lines), replace(V4, mark=0x110), Hook.FORWARD)
    assert (outcome.ending, outcome.mark) == (Ending.DROP, 0x112)


@pytest.mark.parametrize(
    ("marking", "mark"),
    [
        ("--set-mark 0x5", 0x5),
        ("--set-mark 0x5/0x1", 0xF0F0_00F5),
        ("--set-xmark 0x5/0xf", 0xF0F0_00F5),
        ("--set-xmark 0x5/0x1", 0xF0F0_00F5),
        ("--set-xmark 0x11/0x1", 0xF0F0_00E1),
        ("--or-mark 0xf", 0xF0F0_00FF),
        ("--and-mark 0xff", 0xF0),
        ("--xor-mark 0xff", 0xF0F0_000F),
    ],
)
def test_marking(marking: str, mark: int) -> None:
    packet = replace(V4, mark=0xF0F0_00F0)
    assert judge(ruleset(f"-A FORWARD -j MARK {marking}"), packet, Hook.FORWARD).mark == mark


def test_a_packet_of_the_other_family_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="IPv6 packet"):
        judge(ruleset(), V6, Hook.FORWARD)


# --- matches ---


@pytest.mark.parametrize("packet", [V4, V6])
@pytest.mark.parametrize(
    ("spec", "holds"),
    [
        ("", True),
        ("-p tcp", True),
        ("-p udp", False),
        ("-i eth0", True),
        ("-i eth", False),
        ("-i eth+", True),
        ("-i eth0+", True),
        ("-i ens+", False),
        ("-o eth0", False),
        ("-o e+", False),
        ("-p tcp --dport 80", True),
        ("-p tcp --dport 79:80", True),
        ("-p tcp --dport 80:81", True),
        ("-p tcp --dport 81:", False),
        ("-p tcp --sport 80", False),
        ("-p tcp --sport 40000", True),
        ("-p tcp -m multiport --dports 1,70:79,81", False),
        ("-p tcp -m multiport --dports 1,70:80", True),
        ("-p tcp -m multiport --sports 80", False),
        ("-m conntrack --ctstate NEW,RELATED", True),
        ("-m conntrack --ctstate ESTABLISHED", False),
        ("-m mark --mark 0", True),
        ("-m mark --mark 1/1", False),
        ("-m mark --mark 1/0", False),
        ("-m mark --mark 0/0", True),
    ],
)
def test_matches_and_their_negation(packet: Packet, spec: str, holds: bool) -> None:
    assert matches(spec, packet) is holds
    words = spec.split()
    if words:
        option = max(index for index, word in enumerate(words) if word.startswith("-"))
        assert matches(" ".join([*words[:option], "!", *words[option:]]), packet) is not holds


@pytest.mark.parametrize(
    ("spec", "holds"),
    [
        ("-s 10.0.0.1", True),
        ("-s 10.0.0.0/24", True),
        ("-d 10.0.0.1", False),
        ("! -s 10.0.0.2", True),
        ("-s 10.0.0.0/32", False),
    ],
)
def test_addresses(spec: str, holds: bool) -> None:
    assert matches(spec, V4) is holds


def test_every_match_of_a_rule_must_hold() -> None:
    assert matches("-s 10.0.0.1 -d 10.0.0.2 -p tcp --dport 80", V4)
    for spec in ("-s 10.0.0.2 -p tcp --dport 80", "-s 10.0.0.1 -p udp --dport 80", "-s 10.0.0.1 -p tcp --dport 81"):
        assert not matches(spec, V4)


@pytest.mark.parametrize(
    ("spec", "holds"),
    [("8", True), ("8/0", True), ("8/1", False), ("0", False)],
)
def test_icmp(spec: str, holds: bool) -> None:
    assert matches(f"-p icmp --icmp-type {spec}", PING) is holds
    assert matches(f"-p icmp ! --icmp-type {spec}", PING) is not holds
    assert not matches(f"-p icmp --icmp-type {spec}", V4)
    assert not matches(f"-p icmp ! --icmp-type {spec}", V4)


def test_marks_outside_of_a_mask_do_not_matter() -> None:
    packet = replace(V4, mark=0x0100_0001)
    assert matches("-m mark --mark 0x1000000/0x1000000", packet)
    assert not matches("-m mark --mark 0x1000000", packet)
    assert not matches("-m mark --mark 0/0x1000000", packet)
    assert not matches("-m mark --mark 0x1000001/0x1000000", packet)


@pytest.mark.parametrize("state", State)
def test_states(state: State) -> None:
    packet = replace(V4, state=state)
    assert matches(f"-m conntrack --ctstate {state.value}", packet)
    assert matches("-m conntrack --ctstate RELATED,ESTABLISHED", packet) is (
        state in {State.RELATED, State.ESTABLISHED}
    )


def test_same_addresses() -> None:
    program = '-m bpf --bytecode "6,32 0 0 12,7 0 0 0,32 0 0 16,29 0 1 0,6 0 0 65535,6 0 0 0"'
    assert not matches(program, V4)
    assert matches(program, replace(V4, src=V4.dst))


# --- sets ---

SET = "-m set --match-set s"


def test_a_set_of_addresses() -> None:
    lines = ("create s hash:ip", "add s 10.0.0.1")
    assert matches(f"{SET} src", V4, *lines)
    assert not matches(f"{SET} dst", V4, *lines)
    assert matches("-m set ! --match-set s dst", V4, *lines)
    assert matches(f"{SET} src,dst", V4, *lines)
    assert not matches(f"{SET} dst,src", V4, *lines)


def test_no_longest_prefix_wins_in_a_set_of_networks() -> None:
    lines = ("create s hash:net", "add s 10.0.0.0/8", "add s 10.0.0.2/31")
    assert matches(f"{SET} src", V4, *lines)
    assert matches(f"{SET} dst", V4, *lines)
    assert not matches(f"{SET} src", replace(V4, src=ip_address("11.0.0.1")), *lines)


def test_a_set_of_addresses_and_ports() -> None:
    lines = ("create s hash:ip,port", "add s 10.0.0.2,tcp:80", "add s 10.0.0.2,udp:81", "add s 10.0.0.1,tcp:40000")
    assert matches(f"{SET} dst,dst", V4, *lines)
    assert matches(f"{SET} src,src", V4, *lines)
    assert not matches(f"{SET} dst,src", V4, *lines)
    assert not matches(f"{SET} src,dst", V4, *lines)
    assert not matches(f"{SET} dst,dst", replace(V4, protocol=17), *lines)
    assert not matches(f"{SET} dst,dst", replace(V4, dport=81), *lines)
    assert not matches(f"{SET} dst,dst", PING, *lines)


def test_too_few_directions_match_nothing() -> None:
    lines = ("create s hash:ip,port", "add s 10.0.0.2,tcp:80")
    assert not matches(f"{SET} dst", V4, *lines)
    assert matches("-m set ! --match-set s dst", V4, *lines)


def test_a_set_of_two_networks() -> None:
    lines = ("create s hash:net,net", "add s 10.0.0.1,10.0.0.2/31", "add s 10.9.0.0/16,0.0.0.0/0")
    assert matches(f"{SET} src,dst", V4, *lines)
    assert not matches(f"{SET} dst,src", V4, *lines)
    assert not matches(f"{SET} src,dst", replace(V4, dst=ip_address("10.0.0.1")), *lines)
    assert matches(f"{SET} src,dst", replace(V4, src=ip_address("10.9.1.1")), *lines)


def test_a_set_of_ipv6() -> None:
    lines = ("create s hash:net family inet6", "add s fd00::/127")
    assert matches(f"{SET} src", V6, *lines)
    assert not matches(f"{SET} dst", V6, *lines)
