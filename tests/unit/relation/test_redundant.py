"""Planted redundant policies, asked of both engines."""

from __future__ import annotations

import pytest

from npcompile.ir.program import Program
from npcompile.questions import Engine, NotDecided, Redundant
from npcompile.relation.engine import RelationEngine
from npcompile.symbolic.engine import SymbolicEngine
from tests.unit.relation.building import near, pod, policy, program, rule, select, tcp

PODS = (pod("a/api", "10.0.0.1", app="api"), pod("a/web", "10.0.0.2", app="web"), pod("b/db", "10.0.0.3", app="db"))
FROM_WEB = rule(near(app="web"), on=[tcp(80)])


@pytest.fixture(params=[RelationEngine, SymbolicEngine])
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    found: type[Engine] = request.param
    return found


def told(engine: type[Engine], of: Program) -> list[tuple[str, list[str]]]:
    """The redundant policies, each with those that do its work."""
    found = []
    for one in engine(of).redundant():  # type: ignore[call-arg]
        assert isinstance(one, Redundant)
        assert one.examples
        found.append((one.policy.name, [other.name for other in one.cover]))
    return found


def test_of_equal_policies_the_first_stays(engine: type[Engine]) -> None:
    of = program([policy(name, ingress=[FROM_WEB]) for name in ("p1", "p2", "p3")], PODS)
    assert told(engine, of) == [("p2", ["p1"]), ("p3", ["p1"])]


def test_shadowed_rules_alone_are_not_enough(engine: type[Engine]) -> None:
    api = policy("p1", subjects=select(app="api"), ingress=[FROM_WEB])
    of = program([api, policy("p2", ingress=[rule(near(app="web"), on=[tcp(80), tcp(81)])])], PODS)
    assert told(engine, of) == [("p1", ["p2"])]
    of = program([policy("p1", ingress=[FROM_WEB], egress=[]), policy("p2", ingress=[FROM_WEB])], PODS)
    assert told(engine, of) == [("p2", ["p1"])], "p1 alone isolates for egress"


def test_isolation_by_others_must_remain(engine: type[Engine]) -> None:
    of = program([policy("deny", ingress=[]), policy("p", ingress=[])], PODS)
    assert told(engine, of) == [("p", ["deny"])]
    of = program([policy("deny", ingress=[])], PODS)
    assert told(engine, of) == []


def test_what_allows_everything_to_whom_nobody_else_isolates(engine: type[Engine]) -> None:
    assert told(engine, program([policy("p", ingress=[rule()])], PODS)) == [("p", [])]
    of = program([policy("p", ingress=[rule()]), policy("q", ingress=[rule()])], PODS)
    assert told(engine, of) == [("q", ["p"])], "either could go, not both: the first stays"
    of = program([policy("p", ingress=[rule()]), policy("q", ingress=[FROM_WEB])], PODS)
    assert told(engine, of) == [("q", ["p"])], "without p, q would close what p opens"


def test_several_do_its_work_together(engine: type[Engine]) -> None:
    halves = [policy(name, ingress=[rule(near(app=name), on=[tcp(80)])]) for name in ("api", "web")]
    of = program([*halves, policy("x", ingress=[rule(near(app="api"), near(app="web"), on=[tcp(80)])])], PODS)
    assert told(engine, of) == [("x", ["api", "web"])]


def test_other_namespaces_and_directions_are_apart(engine: type[Engine]) -> None:
    ways = {"ingress": [FROM_WEB], "egress": [FROM_WEB]}
    of = program(
        [
            policy("p1", ingress=ways["ingress"]),
            policy("p2", egress=ways["egress"]),
            policy("p3", namespace="b", ingress=[]),
        ],
        PODS,
    )
    assert told(engine, of) == []


def test_a_policy_without_subjects_is_not_redundant_but_vacuous() -> None:
    of = program([policy("p", subjects=select(app="nobody"), ingress=[FROM_WEB]), policy("q", ingress=[])], PODS)
    assert told(RelationEngine, of) == []


def test_too_little_effort_is_not_an_answer() -> None:
    halves = [policy(name, ingress=[rule(near(app=name), on=[tcp(80)])]) for name in ("api", "web")]
    of = program([*halves, policy("x", ingress=[rule(near(), on=[tcp(80)])])], PODS)
    for engine in (RelationEngine(of, pieces=0), SymbolicEngine(of, effort=1)):
        assert any(isinstance(one, NotDecided) and one.question == "redundant" for one in engine.redundant())
