"""What the entries of the BPF datapath's maps mean, read back from their bytes, is what the evaluator says: the verdict
of each side of each flow, and the rule or policy that decides it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.backends.bpf import BpfTarget
from npcompile.backends.target import Artifact, Options, RuleOrigin
from npcompile.ir.cluster import Pod, Service, ServicePort
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address
from npcompile.netset.ports import Protocol
from npcompile.readers import bpf_lookup, bpf_maps
from npcompile.semantics import Reason, Side, decide
from tests.strategies import KEYS, NAMESPACES, PORT_NAMES, PORTS, TRANSPORTS, VALUES, endpoints, flows, programs

FILE = "maps.json"
REASONS = {
    Reason.SAME_POD: bpf_lookup.Reason.SAME_POD,
    Reason.OWN_NODE: bpf_lookup.Reason.OWN_NODE,
    Reason.NOT_ISOLATED: bpf_lookup.Reason.NOT_ISOLATED,
    Reason.RULE: bpf_lookup.Reason.RULE,
    Reason.NO_RULE: bpf_lookup.Reason.NO_RULE,
}


class Node:
    """The artifact of a node (None: of all at once), read back."""

    def __init__(self, program: Program, name: str | None, earlier: Mapping[str, bytes] | None = None) -> None:
        self.artifact: Artifact = BpfTarget().emit(program, Options(node=name, earlier=earlier or {}))
        self.maps = bpf_maps.read_maps(self.artifact.files[FILE])
        self.origins: Mapping[str, RuleOrigin] = {origin.id: origin for origin in self.artifact.rules}

    def says(self, pod: Pod, direction: Direction, flow: Flow) -> bpf_lookup.Judged:
        peer = flow.dst.address if direction is Direction.EGRESS else flow.src.address
        assert peer is not None
        return bpf_lookup.judge(self.maps, self.maps.endpoints[str(pod)], direction, peer, (flow.protocol, flow.port))


def sides(flow: Flow) -> Iterator[tuple[Pod, Direction]]:
    for end, direction in ((flow.src, Direction.EGRESS), (flow.dst, Direction.INGRESS)):
        if end.pod is not None and not end.pod.host_network:
            yield end.pod, direction


def agree(said: bpf_lookup.Judged, side: Side, origins: Mapping[str, RuleOrigin]) -> bool:
    """The reason, and what decides."""
    origin = origins.get(said.origin)
    decided = (origin.policy, origin.rule) if origin is not None else (None, None)
    return said.reason is REASONS[side.reason] and decided == (side.policy, side.rule)


@settings(max_examples=120)
@given(st.data())
def test_the_maps_say_what_the_evaluator_says(data: st.DataObject) -> None:
    program = data.draw(programs(bound=True))
    nodes: dict[str | None, Node] = {}
    for flow in data.draw(st.lists(flows(program), min_size=1, max_size=12)):
        decision = decide(program.policies, program.cluster, flow)
        for pod, direction in sides(flow):
            side = decision.egress if direction is Direction.EGRESS else decision.ingress
            if pod.node not in nodes:
                nodes[pod.node] = Node(program, pod.node)
            node = nodes[pod.node]
            said = node.says(pod, direction, flow)
            assert agree(said, side, node.origins), (flow, direction, said, side)


@settings(max_examples=30)
@given(st.data())
def test_kept_numbers_change_no_meaning(data: st.DataObject) -> None:
    before, program = data.draw(programs(bound=True)), data.draw(programs(bound=True))
    node = Node(program, None, BpfTarget().emit(before, Options()).files)
    for flow in data.draw(st.lists(flows(program), min_size=1, max_size=12)):
        decision = decide(program.policies, program.cluster, flow)
        for pod, direction in sides(flow):
            side = decision.egress if direction is Direction.EGRESS else decision.ingress
            if side.reason is not Reason.OWN_NODE:  # an artifact of all nodes knows no node's own addresses
                assert agree(node.says(pod, direction, flow), side, node.origins)


@settings(max_examples=30)
@given(programs(bound=True))
def test_equal_programs_have_equal_bytes(program: Program) -> None:
    shuffled = replace(program, policies=tuple(reversed(program.policies)))
    assert BpfTarget().emit(program, Options()).files == BpfTarget().emit(shuffled, Options()).files


# --- Services --------------------------------------------------------------------------------------------------------


@st.composite
def services(draw: st.DrawFn, number: int) -> Service:
    ports = draw(
        st.lists(
            st.tuples(st.sampled_from(TRANSPORTS), st.sampled_from(PORTS), st.sampled_from((*PORTS, *PORT_NAMES))),
            max_size=2,
            unique_by=lambda port: port[:2],
        )
    )
    return Service(
        namespace=draw(st.sampled_from(NAMESPACES)),
        name=f"s{number}",
        selector=draw(st.none() | st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=1)),
        addresses=(ip_address(f"10.96.0.{number + 1}"),),
        ports=tuple(ServicePort(name=None, protocol=p, number=n, target=t) for p, n, t in ports),
    )


def backends(program: Program, service: Service, port: ServicePort) -> list[tuple[Pod, Address, int]]:
    """As kube-proxy would find them: every selected pod at its IPv4 address, on every port that the target means."""
    found = []
    for pod in program.cluster.pods:
        if service.selects(pod):
            numbers = (
                [port.target]
                if isinstance(port.target, int)
                else [one.number for one in pod.ports if (one.name, one.protocol) == (port.target, port.protocol)]
            )
            found += [(pod, address, n) for address in pod.addresses if address.version == 4 for n in numbers]
    return found


@settings(max_examples=80)
@given(st.data())
def test_a_service_is_open_where_every_backend_is(data: st.DataObject) -> None:
    program = data.draw(programs(bound=True))
    made = tuple(data.draw(services(number)) for number in range(2))
    program = replace(program, cluster=replace(program.cluster, services=made))
    node = Node(program, None)
    subjects = [pod for pod in program.cluster.pods if not pod.host_network and pod.addresses[0].version == 4]
    for pod in subjects:
        for service in made:
            for port in service.ports:
                behind = backends(program, service, port)
                if any(one.key == pod.key for one, _, _ in behind):
                    continue  # the pod itself is always reached, which its ruleset does not know
                verdicts = {
                    decide(program.policies, program.cluster, flow).egress.allowed
                    for flow in (
                        Flow(
                            src=Endpoint(pod=pod, address=pod.addresses[0]),
                            dst=Endpoint(pod=one, address=address),
                            protocol=port.protocol,
                            port=number,
                        )
                        for one, address, number in behind
                    )
                }
                isolated = node.maps.endpoints[str(pod)].egress != 0
                flow = Flow(
                    src=Endpoint(pod=pod, address=pod.addresses[0]),
                    dst=Endpoint(address=service.addresses[0]),
                    protocol=port.protocol,
                    port=port.number,
                )
                assert node.says(pod, Direction.EGRESS, flow).allowed == (not isolated or verdicts == {True})


@settings(max_examples=40)
@given(st.data())
def test_other_ports_of_a_service_are_those_of_an_address(data: st.DataObject) -> None:
    program = data.draw(programs(bound=True))
    made = tuple(data.draw(services(number)) for number in range(2))
    node = Node(replace(program, cluster=replace(program.cluster, services=made)), None)
    ports = {(port.protocol, port.number) for service in made for port in service.ports}
    pods = [end for end in endpoints(program) if end.pod is not None and not end.pod.host_network]
    for end in pods:
        if end.family != 4 or end.pod is None:
            continue
        for protocol, number in ((p, n) for p in TRANSPORTS for n in PORTS):
            if (protocol, number) not in ports:
                front = Endpoint(address=made[0].addresses[0])
                flow = Flow(src=end, dst=front, protocol=protocol, port=number)
                side = decide(program.policies, program.cluster, flow).egress
                assert agree(node.says(end.pod, Direction.EGRESS, flow), side, node.origins)
        icmp = Flow(src=end, dst=Endpoint(address=made[0].addresses[0]), protocol=Protocol.ICMP)
        said = node.says(end.pod, Direction.EGRESS, icmp)
        assert agree(said, decide(program.policies, program.cluster, icmp).egress, node.origins)
