"""Planted superfluous peers and ports, asked of both engines."""

from __future__ import annotations

import pytest

from npcompile.ir.policy import PodPeer
from npcompile.ir.printer import peer_text, port_item_text
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import Engine, NotDecided, ShadowedItem
from npcompile.relation.engine import RelationEngine
from npcompile.symbolic.engine import SymbolicEngine
from tests.unit.relation.building import ANY_POD, block, near, pod, policy, program, rule, tcp, udp

PODS = (pod("a/api", "10.0.0.1", app="api"), pod("a/web", "10.0.0.2", app="web"), pod("b/db", "10.0.0.3", app="db"))


@pytest.fixture(params=[RelationEngine, SymbolicEngine])
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    found: type[Engine] = request.param
    return found


def told(engine: type[Engine], of: Program) -> list[tuple[str, str, list[str]]]:
    """The rules and their superfluous items, with the rules that cover those."""
    found = []
    for one in engine(of).shadowed_items():  # type: ignore[call-arg]
        assert isinstance(one, ShadowedItem)
        is_port = hasattr(one.item, "protocol")
        text = port_item_text(one.item) if is_port else peer_text(one.item)  # type: ignore[arg-type]
        found.append((_name(one.subject), text, [_name(cover) for cover in one.cover]))
    return found


def _name(of: object) -> str:
    return f"{of.policy.name}[{of.rule.index}]"  # type: ignore[attr-defined]


def test_a_cidr_in_another(engine: type[Engine]) -> None:
    of = program([policy("p", ingress=[rule(block("192.0.2.128/25"), block("192.0.2.0/24"))])], PODS)
    assert told(engine, of) == [("p[0]", "192.0.2.128/25", ["p[0]"])]


def test_of_equal_items_the_first_stays(engine: type[Engine]) -> None:
    of = program([policy("p", ingress=[rule(near(app="web"), near(app="web"), on=[tcp(80), tcp(80)])])], PODS)
    answers = list(engine(of).shadowed_items())  # type: ignore[call-arg]
    items = [one.item for one in answers if isinstance(one, ShadowedItem)]
    match = of.policies[0].rules[0].match
    assert [id(one) for one in items] == [id(match.peers[1]), id(match.ports[1])]


def test_another_rule_or_several(engine: type[Engine]) -> None:
    wide = rule(near(app="web"), on=[tcp(1, 100)])
    of = program([policy("p", ingress=[rule(near(app="web"), near(app="api"), on=[tcp(80), tcp(90)]), wide])], PODS)
    assert told(engine, of) == [("p[0]", "app=web in its own namespace", ["p[1]"])]
    halves = [
        rule(block("192.0.2.0/25"), block("198.51.100.0/25")),
        rule(block("192.0.2.128/25"), block("198.51.100.128/25")),
    ]
    of = program([policy("p", ingress=[*halves, rule(block("192.0.2.0/24"), block("10.0.0.0/24"))])], PODS)
    assert told(engine, of) == [("p[2]", "192.0.2.0/24", ["p[0]", "p[1]"])]


def test_a_port_in_a_range(engine: type[Engine]) -> None:
    of = program([policy("p", egress=[rule(ANY_POD, on=[tcp(80), udp(53), tcp(1, 100)])])], PODS)
    assert told(engine, of) == [("p[0]", f"{Protocol.TCP}/80", ["p[0]"])]


def test_a_rule_that_is_shadowed_is_not_taken_apart(engine: type[Engine]) -> None:
    of = program([policy("p", ingress=[rule(near()), rule(near(app="web"), near(app="api"))])], PODS)
    assert told(engine, of) == []


def test_what_differs_stays(engine: type[Engine]) -> None:
    peers = (near(app="web"), near(app="api"), PodPeer(namespaces=ANY_POD.namespaces, pods=near(app="db").pods))
    of = program([policy("p", ingress=[rule(*peers, on=[tcp(80), udp(80)])])], PODS)
    assert told(engine, of) == []


def test_too_little_effort_is_not_an_answer() -> None:
    of = program([policy("p", ingress=[rule(block("192.0.2.128/25"), block("192.0.2.0/24"))])], PODS)
    for engine in (RelationEngine(of, pieces=0), SymbolicEngine(of, effort=1)):
        assert any(isinstance(one, NotDecided) and one.question == "shadowed-items" for one in engine.shadowed_items())
