"""Services that could be mixed, by definition, over the universe of everything that the policies can tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.analyses.checks.mixed_service import RULE
from npcompile.analyses.claims import Claim, MixedBackends
from npcompile.diagnostics.model import Scope
from npcompile.driver.replay import Replayer
from npcompile.ir.cluster import Namespace, Service, ServicePort
from npcompile.ir.flow import Endpoint
from npcompile.ir.labels import NAMESPACE_NAME
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import MixedService
from npcompile.symbolic.engine import SymbolicEngine
from tests.properties.symbolic_universe import POINTS, Meaning, programs
from tests.properties.test_confirm import inventories
from tests.strategies import paired

TARGETS = (80, 53, 9, "http", "metrics")


@st.composite
def with_service(draw: st.DrawFn, given: st.SearchStrategy[Program]) -> Program:
    """A program with a Service whose selector policies can, or cannot, tell apart from others."""
    port = ServicePort(name=None, protocol=Protocol.TCP, number=8000, target=draw(st.sampled_from(TARGETS)))
    selector = draw(st.sampled_from(({"app": "x"}, {"app": "unheard-of"}, {"tier": "any"})))
    namespace = draw(st.sampled_from(("a", "a", "b", "c")))
    service = Service(namespace=namespace, name="service", selector=selector, ports=(port,))
    program = draw(given)
    own = Namespace(name=namespace, labels={NAMESPACE_NAME: namespace}, listed=False)
    spaces = {**program.cluster.namespaces, namespace: program.cluster.namespaces.get(namespace, own)}
    return replace(program, cluster=replace(program.cluster, namespaces=spaces, services=(service,)))


@settings(max_examples=40, deadline=None)
@given(with_service(programs()))
def test_mixed_by_definition(program: Program) -> None:
    (service,) = program.cluster.services
    answers = list(SymbolicEngine(program).mixed_services())
    if service.namespace != "c":  # of which there is none in the universe
        assert bool(answers) == _mixed(Meaning(program), service), service
    for answer in answers:
        _replayed(program, answer)


@settings(max_examples=15, deadline=None)
@given(with_service(inventories()))
def test_examples_with_real_pods_replay(program: Program) -> None:
    for answer in SymbolicEngine(program).mixed_services():
        _replayed(program, answer)


def _replayed(program: Program, answer: object) -> None:
    assert isinstance(answer, MixedService)
    allowed, denied = answer.allowed, answer.denied
    assert allowed.flow.dst.pod != denied.flow.dst.pod
    evidence = MixedBackends(service=answer.service, port=answer.port, allowed=allowed, denied=denied)
    claim = Claim(rule=RULE, message="it is mixed", span=None, evidence=evidence, scope=Scope.ANY_POD)
    assert Replayer(program).confirm(claim).witness is not None


def _mixed(meaning: Meaning, service: Service) -> bool:
    """Whether a source is let through to one place behind the Service, and not to another one of the same namespace."""
    places = meaning.universe.places
    behind = {
        number
        for number, place in enumerate(places)
        if place.pod is not None and place.pod.namespace == service.namespace
        if place.pod.labels.get("app") == {"app": "x"}.get("app") or (service.selector or {}).get("app") != "x"
        if place.pod.labels.get("app") == "other" or (service.selector or {}).get("app") != "unheard-of"
    }
    wanted = _points(service.ports[0])
    passing: dict[int, list[tuple[int, int]]] = {}
    for src, dst in meaning.pairs:
        if dst in behind and places[src].pod is not None:
            sides = [meaning.allowed(direction, (src, dst)) for direction in Direction]
            passing.setdefault(src, []).append((dst, sides[0] & sides[1] & wanted))
    return any(
        mask and other_mask != wanted and _together(places[one], places[other])
        for found in passing.values()
        for one, mask in found
        for other, other_mask in found
    )


def _together(one: object, other: object) -> bool:
    """Two places that could be in one cluster, and in the range of one source at once."""
    ends: Iterator[Endpoint] = (place.end(1) for place in (one, other))  # type: ignore[attr-defined]
    return one.space == other.space and paired(*ends)  # type: ignore[attr-defined]


def _points(port: ServicePort) -> int:
    """The points that a pod may serve the port on: one for each number, without the name `http` and with it."""
    numbers = [n for n, (protocol, _) in enumerate(POINTS) if protocol is Protocol.TCP]
    plain, named = ({1 << n for n in numbers}, {1 << n + len(POINTS) for n in numbers})
    if port.target == "http":
        return sum(named)
    if port.target == "metrics":
        return sum(plain | named)
    index = POINTS.index((Protocol.TCP, port.target if isinstance(port.target, int) else None))
    return 1 << index | 1 << index + len(POINTS)
