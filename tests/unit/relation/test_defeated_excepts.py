"""Planted excepts that another rule allows, asked of both engines."""

from __future__ import annotations

import pytest

from npcompile.ir.program import Program
from npcompile.questions import DefeatedExcept, Engine
from npcompile.relation.engine import RelationEngine
from npcompile.symbolic.engine import SymbolicEngine
from tests.unit.relation.building import block, near, pod, policy, program, rule, select, tcp

PODS = (pod("a/api", "10.0.0.1", app="api"), pod("a/web", "10.0.0.2", app="web"))
WORLD = rule(block("0.0.0.0/0", "10.0.0.0/8"), on=[tcp(80)])


@pytest.fixture(params=[RelationEngine, SymbolicEngine])
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    found: type[Engine] = request.param
    return found


def told(engine: type[Engine], of: Program) -> list[tuple[str, str, str]]:
    """The policies with such excepts, and those that allow them."""
    found = []
    for one in engine(of).defeated_excepts():  # type: ignore[call-arg]
        assert isinstance(one, DefeatedExcept)
        found.append((one.subject.policy.name, str(one.excepted), one.opener.policy.name))
    return found


def test_another_block_or_a_pod_there(engine: type[Engine]) -> None:
    for opener in (rule(block("10.1.0.0/16")), rule(near(app="web"), on=[tcp(1, 100)]), rule()):
        of = program([policy("p", egress=[WORLD]), policy("q", egress=[opener])], PODS)
        assert told(engine, of) == [("p", "10.0.0.0/8", "q")]


def test_other_ports_subjects_addresses_and_directions(engine: type[Engine]) -> None:
    for other in (
        policy("q", subjects=select(app="web"), egress=[rule(on=[tcp(81)])]),
        policy("q", egress=[rule(block("11.0.0.0/8"))]),
        policy("q", ingress=[rule()]),
    ):
        assert told(engine, program([policy("p", egress=[WORLD]), other], PODS)) == []
    apart = [
        policy("p", subjects=select(app="api"), egress=[WORLD]),
        policy("q", subjects=select(app="web"), egress=[rule()]),
    ]
    assert told(engine, program(apart, PODS)) == []
