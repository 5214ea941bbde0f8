"""The kernel takes what the target `iptables` emits, and does with packets what the reference evaluator says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings

from npcompile.backends.iptables import IptablesTarget
from npcompile.backends.target import Artifact, Options
from npcompile.ir.cluster import Cluster, ContainerPort, Namespace, Node, Pod
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.labels import EVERYTHING, NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, Direction, Match, NamedPort, PodPeer, Policy, PortRange, Rule
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.semantics import decide
from tests.strategies import programs

PROBE = Path(__file__).with_name("probe.py")
VARIANTS = ("legacy", "nft")
TOOLS = ("ip", "ipset", *(f"{tool}-{variant}-restore" for tool in ("iptables", "ip6tables") for variant in VARIANTS))
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

_numbers = count()


def run(*command: str, stdin: str = "") -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}\n{stdin}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Netns:
    """A network namespace."""

    name: str

    def run(self, *command: str, stdin: str = "") -> str:
        return run("ip", "netns", "exec", self.name, *command, stdin=stdin)

    def ip(self, *commands: str) -> None:
        run("ip", "-n", self.name, "-batch", "-", stdin="\n".join(commands))


@contextmanager
def netns() -> Iterator[Netns]:
    """A new network namespace, gone afterwards."""
    name = f"npk{os.getpid()}x{next(_numbers)}"
    run("ip", "netns", "add", name)
    try:
        yield Netns(name)
    finally:
        run("ip", "netns", "delete", name)


def load(where: Netns, artifact: Artifact, variant: str) -> None:
    """Load as `Artifact.load` says, with one of the two implementations of iptables."""
    where.run("ipset", "restore", stdin=artifact.files["ipset.restore"].decode())
    for tool in ("iptables", "ip6tables"):
        text = artifact.files[f"{tool}.restore"].decode()
        where.run(f"{tool}-{variant}-restore", "--noflush", stdin=text)


def saved(where: Netns, variant: str) -> dict[str, list[str]]:
    """The lines that the kernel holds, by tool, without comments and counters, and without sets' hash seeds."""
    found = {"ipset": sorted(line.split(" initval ")[0] for line in where.run("ipset", "save").splitlines())}
    for tool in ("iptables", "ip6tables"):
        lines = where.run(f"{tool}-{variant}-save", "-t", "filter").splitlines()
        found[tool] = [line for line in lines if line.startswith("-A")]
    return found


def foreign(where: Netns, variant: str) -> None:
    """Rules and sets of somebody else."""
    where.run("ipset", "create", "theirs", "hash:ip")
    where.run("ipset", "add", "theirs", "192.0.2.9")
    for tool in ("iptables", "ip6tables"):
        text = (
            "*filter\n:THEIRS - [0:0]\n-A FORWARD -j THEIRS\n-A INPUT -j THEIRS\n-A THEIRS -p tcp -j RETURN\nCOMMIT\n"
        )
        where.run(f"{tool}-{variant}-restore", "--noflush", stdin=text)


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(program=programs())
def test_what_the_kernel_holds_is_what_was_emitted(program: Program, variant: str) -> None:
    artifact = IptablesTarget().emit(program, Options(accept=len(program.policies) % 2 == 1))
    assert artifact == IptablesTarget().emit(program, Options(accept=len(program.policies) % 2 == 1))
    with netns() as where:
        foreign(where, variant)
        before = saved(where, variant)
        load(where, artifact, variant)
        once = saved(where, variant)
        load(where, artifact, variant)
        twice = saved(where, variant)
    assert set(before["ipset"]) <= set(once["ipset"])
    assert once["ipset"] == twice["ipset"]
    assert not [line for line in once["ipset"] if "-t " in line]
    for tool in ("iptables", "ip6tables"):
        text = artifact.files[f"{tool}.restore"].decode().splitlines()
        hooks = ["-A FORWARD -j NPC-FORWARD", "-A INPUT -j NPC-INPUT"]
        ours = [line for line in once[tool] if line.startswith("-A NPC-")]
        assert sorted(ours) == sorted(line for line in text if line.startswith("-A"))
        assert [line for line in once[tool] if not line.startswith("-A NPC-") and line not in hooks] == before[tool]
        for hook in hooks:
            assert once[tool].count(hook) == 1
            assert next(line for line in once[tool] if line.startswith(hook[:8])).startswith(hook)
        assert [line for line in twice[tool] if line not in hooks] == [line for line in once[tool] if line not in hooks]


def test_the_load_commands_work_as_they_stand(tmp_path: Path) -> None:
    artifact = IptablesTarget().emit(PROGRAM, Options())
    for name, content in artifact.files.items():
        (tmp_path / name).write_bytes(content)
    with netns() as where:
        where.run("sh", "-ec", f"cd {tmp_path}\n" + "\n".join(artifact.load))


def test_a_reload_replaces_members_and_survives_an_interrupted_one() -> None:
    moved = tuple(
        replace(one, addresses=(ip_address("10.0.0.77"),)) if one.name == "p1" else one for one in PROGRAM.cluster.pods
    )
    later = replace(PROGRAM, cluster=replace(PROGRAM.cluster, pods=moved))
    old, new = (IptablesTarget().emit(one, Options()) for one in (PROGRAM, later))
    assert old.files["iptables.restore"] == new.files["iptables.restore"]
    text = new.files["ipset.restore"].decode()
    first_swap = text.index("\nswap ")
    with netns() as where, netns() as fresh:
        load(where, old, "nft")
        where.run("ipset", "restore", stdin=text[: first_swap + 1])
        load(where, new, "nft")
        load(fresh, new, "nft")
        assert saved(where, "nft")["ipset"] == saved(fresh, "nft")["ipset"]


# --- packets ---

PORTS = (80, 81, 8080)
NODE = Node(name="n1", addresses=(ip_address("10.9.0.1"), ip_address("fd09::1")))
WORLD = tuple(ip_address(text) for text in ("192.0.2.1", "192.0.2.130", "2001:db8::1"))


def app(value: str) -> Selector:
    return Selector(requirements=(Requirement(key="app", operator=Operator.IN, values=(value,)),))


def pod(number: int, namespace: str, **labels: str) -> Pod:
    return Pod(
        namespace=namespace,
        name=f"p{number}",
        labels=labels,
        addresses=(ip_address(f"10.0.0.{4 + number}"), ip_address(f"fd00::{4 + number}")),
        node=NODE.name,
        ports=(ContainerPort(name="http", protocol=Protocol.TCP, number=8080 + number % 2 * -8000),),
    )


def policy(name: str, namespace: str, direction: Direction, subjects: Selector, *matches: Match) -> Policy:
    return Policy(
        namespace=namespace,
        name=name,
        subjects=subjects,
        directions=frozenset({direction}),
        rules=tuple(Rule(direction=direction, index=i, match=match) for i, match in enumerate(matches)),
    )


def tcp(first: int, last: int) -> PortRange:
    return PortRange(protocol=Protocol.TCP, first=first, last=last)


# p0 web (http is 8080), p1 db (http is 80), p2 a stranger in another namespace.
PROGRAM = Program(
    policies=(
        policy("deny", "a", Direction.INGRESS, EVERYTHING),
        policy(
            "from-outside",
            "a",
            Direction.INGRESS,
            app("web"),
            Match(
                peers=(
                    BlockPeer(cidr=ip_network("192.0.2.0/24"), excepts=(ip_network("192.0.2.128/25"),)),
                    BlockPeer(cidr=ip_network("2001:db8::/32")),
                ),
                ports=(tcp(80, 81), PortRange(protocol=Protocol.UDP, first=80, last=80)),
            ),
            Match(
                peers=(PodPeer(namespaces=None, pods=app("db")),),
                ports=(NamedPort(protocol=Protocol.TCP, name="http"),),
            ),
        ),
        policy(
            "out",
            "a",
            Direction.EGRESS,
            app("db"),
            Match(peers=(PodPeer(namespaces=EVERYTHING, pods=EVERYTHING),)),
            Match(
                peers=(BlockPeer(cidr=ip_network("0.0.0.0/0"), excepts=(ip_network("192.0.2.1/32"),)),),
                ports=(tcp(81, 81), tcp(8080, 8080)),
            ),
        ),
        policy(
            "icmp", "b", Direction.INGRESS, EVERYTHING, Match(peers=(PodPeer(namespaces=EVERYTHING, pods=app("db")),))
        ),
        policy(
            "none-out", "b", Direction.EGRESS, EVERYTHING, Match(ports=(NamedPort(protocol=Protocol.TCP, name="http"),))
        ),
    ),
    cluster=Cluster(
        namespaces={name: Namespace(name=name, labels={NAMESPACE_NAME: name}) for name in ("a", "b")},
        pods=(pod(0, "a", app="web"), pod(1, "a", app="db"), pod(2, "b")),
        nodes={NODE.name: NODE},
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace of the laboratory and the endpoints in it."""

    netns: Netns
    endpoints: tuple[Endpoint, ...]


@contextmanager
def laboratory(program: Program) -> Iterator[list[Place]]:
    """A node that forwards between its pods and the world outside, each in a network namespace; the node is first."""
    with ExitStack() as stack:
        node = stack.enter_context(netns())
        for key in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            node.run("sysctl", "-qw", f"net.{key}=1")
        node.ip("link set lo up")
        places = [Place(node, tuple(Endpoint(address=address) for address in NODE.addresses))]
        inhabitants = [tuple(Endpoint(pod=one, address=a) for a in one.addresses) for one in program.cluster.pods]
        for number, ends in enumerate([*inhabitants, tuple(Endpoint(address=address) for address in WORLD)]):
            place = Place(stack.enter_context(netns()), ends)
            wire(node, f"w{number}", place)
            places.append(place)
        for place in places:
            stack.enter_context(serving(place))
        yield places


def wire(node: Netns, name: str, place: Place) -> None:
    """Join a place to the node by a veth pair and routes, as point-to-point plugins do."""
    own = [end.address for end in place.endpoints]
    node.ip(f"link add {name} type veth peer name eth0 netns {place.netns.name}", f"link set {name} up")
    node.ip(*(f"address add {address} dev {name} nodad" for address in NODE.addresses))
    place.netns.ip("link set lo up", "link set eth0 up")
    place.netns.ip(*(f"address add {address} dev eth0 nodad" for address in own if address is not None))
    for gateway in NODE.addresses:
        flag = "-6" if gateway.version == 6 else "-4"
        place.netns.run("ip", flag, "route", "add", str(gateway), "dev", "eth0")
        place.netns.run("ip", flag, "route", "add", "default", "via", str(gateway), "dev", "eth0")
    for address in own:
        node.run("ip", "-6" if address and address.version == 6 else "-4", "route", "add", str(address), "dev", name)


@contextmanager
def serving(place: Place) -> Iterator[None]:
    """Answer on every address and port of a place."""
    places = [[kind, str(end.address), port] for kind in ("tcp", "udp") for end in place.endpoints for port in PORTS]
    command = ["ip", "netns", "exec", place.netns.name, sys.executable, str(PROBE), "serve", json.dumps(places)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()


def flows_from(place: Place, places: list[Place]) -> list[Flow]:
    """What its endpoints may try to send to the other places."""
    return [
        Flow(src=src, dst=dst, protocol=protocol, port=port)
        for other in places
        if other is not place
        for src in place.endpoints
        for dst in other.endpoints
        if src.family == dst.family and (src.pod or dst.pod)
        for protocol in (Protocol.TCP, Protocol.UDP, Protocol.ICMP)
        for port in (PORTS if protocol.has_ports else (None,))
    ]


def observe(places: list[Place]) -> dict[Flow, bool]:
    """Which flows get an answer, all places asking at once."""
    asked = []
    for place in places:
        flows = flows_from(place, places)
        command = ["ip", "netns", "exec", place.netns.name, sys.executable, str(PROBE), "try"]
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        asked.append((client, flows))
        assert client.stdin is not None
        json.dump([[str(f.protocol), str(f.src.address), str(f.dst.address), f.port] for f in flows], client.stdin)
        client.stdin.close()
        client.stdin = None
    seen: dict[Flow, bool] = {}
    for client, flows in asked:
        out, _ = client.communicate(timeout=60)
        seen |= dict(zip(flows, json.loads(out), strict=True))
    return seen


@pytest.mark.parametrize(("variant", "accept"), [("legacy", False), ("nft", False), ("nft", True)])
def test_packets_get_the_verdict_of_the_evaluator(variant: str, accept: bool) -> None:
    artifact = IptablesTarget().emit(PROGRAM, Options(accept=accept))
    with laboratory(PROGRAM) as places:
        for place in places:
            place.netns.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=20000 39999")
        unfiltered = observe(places)
        assert all(unfiltered.values()), [str(flow) for flow, answered in unfiltered.items() if not answered]
        for place in places:  # no flow of the second round may pass as a reply of the first
            place.netns.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 60000")
        load(places[0].netns, artifact, variant)
        load(places[0].netns, artifact, variant)
        if accept:
            for tool in ("iptables", "ip6tables"):
                places[0].netns.run(f"{tool}-{variant}", "-P", "FORWARD", "DROP")
        filtered = observe(places)
        hairpin = [to_itself(places, variant, tool) for tool in ("iptables", "ip6tables")]
    expected = {flow: decide(PROGRAM.policies, PROGRAM.cluster, flow).verdict is Verdict.ALLOW for flow in filtered}
    assert {str(f) for f in filtered if filtered[f] != expected[f]} == set()
    assert set(expected.values()) == {True, False}
    assert hairpin == [True, True], "a pod reaches itself through a Service"


def to_itself(places: list[Place], variant: str, tool: str) -> bool:
    """Whether p1, isolated in both directions, reaches itself through an address that the node translates to it."""
    node, place = places[0].netns, places[2]
    own, service, slash = ("10.0.0.5", "10.96.0.1", 32) if tool == "iptables" else ("fd00::5", "fd96::1", 128)
    target = f"{own}:80" if tool == "iptables" else f"[{own}]:80"
    node.run(
        f"{tool}-{variant}-restore",
        "--noflush",
        stdin=f"*nat\n-A PREROUTING -d {service}/{slash} -p tcp -j DNAT --to-destination {target}\n"
        f"-A POSTROUTING -s {own}/{slash} -d {own}/{slash} -j MASQUERADE\nCOMMIT\n",
    )
    asked = json.dumps([["tcp", own, service, 80]])
    return json.loads(place.netns.run(sys.executable, str(PROBE), "try", stdin=asked)) == [True]


def test_no_reload_opens_a_gap() -> None:
    """The world's excepted part may never reach p0, whatever comes and goes; not even between the sets and the chains.

    p0 changes its profile because a policy comes, and because its labels change.  A twin, which nothing runs for, keeps
    the other profile alive meanwhile.
    """
    web, *others = PROGRAM.cluster.pods
    twin = replace(web, name="twin", labels={"app": "web", "twin": ""}, addresses=())
    usual = replace(PROGRAM.cluster, pods=(web, twin, *others))
    swapped = replace(usual, pods=(replace(web, labels=twin.labels), replace(twin, labels=web.labels), *others))
    alone = Requirement(key="twin", operator=Operator.DOES_NOT_EXIST)
    more = policy("more", "a", Direction.INGRESS, Selector(requirements=(*app("web").requirements, alone)))
    inputs = ((usual, ()), (usual, (more,)), (swapped, (more,)), (usual, (more,)))
    artifacts = [
        IptablesTarget().emit(Program(policies=(*PROGRAM.policies, *extra), cluster=cluster), Options())
        for cluster, extra in inputs
    ]
    with laboratory(PROGRAM) as places:
        load(places[0].netns, artifacts[0], "nft")
        command = ["ip", "netns", "exec", places[-1].netns.name, sys.executable, str(PROBE)]
        with subprocess.Popen(
            [*command, "flood", "192.0.2.130", "10.0.0.4", "80"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as sender:
            for artifact in artifacts * 4:
                load(places[0].netns, artifact, "nft")
            out, _ = sender.communicate("stop", timeout=30)
    sent, answers = json.loads(out)
    assert sent > 100
    assert answers == 0
