"""The relation engine against the reference evaluator: every side of every flow, and every answer by its definition."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npcompile.ir.flow import Flow
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset.ports import point
from npcompile.relation.engine import RelationEngine
from npcompile.relation.relation import relate
from npcompile.semantics import decide
from tests.properties.breadth_oracle import check_defeated_denies, check_defeated_excepts, check_wide_open
from tests.properties.redundancy_oracle import RedundancyOracle, check_shadowed_items
from tests.properties.relation_cases import dense_programs, layered_programs, opposed_programs
from tests.properties.relation_oracle import Oracle
from tests.properties.service_oracle import check_mixed, with_services
from tests.strategies import programs, programs_with_flow

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@settings(CALM, max_examples=250)
@given(programs_with_flow())
def test_each_side_is_as_the_evaluator_says(case: tuple[Program, Flow]) -> None:
    program, flow = case
    relation = relate(program)
    decision = decide(program.policies, program.cluster, flow)
    at = point(flow.protocol, flow.port)
    assert (at in relation.side(Direction.EGRESS, flow.src, flow.dst)) == decision.egress.allowed
    assert (at in relation.side(Direction.INGRESS, flow.src, flow.dst)) == decision.ingress.allowed
    assert (at in relation.allowed(flow.src, flow.dst)) == (decision.egress.allowed and decision.ingress.allowed)


@settings(CALM, max_examples=100)
@given(st.one_of(layered_programs(), dense_programs()))
def test_every_side_of_every_pair(program: Program) -> None:
    oracle, relation = Oracle(program), relate(program)
    for direction in Direction:
        for (src, dst), points in oracle.sides(direction).items():
            ports = relation.side(direction, oracle.endpoints[src], oracle.endpoints[dst])
            assert {at for at in oracle.points if at in ports} == points


@settings(CALM, max_examples=10)
@given(dense_programs())
def test_the_oracles_sides_are_the_evaluators(program: Program) -> None:
    oracle = Oracle(program)
    for direction in Direction:
        for (src, dst), points in oracle.sides(direction).items():
            assert oracle.side(direction, oracle.endpoints[src], oracle.endpoints[dst]) == points


@settings(CALM, max_examples=40)
@given(programs(), st.lists(programs(), max_size=1))
def test_a_finer_relation_says_the_same(program: Program, beside: list[Program]) -> None:
    policies = [policy for other in beside for policy in other.policies]
    coarse, fine = relate(program), relate(program, beside=policies)
    oracle = Oracle(program)
    for src, dst in oracle.pairs[::7]:
        for direction in Direction:
            assert coarse.side(direction, src, dst) == fine.side(direction, src, dst)


@settings(CALM, max_examples=100)
@given(st.one_of(layered_programs(), layered_programs(), dense_programs()))
def test_shadowed_by_definition(program: Program) -> None:
    Oracle(program).check_shadowed(list(RelationEngine(program).shadowed()))


@settings(CALM, max_examples=100)
@given(st.one_of(layered_programs(), layered_programs(), dense_programs(), programs()))
def test_shadowed_items_by_definition(program: Program) -> None:
    engine = RelationEngine(program)
    check_shadowed_items(Oracle(program), list(engine.shadowed()), list(engine.shadowed_items()))


@settings(CALM, max_examples=100)
@given(st.one_of(layered_programs(), layered_programs(), dense_programs()))
def test_redundant_by_definition(program: Program) -> None:
    RedundancyOracle(Oracle(program)).check(list(RelationEngine(program).redundant()))


@settings(CALM, max_examples=200)
@given(st.one_of(dense_programs(), opposed_programs(), opposed_programs(), opposed_programs()))
def test_unfelt_by_definition(program: Program) -> None:
    RedundancyOracle(Oracle(program)).check_unfelt(list(RelationEngine(program).unfelt()))


@settings(CALM, max_examples=100)
@given(st.one_of(layered_programs(), layered_programs(), dense_programs()))
def test_half_open_by_definition(program: Program) -> None:
    Oracle(program).check_half_open(list(RelationEngine(program).half_open()))


@settings(CALM, max_examples=150)
@given(st.one_of(dense_programs(), dense_programs(), programs()))
def test_defeated_denies_by_definition(program: Program) -> None:
    check_defeated_denies(Oracle(program), list(RelationEngine(program).defeated_denies()))


@settings(CALM, max_examples=100)
@given(st.one_of(layered_programs(), dense_programs(), programs()))
def test_defeated_excepts_by_definition(program: Program) -> None:
    check_defeated_excepts(Oracle(program), list(RelationEngine(program).defeated_excepts()))


@settings(CALM, max_examples=150)
@given(st.one_of(layered_programs(), dense_programs(), dense_programs(), programs()))
def test_wide_open_by_definition(program: Program) -> None:
    check_wide_open(Oracle(program), list(RelationEngine(program).wide_open()))


@settings(CALM, max_examples=150)
@given(with_services(st.one_of(layered_programs(), dense_programs(), dense_programs(), programs())))
def test_mixed_services_by_definition(program: Program) -> None:
    check_mixed(program, list(RelationEngine(program).mixed_services()))


@settings(CALM, max_examples=100)
@given(st.one_of(layered_programs(), dense_programs()))
def test_the_other_answers_by_definition(program: Program) -> None:
    oracle, engine = Oracle(program), RelationEngine(program)
    oracle.check_vacuous(list(engine.vacuous()))
    oracle.check_uncovered(list(engine.uncovered()))
    oracle.check_ways_in(list(engine.ways_in()))
    oracle.check_dns_blocked(list(engine.dns_blocked()))
    oracle.check_split_peers(list(engine.split_peers()))
