"""What each form of sentence means, on planted programs; what makes it vacuous; what contradicts what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

import pytest

from npcompile.analyses.assertions import Judge, Judged, Outcome, contradictions, judge_each
from npcompile.diagnostics.errors import InternalError
from npcompile.diagnostics.model import Scope, Severity
from npcompile.driver.test import TestOptions, _Telling
from npcompile.frontend.spec import load_assertions
from npcompile.ir.assertion import Assertion, Ends, GaveUpError, Region, Requirement
from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import Policy
from npcompile.ir.program import Program
from npcompile.questions import Example
from npcompile.relation.assertions import InventoryJudge
from npcompile.source import SourceFile
from npcompile.symbolic.assertions import SymbolicJudge
from tests.unit.relation.building import ANY_POD, block, near, pod, policy, program, rule, select, tcp, udp

PROVED, REFUTED, VACUOUS, UNKNOWN = Outcome.PROVED, Outcome.REFUTED, Outcome.VACUOUS, Outcome.UNKNOWN
INVENTORY, ANY = Scope.INVENTORY, Scope.ANY_POD
SCOPES = (INVENTORY, ANY)

PODS = (
    pod("data/postgres", "10.0.0.1", app="postgres", node="one"),
    pod("ingress/nginx", "10.0.0.2", app="nginx", node="two"),
    pod("web/backend", "10.0.0.3", app="backend", node="one"),
    pod("web/frontend", "10.0.0.4", app="frontend", node="two"),
    pod("web/probe", "10.0.9.9", app="probe", node="two", host_network=True),
)
NODES = {"one": "10.0.9.1", "two": "10.0.9.9"}
CLOSED = (
    policy("closed", namespace="data", ingress=(), egress=()),
    policy("closed", namespace="web", ingress=(), egress=()),
)


def parsed(text: str) -> tuple[Assertion, ...]:
    return load_assertions([SourceFile(path="spec", text=text)])


def judge_of(of: Program, scope: Scope, assertions: tuple[Assertion, ...]) -> Judge:
    if scope is INVENTORY:
        return InventoryJudge(of, assertions, pieces=100_000)
    return SymbolicJudge(of, assertions, 5_000_000)


def judged(of: Program, text: str, scope: Scope = INVENTORY) -> list[Judged]:
    """Every sentence of a text, its examples replayed."""
    assertions = parsed(text)
    found = judge_each(of, scope, assertions, judge_of(of, scope, assertions))
    telling = _Telling(of, scope, TestOptions(today=date(2026, 1, 1)))
    assert [bool(telling.tested(one).diagnostics) for one in found]
    return found


def outcome(of: Program, text: str, scope: Scope = INVENTORY) -> Outcome:
    (found,) = judged(of, text, scope)
    return found.outcome


def witness(of: Program, text: str, scope: Scope = INVENTORY) -> str:
    (found,) = judged(of, text, scope)
    flow = found.refutations[0].example.flow
    return f"{flow.src} -> {flow.dst} {flow.port_text}"


def cluster(*policies: Policy) -> Program:
    return program(policies, PODS, nodes=NODES, teams={"data": "db", "web": "shop"})


# The sentences of the design ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
def test_deny_except_and_its_ports(scope: Scope) -> None:
    sentence = "deny * -> ns:web except ns:web/app=frontend -> ns:web/app=backend on tcp/8080"
    own = rule(near(app="frontend"), on=[tcp(8080)])
    assert outcome(cluster(*CLOSED), sentence, scope) is PROVED
    opened = policy("open", namespace="web", subjects=select(app="backend"), ingress=[own])
    assert outcome(cluster(*CLOSED, opened), sentence, scope) is PROVED
    both = policy("both", namespace="web", subjects=select(app="frontend"), egress=[rule(on=[tcp(8080, 8081)])])
    assert outcome(cluster(*CLOSED, opened, both), sentence, scope) is PROVED
    wide = replace(opened, rules=(replace(opened.rules[0], match=rule(near(app="frontend"), on=[tcp(8080, 8081)])),))
    assert outcome(cluster(*CLOSED, wide, both), sentence, scope) is REFUTED
    assert witness(cluster(*CLOSED, wide, both), sentence) == "web/frontend -> web/backend tcp/8081"


@pytest.mark.parametrize("scope", SCOPES)
def test_allow_is_every_flow(scope: Scope) -> None:
    sentence = "allow ns:ingress/app=nginx -> ns:web/app=frontend on tcp/8080"
    assert outcome(cluster(*CLOSED), sentence, scope) is REFUTED
    assert outcome(cluster(), sentence, scope) is PROVED
    opened = policy("open", namespace="web", ingress=[rule(ANY_POD, on=[tcp(8080)])])
    assert outcome(cluster(*CLOSED, opened), sentence, scope) is PROVED
    assert outcome(cluster(*CLOSED, opened), sentence.replace("8080", "8080-8081"), scope) is REFUTED
    assert outcome(cluster(*CLOSED, opened), sentence.replace(" on tcp/8080", ""), scope) is REFUTED


@pytest.mark.parametrize("scope", SCOPES)
def test_only_is_about_its_ports_and_everyone_else(scope: Scope) -> None:
    sentence = "only ns:ingress may reach ns:web/app=frontend on tcp/8080"
    some = policy("open", namespace="web", ingress=[rule(block("10.0.0.2/32"), on=[tcp(8080)])])
    every = policy("open", namespace="web", ingress=[rule(ANY_POD, on=[tcp(8080)])])
    metrics = policy("metrics", namespace="web", ingress=[rule(ANY_POD, on=[tcp(9090)])])
    assert outcome(cluster(*CLOSED), sentence, scope) is REFUTED  # nobody may
    assert outcome(cluster(CLOSED[1], every), sentence, scope) is REFUTED  # others may
    if scope is INVENTORY:
        assert outcome(cluster(*CLOSED, some), sentence, scope) is PROVED
        assert outcome(cluster(*CLOSED, some, metrics), sentence, scope) is PROVED  # another port
        assert outcome(cluster(*CLOSED, every), sentence, scope) is PROVED  # others may, but cannot send
        assert witness(cluster(CLOSED[1], every), sentence) == "data/postgres -> web/frontend tcp/8080"


@pytest.mark.parametrize("scope", SCOPES)
def test_labels_of_namespaces(scope: Scope) -> None:
    sentence = "deny world -> ns(team in (shop, db))"
    assert outcome(cluster(*CLOSED), sentence, scope) is (PROVED if scope is INVENTORY else REFUTED)
    assert outcome(cluster(CLOSED[0]), sentence, scope) is REFUTED
    assert outcome(cluster(CLOSED[0]), "deny world -> ns(team=db & team)", INVENTORY) is PROVED


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_isolated(scope: Scope, direction: str) -> None:
    sentence = f"isolated ns:web/app=backend {direction}"
    assert outcome(cluster(*CLOSED), sentence, scope) is PROVED
    one = policy("one", namespace="web", subjects=select(app="backend"), **{direction: ()})  # type: ignore[arg-type]
    assert outcome(cluster(one), sentence, scope) is PROVED
    assert outcome(cluster(one), f"isolated ns:web {direction}", scope) is REFUTED
    other = "egress" if direction == "ingress" else "ingress"
    assert outcome(cluster(one), f"isolated ns:web/app=backend {other}", scope) is REFUTED
    assert outcome(cluster(*CLOSED), f"isolated * {direction}", scope) is REFUTED
    assert outcome(cluster(*CLOSED), f"isolated world {direction}", scope) is VACUOUS


def test_the_example_of_a_hole_in_isolation_is_a_flow_that_passes() -> None:
    half = policy("half", namespace="web", ingress=())
    assert witness(cluster(half), "isolated ns:web egress") == "web/backend -> 1.0.0.0 tcp/1"
    assert witness(cluster(half), "isolated ns:data ingress") == "1.0.0.0 -> data/postgres tcp/1"


# Who is who -------------------------------------------------------------------------------------------------------


def test_everyone_is_pods_and_world_and_no_node() -> None:
    nodes_only = policy("nodes", namespace="web", ingress=[rule(block("10.0.9.0/24"))])
    assert outcome(cluster(nodes_only), "deny * & !10.0.9.0/24 -> ns:web") is PROVED
    assert outcome(cluster(nodes_only), "deny world -> ns:web") is REFUTED  # an address of that block that no node has
    narrow = policy("nodes", namespace="web", ingress=[rule(block("10.0.9.1/32"), block("10.0.9.9/32"))])
    assert outcome(cluster(narrow), "deny * -> ns:web") is PROVED
    assert witness(cluster(narrow), "deny node -> ns:web") == "web/probe -> web/backend tcp/1"


def test_a_pods_own_node_is_left_out() -> None:
    assert outcome(cluster(*CLOSED), "deny node -> ns:web") is PROVED
    assert outcome(cluster(*CLOSED), "deny 10.0.9.1 -> ns:web/app=backend") is VACUOUS
    assert outcome(cluster(*CLOSED), "allow ns:web/app=backend -> 10.0.9.1") is REFUTED  # the reverse is judged


def test_a_block_is_whoever_has_an_address_in_it() -> None:
    assert outcome(cluster(), "deny 10.0.0.3 -> ns:data") is REFUTED
    assert witness(cluster(), "deny 10.0.0.3 -> ns:data") == "web/backend -> data/postgres tcp/1"
    assert outcome(cluster(), "deny 10.0.0.3 & world -> ns:data") is VACUOUS
    assert witness(cluster(*CLOSED[1:]), "deny 10.0.9.9 -> ns:data") == "web/probe -> data/postgres tcp/1"


def test_only_flows_that_policies_judge() -> None:
    for sentence in ("deny world -> world", "deny node -> world", "allow ns:data -> ns:data", "deny 10.0.0.4 -> ::/0"):
        assert outcome(cluster(), sentence) is VACUOUS, sentence
    assert outcome(cluster(*CLOSED), "deny * -> ns:web") is PROVED  # each pod reaches itself all the same


def test_pods_of_one_template_are_distinct() -> None:
    template = replace(pod("web/job", app="job"), template=True)
    closed = program(CLOSED, [template])
    assert witness(closed, "allow ns:web -> ns:web") == "web/job -> web/job-other tcp/1"
    assert outcome(program(CLOSED, [pod("web/job", app="job")]), "allow ns:web -> ns:web") is VACUOUS


def test_both_address_families_count() -> None:
    only4 = policy("four", namespace="a", ingress=[rule(block("0.0.0.0/0"))])
    dual = program([only4], [pod("a/dual", "10.0.0.1", "fd00::1")])
    assert outcome(dual, "allow world -> ns:a") is REFUTED
    assert outcome(dual, "allow 0.0.0.0/0 & world -> ns:a") is PROVED
    assert outcome(dual, "deny ::/0 -> ns:a") is PROVED


def test_portless_protocols_are_one_port() -> None:
    some = policy("tcp", namespace="web", ingress=[rule(on=[tcp(1, 65535), udp(53)])])
    assert outcome(cluster(some), "deny * -> ns:web on icmp, sctp, udp/54-65535") is PROVED
    assert outcome(cluster(some), "allow world -> ns:web on tcp, udp/53") is PROVED
    assert outcome(cluster(some), "allow world -> ns:web") is REFUTED


# Vacuous ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "said", "advice"),
    [
        ("deny world -> ns:wbe", "`ns:wbe` matches nothing", "did you mean `web`?"),
        ("deny world, ns:prod -> ns:web", "`ns:prod` matches nothing", "no namespace `prod`"),
        ("deny world -> ns:web, ns:data/app=mysql", "`ns:data/app=mysql` matches nothing", ""),
        ("deny world -> ns:web/app=probe", "`ns:web/app=probe` matches nothing", "it is `node`"),
        ("isolated ns:web, ns:data/!app ingress", "`ns:data/!app` matches no pod", ""),
        ("deny world -> ns:web except * -> ns:web", "the exceptions leave no flow of `world -> ns:web`", ""),
        (
            "deny world, node -> ns:web except node -> ns:web",
            "leave no flow of `world, node -> ns:web` with `node`",
            "",
        ),
        ("allow ns:data -> ns:data", "there is no flow `ns:data -> ns:data`", "two different ends"),
        ("only * may reach ns:web", "`everyone but *` matches nothing", ""),
        ("deny world -> ns:empty", "`ns:empty` matches nothing", "no pod in namespace `empty`"),
    ],
)
def test_why_a_sentence_is_vacuous(sentence: str, said: str, advice: str) -> None:
    empty = policy("here", namespace="empty", ingress=())
    (found,) = judged(cluster(*CLOSED, empty), sentence)
    assert found.outcome is (REFUTED if sentence.startswith("only") else VACUOUS)
    (remark,) = found.empty
    assert said in remark.message
    assert advice in remark.help


def test_a_refuted_sentence_may_be_vacuous_in_part() -> None:
    (found,) = judged(cluster(), "deny world -> ns:web, ns:wbe")
    assert found.outcome is REFUTED
    assert [one.message for one in found.empty] == ["`ns:wbe` matches nothing"]


def test_for_every_pod_only_the_impossible_is_vacuous() -> None:
    assert outcome(cluster(*CLOSED), "deny world -> ns:web/app=nobody", ANY) is PROVED
    assert outcome(cluster(*CLOSED), "deny world -> ns:web/(app=a & app=b)", ANY) is VACUOUS
    (found,) = judged(cluster(*CLOSED), "allow ns:ingress -> ns:wbe", ANY)
    assert found.outcome is PROVED
    assert [(one.message.split(":")[0], one.help) for one in found.doubts] == [
        ("the input has no namespace `wbe`", "the input has no namespace `wbe`; did you mean `web`?")
    ]


def test_an_exception_that_takes_nothing_is_told() -> None:
    (found,) = judged(cluster(*CLOSED), "deny world -> ns:web except ns:data -> ns:web")
    assert found.outcome is PROVED
    assert [one.message for one in found.doubts] == [
        "the exception `ns:data -> ns:web` takes no flow out of `world -> ns:web`"
    ]


def test_pods_on_their_nodes_network_are_told() -> None:
    (found,) = judged(cluster(*CLOSED), "deny world -> ns:web")
    assert [str(pod) for pod in found.not_judged] == ["web/probe"]
    (found,) = judged(cluster(*CLOSED), "deny * -> ns:data")
    assert found.not_judged == ()


# For every pod ----------------------------------------------------------------------------------------------------


def test_symbolic_finds_the_pod_that_is_not_there() -> None:
    hole = policy("hole", namespace="web", subjects=select(app="legacy"), ingress=[rule(block("0.0.0.0/0"))])
    sentence = "deny world -> ns:web"
    assert outcome(cluster(*CLOSED, hole), sentence, INVENTORY) is PROVED
    (found,) = judged(cluster(*CLOSED, hole), sentence, ANY)
    assert found.outcome is REFUTED
    target = found.refutations[0].example.flow.dst.pod
    assert target is not None
    assert dict(target.labels) == {"app": "legacy"}


def test_symbolic_knows_the_nodes_of_the_input() -> None:
    pods = [pod(f"a/p{i}", f"10.1.0.{i}", node=f"n{i % 4}") for i in range(8)]
    nodes = {f"n{i}": f"10.1.0.{100 + i}" for i in range(4)}
    closed = policy("closed", ingress=())
    listed = program([closed], pods, nodes=nodes)
    assert outcome(listed, "deny node -> ns:a", ANY) is PROVED
    opened = policy("open", ingress=[rule(block("10.1.0.102/32"))])
    assert outcome(program([closed, opened], pods, nodes=nodes), "deny world -> ns:a", ANY) is PROVED
    assert witness(program([closed, opened], pods, nodes=nodes), "deny node -> ns:a", ANY) == "10.1.0.102 -> a/p0 tcp/1"
    wide = policy("open", ingress=[rule(block("10.1.0.0/24"))])
    assert outcome(program([wide], pods[:1], nodes={"n0": "10.1.0.100"}), "deny node -> ns:a", INVENTORY) is VACUOUS
    assert outcome(program([wide], pods, nodes=nodes), "deny node -> ns:a", ANY) is REFUTED


def test_symbolic_without_nodes_any_address_may_be_one() -> None:
    opened = policy("open", ingress=[rule(block("10.1.0.102/32"))])
    none = program([opened], ())
    assert outcome(none, "deny node -> ns:a", ANY) is REFUTED
    assert outcome(none, "deny world -> ns:a", ANY) is REFUTED


def test_a_program_without_policies_or_namespaces() -> None:
    assert outcome(program((), ()), "deny world -> ns:a", ANY) is REFUTED
    assert outcome(program((), ()), "allow * -> ns:a", ANY) is PROVED
    assert outcome(program((), ()), "allow * -> ns:a") is VACUOUS


# Contradictions, effort and replay ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
def test_contradictions(scope: Scope) -> None:
    text = """
        deny ns:web -> ns:data on tcp/5000-6000
        allow ns:web/app=backend -> ns:data on tcp/5432
        allow ns:web/app=backend -> ns:data on tcp/80
        only ns:ingress may reach ns:data on tcp/80
        isolated ns:data ingress
    """
    assertions = parsed(text)
    judge = judge_of(cluster(*CLOSED), scope, assertions)
    found = list(contradictions(judge_each(cluster(*CLOSED), scope, assertions, judge), judge))
    places = [(assertions.index(one.allowing), assertions.index(one.denying)) for one in found]
    assert places == [(1, 0), (2, 3)]
    telling = _Telling(cluster(*CLOSED), scope, TestOptions(today=date(2026, 1, 1)))
    diagnostic = telling.contradiction(found[0])
    assert (diagnostic.rule.code, diagnostic.severity) == ("NPC605", Severity.ERROR)
    assert diagnostic.witness is not None


def test_sentences_that_differ_in_an_exception_do_not_contradict() -> None:
    assertions = parsed("deny * -> ns:data except ns:web -> ns:data\nallow ns:web -> ns:data on tcp/80")
    judge = judge_of(cluster(*CLOSED), INVENTORY, assertions)
    assert not list(contradictions(judge_each(cluster(*CLOSED), INVENTORY, assertions, judge), judge))


@pytest.mark.parametrize("scope", SCOPES)
def test_too_little_effort_is_unknown(scope: Scope) -> None:
    assertions = parsed("deny ns:web, ns:data -> ns:web, ns:data except ns:web -> ns:data on tcp/80")
    few = InventoryJudge(cluster(*CLOSED), assertions, pieces=0)
    judge: Judge = few if scope is INVENTORY else SymbolicJudge(cluster(*CLOSED), assertions, 1)
    (found,) = judge_each(cluster(*CLOSED), scope, assertions, judge)
    assert found.outcome is UNKNOWN
    telling = _Telling(cluster(*CLOSED), scope, TestOptions(today=date(2026, 1, 1)))
    assert [one.rule.code for one in telling.tested(found).diagnostics] == ["NPC901"]


class Liar:
    """A judge whose flow refutes nothing."""

    def __init__(self, example: Example) -> None:
        self.example = example

    def has(self, ends: Ends) -> bool:
        return True

    def common(self, regions: Iterable[Region]) -> Example | None:
        return self.example

    def counterexample(self, requirement: Requirement) -> Example | None:
        return self.example


@pytest.mark.parametrize(
    "sentence",
    [
        "deny ns:web -> ns:data",  # the flow is denied
        "allow ns:web -> ns:data on tcp/81",  # another port
        "allow ns:ingress -> ns:data",  # another source
        "allow * -> ns:data except ns:web -> ns:data on tcp/80",  # taken out
        "isolated ns:data ingress",  # it is
    ],
)
def test_an_example_that_does_not_replay_is_an_internal_error(sentence: str) -> None:
    (true,) = judged(cluster(*CLOSED), "allow ns:web -> ns:data on tcp/80")
    example = true.refutations[0].example
    assertions = parsed(sentence)
    (found,) = judge_each(cluster(*CLOSED), INVENTORY, assertions, Liar(example))
    telling = _Telling(cluster(*CLOSED), INVENTORY, TestOptions(today=date(2026, 1, 1)))
    with pytest.raises(InternalError, match="does not confirm"):
        telling.tested(found)


def test_a_pods_flow_to_itself_refutes_nothing() -> None:
    (true,) = judged(cluster(*CLOSED), "allow ns:web -> ns:data on tcp/80")
    flow = true.refutations[0].example.flow
    itself = Example(flow=replace(flow, dst=Endpoint(pod=flow.src.pod, address=flow.src.address)))
    assertions = parsed("deny ns:web -> ns:web")
    (found,) = judge_each(cluster(*CLOSED), INVENTORY, assertions, Liar(itself))
    telling = _Telling(cluster(*CLOSED), INVENTORY, TestOptions(today=date(2026, 1, 1)))
    with pytest.raises(InternalError):
        telling.tested(found)


class Tired(Liar):
    """A judge that never answers about two sentences."""

    def common(self, regions: Iterable[Region]) -> Example | None:
        if len(list(regions)) > 1:
            raise GaveUpError
        return self.example


def test_an_undecided_contradiction_is_told() -> None:
    (true,) = judged(cluster(*CLOSED), "allow ns:web -> ns:data on tcp/80")
    assertions = parsed("deny ns:web -> ns:data on tcp/80\nallow ns:web -> ns:data on tcp/80")
    judge = Tired(true.refutations[0].example)
    (found,) = contradictions(judge_each(cluster(*CLOSED), INVENTORY, assertions, judge), judge)
    telling = _Telling(cluster(*CLOSED), INVENTORY, TestOptions(today=date(2026, 1, 1)))
    assert telling.contradiction(found).rule.code == "NPC901"
