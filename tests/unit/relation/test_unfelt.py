"""Planted policies that no verdict depends on, and near misses."""

from __future__ import annotations

from npcompile.ir.flow import Verdict
from npcompile.ir.program import Program
from npcompile.questions import NotDecided, Unfelt
from npcompile.relation.engine import RelationEngine
from npcompile.semantics import decide
from tests.unit.relation.building import block, near, pod, policy, program, rule, select, tcp

API, WEB = pod("a/api", "10.0.0.1", app="api"), pod("a/web", "10.0.0.2", app="web")
HIDDEN = (pod("a/x1", app="x"), pod("a/x2", app="x"))  # without an address: no block matches them
EVERY_ADDRESS = rule(block("0.0.0.0/0"), block("::/0"))


def told(of: Program) -> list[str]:
    found = []
    for one in RelationEngine(of).unfelt():
        assert isinstance(one, Unfelt)
        verdicts = [decide(of.policies, of.cluster, example.flow).verdict for example in one.examples]
        assert verdicts
        assert set(verdicts) == {Verdict.DENY}
        found.append(one.policy.name)
    return found


def test_what_the_other_end_denies() -> None:
    opened = policy("open", subjects=select(app="api"), ingress=[rule(near(app="web"), on=[tcp(80)])])
    deny = policy("deny", ingress=[], egress=[])
    assert told(program([opened, deny], (API, WEB))) == ["open"]
    let_go = policy("let-go", subjects=select(app="web"), egress=[rule(near(app="api"), on=[tcp(80)])])
    assert told(program([opened, deny, let_go], (API, WEB))) == [], "web may send that now"
    other = policy("let-go", subjects=select(app="web"), egress=[rule(near(app="api"), on=[tcp(81)])])
    assert told(program([opened, deny, other], (API, WEB))) == ["let-go", "open"], (
        "each to a port that the other closes"
    )


def test_what_changes_no_side_is_redundant_instead() -> None:
    twice = [policy(name, ingress=[rule(near(app="web"))]) for name in ("p", "q")]
    assert told(program(twice, (API, WEB))) == []


def test_a_side_that_opens_where_the_other_closes() -> None:
    both = policy("both", subjects=select(app="x"), ingress=[rule(near(app="x"))], egress=[EVERY_ADDRESS])
    deny = policy("deny", ingress=[])
    assert told(program([both, deny], HIDDEN)) == ["both"], "x1 -> x2: egress denies with it, and ingress without"


def test_sides_that_open_together() -> None:
    both = policy("both", ingress=[EVERY_ADDRESS], egress=[EVERY_ADDRESS])
    assert told(program([both], HIDDEN)) == [], "x1 -> x2: both ends deny with it, and neither without"
    assert told(program([both], HIDDEN[:1])) == [], "a pod's flows to itself are nobody's"


def test_effort() -> None:
    wide, narrow = (policy(name, ingress=[rule(near(app="web"), on=on)]) for name, on in (("p", []), ("q", [tcp(80)])))
    answers = list(RelationEngine(program([wide, narrow], (API, WEB)), pieces=0).unfelt())
    assert any(isinstance(one, NotDecided) and one.question == "unfelt" for one in answers)
