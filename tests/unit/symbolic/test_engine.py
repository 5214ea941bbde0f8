"""Planted cases for each question of the symbolic engine."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
import z3

from npcompile.analyses.claims import undecided
from npcompile.diagnostics.model import RuleCode, Severity
from npcompile.ir.cluster import Node, Service, ServicePort
from npcompile.ir.labels import Operator, Requirement, Selector
from npcompile.ir.policy import Direction, NamedPort
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import DnsBlocked, Engine, Example, NotDecided, Shadowed, SplitPeer
from npcompile.symbolic import solve
from npcompile.symbolic.engine import SymbolicEngine
from tests.unit.symbolic.build import block, listed, named, pod, pods, policy, port, program, rule, select, tcp, udp
from tests.unit.symbolic.replay import Answer, answers, check

EVERY_NAMESPACE = Selector()


def not_in(key: str, *values: str) -> Requirement:
    return Requirement(key=key, operator=Operator.NOT_IN, values=tuple(sorted(values)))


def dns() -> NamedPort:
    return NamedPort(protocol=Protocol.UDP, name="dns")


def show(example: Example) -> str:
    """The flow of an example, as text."""
    return str(example.flow)


def asked(question: str, given: Program) -> list[Answer]:
    """The answers to one question, each replayed."""
    found: list[Answer] = list(getattr(SymbolicEngine(given), question)())
    for answer in found:
        check(given, answer)
    return found


class TestShadowed:
    def told(self, given: Program) -> list[tuple[str, list[str]]]:
        found = []
        for answer in asked("shadowed", given):
            assert isinstance(answer, Shadowed)
            found.append((_name(answer.subject), [_name(of) for of in answer.cover]))
        return found

    def test_a_wider_rule_covers(self) -> None:
        given = program(
            policy("a", select(app="api"), ingress=[rule(pods(app="web"), tcp(80))]),
            policy("b", ingress=[rule(pods(EVERY_NAMESPACE), tcp(1, 100))]),
        )
        assert self.told(given) == [("a/ingress/0", ["b/ingress/0"])]

    def test_of_duplicates_the_first_stays(self) -> None:
        given = program(policy("a", ingress=[rule(tcp(80)), rule(tcp(80))]), policy("b", ingress=[rule(tcp(80))]))
        assert self.told(given) == [("a/ingress/1", ["a/ingress/0"]), ("b/ingress/0", ["a/ingress/0"])]

    def test_a_union_covers(self) -> None:
        given = program(
            policy("a", ingress=[rule(block("0.0.0.0/1")), rule(block("128.0.0.0/1"))]),
            policy("z", ingress=[rule(block("0.0.0.0/0"), tcp(80))]),
        )
        assert self.told(given) == [("z/ingress/0", ["a/ingress/0", "a/ingress/1"])]

    def test_a_union_over_labels_covers(self) -> None:
        given = program(
            policy("a", select(app="x"), ingress=[rule()]),
            policy("b", select(not_in("app", "x")), ingress=[rule()]),
            policy("c", ingress=[rule(tcp(443))]),
        )
        assert self.told(given) == [("c/ingress/0", ["a/ingress/0", "b/ingress/0"])]

    def test_every_pod_is_not_every_address(self) -> None:
        given = program(policy("a", ingress=[rule(pods(EVERY_NAMESPACE)), rule(block("0.0.0.0/0"))]))
        assert self.told(given) == []

    def test_directions_and_namespaces_are_apart(self) -> None:
        given = program(
            policy("a", ingress=[rule()], egress=[rule(tcp(80))]), policy("a", namespace="other", ingress=[rule()])
        )
        assert self.told(given) == []

    def test_a_named_port_is_any_port_but_only_of_pods(self) -> None:
        given = program(policy("a", egress=[rule(tcp(1, 65535)), rule(port("http"))]))
        assert self.told(given) == [("a/egress/1", ["a/egress/0"])]
        given = program(policy("a", egress=[rule(tcp(8080)), rule(port("http"))]))
        assert self.told(given) == []


class TestVacuous:
    def test_contradictions(self) -> None:
        given = program(
            policy("a", select(not_in("app", "x"), app="x"), ingress=[rule()]),
            policy("b", ingress=[rule(pods(select(team="x"))), rule(pods(select(not_in("team", "x"), team="x")))]),
        )
        told = [(a.policy.name, a.rule and a.rule.index) for a in asked("vacuous", given)]  # type: ignore[union-attr]
        assert told == [("a", None), ("b", 1)]

    def test_a_listed_namespace_has_its_labels_only(self) -> None:
        other_team = select(*named("web").requirements, team="b")
        given = policy("a", ingress=[rule(pods(other_team)), rule(pods(select(team="c")))])
        assert asked("vacuous", program(given)) == []
        told = [a.rule.index for a in asked("vacuous", program(given, listed("web", team="a")))]  # type: ignore[union-attr]
        assert told == [0], "a namespace of team c could be created, one named web could not"

    def test_no_namespace_has_an_impossible_name(self) -> None:
        given = program(policy("a", ingress=[rule(pods(named("Web_1")))]))
        assert len(asked("vacuous", given)) == 1


class TestHalfOpen:
    def told(self, given: Program) -> list[tuple[str, str | None, str, str]]:
        return [
            (_name(a.opener), a.port and str(a.port.first), a.blocker.name, "all" if a.fully else "some")  # type: ignore[union-attr]
            for a in asked("half_open", given)
        ]

    def test_egress_into_a_closed_namespace(self) -> None:
        given = program(
            policy("deny", ingress=[], egress=[]),
            policy("send", select(app="a"), egress=[rule(pods(app="b"), tcp(80), tcp(81))]),
        )
        assert self.told(given) == [("send/egress/0", None, "deny", "all")]

    def test_one_port_of_two(self) -> None:
        given = program(
            policy("deny", ingress=[], egress=[]),
            policy("listen", select(app="b"), ingress=[rule(pods(), tcp(80))]),
            policy("send", select(app="a"), egress=[rule(pods(app="b"), tcp(80), tcp(81))]),
        )
        assert self.told(given) == [
            ("listen/ingress/0", "80", "deny", "some"),  # from a pod that may not send
            ("send/egress/0", "81", "deny", "all"),
        ]

    def test_ingress_that_nobody_may_send(self) -> None:
        given = program(
            policy("deny", egress=[]),
            policy("listen", select(app="b"), ingress=[rule(pods(app="a"), tcp(80))]),
        )
        assert self.told(given) == [("listen/ingress/0", None, "deny", "all")]

    def test_a_namespace_without_policies_is_open(self) -> None:
        given = program(
            policy("deny", ingress=[], egress=[]), policy("send", egress=[rule(pods(EVERY_NAMESPACE), tcp(80))])
        )
        assert self.told(given) == [("send/egress/0", "80", "deny", "some")]

    def test_a_named_port_on_both_ends(self) -> None:
        given = program(
            policy("deny", ingress=[], egress=[]),
            policy("listen", select(app="b"), ingress=[rule(pods(app="a"), port("http"))]),
            policy("send", select(app="a"), egress=[rule(pods(app="b"), port("http"))]),
        )
        assert self.told(given) == []

    def test_pods_have_one_address(self) -> None:
        given = program(
            policy("a", select(app="a"), egress=[rule(block("10.0.0.1/32"))]),
            policy("deny", ingress=[rule(block("10.0.0.1/32"))]),
        )
        told = self.told(given)
        assert told == [("a/egress/0", None, "deny", "some"), ("deny/ingress/0", None, "a", "some")], (
            "10.0.0.1 may be in a namespace without policies"
        )


class TestUncovered:
    def test_by_namespace_and_direction(self) -> None:
        given = program(
            policy("deny", ingress=[]),
            policy("more", select(app="a"), egress=[]),
            listed("empty"),
            pod("one", "10.0.0.7", app="a"),
            pod("two", "10.0.0.8"),
        )
        told = [(a.namespace.name, a.direction.value, str(a.pods[0])) for a in asked("uncovered", given)]  # type: ignore[union-attr]
        assert told == [
            ("empty", "ingress", "empty/example"),
            ("empty", "egress", "empty/example"),
            ("shop", "egress", "shop/two"),
        ]

    def test_covered_by_halves(self) -> None:
        given = program(policy("a", select(app="x"), ingress=[]), policy("b", select(not_in("app", "x")), ingress=[]))
        assert [a.direction for a in asked("uncovered", given)] == [Direction.EGRESS]  # type: ignore[union-attr]

    def test_without_a_solver_as_with_it(self) -> None:
        """A namespace without policies gets the example that a policy without subjects there would give."""
        never = policy("never", select(not_in("app", "x"), app="x"), namespace="empty", ingress=[], egress=[])
        for inhabitants in ((), (pod("p", "10.0.0.7", namespace="empty"),), (pod("p", "fd00::7", namespace="empty"),)):
            with_it = asked("uncovered", program(never, listed("empty"), *inhabitants))
            without = asked("uncovered", program(listed("empty"), *inhabitants))
            assert [a.example for a in with_it] == [a.example for a in without]  # type: ignore[union-attr]


class TestWaysIn:
    def told(self, given: Program) -> list[tuple[str, str, str | None]]:
        return [
            (_name(a.opener), show(a.example), a.internet and show(a.internet))  # type: ignore[union-attr]
            for a in asked("ways_in", given)
        ]

    def test_pods_only(self) -> None:
        given = program(policy("a", ingress=[rule(pods(app="web"), tcp(80))]))
        assert self.told(given) == [("a/ingress/0", "shop/example -> shop/example-2 tcp/80", None)]

    def test_from_outside(self) -> None:
        given = program(policy("a", ingress=[rule(block("10.0.0.0/8", "10.0.0.0/9"))]), pod("p", "10.200.0.1"))
        told = "10.128.0.0 -> shop/p tcp/1"
        assert self.told(given) == [("a/ingress/0", told, told)]

    def test_a_real_pod_comes_first(self) -> None:
        given = program(policy("a", select(app="a"), ingress=[rule()]), pod("p", "10.200.0.1"), pod("q", app="a"))
        assert self.told(given) == [("a/ingress/0", "shop/p -> shop/q tcp/1", "1.0.0.0 -> shop/q tcp/1")]

    def test_a_block_of_a_known_address_is_not_the_outside(self) -> None:
        node = Node(name="n", addresses=(ip_address("10.9.0.1"),))
        given = program(policy("a", ingress=[rule(block("10.9.0.1/32"))]), node, pod("p", "10.9.1.1", node="n"))
        assert self.told(given) == [("a/ingress/0", "10.9.0.1 -> shop/example tcp/1", None)], "not p: n is its own node"

    def test_nobody_may_send(self) -> None:
        given = program(policy("a", ingress=[rule(pods())], egress=[]))
        assert self.told(given) == []


class TestDnsBlocked:
    def told(self, given: Program) -> list[tuple[str, bool, str]]:
        return [(a.policy.name, a.udp_allowed, show(a.example)) for a in asked("dns_blocked", given)]  # type: ignore[union-attr]

    def test_forgotten(self) -> None:
        given = program(policy("a", egress=[rule(pods(app="b"), tcp(80))]), pod("p", "10.0.0.7"))
        assert self.told(given) == [("a", False, "shop/p -> 1.0.0.0 udp/53")]

    def test_udp_only(self) -> None:
        given = program(policy("a", egress=[rule(udp(53))]))
        assert self.told(given) == [("a", True, "shop/example -> 1.0.0.0 tcp/53")]

    def test_by_another_policy(self) -> None:
        dns = rule(pods(named("kube-system")), udp(53), tcp(53))
        given = program(policy("a", select(app="a"), egress=[rule(tcp(80))]), policy("dns", egress=[dns]))
        assert self.told(given) == []

    def test_by_another_policy_for_some(self) -> None:
        given = program(
            policy("a", egress=[rule(tcp(80))]), policy("dns", select(app="a"), egress=[rule(udp(53), tcp(53))])
        )
        assert self.told(given) == [("a", False, "shop/example -> 1.0.0.0 udp/53")]

    def test_a_rule_that_matches_nothing_allows_nothing(self) -> None:
        never = pods(select(not_in("team", "x"), team="x"))
        assert self.told(program(policy("a", egress=[rule(never, tcp(80))]))) == []

    def test_denied_everything(self) -> None:
        assert self.told(program(policy("a", egress=[]))) == []


class TestSplitPeers:
    @pytest.mark.parametrize("swapped", [False, True])
    def test_either_order(self, swapped: bool) -> None:
        pair = [pods(select(team="web")), pods(app="nginx")]
        given = program(policy("a", ingress=[rule(*(reversed(pair) if swapped else pair), tcp(80))]))
        (answer,) = asked("split_peers", given)
        assert (answer.namespaces, answer.pods, answer.closes) == (*pair, None)  # type: ignore[union-attr]

    def test_the_own_namespace_need_not_be_selected(self) -> None:
        given = program(
            policy("a", ingress=[rule(pods(select(team="web")), pods(app="nginx"))]), listed("shop", team="shop")
        )
        (answer,) = asked("split_peers", given)
        assert isinstance(answer, SplitPeer)

    def test_other_peers(self) -> None:
        given = program(
            policy("a", ingress=[rule(pods(EVERY_NAMESPACE), pods(app="x")), rule(pods(app="x"), pods(app="y"))]),
            policy("b", ingress=[rule(pods(select(team="web")), block("10.0.0.0/8"), pods(app="x"))]),
        )
        assert asked("split_peers", given) == []


MIXED = program(
    policy("a", select(app="a"), ingress=[rule(pods(select(team="x")), pods(app="b"), tcp(80)), rule(tcp(1, 90))]),
    policy("b", ingress=[rule(block("10.0.0.0/8", "10.1.0.0/16"), port("http")), rule(pods(), tcp(80))]),
    policy("c", select(app="c"), egress=[rule(pods(app="a"), tcp(443)), rule(block("fd00::/16"), udp(53))]),
    policy("d", namespace="web", ingress=[], egress=[rule(pods(EVERY_NAMESPACE, app="a"))]),
    policy("e", select(app="c"), egress=[rule(pods(app="a"), udp(5000))]),
    listed("web", team="x"),
    pod("one", "10.0.0.1", app="a", http="8080"),
    pod("two", app="c"),
)


def test_answers_of_a_mixed_program_replay() -> None:
    found = list(answers(SymbolicEngine(MIXED)))
    assert {type(answer).__name__ for answer in found} >= {"Shadowed", "HalfOpen", "WayIn", "DnsBlocked", "SplitPeer"}
    for answer in found:
        check(MIXED, answer)


def test_too_little_effort_is_not_decided() -> None:
    rule_code = RuleCode(code="NPC199", slug="any", severity=Severity.INFO)
    shadowing = policy("g", select(app="g"), ingress=[rule(), rule(pods(), pods(app="b"))])
    given = program(*MIXED.policies, shadowing, policy("h", select(app="g"), ingress=[]), listed("web", team="x"))
    at = ServicePort(name=None, protocol=Protocol.TCP, number=80, target=80)
    service = Service(namespace="shop", name="api", selector={"app": "a"}, ports=(at,))
    given = replace(given, cluster=replace(given.cluster, services=(service,)))
    questions = [name for name in vars(Engine) if not name.startswith("_")]
    assert len(questions) == 14
    for question in questions:
        found = list(getattr(SymbolicEngine(given, effort=1), question)())
        left_open = [answer for answer in found if isinstance(answer, NotDecided)]
        assert left_open, question
        for answer in left_open:
            assert undecided(rule_code, answer).question.startswith("whether ")
        for answer in found:
            check(given, answer)


def test_no_answer_depends_on_what_was_asked_before() -> None:
    numbers_and_names = policy("f", select(app="f"), egress=[rule(pods(EVERY_NAMESPACE), tcp(80), dns(), port("dns"))])
    given = program(*MIXED.policies, numbers_and_names, *MIXED.cluster.pods)
    asked_first = list(answers(SymbolicEngine(given)))
    engine = SymbolicEngine(given)
    for question in ("wide_open", "split_peers", "dns_blocked", "ways_in", "half_open", "redundant", "shadowed_items"):
        list(getattr(engine, question)())
    assert list(answers(engine)) == asked_first
    assert not any(isinstance(one, DnsBlocked) and one.policy.name == "f" for one in asked_first)


@pytest.mark.parametrize("kind", ["random phase", "other phase", "another solver"])
def test_examples_do_not_depend_on_the_solver(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(answers(SymbolicEngine(MIXED)))

    def other(ctx: z3.Context, seed: int) -> z3.Solver:
        if kind == "another solver":
            return z3.Solver(ctx=ctx)
        made = z3.SolverFor("QF_FD", ctx=ctx)
        made.set("random_seed", seed + 7)
        made.set("phase", "random" if kind == "random phase" else "always_true")
        return made

    monkeypatch.setattr(solve, "solver", other)
    assert list(answers(SymbolicEngine(MIXED))) == expected


def _name(of: object) -> str:
    return f"{of.policy.name}/{of.rule.direction}/{of.rule.index}"  # type: ignore[attr-defined]
