"""Bitsets, ports, boxes, and the relation's surface."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npcompile.ir.flow import Endpoint
from npcompile.netset.intervals import EMPTY
from npcompile.netset.ports import EVERY_PORT, Protocol, port_range
from npcompile.relation.bits import lowest, members, set_of
from npcompile.relation.boxes import Box, Effort, OutOfEffortError, subtract
from npcompile.relation.port_space import port_space
from npcompile.relation.relation import relate
from tests.unit.relation.building import EGRESS, INGRESS, named, near, pod, policy, program, rule, select, tcp


@given(st.sets(st.integers(0, 300)))
def test_bits_are_sets(numbers: set[int]) -> None:
    bits = set_of(numbers)
    assert list(members(bits)) == sorted(numbers)
    assert not numbers or lowest(bits) == min(numbers)


BOXES = st.lists(st.builds(Box, st.integers(0, 15), st.integers(0, 15), st.integers(0, 15)), max_size=4)


def _flows(boxes: list[Box]) -> set[tuple[int, int, int]]:
    return {(a, b, c) for box in boxes for a in members(box[0]) for b in members(box[1]) for c in members(box[2])}


@given(BOXES, BOXES)
def test_differences_of_boxes(boxes: list[Box], others: list[Box]) -> None:
    assert _flows(subtract(boxes, others, Effort(10_000))) == _flows(boxes) - _flows(others)


def test_effort_runs_out() -> None:
    box = Box(1, 1, 1)
    with pytest.raises(OutOfEffortError):
        subtract([box, box], [Box(2, 1, 1)] * 3, Effort(5))


def test_port_sets_are_unions_of_pieces() -> None:
    http, low = port_range(Protocol.TCP, 80, 80), port_range(Protocol.TCP, 1, 1023)
    space = port_space([http, low])
    assert space.ports(space.every) == EVERY_PORT
    assert space.ports(space.bits(low) & ~space.bits(http)) == low - http
    assert space.ports(0) == EMPTY
    assert space.first(space.bits(EVERY_PORT - low)) == (Protocol.TCP, 1024)
    with pytest.raises(ValueError, match="no cut"):
        space.bits(port_range(Protocol.TCP, 81, 81))


class TestRelation:
    web = pod("a/web", "10.0.0.1", node="n1", app="web")
    api = pod("a/api", "10.0.0.2", "fd00::2", app="api", ports={"http": 8080})
    of = program(
        [policy("in", subjects=select(app="api"), ingress=[rule(near(app="web"), on=[named("http"), tcp(80)])])],
        [web, api],
        nodes={"n1": "10.9.0.1"},
    )
    relation = relate(of)
    at_web = Endpoint(pod=web, address=web.addresses[0])
    at_api = Endpoint(pod=api, address=api.addresses[0])
    outside = Endpoint(address=ip_address("192.0.2.1"))

    def test_sides_and_both(self) -> None:
        numbers = port_range(Protocol.TCP, 80, 80) | port_range(Protocol.TCP, 8080, 8080)
        assert self.relation.side(INGRESS, self.at_web, self.at_api) == numbers
        assert self.relation.side(EGRESS, self.at_web, self.at_api) == EVERY_PORT
        assert self.relation.allowed(self.at_web, self.at_api) == numbers
        assert self.relation.allowed(self.outside, self.at_api) == EMPTY
        assert self.relation.allowed(self.at_api, self.at_web) == EVERY_PORT

    def test_a_name_is_each_destinations_own_number(self) -> None:
        other = pod("a/other", "10.0.0.4", app="api", ports={"http": 9090})
        relation = relate(program([policy("in", ingress=[rule(on=[named("http")])])], [self.web, self.api, other]))
        at_other = Endpoint(pod=other, address=other.addresses[0])
        assert relation.side(INGRESS, self.at_web, self.at_api) == port_range(Protocol.TCP, 8080, 8080)
        assert relation.side(INGRESS, self.at_web, at_other) == port_range(Protocol.TCP, 9090, 9090)
        assert relation.side(INGRESS, at_other, self.at_web) == EMPTY

    def test_isolation(self) -> None:
        assert self.relation.isolated(INGRESS, self.at_api)
        assert not self.relation.isolated(EGRESS, self.at_api)
        assert not self.relation.isolated(INGRESS, self.outside)

    def test_exemptions(self) -> None:
        node = Endpoint(address=ip_address("10.9.0.1"))
        assert self.relation.exempt(INGRESS, node, self.at_web)
        assert not self.relation.exempt(INGRESS, node, self.at_api)
        assert not self.relation.exempt(EGRESS, self.at_web, node)
        assert self.relation.exempt(EGRESS, self.at_web, self.at_web)
        assert not self.relation.exempt(INGRESS, self.outside, self.at_web)

    def test_a_pod_on_the_network_of_a_node_that_is_not_listed(self) -> None:
        agent = pod("a/agent", "10.9.0.7", node="n7", host_network=True)
        web = pod("a/web", "10.0.0.1", node="n7")
        relation = relate(program([policy("deny", ingress=[])], [agent, web, self.api]))
        at_agent = Endpoint(pod=agent, address=agent.addresses[0])
        assert relation.exempt(INGRESS, at_agent, Endpoint(pod=web, address=web.addresses[0]))
        assert not relation.exempt(INGRESS, at_agent, self.at_api)

    def test_unknown_endpoints(self) -> None:
        with pytest.raises(LookupError, match="no pod a/gone"):
            self.relation.allowed(Endpoint(pod=pod("a/gone", "10.0.0.9"), address=ip_address("10.0.0.9")), self.at_web)
        with pytest.raises(LookupError, match="a pod's address"):
            self.relation.allowed(Endpoint(address=ip_address("10.0.0.1")), self.at_api)
