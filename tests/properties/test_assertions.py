"""Assertion files: what both engines say of a sentence against its definition, and the front end on any text.

Sentences are drawn as texts, together with what they mean as Python predicates.  The definition is then asked of every
flow between the endpoints of a small program, one by one, through the reference evaluator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from ipaddress import ip_network
from itertools import chain

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.lark import from_lark
from lark import Lark

from npcompile import resources, semantics
from npcompile.analyses.assertions import Judge, Judged, Outcome, judge_each
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Scope
from npcompile.diagnostics.render import FORMATS
from npcompile.driver.test import TestOptions, _Telling
from npcompile.frontend.spec import load_assertions
from npcompile.ir.assertion import Assertion, Isolated
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset import ports
from npcompile.netset.ports import Protocol
from npcompile.relation.assertions import InventoryJudge
from npcompile.source import SourceFile
from npcompile.symbolic.assertions import SymbolicJudge
from tests.properties.relation_oracle import Oracle
from tests.strategies import BLOCKS, KEYS, NAMESPACES, PORTS, TRANSPORTS, VALUES, programs

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
ENOUGH = 5_000_000

# ------------------------------------------------------------------------------------------- sentences and meanings


@dataclass(frozen=True, slots=True)
class Cond:
    """A condition on labels."""

    text: str
    holds: Callable[[dict[str, str]], bool]


@dataclass(frozen=True, slots=True)
class Ends:
    """An endpoint; `holds` is asked with the program."""

    text: str
    holds: Callable[[Program, Endpoint], bool]


@dataclass(frozen=True, slots=True)
class Flows:
    """F, with the points of its ports."""

    text: str
    src: list[Ends]
    dst: list[Ends]
    on: Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence: which flows must be denied, or allowed; or which pods isolated."""

    text: str
    wanted: list[tuple[Verdict, Flows, list[Flows]]]
    isolated: tuple[list[Ends], Direction] | None = None


def is_pod(end: Endpoint) -> bool:
    return end.pod is not None and not end.pod.host_network


def is_node(program: Program, end: Endpoint) -> bool:
    if end.pod is not None:
        return end.pod.host_network
    return any(end.address in node.addresses for node in program.cluster.nodes.values())


def is_world(program: Program, end: Endpoint) -> bool:
    return end.pod is None and not is_node(program, end)


def values() -> st.SearchStrategy[str]:
    return st.sampled_from((*VALUES, "z"))


def quoted(value: str) -> str:
    return value or '""'


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> Cond:
    key = draw(st.sampled_from(KEYS))
    kind = draw(st.sampled_from(("=", "!=", "in", "notin", "has", "lacks", *(("&", "|", "!") if depth else ()))))
    value = draw(values())
    some = draw(st.lists(values(), min_size=1, max_size=2))
    listed = ", ".join(map(quoted, some))
    if kind in ("&", "|", "!"):
        one, other = draw(conditions(depth - 1)), draw(conditions(depth - 1))
        if kind == "!":
            return Cond(f"!({one.text})", lambda labels: not one.holds(labels))
        if kind == "&":
            return Cond(f"({one.text} & {other.text})", lambda labels: one.holds(labels) and other.holds(labels))
        return Cond(f"({one.text}|{other.text})", lambda labels: one.holds(labels) or other.holds(labels))
    return {
        "=": Cond(f"{key}={quoted(value)}", lambda labels: labels.get(key) == value),
        "!=": Cond(f"{key}!={quoted(value)}", lambda labels: labels.get(key) != value),
        "in": Cond(f"{key} in ({listed})", lambda labels: labels.get(key) in some),
        "notin": Cond(f"{key} notin ({listed})", lambda labels: labels.get(key) not in some),
        "has": Cond(key, lambda labels: key in labels),
        "lacks": Cond(f"!{key}", lambda labels: key not in labels),
    }[kind]


def pods_of(program: Program, end: Endpoint, where: Callable[[str, dict[str, str]], bool], pod: Cond | None) -> bool:
    if end.pod is None or end.pod.host_network:
        return False
    labels = dict(program.cluster.namespaces[end.pod.namespace].labels)
    return where(end.pod.namespace, labels) and (pod is None or pod.holds(dict(end.pod.labels)))


@st.composite
def ends(draw: st.DrawFn, depth: int = 2) -> Ends:
    simple = ("*", "world", "node", "ns:", "ns:", "ns:/", "ns:/", "ns(", "ns(/", "pod(", "cidr")
    kind = draw(st.sampled_from((*simple, *(("!", "&", "(") if depth else ()))))
    name = draw(st.sampled_from(NAMESPACES))
    network = draw(st.sampled_from(BLOCKS))
    cond, other = draw(conditions()), draw(conditions())
    if kind == "!":
        inner = draw(ends(depth - 1))
        return Ends(f"!({inner.text})", lambda p, e: (is_pod(e) or is_world(p, e)) and not inner.holds(p, e))
    if kind in ("&", "("):
        parts = draw(st.lists(ends(depth - 1), min_size=1, max_size=2))
        if kind == "&":
            return Ends(" & ".join(f"({one.text})" for one in parts), lambda p, e: all(o.holds(p, e) for o in parts))
        return Ends(
            f"(* & ({', '.join(one.text for one in parts)}))",
            lambda p, e: (is_pod(e) or is_world(p, e)) and any(o.holds(p, e) for o in parts),
        )
    return {
        "*": Ends("*", lambda p, e: is_pod(e) or is_world(p, e)),
        "world": Ends("world", is_world),
        "node": Ends("node", is_node),
        "ns:": Ends(f"ns:{name}", lambda p, e: pods_of(p, e, lambda n, _: n == name, None)),
        "ns:/": Ends(f"ns:{name}/({cond.text})", lambda p, e: pods_of(p, e, lambda n, _: n == name, cond)),
        "ns(": Ends(f"ns({other.text})", lambda p, e: pods_of(p, e, lambda _, ls: other.holds(ls), None)),
        "ns(/": Ends(
            f"ns({other.text})/({cond.text})", lambda p, e: pods_of(p, e, lambda _, ls: other.holds(ls), cond)
        ),
        "pod(": Ends(f"pod({cond.text})", lambda p, e: pods_of(p, e, lambda *_: True, cond)),
        "cidr": Ends(str(network), lambda _, e: e.address is not None and e.address in ip_network(network)),
    }[kind]


@st.composite
def port_lists(draw: st.DrawFn) -> tuple[str, Callable[[int], bool]]:
    if draw(st.integers(0, 2)) == 0:
        return "", lambda _: True
    items: list[tuple[str, Protocol, int | None, int]] = []
    for _ in range(draw(st.integers(1, 2))):
        protocol = draw(st.sampled_from((*TRANSPORTS, Protocol.ICMP)))
        first = draw(st.sampled_from(PORTS))
        last = draw(st.sampled_from([port for port in PORTS if port >= first]))
        if protocol is Protocol.ICMP:
            items.append(("icmp", protocol, None, 0))
        elif draw(st.booleans()):
            items.append((f"{protocol}/{first}-{last}", protocol, first, last))
        else:
            items.append((str(protocol), protocol, 1, 65535))

    def on(point: int) -> bool:
        protocol, port = ports.at(point)
        return any(protocol is one and (port is None or (a is not None and a <= port <= b)) for _, one, a, b in items)

    return " on " + ", ".join(text for text, *_ in items), on


@st.composite
def sides(draw: st.DrawFn) -> list[Ends]:
    return draw(st.lists(ends(), min_size=1, max_size=draw(st.sampled_from((1, 1, 2)))))


def listed(side: list[Ends]) -> str:
    return ", ".join(one.text for one in side)


@st.composite
def flow_sets(draw: st.DrawFn) -> Flows:
    src, dst, (words, on) = draw(sides()), draw(sides()), draw(port_lists())
    return Flows(f"{listed(src)} -> {listed(dst)}{words}", src, dst, on)


@st.composite
def sentences(draw: st.DrawFn) -> Sentence:
    kind = draw(st.sampled_from(("deny", "deny", "allow", "allow", "only", "isolated")))
    if kind == "isolated":
        side, direction = draw(sides()), draw(st.sampled_from(Direction))
        return Sentence(f"isolated {listed(side)} {direction}", [], (side, direction))
    if kind == "only":
        flows = draw(flow_sets())
        others = Ends("", lambda p, e: (is_pod(e) or is_world(p, e)) and not any(o.holds(p, e) for o in flows.src))
        src, _, rest = flows.text.partition(" -> ")
        return Sentence(
            f"only {src} may reach {rest}",
            [(Verdict.ALLOW, flows, []), (Verdict.DENY, Flows("", [others], flows.dst, flows.on), [])],
        )
    flows = draw(flow_sets())
    excepts = draw(st.lists(flow_sets(), max_size=2))
    text = f"{kind} {flows.text}" + "".join(f" except {one.text}" for one in excepts)
    return Sentence(text, [(Verdict.ALLOW if kind == "allow" else Verdict.DENY, flows, excepts)])


# ------------------------------------------------------------------------------------------------- the definition


class Definition:
    """A program, flow by flow."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.oracle = Oracle(program)

    def flows(self, src: list[Ends], dst: list[Ends], flows: Flows, excepts: list[Flows]) -> Iterator[Flow]:
        for one in self.oracle.endpoints:
            if not any(o.holds(self.program, one) for o in src):
                continue
            for other in self.oracle.endpoints:
                if not any(o.holds(self.program, other) for o in dst) or not self.judged(one, other):
                    continue
                for point in sorted(self.oracle.points):
                    if flows.on(point) and not any(self.inside(taken, one, other, point) for taken in excepts):
                        protocol, port = ports.at(point)
                        yield Flow(src=one, dst=other, protocol=protocol, port=port)

    def judged(self, src: Endpoint, dst: Endpoint) -> bool:
        if not (is_pod(src) or is_pod(dst)):
            return False
        if src.family and dst.family and src.family != dst.family:
            return False
        return not any(self.oracle.exempt(direction, src, dst) for direction in Direction)

    def inside(self, flows: Flows, src: Endpoint, dst: Endpoint, point: int) -> bool:
        return (
            flows.on(point)
            and any(o.holds(self.program, src) for o in flows.src)
            and any(o.holds(self.program, dst) for o in flows.dst)
        )

    def outcome(self, sentence: Sentence) -> Outcome:
        vacuous = False
        for verdict, flows, excepts in sentence.wanted:
            found = list(self.flows(flows.src, flows.dst, flows, excepts))
            for flow in found:
                if semantics.decide(self.program.policies, self.program.cluster, flow).verdict is not verdict:
                    return Outcome.REFUTED
            for one in flows.src:
                vacuous |= next(self.flows([one], flows.dst, flows, excepts), None) is None
            for one in flows.dst:
                vacuous |= next(self.flows(flows.src, [one], flows, excepts), None) is None
        if sentence.isolated:
            side, direction = sentence.isolated
            pods = [end for end in self.oracle.endpoints if is_pod(end)]
            for one in side:
                own = [end for end in pods if one.holds(self.program, end)]
                if any(not self.is_isolated(end, direction) for end in own):
                    return Outcome.REFUTED
                vacuous |= not own
        return Outcome.VACUOUS if vacuous else Outcome.PROVED

    def is_isolated(self, end: Endpoint, direction: Direction) -> bool:
        return any(
            direction in policy.directions and end.pod is not None and semantics.selects(policy, end.pod)
            for policy in self.program.policies
        )


def parsed(text: str) -> tuple[Assertion, ...]:
    return load_assertions([SourceFile(path="spec", text=text)])


def judged(program: Program, judge: Judge, scope: Scope, assertions: tuple[Assertion, ...]) -> Judged:
    """What comes of one sentence; whatever refutes it was replayed."""
    (found,) = judge_each(program, scope, assertions, judge)
    telling = _Telling(program, scope, TestOptions(today=date(2026, 1, 1)))
    tested = telling.tested(found)
    assert bool(tested.diagnostics) >= (found.outcome is not Outcome.PROVED)
    return found


def judged_here(program: Program, text: str) -> Judged:
    assertions = parsed(text)
    return judged(program, InventoryJudge(program, assertions, pieces=ENOUGH), Scope.INVENTORY, assertions)


def judged_anywhere(program: Program, text: str) -> Judged:
    assertions = parsed(text)
    return judged(program, SymbolicJudge(program, assertions, ENOUGH), Scope.ANY_POD, assertions)


@settings(CALM, max_examples=150)
@given(programs(max_policies=3, max_pods=3), sentences())
def test_for_the_inventory_the_definition(program: Program, sentence: Sentence) -> None:
    found = judged_here(program, sentence.text)
    definition = Definition(program)
    assert found.outcome is definition.outcome(sentence), sentence.text
    for refutation in found.refutations:
        flow = refutation.example.flow
        assert definition.judged(flow.src, flow.dst) or isinstance(refutation.requirement, Isolated)


@settings(CALM, max_examples=60)
@given(programs(max_policies=3, max_pods=3), sentences())
def test_for_every_pod_at_least_what_holds_for_the_inventory(program: Program, sentence: Sentence) -> None:
    here, anywhere = judged_here(program, sentence.text), judged_anywhere(program, sentence.text)
    if here.outcome is Outcome.REFUTED:
        assert anywhere.outcome is Outcome.REFUTED, sentence.text
    if anywhere.outcome is Outcome.PROVED:
        assert here.outcome in (Outcome.PROVED, Outcome.VACUOUS), sentence.text
    if anywhere.outcome is Outcome.VACUOUS:
        assert here.outcome is Outcome.VACUOUS, sentence.text
    for refutation in anywhere.refutations:
        larger = with_pods(program, refutation.example.flow, {n.name: n for n in refutation.example.invented})
        assert judged_here(larger, sentence.text).outcome is Outcome.REFUTED, sentence.text


def with_pods(program: Program, flow: Flow, namespaces: dict[str, object]) -> Program:
    """The program with the pods of an example in its inventory."""
    pods = {pod.key: pod for pod in program.cluster.pods}
    pods |= {end.pod.key: end.pod for end in (flow.src, flow.dst) if end.pod is not None}
    cluster = replace(
        program.cluster,
        pods=tuple(pod for _, pod in sorted(pods.items())),
        namespaces={**program.cluster.namespaces, **namespaces},  # type: ignore[dict-item]
    )
    return replace(program, cluster=cluster)


@settings(CALM, max_examples=40)
@given(programs(max_policies=3, max_pods=3), sentences(), st.randoms())
def test_the_order_of_the_input_changes_nothing(program: Program, sentence: Sentence, random: object) -> None:
    turned = replace(program, policies=tuple(reversed(program.policies)))
    assert judged_here(program, sentence.text) == judged_here(turned, sentence.text)


# ------------------------------------------------------------------------------------------------- the front end

GRAMMAR = Lark(resources.text("grammar", "spec.lark"), parser="lalr")
PIECES = (
    "deny", "allow", "only", "may reach", "isolated", "except", "on", "let", "x =", "->", "*", "world", "node",
    "ns:a", "ns:a/k=v", "ns(", "pod(", ")", "(", "!", "&", "|", ",", "@x", "10.0.0.0/8", "::1", "tcp/80", "icmp",
    '"name":', '"', "[severity=warning]", "[until=2027-01-31]", "ingress", "#", "\n", "\n  ", "k in (a, b)", "é", "\t",
)  # fmt: skip


def anything_but_a_crash(text: str) -> None:
    try:
        assertions = parsed(text)
    except InputError as error:
        assert error.diagnostics
        assert FORMATS["full"](error.diagnostics, {})
        for diagnostic in error.diagnostics:
            assert diagnostic.span is not None
            lines = len(text.splitlines()) + 1
            assert 1 <= diagnostic.span.line <= lines
    else:
        assert all(one.requirements and one.span for one in assertions)


@settings(CALM, max_examples=60)
@given(from_lark(GRAMMAR, start="start"))
def test_whatever_the_grammar_makes(text: str) -> None:
    anything_but_a_crash(text)


@settings(CALM, max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_pieces_in_any_order(pieces: list[str]) -> None:
    anything_but_a_crash(" ".join(pieces))


@settings(CALM, max_examples=200)
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    anything_but_a_crash(text)


@settings(CALM, max_examples=40)
@given(st.lists(sentences(), min_size=1, max_size=3), st.data())
def test_spaces_comments_and_lines_mean_nothing(drawn: list[Sentence], data: st.DataObject) -> None:
    plain = parsed("\n".join(one.text for one in drawn))
    breaks = (" ", "  ", "\n   ", " # a comment\n\t", "\n\n  \n  ")
    spread = "\n# more\n".join(
        "".join(chain.from_iterable((word, data.draw(st.sampled_from(breaks))) for word in one.text.split(" ")))
        for one in drawn
    )
    assert parsed(spread) == plain


@pytest.mark.parametrize("size", [100, 1000])
def test_deep_and_repeated_definitions_end(size: int) -> None:
    anything_but_a_crash("deny " + "(" * size + "world" + ")" * size + " -> ns:a")
    anything_but_a_crash("deny " + "!" * size + "world -> ns:a")
    anything_but_a_crash("let x0 = ns:a\n" + "".join(f"let x{i + 1} = @x{i} & @x{i}\n" for i in range(size)))
    anything_but_a_crash("let x0 = ns:a\n" + "".join(f"let x{i + 1} = !@x{i}\n" for i in range(size)))
    anything_but_a_crash("let x0 = ns:a\n" + "".join(f"let x{i + 1} = @x{i}, @x{i}\n" for i in range(size)))
