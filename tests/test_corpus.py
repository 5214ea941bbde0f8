"""Every finding about real and generated clusters, checked against what it says.

A witness passes through `trace`, from its text.  A rule, a part of one or a policy that is superfluous is no longer so
when what covers it is taken away, and can itself be taken away without a change of any verdict.  The material lies in
../shared; what each finding has to be is not written down here, as the findings are npcompile's own.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from npcompile.analyses.diff import compare
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
from npcompile.ir.policy import Direction, Policy, Rule
from npcompile.ir.program import Program
from npcompile.questions import Engine, Redundant, RuleOf, Shadowed, ShadowedItem, Vacuous
from npcompile.relation.bits import members
from npcompile.relation.engine import RelationEngine
from npcompile.relation.relation import relate
from npcompile.symbolic.engine import SymbolicEngine
from tests.commands import npcompile
from tests.conftest import shared_dir

REAL = (
    "acs-security-demos",
    "ipblockstest",
    "multiple_topology_resources_1",
    "netpol-analysis-example-minimal",
    "netpol_named_port_test",
    "onlineboutique",
    "onlineboutique_workloads",
    "with_end_port_example",
)
GENERATED = tuple(f"generated-{seed}" for seed in (1, 2, 3))
PLANTED = 4  # by the generator, in each: one a namespace


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @functools.cache
    def folder(name: str) -> Path:
        out = tmp_path_factory.mktemp(name)
        script = shared_dir("bench") / "make_cluster.py"
        size = ("--namespaces", "4", "--workloads", "6", "--replicas", "2", "--policies", "12")
        subprocess.run(
            [sys.executable, str(script), str(out), *size, "--seed", name[-1]], check=True, capture_output=True
        )
        return out

    return folder


@pytest.fixture(params=[*REAL, *GENERATED])
def folder(request: pytest.FixtureRequest, generated: Callable[[str], Path]) -> Path:
    return generated(request.param) if request.param in GENERATED else shared_dir("realworld") / request.param


@pytest.fixture
def program(folder: Path) -> Program:
    return load(read_sources([str(folder)])).program


def test_every_witness_is_what_trace_says(folder: Path) -> None:
    result = npcompile("check", folder, "--output-format", "json")
    assert result.code in (0, 1), result.err
    found = result.json["diagnostics"]
    assert not [one for one in found if one["code"] == "NPC901"]
    witnesses = [one["witness"] for one in found if one["witness"]]
    assert witnesses
    asked = [{"src": _end(one["src"]), "dst": _end(one["dst"]), "port": one["port"]} for one in witnesses]
    lines = "".join(f"{json.dumps(one)}\n" for one in asked)
    traced: dict[tuple[str, str, str], set[str]] = {}
    for line in npcompile("trace", "-f", folder, "--flows", "-", stdin=lines.encode()).lines:
        traced.setdefault((line["src"], line["dst"], line["port"]), set()).add(line["verdict"])
    for flow, one in zip(asked, witnesses, strict=True):
        assert one["verdict"] in traced[flow["src"], flow["dst"], flow["port"]], flow


def _end(end: dict[str, str]) -> str:
    return f"{end['namespace']}/pod/{end['pod']}" if "pod" in end else end["address"]


def test_without_its_cover_nothing_is_superfluous(program: Program) -> None:
    for namespace in sorted({policy.namespace for policy in program.policies}):
        _check_covers(_only(program, namespace), RelationEngine)


def test_without_its_cover_nothing_is_superfluous_for_any_pod(folder: Path, program: Program) -> None:
    namespaces = sorted({policy.namespace for policy in program.policies})
    bare = replace(program, cluster=replace(program.cluster, pods=()))
    for namespace in namespaces if folder.name in REAL else namespaces[:1]:
        _check_covers(_only(bare, namespace), SymbolicEngine)


def _only(program: Program, namespace: str) -> Program:
    """What decides which rules and policies of a namespace are superfluous."""
    return replace(program, policies=tuple(one for one in program.policies if one.namespace == namespace))


def _check_covers(program: Program, engine: Callable[[Program], Engine]) -> None:
    """Another cover may take the place of one that is gone, though not for ever."""
    for answer in _superfluous(engine(program)):
        left, now, covers = program, answer, 0
        while now is not None:
            left = _without_cover(left, now)
            again = _superfluous(engine(left))
            now = next((one for one in again if _identity(one) == _identity(answer)), None)
            covers += 1
            assert covers < 10, answer


def test_all_that_is_superfluous_can_go_at_once_and_nothing_else(program: Program) -> None:
    engine = RelationEngine(program)
    rules = [answer.subject for answer in engine.shadowed() if isinstance(answer, Shadowed)]
    items = [answer for answer in engine.shadowed_items() if isinstance(answer, ShadowedItem)]
    policies = [answer.policy for answer in engine.redundant() if isinstance(answer, Redundant)]
    idle = {answer.policy.key for answer in engine.vacuous() if isinstance(answer, Vacuous) and answer.rule is None}
    whole = _sides(program, program)
    assert _sides(_without_rules(program, rules), program) == whole
    assert _sides(_without_rules(_without_items(program, items), rules), program) == whole
    left = _without_policies(program, policies)
    assert _sides(left, program) == whole
    assert compare(program, left).changes == ()
    for policy in left.policies:
        if policy.key not in idle:
            assert _sides(_without_policies(left, [policy]), program) != whole, policy


def _sides(program: Program, original: Program) -> list[int]:
    """What each pod lets through, in each direction, to and from everyone, in terms that fit all parts of a program."""
    relation = relate(program, beside=original.policies)
    return [
        relation.sides[direction].ports(subject, peer, relation.space.every)
        for direction in Direction
        for subject in members(relation.pods)
        for peer in members(relation.companions(subject))
    ]


def test_what_was_planted_is_found(generated: Callable[[str], Path]) -> None:
    for name in GENERATED:
        program = load(read_sources([str(generated(name))])).program
        planted = {policy.key for policy in program.policies if policy.name.endswith("-redundant")}
        assert len(planted) == PLANTED
        engine = RelationEngine(program)
        assert planted <= {one.subject.policy.key for one in engine.shadowed() if isinstance(one, Shadowed)}
        assert planted <= {one.policy.key for one in engine.redundant() if isinstance(one, Redundant)}


Superfluous = Shadowed | ShadowedItem | Redundant


def _superfluous(engine: Engine) -> list[Superfluous]:
    found: Iterator[object] = (
        answer for question in (engine.shadowed, engine.shadowed_items, engine.redundant) for answer in question()
    )
    return [answer for answer in found if isinstance(answer, Shadowed | ShadowedItem | Redundant)]


def _identity(answer: Superfluous) -> object:
    match answer:
        case Shadowed():
            return answer.subject.order
        case ShadowedItem():
            return answer.subject.order, answer.item.span
        case Redundant():
            return answer.policy.key


def _without_cover(program: Program, answer: Superfluous) -> Program:
    match answer:
        case Shadowed():
            return _without_rules(program, answer.cover)
        case ShadowedItem():
            others = [of for of in answer.cover if of.order != answer.subject.order]
            own = [of for of in answer.cover if of.order == answer.subject.order]
            return _with_match(_without_rules(program, others), answer) if own else _without_rules(program, others)
        case Redundant():
            return _without_policies(program, answer.cover)


def _with_match(program: Program, answer: ShadowedItem) -> Program:
    """The rule without the rest of the items of its kind."""
    place, index = answer.subject.policy.key, (answer.subject.rule.direction, answer.subject.rule.index)

    def reduced(rule: Rule) -> Rule:
        return replace(rule, match=answer.own) if (rule.direction, rule.index) == index else rule

    return _changed(program, lambda policy: tuple(map(reduced, policy.rules)) if policy.key == place else policy.rules)


def _without_rules(program: Program, rules: Iterable[RuleOf]) -> Program:
    gone = {of.order for of in rules}

    def kept(policy: Policy) -> tuple[Rule, ...]:
        return tuple(rule for rule in policy.rules if RuleOf(policy=policy, rule=rule).order not in gone)

    return _changed(program, kept)


def _without_items(program: Program, answers: Iterable[ShadowedItem]) -> Program:
    gone: dict[object, set[int]] = {}
    for answer in answers:
        gone.setdefault(answer.subject.order, set()).add(id(answer.item))

    def kept(policy: Policy) -> tuple[Rule, ...]:
        rules = []
        for rule in policy.rules:
            items = gone.get(RuleOf(policy=policy, rule=rule).order, set())
            peers = tuple(one for one in rule.match.peers if id(one) not in items)
            ports = tuple(one for one in rule.match.ports if id(one) not in items)
            rules.append(replace(rule, match=replace(rule.match, peers=peers, ports=ports)))
        return tuple(rules)

    return _changed(program, kept)


def _changed(program: Program, rules: Callable[[Policy], tuple[Rule, ...]]) -> Program:
    policies = tuple(replace(policy, rules=rules(policy)) for policy in program.policies)
    return replace(program, policies=policies)


def _without_policies(program: Program, policies: Iterable[Policy]) -> Program:
    gone = {policy.key for policy in policies}
    return replace(program, policies=tuple(policy for policy in program.policies if policy.key not in gone))
