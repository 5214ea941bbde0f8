"""Planted cases of what holds for every pod that could exist, and of what only holds for the pods that do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from npcompile.ir.labels import Operator, Requirement, Selector
from npcompile.ir.program import Program
from npcompile.questions import HalfOpen, NotDecided, Universal
from npcompile.relation.engine import RelationEngine
from npcompile.symbolic.confirm import Confirmation
from tests.unit.symbolic.build import block, listed, pod, pods, policy, port, program, rule, select, tcp

ANYWHERE = Selector()
EFFORT = 1_000_000
X = pod("x", "10.0.0.1", app="x", http="8080")
Y = pod("y", "10.0.0.2", app="y", http="8080")
ELSEWHERE = pod("z", "10.0.0.3", namespace="web", app="z", http="8080")
NOT_X = Requirement(key="app", operator=Operator.NOT_IN, values=("x",))


def found(given: Program, question: str) -> list[Universal]:
    answers = list(getattr(RelationEngine(given), question)())
    assert answers, "the inventory has it"
    assert not any(isinstance(answer, NotDecided) for answer in answers)
    return [answer for answer in answers if not isinstance(answer, HalfOpen) or answer.fully]


def told(given: Program, question: str, effort: int = EFFORT) -> list[bool]:
    confirmation = Confirmation(given, effort)
    return [confirmation.holds(answer) for answer in found(given, question)]


NARROW, WIDE = rule(pods(app="y"), tcp(80)), rule(pods(), tcp(80, 81))
ITEMS = rule(pods(), pods(app="y"), tcp(80))
BY_CHANCE = rule(pods(app="x"), pods(Selector(), app="x"), tcp(80))
DENY = policy("deny", ingress=[], egress=[])
OPEN = policy("open", select(app="x"), ingress=[rule()])
REST = policy("rest", select(NOT_X), ingress=[rule()])

CASES: dict[str, tuple[str, Program, list[bool]]] = {
    "a wider rule": ("shadowed", program(X, Y, policy("a", ingress=[WIDE, NARROW])), [True]),
    "a wider rule for these pods": (
        "shadowed",
        program(X, Y, policy("a", ingress=[rule(pods(app="y")), rule(pods(app="y", http="8080"))]),
                policy("b", ingress=[rule(pods(http="8080", app="y"), port("http"))])),
        [True, True],
    ),
    "two rules by chance": (
        "shadowed",
        program(X, Y, policy("a", ingress=[rule(pods(app="x")), rule(pods(app="y")), rule(pods(), tcp(80))])),
        [False],
    ),
    "a name for the number": (
        "shadowed",
        program(X, policy("a", ingress=[rule(tcp(8080)), rule(port("http"))])),
        [False],
    ),
    "a peer within another": ("shadowed_items", program(X, Y, policy("a", ingress=[ITEMS])), [True]),
    "a peer within another by chance": ("shadowed_items", program(X, Y, policy("a", ingress=[BY_CHANCE])), [False]),
    "a block of a block": (
        "shadowed_items",
        program(X, policy("a", ingress=[rule(block("10.0.0.0/8"), block("10.1.0.0/16"))])),
        [True],
    ),
    "a policy twice": ("redundant", program(X, Y, policy("a", ingress=[WIDE]), policy("b", ingress=[NARROW])), [True]),
    "a policy for the only pod": (
        "redundant",
        program(X, policy("a", select(app="x"), ingress=[]), policy("b", ingress=[])),
        [False],
    ),
    "nobody listens": (
        "half_open",
        program(X, Y, DENY, policy("send", select(app="x"), egress=[rule(pods(app="y"), tcp(80))])),
        [True],
    ),
    "nobody listens yet": (
        "half_open",
        program(
            X,
            Y,
            DENY,
            policy("hear", select(tier="new"), ingress=[rule()]),
            policy("send", select(app="x"), egress=[rule(pods(app="y"))]),
        ),
        [False],
    ),
    "closed where the pods are": (
        "half_open",
        program(X, ELSEWHERE, policy("deny", namespace="web", ingress=[]),
                policy("send", egress=[rule(pods(ANYWHERE, app="z"))])),
        [False],
    ),
    "open by halves": ("defeated_denies", program(X, Y, policy("deny", ingress=[]), OPEN, REST), [True]),
    "open for these": ("defeated_denies", program(X, policy("deny", ingress=[]), OPEN), [False]),
    "to every pod": ("wide_open", program(X, ELSEWHERE, policy("a", egress=[rule(pods(ANYWHERE), tcp(80))])), [True]),
    "to every pod that there is": (
        "wide_open",
        program(
            X, ELSEWHERE, listed("web"), policy("a", ingress=[rule(pods(select(team="new")), pods(ANYWHERE, app="z"))])
        ),
        [False],
    ),
    "to a name that every pod has": (
        "wide_open",
        program(X, ELSEWHERE, policy("a", egress=[rule(pods(ANYWHERE), port("http"))])),
        [False],
    ),
    "on a name of the own pod": (
        "wide_open",
        program(X, ELSEWHERE, policy("a", ingress=[rule(pods(ANYWHERE), port("http"))])),
        [True],
    ),
    "to the halves of the Internet": (
        "wide_open",
        program(X, policy("a", egress=[rule(block("0.0.0.0/1")), rule(block("128.0.0.0/1"))])),
        [True],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_planted(name: str) -> None:
    question, given, expected = CASES[name]
    assert told(given, question) == expected


@pytest.mark.parametrize("name", CASES)
def test_too_little_effort_confirms_nothing(name: str) -> None:
    question, given, _ = CASES[name]
    assert not any(told(given, question, effort=1))


@pytest.mark.parametrize(
    "name", ["two rules by chance", "a peer within another by chance", "closed where the pods are"]
)
def test_what_boxes_refute_does_not_load_z3(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "npcompile.symbolic.prover", None)
    question, given, expected = CASES[name]
    assert told(given, question) == expected == [False]


def test_a_check_that_confirms_nothing_does_not_load_z3() -> None:
    example = Path(__file__).parents[3] / "examples" / "payments"
    program = "import sys; from npcompile.cli import main; sys.argv[1:] = ['check', '--no-cache', sys.argv[1]]\n"
    program += "try:\n    main()\nfinally:\n    print('z3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, str(example)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False", done.stdout


def test_the_effort_is_for_all_together() -> None:
    rules = [rule(pods(app=f"app-{number}"), tcp(80)) for number in range(30)]
    senders = [pod(f"p{number}", f"10.0.1.{number}", app=f"app-{number}") for number in range(30)]
    given = program(X, *senders, policy("a", ingress=[WIDE, *rules]))
    assert all(told(given, "shadowed"))
    some = told(given, "shadowed", effort=5_000)
    assert some == sorted(some, reverse=True), "the first ones"
    assert 0 < sum(some) < len(some)


def test_the_pods_of_the_input_do_not_count() -> None:
    """What could exist is the same with them and without."""
    few = program(X, Y, policy("a", ingress=[WIDE, NARROW]))
    (answer,) = found(few, "shadowed")
    assert Confirmation(program(policy("a", ingress=[WIDE, NARROW])), EFFORT).holds(answer)
