"""Mixed Services by definition: every pod's flows to every pod behind each port, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from npcompile import semantics
from npcompile.ir.cluster import ContainerPort, Pod, Service, ServicePort
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import MixedService, NotDecided
from tests.strategies import paired


@st.composite
def services(draw: st.DrawFn, number: int) -> Service:
    """A Service of namespace a, mostly of the pods with tier=y."""
    selector = draw(st.sampled_from((*[{"tier": "y"}] * 5, {"app": "x"}, {"app": "x", "tier": "y"}, {}, None)))
    ports = []
    for place in range(draw(st.sampled_from((1, 1, 1, 2, 0)))):
        target = draw(st.sampled_from((80, 80, 81, 443, "http", "http", "dns")))
        protocol = draw(st.sampled_from((Protocol.TCP, Protocol.TCP, Protocol.TCP, Protocol.UDP)))
        ports.append(ServicePort(name=f"port{place}", protocol=protocol, number=8000 + place, target=target))
    return Service(namespace="a", name=f"svc{number}", selector=selector, ports=tuple(ports))


@st.composite
def with_services(draw: st.DrawFn, programs: st.SearchStrategy[Program]) -> Program:
    """A program, with Services and most of its pods behind some of them, alike or not in what policies see."""
    program = draw(programs)
    found = [draw(services(number)) for number in range(draw(st.integers(1, 2)))]
    pods = []
    for pod in program.cluster.pods:
        if draw(st.integers(0, 4)):
            app = draw(st.sampled_from(({"app": "x"}, {})))
            http = ContainerPort(name="http", protocol=Protocol.TCP, number=draw(st.sampled_from((80, 81))))
            pods.append(replace(pod, namespace="a", labels={**app, "tier": "y"}, ports=(*pod.ports, http)))
        else:
            pods.append(pod)
    inhabitants = tuple(sorted(pods, key=lambda pod: pod.key))
    return replace(program, cluster=replace(program.cluster, pods=inhabitants, services=tuple(found)))


def check_mixed(program: Program, answers: Sequence[MixedService | NotDecided]) -> None:
    """Exactly the ports and pods of the definition, and a pair that shows it."""
    expected = {
        (service.namespace, service.name, place): pods
        for service in program.cluster.services
        for place, port in enumerate(service.ports)
        if (pods := [pod.key for pod in program.cluster.pods if _mixed(program, service, port, pod)])
    }
    found = {}
    for answer in answers:
        assert isinstance(answer, MixedService)
        place = next(n for n, port in enumerate(answer.service.ports) if port is answer.port)
        found[answer.service.namespace, answer.service.name, place] = [pod.key for pod in answer.sources]
        allowed, denied = answer.allowed.flow, answer.denied.flow
        assert allowed.src == denied.src
        assert allowed.src.pod == answer.sources[0]
        assert _verdict(program, allowed) is Verdict.ALLOW
        assert _verdict(program, denied) is Verdict.DENY
        backends = list(_backends(program, answer.service, answer.port))
        assert (allowed.dst, allowed.port) in backends
        assert (denied.dst, denied.port) in backends
    assert found == expected
    assert list(found) == list(expected)


def _mixed(program: Program, service: Service, port: ServicePort, pod: Pod) -> bool:
    if pod.host_network:
        return False
    backends = [
        (end, number)
        for end, number in _backends(program, service, port)
        if end.pod is not None and (end.pod.key != pod.key or pod.template)
    ]
    for source in (Endpoint(pod=pod, address=address) for address in pod.addresses or (None,)):
        verdicts = [
            (end, _verdict(program, Flow(src=source, dst=end, protocol=port.protocol, port=number)))
            for end, number in backends
            if paired(source, end)
        ]
        for one, verdict in verdicts:
            if any(paired(one, other) and verdict is not another for other, another in verdicts):
                return True
    return False


def _backends(program: Program, service: Service, port: ServicePort) -> Iterator[tuple[Endpoint, int]]:
    for pod in program.cluster.pods:
        inside = bool(service.selector) and pod.namespace == service.namespace
        if not inside or not (service.selector or {}).items() <= dict(pod.labels).items():
            continue
        numbers = [one.number for one in pod.ports if one.name == port.target and one.protocol is port.protocol] or [
            port.target
        ]
        if isinstance(numbers[0], int):
            for address in pod.addresses or (None,):
                yield Endpoint(pod=pod, address=address), numbers[0]


def _verdict(program: Program, flow: Flow) -> Verdict:
    return semantics.decide(program.policies, program.cluster, flow).verdict
