"""What `trace --artifact` tells of an artifact of any target is what the evaluator says of the policies: the verdict,
the rules that allow, and of a drop every policy that isolates the pod.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from npcompile.analyses.addressing import Port
from npcompile.analyses.trace import Traced
from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Options
from npcompile.driver.emit import manifest
from npcompile.driver.trace_artifact import Walker
from npcompile.driver.walk import Ending, Walk
from npcompile.ir.flow import Flow, Verdict
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.runtime.stored import MANIFEST
from npcompile.semantics import Reason, decide, selects
from tests.strategies import programs_with_flow


def walked(program: Program, flow: Flow, target: str) -> Walk:
    options = Options()
    artifact = TARGETS[target].emit(program, options)
    with TemporaryDirectory() as directory:
        for name, data in artifact.files.items():
            (Path(directory) / name).write_bytes(data)
        (Path(directory) / MANIFEST).write_text(json.dumps(manifest(artifact, options)), encoding="utf-8")
        traced = Traced(flow=flow, decision=decide(program.policies, program.cluster, flow))
        return Walker(directory, program.cluster).walk(traced, Port(protocol=flow.protocol, number=flow.port))


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=80, deadline=None)
@given(example=programs_with_flow(bound=True))
def test_the_way_ends_as_the_policies_say(target: str, example: tuple[Program, Flow]) -> None:
    program, flow = example
    decision = decide(program.policies, program.cluster, flow)
    walk = walked(program, flow, target)
    assert walk.passed is not None
    assert walk.verdict is decision.verdict and not walk.differs
    told = {
        (step.origin.policy, step.origin.direction, step.origin.rule)
        for visit in walk.passed.visits
        for step in visit.steps
        if step.origin
    }
    for direction, side in ((Direction.EGRESS, decision.egress), (Direction.INGRESS, decision.ingress)):
        if side.reason is Reason.RULE and decision.verdict is Verdict.ALLOW:
            of_side = {(policy, rule) for policy, where, rule in told if where == str(direction)}
            assert of_side, "no rule is named that allows"
            if target == "bpf" and side.policy and side.rule:  # the others name the first of their lines that matches
                assert of_side == {(str(side.policy), side.rule.index)}
    if walk.verdict is Verdict.DENY:
        *_, last = walk.passed.visits
        assert last.ending is Ending.DROP
        direction, subject = (Direction.INGRESS, flow.dst) if decision.egress.allowed else (Direction.EGRESS, flow.src)
        assert subject.pod is not None
        isolating = [str(one) for one in program.policies if direction in one.directions and selects(one, subject.pod)]
        assert sorted((origin.policy, origin.direction, origin.rule) for origin in last.isolating) == sorted(
            (policy, str(direction), None) for policy in isolating
        )
