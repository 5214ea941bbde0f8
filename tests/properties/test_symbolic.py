"""Whatever the program: every example of the symbolic engine replays, and answers depend on nothing but the program."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.ir.program import Program
from npcompile.symbolic.engine import SymbolicEngine
from tests.strategies import programs
from tests.unit.symbolic.replay import answers, check


@settings(max_examples=60, deadline=None)
@given(programs())
def test_every_example_replays(program: Program) -> None:
    for answer in answers(SymbolicEngine(program)):
        check(program, answer)


@settings(max_examples=15, deadline=None)
@given(programs(), st.integers(1, 1000))
def test_answers_do_not_depend_on_the_solver(program: Program, seed: int) -> None:
    first = list(answers(SymbolicEngine(program)))
    assert first == list(answers(SymbolicEngine(program)))
    assert first == list(answers(SymbolicEngine(program, seed=seed)))
