"""Which flows a lab tries, and which packets try them: a pure function of the program and its plan.

Between two ends the ports are those at which some policy that selects one of them could change its mind: the first and
the last of each range and of the numbers behind names, and the ports on either side; and what the destination declares.
Every protocol is tried at least once, since isolation is for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from npcompile import semantics
from npcompile.analyses.addressing import Port
from npcompile.analyses.trace import Traced
from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import Direction, NamedPort, PortItem, PortRange
from npcompile.ir.program import PolicyIndex, Program
from npcompile.netset.cidrs import Address
from npcompile.netset.ports import FIRST_PORT, LAST_PORT, Protocol
from npcompile.runtime.lab.plan import Place, Plan
from npcompile.runtime.lab.services import Forward

Number = tuple[Protocol, int | None]
"""A protocol and a port of it; None for ICMP."""

_USUAL_PORT = 80  # of a protocol that neither the policies nor the destination mention


@dataclass(frozen=True, slots=True)
class Trial:
    """A flow to try: to its destination itself, or through a Service."""

    flow: Flow
    through: Forward | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Packets that try a flow: from where, to where, and the (address, port) where they must come out.

    `slot`: the remainder that the client's source port has (see `services`).
    """

    src: Address
    dst: Address
    protocol: Protocol
    port: int | None
    arrival: tuple[Address, int | None]
    slot: int = 0


def probe(trial: Trial) -> Probe:
    """The packets of a trial, whose ends have addresses."""
    flow, through = trial.flow, trial.through
    if flow.src.address is None or flow.dst.address is None:
        raise ValueError(f"an end without an address: {flow}")
    arrival = (flow.dst.address, flow.port)
    if through is None or flow.port is None:
        return Probe(
            src=flow.src.address, dst=flow.dst.address, protocol=flow.protocol, port=flow.port, arrival=arrival
        )
    slot = through.slot((flow.dst.address, flow.port))
    return Probe(src=flow.src.address, dst=through.address, protocol=flow.protocol, port=through.port.number,
                 arrival=arrival, slot=slot)  # fmt: skip


def every_trial(program: Program, plan: Plan, numbers: Sequence[Number] = ()) -> Iterator[Trial]:
    """Every pair of ends of which one is a pod, and every pod and node to every Service.

    `numbers`: these protocols and ports for all, instead of those that the policies call for.
    """
    inside = [end for node in plan.nodes for place in (node, *node.pods) for end in _ends(place)]
    ends = [*inside, *(end for place in plan.outside for end in _ends(place))]
    interesting = _Numbers(program)
    for src in ends:
        for dst in ends:
            if src.family == dst.family and (src.pod or dst.pod):
                for protocol, port in numbers or interesting.between(src.pod, dst.pod):
                    yield Trial(Flow(src=src, dst=dst, protocol=protocol, port=port))
    pods = {address: pod for pod in program.cluster.pods for address in pod.addresses}
    for forward in plan.forwards:
        if not numbers or (forward.port.protocol, forward.port.number) in numbers:
            yield from _through(forward, inside, pods)


def _ends(place: Place) -> list[Endpoint]:
    return [Endpoint(pod=place.pod, address=address) for address in place.addresses]


def _through(forward: Forward, ends: Iterable[Endpoint], pods: dict[Address, Pod]) -> Iterator[Trial]:
    for src in ends:
        for address, port in forward.backends:
            pod = pods[address]
            dst = Endpoint(pod=pod, address=address)
            if src.family == dst.family and (src.pod or not pod.host_network):
                yield Trial(Flow(src=src, dst=dst, protocol=forward.port.protocol, port=port), forward)


class _Numbers:
    """The protocols and ports that policies tell apart."""

    def __init__(self, program: Program) -> None:
        self._policies = PolicyIndex(program.policies)
        self._named: dict[tuple[Protocol, str | None], set[int]] = defaultdict(set)
        for pod in program.cluster.pods:
            for port in pod.ports:
                self._named[port.protocol, port.name].add(port.number)
        self._sides: dict[tuple[tuple[str, str], Direction], frozenset[tuple[Protocol, int]]] = {}

    def between(self, src: Pod | None, dst: Pod | None) -> list[Number]:
        """Those to try from one end to the other."""
        found: set[tuple[Protocol, int]] = set()
        if src is not None:
            found |= self._side(src, Direction.EGRESS)
        if dst is not None:
            found |= self._side(dst, Direction.INGRESS)
            found |= {(port.protocol, port.number) for port in dst.ports}
        tried = {protocol for protocol, _ in found}
        found |= {(protocol, _USUAL_PORT) for protocol in Protocol if protocol.has_ports and protocol not in tried}
        order = list(Protocol)
        return [*sorted(found, key=lambda one: (order.index(one[0]), one[1])), (Protocol.ICMP, None)]

    def _side(self, pod: Pod, direction: Direction) -> frozenset[tuple[Protocol, int]]:
        key = (pod.key, direction)
        if key not in self._sides:
            self._sides[key] = frozenset(
                number
                for policy in self._policies.of(pod.namespace)
                if semantics.selects(policy, pod)
                for rule in policy.rules_of(direction)
                for item in rule.match.ports
                for number in self._edges(item)
            )
        return self._sides[key]

    def _edges(self, item: PortItem) -> Iterator[tuple[Protocol, int]]:
        match item:
            case PortRange():
                spans = {(item.first, item.last)}
            case NamedPort():
                spans = {(number, number) for number in self._named[item.protocol, item.name]}
            case _:
                assert_never(item)
        for first, last in spans:
            for port in (first - 1, first, last, last + 1):
                if FIRST_PORT <= port <= LAST_PORT:
                    yield item.protocol, port


def trial_of(plan: Plan, traced: Traced, asked: Port) -> Trial | None:
    """How to try a flow that was asked for: as it stands, or through that port of its Service.

    None: the Service has no address of the flow's family.
    """
    flow = traced.flow
    if traced.service is None:
        return Trial(flow)
    wanted = (traced.service, asked.protocol, asked.name or asked.number)
    for one in plan.forwards:
        here = (one.service, one.port.protocol, one.port.name if asked.name else one.port.number)
        if here == wanted and (flow.dst.address, flow.port) in one.backends:
            return Trial(flow, one)
    return None
