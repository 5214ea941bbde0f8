"""Planted policies that deny nothing, asked of both engines."""

from __future__ import annotations

import pytest

from npcompile.ir.labels import Operator, Requirement, Selector
from npcompile.ir.program import Program
from npcompile.questions import DefeatedDeny, Engine, NotDecided
from npcompile.relation.engine import RelationEngine
from npcompile.symbolic.engine import SymbolicEngine
from tests.unit.relation.building import ANY_POD, block, pod, policy, program, rule, select, tcp

PODS = (pod("a/api", "10.0.0.1", app="api"), pod("a/web", "10.0.0.2", app="web"), pod("b/db", "10.0.0.3", app="db"))
DENY = policy("deny", ingress=[], egress=[])
NOT_WEB = Selector(requirements=(Requirement(key="app", operator=Operator.NOT_IN, values=("web",)),))


@pytest.fixture(params=[RelationEngine, SymbolicEngine])
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    found: type[Engine] = request.param
    return found


def told(engine: type[Engine], of: Program) -> list[tuple[str, str, list[str]]]:
    """The policies that deny nothing, and what opens their pods."""
    found = []
    for one in engine(of).defeated_denies():  # type: ignore[call-arg]
        assert isinstance(one, DefeatedDeny)
        found.append((one.policy.name, str(one.direction), [rule.policy.name for rule in one.rules]))
    return found


def test_one_rule_opens_all(engine: type[Engine]) -> None:
    assert told(engine, program([DENY, policy("open", ingress=[rule()])], PODS)) == [("deny", "ingress", ["open"])]


def test_several_open_all_together(engine: type[Engine]) -> None:
    some, rest = (
        policy("x", subjects=select(app="web"), egress=[rule()]),
        policy("y", subjects=NOT_WEB, egress=[rule()]),
    )
    assert told(engine, program([DENY, some, rest], PODS)) == [("deny", "egress", ["x", "y"])]


def test_what_leaves_a_pod_a_port_or_a_peer_denies(engine: type[Engine]) -> None:
    assert told(engine, program([DENY, policy("x", subjects=select(app="web"), ingress=[rule()])], PODS)) == []
    assert told(engine, program([DENY, policy("x", ingress=[rule(on=[tcp(1, 65535)])])], PODS)) == []
    assert told(engine, program([DENY, policy("x", ingress=[rule(ANY_POD)])], PODS)) == []
    assert told(engine, program([DENY, policy("x", ingress=[rule(block("0.0.0.0/1"))])], PODS)) == []


def test_too_little_effort_is_not_an_answer() -> None:
    of = program([DENY, policy("open", ingress=[rule()])], PODS)
    for engine in (RelationEngine(of, pieces=0), SymbolicEngine(of, effort=1)):
        assert any(isinstance(one, NotDecided) and one.policy.name == "deny" for one in engine.defeated_denies())
