"""What the symbolic engine decides by boxes is what z3 decides, down to the examples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.ir.labels import Selector
from npcompile.ir.program import Program
from npcompile.questions import Shadowed
from npcompile.symbolic import session
from npcompile.symbolic.engine import SymbolicEngine
from tests.properties import symbolic_universe
from tests.strategies import programs
from tests.unit.symbolic.build import pods, policy, port, program, rule
from tests.unit.symbolic.replay import answers


@contextmanager
def without_boxes() -> Iterator[None]:
    """No effort buys a look at a box, so that z3 decides everything."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(session, "EFFORT_OF_STEP", 1 << 62)
        yield


def same_answers(program: Program) -> None:
    found = list(answers(SymbolicEngine(program)))
    with without_boxes():
        assert found == list(answers(SymbolicEngine(program)))


@settings(max_examples=25, deadline=None)
@given(programs())
def test_boxes_and_solver_agree(program: Program) -> None:
    same_answers(program)


@settings(max_examples=25, deadline=None)
@given(programs())
def test_boxes_and_solver_agree_without_pods(program: Program) -> None:
    same_answers(replace(program, cluster=replace(program.cluster, pods=())))


@settings(max_examples=25, deadline=None)
@given(st.one_of(symbolic_universe.programs(), symbolic_universe.closing()))
def test_boxes_and_solver_agree_on_crowded_policies(program: Program) -> None:
    same_answers(program)


def test_only_pods_have_named_ports() -> None:
    given = program(policy("a", egress=[rule(port("http")), rule(pods(Selector()))]))
    same_answers(given)
    assert [type(one) for one in SymbolicEngine(given).shadowed()] == [Shadowed]
