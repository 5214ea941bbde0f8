"""An artifact that somebody changed is not the artifact: comparing it with the policies finds each change.

Every mutant of the example's artifact changes the verdict of some flow, and the comparison that the tests (and,
later, the proofs) rely on sees it.  A mutant that survived would show a line that nothing tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Options
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load as load_program
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.readers.artifact import read_artifact
from npcompile.readers.passage import passage
from npcompile.readers.problems import ReadingError
from npcompile.semantics import decide
from tests.commands import ROOT

PORTS = (53, 443, 5432, 5433, 8080, 8081)
OUTSIDE = ("198.51.100.7", "203.0.113.9", "10.0.0.11", "10.0.0.12")

Texts = dict[str, str]


def program() -> Program:
    return load_program(read_sources([str(ROOT / "examples" / "payments")])).program


def flows(program: Program) -> list[Flow]:
    from ipaddress import ip_address

    inside = [Endpoint(pod=pod, address=address) for pod in program.cluster.pods for address in pod.addresses]
    taken = {end.address for end in inside}
    nodes = [address for node in program.cluster.nodes.values() for address in node.addresses]
    outside = [Endpoint(address=a) for a in dict.fromkeys((*map(ip_address, OUTSIDE), *nodes)) if a not in taken]
    pairs = [(a, b) for a in inside + outside for b in inside + outside if a != b and (a.pod or b.pod)]
    carried = [(protocol, port) for protocol in (Protocol.TCP, Protocol.UDP) for port in PORTS]
    return [
        Flow(src=a, dst=b, protocol=protocol, port=port)
        for a, b in pairs
        for protocol, port in [*carried, (Protocol.ICMP, None)]
    ]


Case = tuple[str, Program, list[tuple[Flow, object]], Texts]


@pytest.fixture(scope="module", params=["iptables", "nftables"])
def case(request: pytest.FixtureRequest) -> Case:
    example = program()
    expected = [(flow, decide(example.policies, example.cluster, flow).verdict) for flow in flows(example)]
    files = TARGETS[request.param].emit(example, Options()).files
    return request.param, example, expected, {name: data.decode() for name, data in files.items()}


def differs(target: str, program: Program, expected: list[tuple[Flow, object]], texts: Texts) -> bool:
    """Whether the artifact gives some flow another verdict than the policies do, or cannot be understood."""
    try:
        loaded = read_artifact(target, {name: text.encode() for name, text in texts.items()})
    except ReadingError:
        return True
    return any(passage(lambda _: loaded, program.cluster, flow).verdict is not verdict for flow, verdict in expected)


def mutants(target: str, texts: Texts) -> Iterator[tuple[str, Texts]]:
    """One change each: a line removed, a target, port or protocol changed, a set member removed or moved."""
    changes = _changes_of_nftables if target == "nftables" else _changes_of_iptables
    for name, number, line in changes(texts):
        lines = texts[name].splitlines(keepends=True)
        told = f"`{line.strip()}` for `{lines[number].strip()}`" if line else f"without `{lines[number].strip()}`"
        yield told, {**texts, name: "".join([*lines[:number], line, *lines[number + 1 :]])}


Change = tuple[str, int, str]  # a file, the number of a line, and what stands in its place


def _changes_of_iptables(texts: Texts) -> Iterator[Change]:
    name = "iptables.restore"
    for number, line in enumerate(texts[name].splitlines(keepends=True)):
        policy_line = line.startswith(("-A NPC-POL", "-A NPC-PRO"))
        if policy_line or line.startswith(("-A NPC-EGRESS", "-A NPC-INGRESS")) or line.endswith("-j DROP\n"):
            yield name, number, ""
        if line.endswith("-j DROP\n"):
            yield name, number, line.replace("DROP", "RETURN")
        if policy_line and "--dport" in line:
            yield name, number, re.sub(r"--dport (\d+)", lambda match: f"--dport {int(match.group(1)) + 1}", line)
            yield name, number, re.sub(r"-m set --match-set \S+ \S+ ", "", line)
    name = "ipset.restore"
    for number, line in enumerate(texts[name].splitlines(keepends=True)):
        # Members that are added ahead of a swap (`-exist`) only bridge it.
        if line.startswith("add npc4-") and "-exist" not in line:
            yield name, number, ""


def _changes_of_nftables(texts: Texts) -> Iterator[Change]:
    name = "nftables.nft"
    for number, line in enumerate(texts[name].splitlines(keepends=True)):
        # Without its drop an ingress profile comes back to the entry chain, which drops as well.
        if line.startswith("add rule") and not re.search(r"profile-\S+ drop|ct state|icmpv6|forward ip saddr \.", line):
            yield name, number, ""
        if re.search(r"(forward|input) drop", line):
            yield name, number, line.replace("drop", "accept")
        if "dport" in line and "comment" in line:
            yield name, number, re.sub(r"dport (\d+)", lambda match: f"dport {int(match.group(1)) + 1}", line)
            yield name, number, re.sub(r"ip [sd]addr @\S+ ", "", line)
            yield name, number, re.sub(r"accept|goto ingress", "drop", line)
        if line.startswith("add element") and "self4" not in line:
            head, members = line.rstrip(" }\n").split(" { ")
            each = members.split(", ")
            for index in range(len(each)):
                rest = each[:index] + each[index + 1 :]
                yield name, number, f"{head} {{ {', '.join(rest)} }}\n" if rest else ""


def test_the_artifact_itself_is_right(case: Case) -> None:
    assert not differs(*case)


def test_every_mutant_is_found(case: Case) -> None:
    target, example, expected, texts = case
    found = {name: differs(target, example, expected, mutant) for name, mutant in mutants(target, texts)}
    assert len(found) > 30
    assert [name for name, killed in found.items() if not killed] == []
