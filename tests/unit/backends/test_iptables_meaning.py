"""The lowered structure gives every flow the verdict of the reference evaluator."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.backends.iptables.lower import lower
from npcompile.backends.iptables.structure import Ruleset, SetKind
from npcompile.backends.target import Options
from npcompile.ir.flow import Flow, Verdict
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Network
from npcompile.netset.ports import Protocol
from npcompile.semantics import decide, is_own_node
from tests.strategies import PORTS, endpoints, paired, programs
from tests.unit.backends.iptables_machine import Machine, Packet


def flows_of(program: Program) -> Iterable[Flow]:
    """Every flow between endpoints that have addresses, over the ports that matter."""
    ends = [end for end in endpoints(program) if end.address is not None]
    for src in ends:
        for dst in ends:
            if not paired(src, dst):
                continue
            yield Flow(src=src, dst=dst, protocol=Protocol.ICMP)
            for protocol in (Protocol.TCP, Protocol.UDP, Protocol.SCTP):
                for port in (*PORTS, 2):
                    yield Flow(src=src, dst=dst, protocol=protocol, port=port)


def passes(ruleset: Ruleset, program: Program, flow: Flow) -> bool:
    """What becomes of a flow's first packet on the way that it takes through the kernel."""
    src, dst = flow.src.address, flow.dst.address
    assert src is not None
    assert dst is not None
    if flow.dst.pod is not None and is_own_node(program.cluster, flow.dst.pod, flow.src):
        return True  # OUTPUT
    to_own_node = flow.src.pod is not None and is_own_node(program.cluster, flow.src.pod, flow.dst)
    machine = Machine(ruleset, Packet(src=src, dst=dst, protocol=flow.protocol, port=flow.port))
    return machine.passes("INPUT" if to_own_node else "FORWARD")


@pytest.mark.parametrize("accept", [False, True])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_flow_gets_the_verdict_of_the_evaluator(accept: bool, data: st.DataObject) -> None:
    program = data.draw(programs())
    ruleset = lower(program, Options(accept=accept))
    candidates = list(flows_of(program))
    chosen = data.draw(st.lists(st.sampled_from(candidates), max_size=60)) if candidates else []
    for flow in chosen:
        expected = decide(program.policies, program.cluster, flow).verdict is Verdict.ALLOW
        assert passes(ruleset, program, flow) == expected, flow


@settings(max_examples=100, deadline=None)
@given(programs())
def test_prefixes_are_disjoint_and_never_of_length_zero(program: Program) -> None:
    for one in lower(program, Options()).sets:
        if one.kind is SetKind.NETWORKS:
            assert one.members
            networks = [member for member in one.members if isinstance(member, Network)]
            assert all(network.prefixlen > 0 for network in networks)
            assert all(not a.overlaps(b) for a, b in pairwise(networks))
