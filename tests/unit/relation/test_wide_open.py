"""Planted pods that are open to everyone, asked of both engines."""

from __future__ import annotations

import pytest

from npcompile.ir.labels import Operator, Requirement, Selector
from npcompile.ir.policy import PodPeer
from npcompile.ir.program import Program
from npcompile.questions import Engine, NotDecided, WideOpen
from npcompile.relation.engine import RelationEngine
from npcompile.symbolic.engine import SymbolicEngine
from tests.unit.relation.building import ANY_POD, block, named, near, pod, policy, program, rule, select, tcp

# Without addresses: no block matches them.
PODS = (pod("a/api", app="api"), pod("a/web", app="web"), pod("b/db", app="db"))
HALVES = [rule(block("0.0.0.0/1")), rule(block("128.0.0.0/1"))]


@pytest.fixture(params=[RelationEngine, SymbolicEngine])
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    found: type[Engine] = request.param
    return found


def told(engine: type[Engine], of: Program) -> list[tuple[str, str, bool, list[int]]]:
    """Direction, kind, whether on all ports, and the indices of the rules."""
    found = []
    for one in engine(of).wide_open():  # type: ignore[call-arg]
        assert isinstance(one, WideOpen)
        found.append((str(one.direction), one.breadth.name, one.every_port, [rule.rule.index for rule in one.rules]))
    return found


def test_one_block_or_two_halves(engine: type[Engine]) -> None:
    of = program([policy("p", ingress=[rule(block("0.0.0.0/0"))])], PODS)
    assert told(engine, of) == [("ingress", "IPV4", True, [0])]
    assert told(engine, program([policy("p", egress=HALVES)], PODS)) == [("egress", "IPV4", True, [0, 1])]
    assert told(engine, program([policy("p", egress=HALVES[:1])], PODS)) == []
    of = program([policy("p", ingress=[rule(block("0.0.0.0/0", "10.0.0.0/8"))])], PODS)
    assert told(engine, of) == []


def test_halves_in_policies_whose_subjects_meet(engine: type[Engine]) -> None:
    meeting = [policy("p", ingress=HALVES[:1]), policy("q", subjects=select(app="web"), ingress=HALVES[1:])]
    assert told(engine, program(meeting, PODS)) == [("ingress", "IPV4", True, [0, 0])]
    apart = [
        policy(app, subjects=select(app=app), ingress=[half]) for app, half in zip(("api", "web"), HALVES, strict=True)
    ]
    assert told(engine, program(apart, PODS)) == []


def test_the_ports_must_meet_too(engine: type[Engine]) -> None:
    halves = [rule(block("0.0.0.0/1"), on=[tcp(80, 90)]), rule(block("128.0.0.0/1"), on=[tcp(90, 99)])]
    assert told(engine, program([policy("p", ingress=halves)], PODS)) == [("ingress", "IPV4", False, [0, 1])]
    halves = [rule(block("0.0.0.0/1"), on=[tcp(80)]), rule(block("128.0.0.0/1"), on=[tcp(90)])]
    assert told(engine, program([policy("p", ingress=halves)], PODS)) == []


def test_every_pod(engine: type[Engine]) -> None:
    assert told(engine, program([policy("p", ingress=[rule(ANY_POD)])], PODS)) == [("ingress", "PODS", True, [0])]
    assert told(engine, program([policy("p", ingress=[rule(near())])], PODS)) == []
    app = [Requirement(key="app", operator=operator, values=("web",)) for operator in (Operator.IN, Operator.NOT_IN)]
    both = [PodPeer(namespaces=Selector(), pods=Selector(requirements=(one,))) for one in app]
    assert told(engine, program([policy("p", egress=[rule(both[0]), rule(both[1])])], PODS)) == [
        ("egress", "PODS", True, [0, 1])
    ]


def test_what_names_no_peer_is_open_to_all() -> None:
    of = program([policy("p", ingress=[rule(on=[tcp(80)])])], PODS)
    expected = [("ingress", kind, False, [0]) for kind in ("IPV4", "IPV6", "PODS")]
    assert told(SymbolicEngine, of) == expected
    assert told(RelationEngine, of) == expected


def test_a_port_name_is_not_anyones(engine: type[Engine]) -> None:
    of = program([policy("p", egress=[rule(on=[named("http")])])], PODS)
    assert told(engine, of) == []


def test_too_little_effort_is_not_an_answer() -> None:
    of = program([policy("p", ingress=HALVES)], PODS)
    assert any(
        isinstance(one, NotDecided) and one.question == "wide-open" for one in SymbolicEngine(of, effort=1).wide_open()
    )


def test_a_block_is_open_to_the_pods_that_have_addresses() -> None:
    pods = (pod("a/web", "10.0.0.2"), pod("b/db", "10.0.0.3"))
    of = program([policy("p", ingress=[rule(block("0.0.0.0/0"))])], pods)
    assert [kind for _, kind, _, _ in told(RelationEngine, of)] == ["IPV4", "PODS"]
    assert [kind for _, kind, _, _ in told(SymbolicEngine, of)] == ["IPV4"], "a pod may have no address yet"
