"""Map entries that somebody changed are not the policy: comparing them with the evaluator finds each change.

The example's artifact has no entry that could be left out, or say something else, without some flow getting another
verdict or another deciding rule.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from npcompile.backends.bpf import BpfTarget
from npcompile.backends.target import Options, RuleOrigin
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.readers.bpf_lookup import judge
from npcompile.readers.bpf_maps import read_maps
from npcompile.readers.problems import ReadingError
from npcompile.semantics import Reason, decide
from tests.commands import ROOT

PORTS = (53, 443, 5432, 5433, 8080, 8081)
OUTSIDE = ("198.51.100.7", "203.0.113.9", "10.0.0.11", "10.0.0.12")
SERVICES = "10.96."  # what a Service's address means has a property of its own
DECIDED = (Reason.RULE, Reason.NO_RULE)

Document = dict[str, Any]
Said = tuple[bool, tuple[str, Direction, int | None] | None]
Asked = tuple[Pod, Direction, Flow, Said]


def asked(program: Program) -> Iterator[Asked]:
    """Flows at each pod's interface, and what the evaluator says there: the verdict, and the policy and rule."""
    pods = [pod for pod in program.cluster.pods if not pod.host_network and pod.addresses]
    ends = [Endpoint(pod=pod, address=pod.addresses[0]) for pod in pods]
    taken = {end.address for end in ends}
    ends += [Endpoint(address=address) for address in map(ip_address, OUTSIDE) if address not in taken]
    carried = [(protocol, port) for protocol in (Protocol.TCP, Protocol.UDP) for port in PORTS]
    for src in ends:
        for dst in ends:
            for protocol, port in [*carried, (Protocol.ICMP, None)]:
                flow = Flow(src=src, dst=dst, protocol=protocol, port=port)
                decision = decide(program.policies, program.cluster, flow)
                for end, direction, side in (
                    (src, Direction.EGRESS, decision.egress),
                    (dst, Direction.INGRESS, decision.ingress),
                ):
                    if end.pod is not None and side.reason is not Reason.OWN_NODE:
                        decider = (str(side.policy), direction, side.rule.index if side.rule else None)
                        yield end.pod, direction, flow, (side.allowed, decider if side.reason in DECIDED else None)


Case = tuple[list[Asked], dict[str, RuleOrigin], Document]


@pytest.fixture(scope="module")
def case() -> Case:
    program = load(read_sources([str(ROOT / "examples" / "payments")])).program
    artifact = BpfTarget().emit(program, Options())
    return (
        list(asked(program)),
        {origin.id: origin for origin in artifact.rules},
        json.loads(artifact.files["maps.json"]),
    )


def differs(questions: list[Asked], origins: dict[str, RuleOrigin], document: Document) -> bool:
    """Whether the entries say something else of some flow, or cannot be understood."""
    try:
        maps = read_maps(json.dumps(document).encode())
    except ReadingError:
        return True
    for pod, direction, flow, expected in questions:
        endpoint = maps.endpoints.get(str(pod))
        peer = flow.dst.address if direction is Direction.EGRESS else flow.src.address
        if endpoint is None or peer is None:
            return True
        said = judge(maps, endpoint, direction, peer, (flow.protocol, flow.port))
        origin = origins.get(said.origin)
        decider = None
        if origin is not None:
            decider = (str(origin.policy), origin.direction, origin.rule.index if origin.rule else None)
        if (said.allowed, decider) != expected:
            return True
    return False


def mutants(document: Document) -> Iterator[tuple[str, Document]]:
    """One change each: an entry left out, or one of its numbers, its ports or its protocol changed."""
    for section in ("endpoints", "addresses", "networks", "classes", "policy"):
        for place, entry in enumerate(document[section]):
            if section == "addresses" and entry["address"].startswith(SERVICES):
                continue
            changed = copy.deepcopy(document)
            del changed[section][place]
            yield f"without {entry}", changed
            for key, value in entry.items():
                others: list[object] = []
                if isinstance(value, int) and key != "id":
                    others = [value + 1, value - 1]
                elif key == "ports":
                    others = ["9", "*"] if value not in ("9", "*") else ["9"]
                elif key == "protocol":
                    others = [other for other in ("tcp", "udp", "sctp") if other != value]
                for other in others:
                    changed = copy.deepcopy(document)
                    changed[section][place][key] = other
                    yield f"{key} {other} in {entry}", changed


def test_the_artifact_itself_is_right(case: Case) -> None:
    questions, origins, document = case
    assert not differs(questions, origins, document)


def test_every_mutant_is_found(case: Case) -> None:
    questions, origins, document = case
    found = {name: differs(questions, origins, mutant) for name, mutant in mutants(document)}
    assert len(found) > 80
    assert [name for name, killed in found.items() if not killed] == []
