"""The artifact's text: what changes it, what does not, and what is refused."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.backends.filters.matches import SetKind
from npcompile.backends.filters.names import Names, digest, encode, short_digest
from npcompile.backends.iptables import IptablesTarget
from npcompile.backends.iptables.limits import MOST_SETS, refuse_size
from npcompile.backends.iptables.lower import MOST_IN_ONE_DISPATCH, room_for
from npcompile.backends.iptables.names import CHAIN_LIMIT, SET_LIMIT, STYLE
from npcompile.backends.iptables.target import lower_program
from npcompile.backends.target import Options
from npcompile.diagnostics.errors import InputError, InternalError
from npcompile.ir.cluster import Cluster, ContainerPort, Namespace, Node, Pod
from npcompile.ir.labels import EVERYTHING, NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import (
    BlockPeer,
    Direction,
    Match,
    NamedPort,
    PodPeer,
    Policy,
    PortItem,
    PortRange,
    Rule,
)
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Family
from npcompile.netset.ports import Protocol
from tests.strategies import programs

TCP = Protocol.TCP


def app(value: str) -> Selector:
    return Selector(requirements=(Requirement(key="app", operator=Operator.IN, values=(value,)),))


def pod(name: str, address: str | None, *, namespace: str = "a", **labels: str) -> Pod:
    addresses = () if address is None else (ip_address(address),)
    ports = (ContainerPort(name="http", protocol=TCP, number=8080),)
    return Pod(namespace=namespace, name=name, labels=labels, addresses=addresses, node="n1", ports=ports)


def without_port(name: str, address: str | None, *, namespace: str = "a", **labels: str) -> Pod:
    return replace(pod(name, address, namespace=namespace, **labels), ports=())


def policy(
    name: str, *matches: Match, direction: Direction = Direction.INGRESS, subjects: Selector = EVERYTHING
) -> Policy:
    rules = tuple(Rule(direction=direction, index=i, match=match) for i, match in enumerate(matches))
    return Policy(namespace="a", name=name, subjects=subjects, directions=frozenset({direction}), rules=rules)


def program(policies: list[Policy], pods: list[Pod], nodes: tuple[Node, ...] = ()) -> Program:
    namespaces = {name: Namespace(name=name, labels={NAMESPACE_NAME: name}) for name in ("a", "b")}
    cluster = Cluster(
        namespaces=namespaces,
        pods=tuple(sorted(pods, key=lambda one: one.key)),
        nodes={node.name: node for node in nodes},
    )
    return Program(policies=tuple(sorted(policies, key=lambda one: one.key)), cluster=cluster)


def emit(program: Program, options: Options | None = None) -> dict[str, str]:
    artifact = IptablesTarget().emit(program, options or Options())
    return {name: content.decode() for name, content in artifact.files.items()}


def allow_lines(text: str) -> list[str]:
    return [
        re.sub(r' -m comment --comment "[^"]*"', "", x).split(" ", 2)[2]
        for x in text.splitlines()
        if "-g NPC-ALLOW" in x
    ]


def ranges(*numbers: int | tuple[int, int]) -> tuple[PortItem, ...]:
    pairs = [(n, n) if isinstance(n, int) else n for n in numbers]
    return tuple(PortRange(protocol=TCP, first=first, last=last) for first, last in pairs)


WEB = PodPeer(namespaces=None, pods=app("web"))
HTTP = NamedPort(protocol=TCP, name="http")


@settings(max_examples=50, deadline=None)
@given(programs(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_show(given_program: Program, random: object) -> None:
    shuffled = list(given_program.policies), list(given_program.cluster.pods)
    for one in shuffled:
        random.shuffle(one)  # type: ignore[attr-defined]
    nodes = dict(reversed(given_program.cluster.nodes.items()))
    namespaces = dict(reversed(given_program.cluster.namespaces.items()))
    cluster = replace(given_program.cluster, pods=tuple(shuffled[1]), nodes=nodes, namespaces=namespaces)
    other = replace(given_program, policies=tuple(shuffled[0]), cluster=cluster)
    assert IptablesTarget().emit(given_program, Options()) == IptablesTarget().emit(other, Options())


@settings(max_examples=50, deadline=None)
@given(programs())
def test_names_fit_and_are_declared_and_ids_are_known(given_program: Program) -> None:
    artifact = IptablesTarget().emit(given_program, Options(accept=True))
    sets = set(re.findall(r"^create (\S+)", artifact.files["ipset.restore"].decode(), re.M))
    assert all(len(name) <= SET_LIMIT for name in sets)
    used: set[str] = set()
    for family in ("iptables.restore", "ip6tables.restore"):
        text = artifact.files[family].decode()
        chains = set(re.findall(r"^:(\S+) ", text, re.M))
        assert all(len(name) <= CHAIN_LIMIT for name in chains)
        assert set(re.findall(r"-[jg] (NPC-\S+)", text)) <= chains
        used |= set(re.findall(r"--match-set (\S+)", text))
        assert set(re.findall(r'--comment "([^"]+)"', text)) <= {origin.id for origin in artifact.rules}
    assert used == {name for name in sets if not name.endswith("-t")}


@settings(max_examples=50, deadline=None)
@given(programs(bound=True))
def test_binding_pods_changes_members_only(given_program: Program) -> None:
    dual = tuple(
        p if p.host_network else replace(p, addresses=(ip_address(f"10.0.0.{i}"), ip_address(f"fd00::{i}")))
        for i, p in enumerate(given_program.cluster.pods, 1)
    )
    given_program = replace(given_program, cluster=replace(given_program.cluster, pods=dual))
    bare = tuple(p if p.host_network else replace(p, addresses=()) for p in dual)
    unbound = replace(given_program, cluster=replace(given_program.cluster, pods=bare))
    before, after = emit(unbound), emit(given_program)
    for name in ("iptables.restore", "ip6tables.restore"):
        assert before[name] == after[name]
    skeleton = [
        [line for line in text["ipset.restore"].splitlines() if not line.startswith("add")] for text in (before, after)
    ]
    assert skeleton[0] == skeleton[1]
    listed = IptablesTarget().emit(unbound, Options()).unbound
    assert [p.key for p in listed] == [p.key for p in bare if not p.host_network]


@settings(max_examples=100, deadline=None)
@given(programs())
def test_prefixes_are_disjoint_and_never_of_length_zero(given_program: Program) -> None:
    for one in lower_program(given_program, Options())[1].sets:
        if one.kind is SetKind.NETWORKS:
            networks = [member for member in one.members if isinstance(member, IPv4Network | IPv6Network)]
            assert len(networks) == len(one.members) > 0
            assert all(network.prefixlen > 0 for network in networks)
            assert all(not a.overlaps(b) for a, b in pairwise(networks))


def test_what_the_input_says_is_hashed_only() -> None:
    name = "evil\n-A FORWARD -j ACCEPT"
    odd = Selector(requirements=(Requirement(key=name, operator=Operator.EXISTS),))
    rule = Match(peers=(PodPeer(namespaces=odd, pods=odd),), ports=(NamedPort(protocol=TCP, name=name),))
    scoped = replace(pod(name, None), addresses=(ip_address("fe80::1%evil"),))
    for text in emit(program([policy(name, rule)], [scoped])).values():
        assert "evil" not in text


def test_ports_become_as_few_lines_as_fit() -> None:
    def of(*numbers: int | tuple[int, int]) -> list[str]:
        text = emit(program([policy("p", Match(ports=ranges(*numbers)))], [pod("x", "10.0.0.1")]))["iptables.restore"]
        return allow_lines(text)

    assert of(80) == ["-p tcp -m tcp --dport 80 -g NPC-ALLOW"]
    assert of((80, 90), (91, 95)) == ["-p tcp -m tcp --dport 80:95 -g NPC-ALLOW"]
    assert of(443, 80, (1000, 2000)) == ["-p tcp -m multiport --dports 80,443,1000:2000 -g NPC-ALLOW"]
    assert of((1, 100), (50, 65535)) == ["-p tcp -g NPC-ALLOW"]
    many = of(*range(1, 31, 2), 99)
    assert [line.count(",") + 1 for line in many] == [15, 1]
    wide = of(*((n, n + 1) for n in range(1, 40, 4)))
    assert [line.count(":") for line in wide] == [7, 3]


def test_peers_of_a_rule_share_a_set_by_meaning() -> None:
    own = PodPeer(namespaces=None, pods=app("db"))
    rules = (Match(peers=(WEB, own)), Match(peers=(own, WEB)), Match(peers=(WEB,)))
    text = emit(program([policy("p", *rules)], [pod("x", "10.0.0.1", app="web")]))["iptables.restore"]
    first, second, third = allow_lines(text)
    assert first == second != third


def test_a_family_without_addresses_leaves_its_lines_out() -> None:
    blocks = BlockPeer(cidr=ip_network("0.0.0.0/0"), excepts=(ip_network("128.0.0.0/1"),))
    rules = (Match(peers=(blocks,)), Match(peers=(BlockPeer(cidr=ip_network("::/0")), WEB)))
    files = emit(program([policy("p", *rules)], [pod("x", "10.0.0.1"), pod("y", "fd00::1")]))
    assert len(allow_lines(files["iptables.restore"])) == 2
    assert len(allow_lines(files["ip6tables.restore"])) == 2
    assert re.findall(r"add npc4-net-\S+ (\S+)", files["ipset.restore"]) == ["0.0.0.0/1"]
    assert re.findall(r"add npc6-net-\S+ (\S+)", files["ipset.restore"]) == ["::/1", "8000::/1"]


def test_named_ports_are_the_destinations() -> None:
    pods = [pod("x", "10.0.0.1", app="web"), pod("y", "10.0.0.2", namespace="b"), without_port("z", "10.0.0.3")]
    block = BlockPeer(cidr=ip_network("10.0.0.0/8"))
    ingress = emit(program([policy("p", Match(ports=(HTTP,)))], pods))
    egress = emit(program([policy("p", Match(peers=(block,), ports=(HTTP,)), direction=Direction.EGRESS)], pods))
    assert re.findall(r"add npc4-port\S+ (\S+)", ingress["ipset.restore"]) == ["10.0.0.1,tcp:8080"]
    assert re.findall(r"add npc4-port\S+ (\S+)", egress["ipset.restore"]) == ["10.0.0.1,tcp:8080", "10.0.0.2,tcp:8080"]
    (line,) = allow_lines(egress["iptables.restore"])
    assert re.fullmatch(r"-p tcp -m set --match-set \S+ dst,dst -m set --match-set npc4-net-\S+ dst -g NPC-ALLOW", line)


def test_a_named_port_that_all_subjects_declare_alike_is_a_number() -> None:
    ports = (HTTP, NamedPort(protocol=TCP, name="dns"), *ranges(443))
    alike = [pod("x", "10.0.0.1"), pod("y", None), without_port("elsewhere", "10.0.0.3", namespace="b")]
    (line,) = allow_lines(emit(program([policy("p", Match(ports=(HTTP, *ranges(443))))], alike))["iptables.restore"])
    assert line == "-p tcp -m multiport --dports 443,8080 -g NPC-ALLOW"
    mixed = allow_lines(emit(program([policy("p", Match(ports=ports))], alike))["iptables.restore"])
    assert ["npc4-port" in line for line in mixed] == [False, True], "whoever comes may declare dns"
    for other in (without_port("z", None), replace(pod("z", None), ports=(replace(alike[0].ports[0], number=81),))):
        away = program([policy("p", Match(ports=(HTTP,)))], [*alike, replace(other, node="n2")])
        assert allow_lines(emit(away, Options(node="n1"))["iptables.restore"]) == [
            "-p tcp -m tcp --dport 8080 -g NPC-ALLOW"
        ]
        lines = allow_lines(emit(program([policy("p", Match(ports=(HTTP,)))], [*alike, other]))["iptables.restore"])
        assert [re.sub(r"-[0-9a-z]{18}", "-…", line) for line in lines] == [
            "-p tcp -m set --match-set npc4-port-… dst,dst -g NPC-ALLOW"
        ]


def test_sets_that_filter_are_widened_first_and_narrowed_last() -> None:
    rules = Match(peers=(WEB,), ports=(HTTP,))
    text = emit(program([policy("p", rules)], [pod("x", "10.0.0.1", app="web")]))["ipset.restore"].splitlines()
    swaps = [line.split()[2] for line in text if line.startswith("swap")]
    filtering = [name for name in swaps if "-pro-" in name]
    assert swaps[-len(filtering) :] == filtering
    widened = text.index(f"add {filtering[0]} 10.0.0.1 -exist")
    assert widened < min(i for i, line in enumerate(text) if line.startswith("swap"))


def test_a_new_profile_renames_the_sets_of_its_direction_only() -> None:
    pods = [pod("x", "10.0.0.1", app="web"), pod("y", "10.0.0.2")]
    out = policy("out", direction=Direction.EGRESS)

    def profile_sets(policies: list[Policy], key: str) -> set[str]:
        return set(re.findall(rf"--match-set (npc4-pro-\S+) {key}", emit(program(policies, pods))["iptables.restore"]))

    few, more = [policy("p"), out], [policy("p"), policy("q", subjects=app("web")), out]
    assert not profile_sets(few, "dst") & profile_sets(more, "dst")
    assert profile_sets(few, "src") == profile_sets(more, "src")


def test_accept_concerns_forwarded_packets_of_pods_only() -> None:
    given_program = program([policy("p")], [pod("x", "10.0.0.1")])
    text = emit(given_program, Options(accept=True))["iptables.restore"]
    accepting = [line for line in text.splitlines() if "-j ACCEPT" in line]
    assert len(accepting) == 2
    assert all(
        re.match(r"-A NPC-ACCEPT -m set --match-set npc4-pod-\S+ (src|dst) -j ACCEPT", line) for line in accepting
    )
    assert not [line for line in text.splitlines() if line.startswith("-A NPC-INPUT") and "ACCEPT" in line]
    assert "ACCEPT" not in emit(given_program)["iptables.restore"]


@pytest.mark.parametrize("mark", [0, 0x4000, 0x8000, 0xC000, 3, -1, 1 << 32])
def test_marks_that_are_not_ours_are_refused(mark: int) -> None:
    with pytest.raises(InputError, match="mark") as caught:
        IptablesTarget().emit(program([], []), Options(mark=mark))
    assert [d.rule.code for d in caught.value.diagnostics] == ["NPC705"]


def test_an_unknown_node_is_refused_with_those_that_are_known() -> None:
    here = program([], [], (Node(name="n1"), Node(name="n-other")))
    with pytest.raises(InputError, match="there is no node `n11`") as caught:
        IptablesTarget().emit(here, Options(node="n11"))
    assert [d.help for d in caught.value.diagnostics] == ["did you mean `n1`?  the nodes of the input: `n-other`, `n1`"]


def test_a_node_needs_its_own_pods_profiles_and_their_peers_only() -> None:
    here, there = pod("x", "10.0.0.1", app="web"), replace(pod("y", "10.0.0.2", app="db"), node="n2")
    other = replace(without_port("w", "10.0.0.4", app="db"), node="n2")
    nowhere = replace(pod("z", "10.0.0.3", app="z"), node=None)
    policies = [
        policy("web", Match(peers=(PodPeer(namespaces=None, pods=app("db")),)), subjects=app("web")),
        policy("db", Match(peers=(WEB,), ports=(HTTP,)), subjects=app("db")),
        policy("z", subjects=app("z")),
    ]
    given_program = program(policies, [here, there, other, nowhere])
    members = {
        node: {line.split()[2] for line in emit(given_program, Options(node=node))["ipset.restore"].splitlines()
               if line.startswith("add")}
        for node in (None, "n1", "n2")
    }  # fmt: skip
    assert members[None] == {
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "10.0.0.4",
        "10.0.0.2,tcp:8080",
        "10.0.0.1,tcp:8080",
        "10.0.0.3,tcp:8080",
    }
    addresses = {f"10.0.0.{last}" for last in range(1, 5)}
    assert members["n1"] == addresses
    assert members["n2"] == addresses | {"10.0.0.2,tcp:8080", "10.0.0.3,tcp:8080"}
    artifacts = {node: IptablesTarget().emit(given_program, Options(node=node)) for node in members}
    rules = {node: sum(origin.rule is not None for origin in one.rules) for node, one in artifacts.items()}
    assert rules == {None: 2, "n1": 1, "n2": 1}


def test_a_family_that_no_pod_is_in_leaves_every_packet_alone() -> None:
    files = emit(program([policy("p", Match(peers=(WEB,)))], [pod("x", "10.0.0.1", app="web"), pod("y", None)]))
    assert "npc6-" not in files["ipset.restore"]
    assert "NPC-PRO" in files["iptables.restore"]
    assert files["ip6tables.restore"].splitlines() == [
        *("*filter", ":NPC-FORWARD - [0:0]", ":NPC-INPUT - [0:0]"),
        *("-I FORWARD 1 -j NPC-FORWARD", "-I INPUT 1 -j NPC-INPUT", "COMMIT"),
    ]
    unbound = emit(program([policy("p", Match(peers=(WEB,)))], [pod("x", None)]))
    assert "NPC-PRO" in unbound["iptables.restore"]
    assert "NPC-PRO" in unbound["ip6tables.restore"]


def test_a_policy_has_a_chain_where_that_takes_fewer_lines() -> None:
    wide = Match(peers=(WEB,), ports=(*ranges(80), PortRange(protocol=Protocol.UDP, first=53, last=53)))
    shared = policy("shared", wide)
    own = [policy(f"own-{value}", subjects=app(value)) for value in ("a", "b", "c")]
    pods = [pod(value, f"10.0.0.{number}", app=value) for number, value in enumerate(("a", "b", "c"), 1)]
    alone = emit(program([shared], pods))["iptables.restore"]
    assert "NPC-POL" not in alone
    assert len(allow_lines(alone)) == 2
    several = emit(program([shared, *own], pods))["iptables.restore"]
    assert len(allow_lines(several)) == 2
    assert len(re.findall(r"-j NPC-POL-", several)) == 3


def test_many_profiles_are_looked_up_in_two_steps() -> None:
    count = MOST_IN_ONE_DISPATCH + 3
    policies = [policy(f"p{number}", subjects=app(f"x{number}")) for number in range(count)]
    pods = [pod(f"x{number}", f"10.0.{number}.1", app=f"x{number}") for number in range(count)]
    files = emit(program(policies, pods))
    first = re.findall(r"^-A NPC-INGRESS .*$", files["iptables.restore"], re.M)
    assert [re.sub(r"-[0-9a-z]{18,20}", "-…", line) for line in first] == [
        *["-A NPC-INGRESS -m set --match-set npc4-grp-… dst -g NPC-DIS-…"] * 4,
        "-A NPC-INGRESS -j MARK --set-xmark 0x1000000/0x1000000",
    ]
    assert len(re.findall(r"^-A NPC-DIS-.* -g NPC-PRO-", files["iptables.restore"], re.M)) == count
    groups = re.findall(r"^add npc4-grp-\S+ (\S+)$", files["ipset.restore"], re.M)
    assert sorted(groups) == sorted(str(one.addresses[0]) for one in pods)


def test_short_profiles_have_no_chain_of_their_own_behind_a_door() -> None:
    count = MOST_IN_ONE_DISPATCH + 1
    matches = [Match(ports=ranges(port)) for port in (1, 2, 3)]
    policies = [policy(f"p{n}", *matches[: n % 4], subjects=app(f"x{n}")) for n in range(count)]
    pods = [pod(f"x{n}", f"10.0.{n}.1", app=f"x{n}") for n in range(count)]
    text = emit(program(policies, pods))["iptables.restore"]
    short = re.findall(r"^-A NPC-DIS-\S+ -p tcp -m set --match-set (\S+) dst .*--dport \d .* -g NPC-ALLOW$", text, re.M)
    assert sorted(Counter(short).values()) == sorted(n % 4 for n in range(count) if n % 4 in (1, 2))
    assert len(re.findall(r"^:NPC-PRO-", text, re.M)) == sum(n % 4 in (0, 3) for n in range(count))


def test_shared_addresses_are_refused_all_at_once() -> None:
    node = Node(name="n1", addresses=(ip_address("10.0.0.9"),))
    twice = [pod("x", "10.0.0.1"), pod("y", "10.0.0.1"), pod("z", "10.0.0.9")]
    agent = replace(pod("agent", "10.0.0.9"), host_network=True)
    with pytest.raises(InputError) as caught:
        IptablesTarget().emit(program([], [*twice, agent], (node,)), Options())
    assert [d.message for d in caught.value.diagnostics] == [
        "the address `10.0.0.1` belongs to `a/x` and `a/y`",
        "the address `10.0.0.9` belongs to `node n1` and `a/z`",
    ]


def test_more_sets_than_the_kernel_has_are_refused() -> None:
    _, ruleset = lower_program(program([policy("p")], [pod("x", "10.0.0.1")]), Options())
    with pytest.raises(InputError, match="sets"):
        refuse_size(replace(ruleset, sets=ruleset.sets * MOST_SETS))


def test_meanings_are_told_apart() -> None:
    assert len({encode(("a", "b")), encode(("ab",)), encode("ab"), encode(("a", ("b",))), encode(1), encode("1")}) == 6


def test_a_collision_is_an_internal_error() -> None:
    known = Names(STYLE, digest=lambda _: "same")
    assert known.set(Family.V4, "sel", "x") == known.set(Family.V4, "sel", "x")
    with pytest.raises(InternalError, match="share the name"):
        known.set(Family.V4, "sel", "y")


def test_digests_are_what_they_were() -> None:
    meaning = ("policy", ("ingress", "a", "b"))
    assert digest(meaning)[:20] == "7haxdu44t6uq3mwrhgoj"
    assert digest(meaning).startswith(short_digest(meaning))


def test_room_is_a_power_of_two_at_least_twice_the_members() -> None:
    assert [room_for(n) for n in (0, 1, 32768, 32769, 65536, 65537)] == [65536, 65536, 65536, 131072, 131072, 262144]
