"""The kernel does what the reference evaluator says, whole connections from end to end: programs at random, and the
normative cases of what only a lab has, each in one of its own.  `test_filters_judge` holds all cases, packet by packet.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import assume, given, settings

from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Target
from npcompile.diagnostics.errors import InputError
from npcompile.driver import lab as driver
from npcompile.driver.lab import LabOptions, Prepared
from npcompile.frontend import load
from npcompile.ir.program import Program
from npcompile.source import SourceFile
from tests.strategies import programs
from tests.test_semantics_cases import CASES, Case

pytestmark = pytest.mark.kernel("nft", "iptables-restore", "ip6tables-restore", "ipset")

_SIDE_BY_SIDE = 8  # labs: most of their time they wait for what is denied


RULES = {13, 14, 16, 18}  # own and other nodes, their network, Services, both address families

# No lab can be made of these: all pods are on their node's network or over, or two have one address.
REFUSED = {
    "14-host-network:several pods on one node's address",
    "14-host-network:a workload on its nodes' network",
    "14-host-network:a Job that is over",
    "14-host-network:two running pods with one address",
}


def wrong(prepared: Prepared) -> list[str]:
    """What a lab sees otherwise than expected, or not at all."""
    with driver.running(prepared) as lab:
        rows = driver.try_everything(prepared, lab)
    return [
        f"{row.traced.flow}: expected {row.traced.decision.verdict}, {row.seen}"
        for row in rows
        if row.differs or not row.seen.is_known
    ]


def prepared(case: Case, target: Target) -> Prepared | None:
    """The case's lab, unless there can be none."""
    program = load([SourceFile(path=f"{case.file}.yaml", text=case.input)]).program
    try:
        return driver.prepare_program(program, LabOptions(target=target))
    except InputError:
        return None


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_the_normative_cases(target: Target) -> None:
    labs = {str(case): prepared(case, target) for case in CASES if case.rule in RULES and not case.errors}
    assert {case for case, lab in labs.items() if lab is None} == REFUSED
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        found = {case: pool.submit(wrong, lab) for case, lab in labs.items() if lab is not None}
    assert {case: one.result() for case, one in found.items() if one.result()} == {}


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
@settings(max_examples=6, deadline=None)
@given(program=programs(max_policies=6))
def test_programs_at_random(program: Program, target: Target) -> None:
    assume(not all(pod.host_network for pod in program.cluster.pods))
    assert wrong(driver.prepare_program(program, LabOptions(target=target))) == []
