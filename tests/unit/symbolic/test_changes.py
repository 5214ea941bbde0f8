"""Planted changes, and how they are described for every pod that could exist."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from npcompile.ir.cluster import Cluster, Namespace
from npcompile.ir.labels import EVERYTHING, NAMESPACE_NAME
from npcompile.ir.policy import Direction, Policy
from npcompile.ir.printer import class_text, declared_text
from npcompile.ir.program import Program
from npcompile.ir.versions import Change
from npcompile.netset.ports import describe
from npcompile.questions import PossibleChange, PossibleChanges
from npcompile.symbolic import cover, pair_question
from npcompile.symbolic.changes import possible_changes
from tests.unit.symbolic.build import block, named, pods, policy, port, rule, select, tcp, udp

EFFORT = 2_000_000


def program(*policies: Policy, listed: dict[str, dict[str, str]] | None = None) -> Program:
    known = {name: Namespace(name=name, labels={**own, NAMESPACE_NAME: name}) for name, own in (listed or {}).items()}
    for one in policies:
        bare = Namespace(name=one.namespace, labels={NAMESPACE_NAME: one.namespace}, listed=False)
        known.setdefault(one.namespace, bare)
    return Program(
        policies=tuple(sorted(policies, key=lambda one: one.key)),
        cluster=Cluster(namespaces=dict(sorted(known.items()))),
    )


def words(one: PossibleChange) -> str:
    ends = ["; ".join(map(class_text, side)) for side in (one.sources, one.targets)]
    return f"{one.change}: {' -> '.join(ends)} {describe(one.ports)} {declared_text(one.declared)}".rstrip()


def said(old: Program, new: Program) -> list[str]:
    found = possible_changes(old, new, EFFORT)
    assert not found.unsettled
    return [words(one) for one in found.changes]


def between(before: Sequence[Policy], after: Sequence[Policy]) -> list[str]:
    """What is said of a change, and that the converse is said of its converse."""
    old, new = program(*before), program(*after)
    found = said(old, new)
    back = {"opened": "closed", "closed": "opened"}
    converse = [back[word] + one.removeprefix(word) for one in said(new, old) for word in back if one.startswith(word)]
    assert sorted(converse) == sorted(found)
    return found


WEB = rule(pods(app="web"), tcp(80))


def test_a_port_more() -> None:
    assert between(
        [policy("p", select(app="api"), ingress=[WEB])], [policy("p", select(app="api"), ingress=[WEB, rule(tcp(81))])]
    ) == ["opened: every pod; every address -> app=api in shop tcp/81"]


def test_what_no_pair_of_rules_lets_through_does_not_open() -> None:
    """The other end has its say: only where it lets the flow through does a rule open anything."""
    out = policy("out", select(app="web"), egress=[rule(pods(), tcp(443))])
    old = [policy("p", select(app="api"), ingress=[]), out]
    assert between(old, [policy("p", select(app="api"), ingress=[WEB]), out]) == []
    wide = policy("p", select(app="api"), ingress=[rule(pods(), tcp(80, 443))])
    assert between(old, [wide, out]) == [
        "opened: every pod in shop -> app=api in shop tcp/443",
        "opened: app!=web in shop -> app=api in shop tcp/80-443",
    ]


def test_a_default_deny_closes_what_no_rule_allows() -> None:
    """Maximal boxes: one restricts the sources, the other one the ports."""
    rules = policy("p", ingress=[WEB])
    assert between([], [rules]) == [
        "closed: every pod -> every pod in shop tcp/1-79,81-65535 udp/* sctp/* icmp",
        "closed: app!=web; every pod in every namespace but shop; every address -> every pod in shop any port",
    ]


def test_a_policy_that_only_changes_its_name_or_place_in_words() -> None:
    assert between([policy("p", ingress=[WEB])], [policy("q", ingress=[WEB])]) == []
    split = [policy("q", ingress=[]), policy("r", ingress=[WEB])]
    assert between([policy("p", ingress=[WEB])], split) == []


def test_a_policy_moves_to_another_namespace() -> None:
    moved = policy("p", namespace="bar", ingress=[rule(pods(EVERYTHING), tcp(80))])
    found = between([policy("p", ingress=[moved.rules[0].match])], [moved])
    targets = {word: {one.split(" -> ")[1] for one in found if one.startswith(word)} for word in ("opened", "closed")}
    assert all(" in shop " in one for one in targets["opened"])
    assert all(" in bar " in one for one in targets["closed"])


def test_names_of_ports() -> None:
    old, new = (policy("p", ingress=[rule(pods(), item)]) for item in (tcp(80), port("http")))
    assert between([old], [new]) == [
        "opened: every pod in shop -> every pod in shop tcp/1-79,81-65535 named tcp/http",
        "closed: every pod in shop -> every pod in shop tcp/80 not named tcp/http",
    ]


def test_blocks_of_both_families_open_to_pods_as_well() -> None:
    rules = [rule(block("10.0.0.0/8", "10.1.0.0/16")), rule(block("fd00::/16"), udp(53))]
    assert between([policy("p", ingress=[])], [policy("p", ingress=rules)]) == [
        "opened: every pod at 10.0.0.0/8 (but 10.1.0.0/16); 10.0.0.0/8 (but 10.1.0.0/16) -> every pod in shop any port",
        "opened: every pod at 10.0.0.0/8 (but 10.1.0.0/16), fd00::/16; 10.0.0.0/8 (but 10.1.0.0/16), fd00::/16"
        " -> every pod in shop udp/53",
    ]


def test_namespaces_that_one_version_lists_may_have_had_other_labels() -> None:
    trusting = policy("p", ingress=[rule(pods(select(team="x")))])
    bare, labelled = program(trusting), program(trusting, listed={"new": {"team": "x"}})
    assert said(bare, labelled) == [
        "opened: every pod in new labelled team!=x as OLD has them -> every pod in shop any port"
    ]
    other = program(trusting, listed={"new": {"team": "y"}})
    assert said(labelled, other) == ["closed: every pod in new -> every pod in shop any port"]
    assert said(bare, bare) == []


def test_surprises() -> None:
    out = policy("out", select(app="web"), egress=[rule(pods(app="db"), tcp(5432))])
    old, new = program(out), program(out, policy("db", select(app="db"), ingress=[rule(pods(named("audit")))]))
    found = possible_changes(old, new, EFFORT)
    surprises = [one.surprise for one in found.changes if one.surprise]
    (surprise,) = [one for one in surprises if one.example.flow.port == 5432]
    flow = surprise.example.flow
    assert surprise.direction is Direction.INGRESS
    assert flow.src.pod is not None
    assert dict(flow.src.pod.labels) == {"app": "web"}
    assert not any(one.surprise for one in possible_changes(new, old, EFFORT).changes)
    unwanted = program(policy("out", select(app="web"), egress=[]))
    assert not any(one.surprise for one in possible_changes(program(), unwanted, EFFORT).changes)


INTRICATE = policy(
    "p", ingress=[rule(pods(app="a"), tcp(80)), rule(pods(app="b"), tcp(81)), rule(pods(tier="c"), tcp(82))]
)


def test_answers_do_not_depend_on_the_seed() -> None:
    old, new = program(), program(INTRICATE)
    first = possible_changes(old, new, EFFORT)
    assert len(first.changes) > 3
    assert all(possible_changes(old, new, EFFORT, seed=seed) == first for seed in (1, 7))


def test_no_box_is_superfluous_or_can_grow() -> None:
    """Of rows that overlap in a ring the box in the middle is not needed."""
    new = policy("p", ingress=[rule(pods(app="a"), tcp(1, 20)), rule(pods(), tcp(10, 20))])
    found = between([policy("p", ingress=[])], [new])
    assert found == [
        "opened: every pod in shop -> every pod in shop tcp/10-20",
        "opened: app=a in shop -> every pod in shop tcp/1-20",
    ]


def crowded() -> Program:
    """Four namespaces, each with a default-deny in both directions and rules for some of its pods."""
    made = []
    for space in ("one", "two", "three", "four"):
        made.append(policy("deny", namespace=space, ingress=[], egress=[rule(udp(53))]))
        for n in range(8):
            peer = pods(select(), app=f"app-{n}", tier="web") if n % 2 else pods(app=f"app-{n + 1}")
            ins, outs = rule(peer, tcp(8000 + n), port("http")), rule(block("10.0.0.0/8"), tcp(443))
            made.append(policy(f"allow-{n}", select(app=f"app-{n}"), namespace=space, ingress=[ins], egress=[outs]))
    return program(*made)


@pytest.mark.parametrize("change", list(Change))
def test_removing_and_adding_everything_is_decided(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asking z3 which flows they are: of whole clusters it would take more than the effort."""
    monkeypatch.setattr(pair_question.Question, "_by_solver", None)
    versions = (crowded(), program()) if change is Change.OPENED else (program(), crowded())
    found = possible_changes(*versions, EFFORT)
    assert not found.unsettled
    assert {one.change for one in found.changes} == {change}


def test_too_little_effort_is_said() -> None:
    found = possible_changes(program(), program(INTRICATE), 1)
    check_unsettled(found)
    assert not found.changes


def test_too_many_boxes_are_said_and_the_first_ones_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cover, "LIMIT", 2)
    found = possible_changes(program(), program(INTRICATE), EFFORT)
    check_unsettled(found)
    assert 1 < len(found.changes) <= len(list(Change)) * len(found.unsettled) * 2


def check_unsettled(found: PossibleChanges) -> None:
    assert found.unsettled
    for one in found.unsettled:
        assert class_text(one.source)
        assert "shop" in class_text(one.target)
