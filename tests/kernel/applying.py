"""What the kernel tests of `apply` share: programs that differ a little, their artifacts, and a look at the kernel."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path

from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Options
from npcompile.ir.cluster import Cluster, Namespace, Pod
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.labels import NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import Direction, Match, PodPeer, Policy, PortRange, Rule
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address
from npcompile.netset.ports import Protocol
from npcompile.runtime.loader import Stored
from npcompile.semantics import decide
from tests.kernel.wire import Lab, forwarded, run

NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17}
STRANGERS = tuple(ip_address(text) for text in ("192.0.2.77", "2001:db8::77"))


def having(**labels: str) -> Selector:
    """Selects by labels."""
    return Selector(
        requirements=tuple(
            Requirement(key=key, operator=Operator.IN, values=(value,)) for key, value in sorted(labels.items())
        )
    )


def policy(name: str, subjects: Selector, direction: Direction, *peers: Selector, port: int = 80) -> Policy:
    """Allows one TCP port of pods, or to pods, of the same namespace."""
    match = Match(
        peers=tuple(PodPeer(namespaces=None, pods=peer) for peer in peers),
        ports=(PortRange(protocol=Protocol.TCP, first=port, last=port),),
    )
    rules = (Rule(direction=direction, index=0, match=match),) if peers else ()
    return Policy(namespace="a", name=name, subjects=subjects, directions=frozenset({direction}), rules=rules)


def pod(number: int, **labels: str) -> Pod:
    """A pod with an address of each family."""
    addresses = (ip_address(f"10.7.0.{number}"), ip_address(f"fd07::{number:x}"))
    return Pod(namespace="a", name=f"p{number}", labels=labels, addresses=addresses)


def program(pods: Iterable[Pod], *policies: Policy) -> Program:
    """A program of one namespace."""
    namespaces = {"a": Namespace(name="a", labels={NAMESPACE_NAME: "a"})}
    return Program(policies=policies, cluster=Cluster(namespaces=namespaces, pods=tuple(pods), nodes={}))


OUT = policy("out", having(app="client"), Direction.EGRESS, having(open="yes"))
IN = policy("in", having(app="server"), Direction.INGRESS, having(trusted="yes"))
CLIENT, SERVER = pod(1, app="client"), pod(2, app="server")
# The client's egress allows the server, whose ingress allows nobody; and the other way round.
EGRESS_ONLY = program([CLIENT, pod(2, app="server", open="yes")], OUT, IN)
INGRESS_ONLY = program([pod(1, app="client", trusted="yes"), SERVER], OUT, IN)
BOTH = program([pod(1, app="client", trusted="yes"), pod(2, app="server", open="yes")], OUT, IN)
RESTARTED = program([pod(9, app="client", trusted="yes"), pod(2, app="server", open="yes")], OUT, IN)
WIDER = program(
    [pod(9, app="client", trusted="yes"), pod(2, app="server", open="yes"), pod(3, app="other")],
    OUT,
    IN,
    policy("more", having(app="server"), Direction.INGRESS, having(app="other")),
    policy("none", having(app="other"), Direction.INGRESS),
)
HISTORY = (EGRESS_ONLY, INGRESS_ONLY, BOTH, RESTARTED, WIDER, program([CLIENT, SERVER]), EGRESS_ONLY)


def stored(program: Program, target: str) -> Stored:
    """A program's artifact, as it is read back from its directory."""
    return Stored(target=target, files=TARGETS[target].emit(program, Options()).files, manifest={})


def write(program: Program, target: str, directory: Path, **manifest: object) -> Path:
    """A program's artifact in a directory."""
    files = TARGETS[target].emit(program, Options()).files
    directory.mkdir()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    digests = {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in files.items()}
    document = {"version": 1, "target": target, "files": digests, **manifest}
    (directory / "manifest.json").write_text(json.dumps(document))
    return directory


def npcompile(
    where: str, *arguments: str | Path, path: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    """Run npcompile in a network namespace; `path`: where it finds programs first."""
    environment = [f"PATH={path}:{os.environ['PATH']}"] if path else []
    command = ["ip", "netns", "exec", where, "env", *environment, sys.executable, "-m", "npcompile"]
    return run(*command, *map(str, arguments), check=check)


def kernel(where: str, variant: str = "nft") -> Mapping[str, list[str]]:
    """All that the kernel holds of sets and filters, ours and others', without counters and seeds."""
    listing = run("ip", "netns", "exec", where, "ipset", "save").stdout.decode().splitlines()
    found = {"ipset": sorted(line.split(" initval ")[0] for line in listing)}
    for tool in ("iptables", "ip6tables"):
        saved = run("ip", "netns", "exec", where, f"{tool}-{variant}-save").stdout.decode().splitlines()
        found[tool] = [line.split(" [")[0] for line in saved if not line.startswith("#")]
    found["nft"] = run("ip", "netns", "exec", where, "nft", "list", "tables").stdout.decode().splitlines()
    return found


def flows(*programs: Program) -> list[Flow]:
    """TCP and UDP to port 80, and another one, between all addresses of the programs, and one stranger's."""
    addresses = {address for one in programs for pod in one.cluster.pods for address in pod.addresses}
    ends = [
        Endpoint(address=address) for address in sorted({*addresses, *STRANGERS}, key=lambda a: (a.version, int(a)))
    ]
    return [
        Flow(src=src, dst=dst, protocol=protocol, port=port)
        for src in ends
        for dst in ends
        if src != dst and src.family == dst.family
        for protocol, port in ((Protocol.TCP, 80), (Protocol.UDP, 80), (Protocol.TCP, 443))
    ]


def allows(program: Program, flow: Flow) -> bool:
    """The evaluator's verdict of a flow between addresses."""
    return decide(program.policies, program.cluster, Flow(
        src=_endpoint(program, flow.src.address), dst=_endpoint(program, flow.dst.address),
        protocol=flow.protocol, port=flow.port,
    )).verdict is Verdict.ALLOW  # fmt: skip


def _endpoint(program: Program, address: Address | None) -> Endpoint:
    owner = next((pod for pod in program.cluster.pods if address in pod.addresses), None)
    return Endpoint(pod=owner, address=address)


def passed(lab: Lab, asked: list[Flow]) -> dict[Flow, bool]:
    """Which flows' first packets the router forwards."""
    seen: dict[Flow, bool] = {}
    for version in (4, 6):
        chosen = [flow for flow in asked if flow.dst.address is not None and flow.dst.address.version == version]
        packets = [
            forwarded(str(f.src.address), str(f.dst.address), NUMBERS[f.protocol], sport=40000, dport=f.port)
            for f in chosen
        ]
        seen |= dict(zip(chosen, lab.passed(packets), strict=True))
    return seen


def assert_between(seen: Mapping[Flow, bool], old: Program, new: Program) -> None:
    """What both allow passes, and nothing does that neither allows."""
    for flow, now in seen.items():
        before, after = allows(old, flow), allows(new, flow)
        assert (before and after) <= now <= (before or after), f"{flow}: {before}, now {now}, then {after}"
