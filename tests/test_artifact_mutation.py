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
from npcompile.netset.cidrs import Family
from npcompile.netset.ports import Protocol
from npcompile.readers.passage import load, passage
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


@pytest.fixture(scope="module")
def case() -> tuple[Program, list[tuple[Flow, object]], Texts]:
    example = program()
    expected = [(flow, decide(example.policies, example.cluster, flow).verdict) for flow in flows(example)]
    files = TARGETS["iptables"].emit(example, Options()).files
    return example, expected, {name: data.decode() for name, data in files.items()}


def differs(program: Program, expected: list[tuple[Flow, object]], texts: Texts) -> bool:
    """Whether the artifact gives some flow another verdict than the policies do, or cannot be understood."""
    try:
        rulesets = load(
            texts["ipset.restore"].encode(),
            {Family.V4: texts["iptables.restore"].encode(), Family.V6: texts["ip6tables.restore"].encode()},
        )
    except ReadingError:
        return True
    return any(passage(lambda _: rulesets, program.cluster, flow).verdict is not verdict for flow, verdict in expected)


def mutants(texts: Texts) -> Iterator[tuple[str, Texts]]:
    """One change each: a line removed, a target, port or protocol changed, a set member removed or moved."""
    rules = texts["iptables.restore"].splitlines(keepends=True)
    for number, line in enumerate(rules):
        policy_line = line.startswith(("-A NPC-POL", "-A NPC-PRO"))
        if policy_line or line.startswith(("-A NPC-EGRESS", "-A NPC-INGRESS")) or line.endswith("-j DROP\n"):
            yield f"without {line}", with_line(texts, "iptables.restore", rules, number, "")
        if line.endswith("-j DROP\n"):
            yield (
                f"RETURN for {line}",
                with_line(texts, "iptables.restore", rules, number, line.replace("DROP", "RETURN")),
            )
        if policy_line and "--dport" in line:
            other = re.sub(r"--dport (\d+)", lambda match: f"--dport {int(match.group(1)) + 1}", line)
            yield f"other port in {line}", with_line(texts, "iptables.restore", rules, number, other)
            anyone = re.sub(r"-m set --match-set \S+ \S+ ", "", line)
            yield f"anyone in {line}", with_line(texts, "iptables.restore", rules, number, anyone)
    sets = texts["ipset.restore"].splitlines(keepends=True)
    for number, line in enumerate(sets):
        # Members that are added ahead of a swap (`-exist`) only bridge it.
        if line.startswith("add npc4-") and "-exist" not in line:
            yield f"without {line}", with_line(texts, "ipset.restore", sets, number, "")


def with_line(texts: Texts, name: str, lines: list[str], number: int, line: str) -> Texts:
    return {**texts, name: "".join([*lines[:number], line, *lines[number + 1 :]])}


def test_the_artifact_itself_is_right(case: tuple[Program, list[tuple[Flow, object]], Texts]) -> None:
    assert not differs(*case)


def test_every_mutant_is_found(case: tuple[Program, list[tuple[Flow, object]], Texts]) -> None:
    example, expected, texts = case
    found = {name: differs(example, expected, mutant) for name, mutant in mutants(texts)}
    assert len(found) > 40
    assert [name for name, killed in found.items() if not killed] == []
