"""The kernel takes what the target `iptables` emits, and does with packets what the reference evaluator says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings

from npcompile.backends.iptables import IptablesTarget
from npcompile.backends.target import Artifact, Options
from npcompile.diagnostics.model import Diagnostic
from npcompile.driver import lab as driver
from npcompile.driver.lab import LabOptions
from npcompile.ir.cluster import Cluster, ContainerPort, Namespace, Node, Pod, Service, ServicePort
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.labels import EVERYTHING, NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, Direction, Match, NamedPort, PodPeer, Policy, PortRange, Rule
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.semantics import Reason, decide
from tests.kernel.judging import judge, judged
from tests.kernel.wire import TOOLS, namespace, run
from tests.strategies import programs

VARIANTS = ("legacy", "nft")

pytestmark = pytest.mark.kernel(
    "ip", "nft", "ipset", *(f"{tool}-{variant}-restore" for tool in TOOLS.values() for variant in VARIANTS)
)


def inside(where: str, *command: str, text: str = "") -> str:
    """The output of a command in a network namespace."""
    return run("ip", "netns", "exec", where, *command, text=text).stdout.decode()


def load(where: str, artifact: Artifact, variant: str) -> None:
    """Load as `Artifact.load` says, with one of the two implementations of iptables."""
    inside(where, "ipset", "restore", text=artifact.files["ipset.restore"].decode())
    for tool in TOOLS.values():
        inside(where, f"{tool}-{variant}-restore", "--noflush", text=artifact.files[f"{tool}.restore"].decode())


def saved(where: str, variant: str) -> dict[str, list[str]]:
    """The lines that the kernel holds, by tool, without comments and counters, and without sets' hash seeds."""
    found = {"ipset": sorted(line.split(" initval ")[0] for line in inside(where, "ipset", "save").splitlines())}
    for tool in TOOLS.values():
        lines = inside(where, f"{tool}-{variant}-save", "-t", "filter").splitlines()
        found[tool] = [line for line in lines if line.startswith("-A")]
    return found


def foreign(where: str, variant: str) -> None:
    """Rules and sets of somebody else."""
    inside(where, "ipset", "create", "theirs", "hash:ip")
    inside(where, "ipset", "add", "theirs", "192.0.2.9")
    for tool in TOOLS.values():
        text = (
            "*filter\n:THEIRS - [0:0]\n-A FORWARD -j THEIRS\n-A INPUT -j THEIRS\n-A THEIRS -p tcp -j RETURN\nCOMMIT\n"
        )
        inside(where, f"{tool}-{variant}-restore", "--noflush", text=text)


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(program=programs())
def test_what_the_kernel_holds_is_what_was_emitted(program: Program, variant: str) -> None:
    artifact = IptablesTarget().emit(program, Options(accept=len(program.policies) % 2 == 1))
    assert artifact == IptablesTarget().emit(program, Options(accept=len(program.policies) % 2 == 1))
    with namespace() as where:
        foreign(where, variant)
        before = saved(where, variant)
        load(where, artifact, variant)
        once = saved(where, variant)
        load(where, artifact, variant)
        twice = saved(where, variant)
    assert set(before["ipset"]) <= set(once["ipset"])
    assert once["ipset"] == twice["ipset"]
    assert not [line for line in once["ipset"] if "-t " in line]
    for tool in TOOLS.values():
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
    with namespace() as where:
        inside(where, "sh", "-ec", f"cd {tmp_path}\n" + "\n".join(artifact.load))


def test_a_reload_replaces_members_and_survives_an_interrupted_one() -> None:
    moved = tuple(
        replace(one, addresses=(ip_address("10.0.0.77"),)) if one.name == "p1" else one for one in PROGRAM.cluster.pods
    )
    later = replace(PROGRAM, cluster=replace(PROGRAM.cluster, pods=moved))
    old, new = (IptablesTarget().emit(one, Options()) for one in (PROGRAM, later))
    assert old.files["iptables.restore"] == new.files["iptables.restore"]
    text = new.files["ipset.restore"].decode()
    first_swap = text.index("\nswap ")
    with namespace() as where, namespace() as fresh:
        load(where, old, "nft")
        inside(where, "ipset", "restore", text=text[: first_swap + 1])
        load(where, new, "nft")
        load(fresh, new, "nft")
        assert saved(where, "nft")["ipset"] == saved(fresh, "nft")["ipset"]


# --- packets ---

NODE = Node(name="n1", addresses=(ip_address("10.9.0.1"), ip_address("fd09::1")))


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
        services=(
            Service(
                namespace="a",
                name="db",
                selector={"app": "db"},
                addresses=(ip_address("10.96.0.1"), ip_address("fd96::1")),
                ports=(ServicePort(name=None, protocol=Protocol.TCP, number=5432, target=80),),
            ),
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHand:
    """The target iptables, loaded twice by the commands of its manifest with one of the two implementations, in a node
    that forwards nothing of itself if `accept`.
    """

    variant: str
    accept: bool
    name: str = "by hand"
    whole_services: bool = False

    def refused(self, options: Options) -> Iterable[Diagnostic]:
        return IptablesTarget().refused(options)

    def emit(self, program: Program, options: Options) -> Artifact:
        artifact = IptablesTarget().emit(program, replace(options, accept=self.accept))
        closing = [f"{tool}-{self.variant} -P FORWARD DROP" for tool in TOOLS.values()] if self.accept else []
        load = [line.replace("tables-restore", f"tables-{self.variant}-restore") for line in artifact.load]
        return replace(artifact, target=self.name, load=(*closing, *load, *load))


@pytest.mark.parametrize(("variant", "accept"), [("legacy", False), ("nft", False), ("nft", True)])
def test_packets_get_the_verdict_of_the_evaluator(variant: str, accept: bool) -> None:
    prepared = driver.prepare_program(PROGRAM, LabOptions(target=ByHand(variant=variant, accept=accept)))
    with driver.running(prepared) as lab:
        rows = driver.try_everything(prepared, lab)
    assert [str(row.traced.flow) for row in rows if row.differs or not row.seen.is_known] == []
    assert {row.traced.decision.verdict for row in rows} == set(Verdict)
    to_itself = [row for row in rows if row.traced.decision.egress.reason is Reason.SAME_POD]
    assert to_itself, "a pod reaches itself through a Service"


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
    inputs = [
        Program(policies=(*PROGRAM.policies, *extra), cluster=cluster)
        for cluster, extra in ((usual, ()), (usual, (more,)), (swapped, (more,)), (usual, (more,)))
    ]
    denied = Flow(
        src=Endpoint(address=ip_address("192.0.2.130")),
        dst=Endpoint(pod=web, address=web.addresses[0]),
        protocol=Protocol.UDP,
        port=80,
    )
    assert all(decide(one.policies, one.cluster, denied).verdict is Verdict.DENY for one in inputs)
    artifacts = [IptablesTarget().emit(one, Options()) for one in inputs]
    ((_, _, packet),) = judged(denied, usual)
    with judge("iptables-nft") as node:
        with node.flooded([packet]) as passed:
            pass
        assert all(passed[0]), "nothing is loaded yet"
        node.load(artifacts[0])
        with node.flooded([packet]) as passed:
            for artifact in artifacts * 4:
                node.load(artifact, clear=False)
        (copies,) = passed
    assert len(copies) > 100
    assert not any(copies)
