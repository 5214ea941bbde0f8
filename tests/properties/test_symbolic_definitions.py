"""The symbolic engine's answers are exactly what the definitions say."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.ir.policy import (
    BlockPeer,
    PodPeer,
    PortItem,
)
from npcompile.ir.program import Program
from npcompile.questions import NotDecided, RuleOf
from npcompile.symbolic.engine import SymbolicEngine
from tests.properties.symbolic_oracle import (
    expected_defeated,
    expected_dns,
    expected_excepts,
    expected_half_open,
    expected_items,
    expected_redundant,
    expected_shadowed,
    expected_split,
    expected_uncovered,
    expected_unfelt,
    expected_ways_in,
    expected_wide_open,
)
from tests.properties.symbolic_universe import Meaning, closing, programs


@settings(max_examples=25, deadline=None)
@given(programs())
def test_answers_are_the_definitions(program: Program) -> None:
    engine, meaning = SymbolicEngine(program), Meaning(program)
    rules = meaning.universe.rules

    empty = {(p.key, None) for p in program.policies if not meaning.selected[p.key]}
    matches = {of.order: any(meaning.matched(of, pair) for pair in meaning.pairs) for of in rules}
    empty |= {(of.policy.key, of.rule) for of in rules if not matches[of.order] and (of.policy.key, None) not in empty}
    assert {(one.policy.key, one.rule) for one in engine.vacuous()} == empty

    shadowed = {one.subject.order: [c.order for c in one.cover] for one in engine.shadowed()}
    assert shadowed == expected_shadowed(meaning)

    defeated = {(one.policy.key, one.direction) for one in engine.defeated_denies()}
    assert defeated == expected_defeated(meaning)

    excepts = {(one.subject.order, one.peer, one.opener.order) for one in engine.defeated_excepts()}
    assert excepts == expected_excepts(meaning)

    wide = {(one.namespace, one.direction, one.breadth): one.every_port for one in engine.wide_open()}
    assert wide == expected_wide_open(meaning)

    assert [one.policy.key for one in engine.redundant()] == expected_redundant(meaning)

    reported: dict[bool, set[tuple[object, PortItem | None]]] = {True: set(), False: set()}
    for one in engine.half_open():
        assert not isinstance(one, NotDecided)
        items = one.opener.rule.match.ports or (None,)
        reported[one.fully] |= {(one.opener.order, item) for item in (items if one.port is None else (one.port,))}
    assert reported == expected_half_open(meaning)

    assert {one.opener.order: one.internet is not None for one in engine.ways_in()} == expected_ways_in(meaning)

    judged = {"b"} | {policy.namespace for policy in program.policies}
    assert {(one.namespace.name, one.direction) for one in engine.uncovered()} == {
        (name, direction) for name, direction in expected_uncovered(meaning) if name in judged
    }
    assert {(one.policy.key, one.udp_allowed) for one in engine.dns_blocked()} == expected_dns(meaning)
    split = {(one.subject.order, _place(one.subject, one.namespaces, one.pods)) for one in engine.split_peers()}
    assert split == expected_split(meaning)


@settings(max_examples=25, deadline=None)
@given(st.one_of(programs(), closing()))
def test_unfelt_policies_are_the_definitions(program: Program) -> None:
    found = [(one.policy.key, one.closes) for one in SymbolicEngine(program).unfelt()]
    assert found == expected_unfelt(Meaning(program))


@settings(max_examples=10, deadline=None)
@given(programs())
def test_superfluous_parts_of_rules_are_the_definitions(program: Program) -> None:
    engine, meaning = SymbolicEngine(program), Meaning(program)
    gone = {one.subject.order for one in engine.shadowed()}
    items = set()
    for part in engine.shadowed_items():
        assert not isinstance(part, NotDecided)
        kind = "peers" if isinstance(part.item, PodPeer | BlockPeer) else "ports"
        listed = getattr(part.subject.rule.match, kind)
        places = {n for n, one in enumerate(listed) if one is part.item}
        items |= {(part.subject.order, kind, n) for n in places}
    assert items == expected_items(meaning, gone)


def _place(of: RuleOf, one: PodPeer, other: PodPeer) -> int:
    pairs = list(pairwise(of.rule.match.peers))
    return next(n for n, pair in enumerate(pairs) if pair in ((one, other), (other, one)))
