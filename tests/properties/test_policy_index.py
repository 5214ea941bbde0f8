"""An index leaves out no policy that could matter."""

from __future__ import annotations

from hypothesis import given, settings

from npcompile.ir.program import PolicyIndex, Program
from npcompile.semantics import selects
from tests.strategies import programs


@settings(max_examples=100, deadline=None)
@given(programs())
def test_every_policy_that_selects_a_pod_is_near_it(program: Program) -> None:
    index = PolicyIndex(program.policies)
    for pod in program.cluster.pods:
        near = index.near(pod.namespace, pod.labels)
        assert [one for one in near if selects(one, pod)] == [one for one in program.policies if selects(one, pod)]
