"""The readers say what the kernel does: the same texts, loaded, refuse the same lines and drop the same packets."""

from __future__ import annotations

import random
import socket
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from itertools import product

import pytest

from npcompile.netset.cidrs import Family
from npcompile.netset.intervals import IntervalSet
from npcompile.readers.interpreter import judge
from npcompile.readers.ipset import read_ipset
from npcompile.readers.iptables import read_iptables
from npcompile.readers.packet import Packet
from npcompile.readers.problems import ReadingError
from npcompile.readers.rules import Chain, Hook, Match, PortMatch, Ruleset, State
from tests.kernel.wire import TOOLS, Lab, accept_sentinel, entered, forwarded, router, run

VARIANTS = ("legacy", "nft")
_RESTORES = tuple(f"{tool}-{variant}-restore" for tool in ("iptables", "ip6tables") for variant in VARIANTS)
pytestmark = pytest.mark.kernel("ip", "ipset", "sysctl", "unshare", *_RESTORES)


@pytest.fixture(scope="module", params=VARIANTS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with router(request.param) as made:
        yield made


# --- what is sent ---

SOURCES = {
    Family.V4: ("10.1.0.1", "10.1.0.2", "10.1.1.1"),
    Family.V6: ("fd01::1", "fd01::2", "fd01:0:0:1::1"),
}
TARGETS = {
    Family.V4: ("10.2.0.1", "10.2.0.2", "10.2.128.1"),
    Family.V6: ("fd02::1", "fd02::2", "fd02:0:0:1::1"),
}
ICMP = {Family.V4: (1, ((8, 0), (8, 1), (13, 0))), Family.V6: (58, ((128, 0), (128, 1), (130, 0)))}


def universe(family: Family) -> list[Packet]:
    """Packets of every kind that rules can tell apart."""
    pairs = list(product(SOURCES[family], TARGETS[family]))
    found = [
        forwarded(src, dst, protocol, sport=sport, dport=dport)
        for src, dst in pairs
        for protocol, sport, dport in ((6, 5000, 80), (6, 80, 81), (17, 5000, 80), (17, 53, 53), (132, 5000, 80))
    ]
    found += [forwarded(*pair, 6, sport=5000, dport=dport) for pair in pairs[:2] for dport in (1, 79, 82, 8080, 65535)]
    protocol, kinds = ICMP[family]
    for pair, kind in product(pairs[:3], kinds):
        state = State.UNTRACKED if family is Family.V6 and kind[0] == 130 else State.NEW
        found.append(forwarded(*pair, protocol, icmp=kind, state=state))
    found += [forwarded(*pairs[0], 6, sport=5000, dport=80, state=State.INVALID), forwarded(*pairs[0], 50)]
    return found


# --- rulesets at random, from everything that the reader understands ---

CHAINS = ("A", "B", "C", "D")
SEEDS = 30


def random_sets(dice: random.Random, family: Family) -> str:
    """Sets `ip`, `net` and `port`, with prefixes in prefixes."""
    everyone = SOURCES[family] + TARGETS[family]
    lengths = (8, 15, 17, 24, 31, 32) if family is Family.V4 else (8, 16, 64, 127, 128)
    option = " family inet6" if family is Family.V6 else ""
    hosts = dice.sample(everyone, 2)
    networks = {f"{address}/{dice.choice(lengths)}" for address in dice.sample(everyone, 2)}
    ports = {
        f"{dice.choice(everyone)},{dice.choice(('tcp', 'udp', 'sctp'))}:{dice.choice(('80', '81', '53', '79-82'))}"
        for _ in range(3)
    }
    lines = [f"create {name} hash:{kind}{option}" for name, kind in (("ip", "ip"), ("net", "net"), ("port", "ip,port"))]
    lines = [f"{line} -exist" for line in lines]  # so that entries that overlap are forgiven
    lines += [f"add ip {host} -exist" for host in hosts] + [f"add net {network} -exist" for network in sorted(networks)]
    lines += [f"add port {port} -exist" for port in sorted(ports)]
    return "".join(f"{line}\n" for line in lines)


def random_match(dice: random.Random, family: Family) -> str:
    """Options of one rule that belong together."""
    everyone = SOURCES[family] + TARGETS[family]
    no = dice.choice(("", "", "! "))
    port = dice.choice(("80", "79:81", ":80", "81:", "53", "65535"))
    ports = dice.choice(("80", "1,79:80", "53,80:81,8080", "82:65535"))
    end = dice.choice(("s", "d"))
    ported = f"-p {dice.choice(('tcp', 'udp', 'sctp'))}"
    number, kinds = ICMP[family]
    kind = dice.choice([str(a) for a, _ in kinds] + [f"{a}/{b}" for a, b in kinds])
    width = dice.choice((16, 24, 31, 32) if family is Family.V4 else (16, 64, 127, 128))
    dirs = [dice.choice(("src", "dst")) for _ in range(2)]
    return dice.choice(
        (
            "",
            f"{no}-{end} {dice.choice(everyone)}/{width}",
            f"{no}-p {dice.choice(('tcp', 'udp', 'sctp', number, 50))}",
            f"{no}{dice.choice(('-i', '-o'))} {dice.choice(('near', 'far', 'ne+', 'fa+', 'nea', 'far+'))}",
            f"-m set {no}--match-set {dice.choice(('ip', 'net'))} {dirs[0]}",
            f"-m set {no}--match-set {dice.choice(('ip', 'net', 'port'))} {','.join(dirs)}",
            f"-m set {no}--match-set port {dirs[0]}",
            f"{ported} {no}--{end}port {port}",
            f"{ported} -m multiport {no}--{end}ports {ports}",
            f"-p {number} {no}--icmp{'v6' if family is Family.V6 else ''}-type {kind}",
            f"-m conntrack {no}--ctstate {dice.choice(('NEW', 'INVALID', 'ESTABLISHED,RELATED', 'NEW,UNTRACKED'))}",
            f"-m mark {no}--mark {dice.choice(('0', '1', '1/1', '0/2', '3/3', '3/1', '0/0'))}",
        )
    )


def random_rules(dice: random.Random, family: Family) -> str:
    """A ruleset: chains that lead to later ones only, and every kind of target."""
    lines = [f":{name} - [0:0]" for name in CHAINS]
    if dice.random() < 0.3:
        lines.append(":FORWARD DROP [0:0]")
    for index, chain in enumerate(("FORWARD", *CHAINS)):
        for _ in range(dice.randint(2, 5)):
            marks = (
                f"--{kind} {dice.choice(('1', '2', '3'))}" for kind in ("set-mark", "or-mark", "and-mark", "xor-mark")
            )
            targets = ["", "-j ACCEPT", "-j DROP", "-j RETURN", f"-j MARK {dice.choice(list(marks))}"]
            targets += [f"-j MARK --set-xmark {dice.choice(('1/3', '2/1', '3'))}", "-j REJECT"]
            later = CHAINS[index:]
            targets += [f"-{dice.choice('jg')} {dice.choice(later)}" for _ in range(6) if later]
            matches = random_match(dice, family) if dice.random() < 0.8 else ""
            lines.append(f"{dice.choice(('-A', '-A', '-I'))} {chain} {matches} {dice.choice(targets)}".rstrip())
    return "*filter\n" + "\n".join(lines) + "\n" + accept_sentinel(family) + "COMMIT\n"


def check(lab: Lab, ruleset: Ruleset, packets: Sequence[Packet], text: str) -> int:
    """Compare the interpreter with the kernel; the number of packets that passed."""
    expected = [not judge(ruleset, packet, Hook.FORWARD).dropped for packet in packets]
    for _ in range(3):  # a frame may be lost on a busy machine, but not the same one three times
        observed = lab.passed(packets)
        if observed == expected:
            return sum(expected)
    wrong = [packet for packet, a, b in zip(packets, expected, observed, strict=True) if a != b]
    raise AssertionError(
        f"{len(wrong)} packets, first {wrong[0]}, should pass: {expected[packets.index(wrong[0])]}\n{text}"
    )


def held(lab: Lab, ruleset: Ruleset) -> Ruleset:
    """What the kernel holds in the place of a ruleset, by the words of iptables-save."""
    saved = lab.run(f"{TOOLS[ruleset.family]}-{lab.variant}-save", "-t", "filter").stdout
    return read_iptables(saved, ruleset.family, ruleset.sets)


def plain(ruleset: Ruleset) -> list[Chain]:
    """The chains with no negated ports: nft takes `! --dport :80` for `--dport 81:`."""
    return [
        replace(chain, rules=tuple(replace(rule, matches=tuple(map(_plain, rule.matches))) for rule in chain.rules))
        for chain in ruleset.chains.values()
    ]


def _plain(match: Match) -> Match:
    if isinstance(match, PortMatch) and match.negated:
        return replace(match, ports=IntervalSet.of(0, 65535) - match.ports, negated=False)
    return match


@pytest.mark.parametrize("family", Family)
def test_rulesets_at_random(lab: Lab, family: Family) -> None:
    packets = universe(family)
    passed = 0
    for seed in range(SEEDS):
        dice = random.Random(f"{seed} {family}")
        sets, rules = random_sets(dice, family), random_rules(dice, family)
        lab.load(sets, rules, family)
        ruleset = read_iptables(rules.encode(), family, read_ipset(sets.encode()))
        assert plain(held(lab, ruleset)) == plain(ruleset)
        passed += check(lab, ruleset, packets, f"{sets}{rules}")
    assert SEEDS * len(packets) // 10 < passed < SEEDS * len(packets) * 9 // 10


def test_replies_make_connections_established(lab: Lab) -> None:
    rules = "*filter\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j DROP\n" + accept_sentinel(Family.V4) + "COMMIT\n"
    lab.load("", rules, Family.V4)
    there = forwarded("10.1.0.1", "10.2.0.1", 17, sport=1111, dport=2222)
    back = replace(there, src=there.dst, dst=there.src, sport=2222, dport=1111)
    ruleset = read_iptables(rules.encode(), Family.V4, {})
    assert lab.passed([there, there]) == [True, True] == [_passes(ruleset, there)] * 2
    lab.send_back(back)
    established = replace(there, state=State.ESTABLISHED)
    assert lab.passed([there]) == [False] == [_passes(ruleset, established)]


def _passes(ruleset: Ruleset, packet: Packet, hook: Hook = Hook.FORWARD) -> bool:
    return not judge(ruleset, packet, hook).dropped


def test_comments_of_all_kinds(lab: Lab) -> None:
    written = [
        "plain",
        '"-j DROP"',
        r'"x\" -j DROP -m comment --comment \"y"',
        r'"\\"',
        r"back\slash",
        '"# COMMIT"',
        '"  blanks  "',
        "-j",
        "!",
        '"!"',
        "#",
        "$(reboot)",
        '"\'; $x `y`"',
        '""',
        f'"{"x" * 255}"',
        "h\u00e9h\u00e9",
    ]
    lines = [
        f"-A FORWARD -m comment --comment {comment} -p udp --dport {9000 + i} -j DROP"
        for i, comment in enumerate(written)
    ]
    rules = "\n".join(["*filter", *lines, accept_sentinel(Family.V4) + "COMMIT\n"])
    lab.load("", rules, Family.V4)
    ruleset = read_iptables(rules.encode(), Family.V4, {})
    assert plain(held(lab, ruleset)) == plain(ruleset)
    packets = [forwarded("10.1.0.1", "10.2.0.1", 17, sport=1, dport=port) for port in range(8999, 9001 + len(written))]
    assert check(lab, ruleset, packets, rules) == 2


def test_a_program_that_compares_addresses(lab: Lab) -> None:
    program = "6,32 0 0 12,7 0 0 0,32 0 0 16,29 0 1 0,6 0 0 65535,6 0 0 0"
    rules = f'*filter\n-A OUTPUT -m bpf --bytecode "{program}" -j DROP\nCOMMIT\n'
    lab.load("", rules, Family.V4)
    ruleset = read_iptables(rules.encode(), Family.V4, {})
    with entered(lab.router), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        for target in ("127.0.0.1", "127.0.0.2"):
            packet = Packet(src=ip_address("127.0.0.1"), dst=ip_address(target), protocol=17, sport=1, dport=9)
            assert _sent(sender, target) is _passes(ruleset, packet, Hook.OUTPUT)


def _sent(sender: socket.socket, target: str) -> bool:
    try:
        sender.sendto(b"", (target, 9))
    except PermissionError:
        return False
    return True


def test_sets_of_two_networks(lab: Lab) -> None:
    members = ("10.1.0.1,10.2.0.0/24", "10.1.0.0/30,10.2.128.0/17", "10.1.1.0/24,0.0.0.0/0")
    sets = "".join(("create s hash:net,net\n", *(f"add s {member}\n" for member in members)))
    if b"set type not supported" in lab.run("ipset", "create", "probe", "hash:net,net", check=False).stderr:
        warnings.warn("this kernel has no hash:net,net", stacklevel=1)
        return
    for dirs in ("src,dst", "dst,src", "src"):
        rules = f"*filter\n-A FORWARD -m set --match-set s {dirs} -j DROP\n" + accept_sentinel(Family.V4) + "COMMIT\n"
        lab.load(sets, rules, Family.V4)
        check(lab, read_iptables(rules.encode(), Family.V4, read_ipset(sets.encode())), universe(Family.V4), rules)


# --- what is refused ---

SETS = "create s4 hash:ip\ncreate s6 hash:ip family inet6\n"

# Reader and loaders agree on all of these: half of them load, half of them do not.
GOOD_SETS = [
    "create a hash:ip hashsize 10 maxelem 2 comment\nadd a 1.1.1.0/31\n",
    "create a hash:ip -exist\ncreate a hash:ip hashsize 2048 -exist\nadd a 1.1.1.1 -exist\nadd a 1.1.1.1 -exist\n",
    "create a hash:net\nadd a 10.0.0.1-10.0.0.6\ndel a 10.0.0.4/31\nadd a 0.0.0.0/1\nadd a 128.0.0.0/1\n",
    "create a hash:ip,port\nadd a 10.0.0.1,80\nadd a 10.0.0.1,sctp:1-5\nadd a 10.0.0.2/31,udp:7\n",
    "create a hash:ip,port family inet6\nadd a fd00::1,tcp:8-9\n",
    "create a hash:net family inet6\nadd a ::/1\nadd a fd00::1/64\n",
    "create a hash:ip\ncreate b hash:ip maxelem 1\nadd a 1.1.1.1\nswap a b\nadd a 2.2.2.2\nrename a c\ndestroy b\n",
    'create a hash:ip comment\nadd a 1.1.1.1 comment "# x y" -exist\n\n# x\nflush\n',
    "create a hash:ip\ndel a 1.1.1.1 -exist\ndestroy b -exist\nadd a 1.1.1.1",
    f"create {'a' * 31} hash:ip\n",
]
BAD_SETS = [
    "create a hash:ip\ncreate a hash:ip\n",
    "create a hash:ip\ncreate a hash:ip maxelem 2 -exist\n",
    "create a hash:ip\ncreate a hash:net -exist\n",
    "create a hash:ip\nadd a 1.1.1.1\nadd a 1.1.1.1\n",
    "create a hash:ip\nadd a 1.1.1.1\nadd a 1.1.1.1 -exist\n",
    "create a hash:ip maxelem 2\nadd a 1.1.1.0/30\n",
    "create a hash:ip maxelem 1 -exist\nadd a 1.1.1.1\nadd a 1.1.1.2 -exist\n",
    "create a hash:ip\nadd a 0.0.0.0\n",
    "create a hash:ip\nadd a fd00::1\n",
    "create a hash:ip\nadd a 1.1.1.1/0\n",
    "create a hash:ip\nadd a 1.1.1.1,80\n",
    'create a hash:ip\nadd a 1.1.1.1 comment "x"\n',
    'create a hash:ip comment\nadd a 1.1.1.1 comment "x\n',
    "create a hash:ip family inet6\nadd a fd00::/127\n",
    "create a hash:net\nadd a 0.0.0.0/0\n",
    "create a hash:net\nadd a 10.0.0.1/24\nadd a 10.0.0.0/24\n",
    "create a hash:net family inet6\nadd a ::/0\n",
    "create a hash:ip,port\nadd a 10.0.0.1\n",
    "create a hash:ip,port\nadd a 10.0.0.1,tcp:65536\n",
    "create a hash:ip,port\nadd a 10.0.0.1,tcp:80\nadd a 10.0.0.1,80\n",
    "create a hash:ip\ncreate b hash:net\nswap a b\n",
    "create a hash:ip\ncreate b hash:ip family inet6\nswap a b\n",
    "create a hash:ip\nrename a a\n",
    "create a hash:ip\ndel a 1.1.1.1\n",
    "add a 1.1.1.1 -exist\n",
    "flush a\n",
    "destroy a\n",
    "create a hash:ip maxelem 1 maxelem 1\n",
    f"create {'a' * 32} hash:ip\n",
    "frob a\n",
]
FIFTEEN = ",".join(map(str, range(1, 16)))
GOOD_RULES = [
    ":FORWARD DROP [0:0]",
    ":c12345678901234567890123456 - [0:0]",
    "-N B\n-A A -j B\n-F A\n-X B",
    "-A A -j ACCEPT\n-I A 2 -j DROP\n-I A -j RETURN\n-D A 1\n-D A -j DROP",
    ":B -\n-A A -g B\n-A A -s 10.0.0.5/8 ! -d 10.0.0.1 -p tcp -j REJECT --reject-with tcp-reset",
    f"-A A -p sctp -m multiport ! --sports {FIFTEEN}",
    "-A A -p 6 ! --sport 1: --dport 65535",
    "-A A -p icmp -m icmp ! --icmp-type 8/0 -j MARK --set-mark 0xff/0xf",
    "-A A -m set ! --match-set s4 src,src -m mark --mark 3/1 -m mark ! --mark 0/0 -m conntrack --ctstate UNTRACKED",
    "-A A -i abcdefghijklmno -o e+ -m comment --comment x\nCOMMIT\n*filter",
    "-A FORWARD -j A\n:A -\n-P OUTPUT DROP",
]
BAD_RULES = [
    "-A B -j ACCEPT",
    "-A A -j B",
    "-A A -g B\n:B -",
    "-A A -j INPUT",
    "-A A -g ACCEPT",
    ":B -\n-A FORWARD -j A\n-A A -j B\n-A B -g A",
    ":FORWARD RETURN",
    ":B",
    f":{'c' * 29} -",
    "-N A",
    "-F B",
    "-X B",
    "-A FORWARD -j A\n-X A",
    "-A A -j DROP\n-X A",
    "-P A DROP",
    "-P FORWARD REJECT",
    "-I A 2",
    "-I A 0",
    "-D A 1",
    "-D A -j DROP",
    "-A INPUT -o eth0",
    "-A OUTPUT -i eth0",
    "-A A -i abcdefghijklmnop",
    "-A A -s 10.0.0.0/33",
    "-A A -s fd00::1",
    "-A A -s 1.1.1.1 -s 1.1.1.1",
    "-A A -s ! 1.1.1.1",
    "-A A ! ! -s 1.1.1.1",
    "-A A ! -p all",
    "-A A -p 256",
    "-A A -p tcp --dport 2:1",
    "-A A -p tcp --dport 65536",
    "-A A -p tcp --dport 1 --dport 1",
    "-A A -p tcp -m multiport --dports 1 --sport 2",
    "-A A --dport 1 -p tcp",
    "-A A -p udp -m tcp --dport 1",
    f"-A A -p tcp -m multiport --dports {FIFTEEN},16",
    f"-A A -p tcp -m multiport --dports {FIFTEEN}:16",
    "-A A -p tcp -m multiport --dports 2:2",
    "-A A -p icmp -m multiport --dports 2",
    "-A A -m multiport --dports 2",
    "-A A -m set --match-set nope src",
    "-A A -m set --match-set s6 src",
    "-A A -m set --match-set s4 SRC",
    "-A A -m set --match-set s4",
    "-A A -m conntrack --ctstate NEW,",
    "-A A -m mark --mark 0x100000000",
    "-A A -m comment",
    '-A A -m comment --comment "a"b',
    "-A A -m comment --comment a\\ b",
    '-A A -m comment ! --comment "a"',
    "-A A -j MARK",
    "-A A -j MARK --set-mark 1 --or-mark 1",
    "-A A -j MARK --or-mark 1/1",
    "-A A -j REJECT --reject-with tcp-reset",
    "-A A -j REJECT --reject-with icmp6-no-route",
    "-A A -j ACCEPT -j DROP",
    "-A A ! -j ACCEPT",
    "-A A -j ACCEPT !",
    "-A A -j ACCEPT foo",
    "-A A -j",
    " # x",
    "COMMIT ",
    "COMMIT\nfoo\n*filter",
    "COMMIT\nCOMMIT\n*filter",
    "*filter",
]


def test_ipset_and_the_reader_refuse_the_same() -> None:
    for text in (*GOOD_SETS, *BAD_SETS):
        done = run("unshare", "--net", "ipset", "restore", text=text, check=False)
        assert (done.returncode == 0) is (text in GOOD_SETS) is _is_read(text), (text, done.stderr)


def _is_read(sets: str, rules: str | None = None) -> bool:
    try:
        known = read_ipset(sets.encode())
        if rules is not None:
            read_iptables(rules.encode(), Family.V4, known)
    except ReadingError:
        return False
    return True


@pytest.mark.parametrize("variant", VARIANTS)
def test_iptables_and_the_reader_refuse_the_same(variant: str) -> None:
    script = f"ipset restore <<'END'\n{SETS}END\nexec iptables-{variant}-restore --noflush"
    for lines in (*GOOD_RULES, *BAD_RULES):
        text = f"*filter\n:A - [0:0]\n{lines}\nCOMMIT\n"
        done = run("unshare", "--net", "sh", "-ec", script, text=text, check=False)
        assert (done.returncode == 0) is (lines in GOOD_RULES) is _is_read(SETS, text), (text, done.stderr)


@pytest.mark.parametrize("text", ["*filter\n", "*filter\nCOMMIT", "*filter\nCOMMIT\r\n", "foo\n", ":A -\n"])
def test_a_table_that_is_not_committed(text: str) -> None:
    assert run("unshare", "--net", "iptables-legacy-restore", text=text, check=False).returncode != 0
    assert not _is_read("", text)
