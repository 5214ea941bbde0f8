"""Which Services could have pods behind them some of which deny what others allow.

That is a question about two flows with one source.  Pods on their node's network are no pods here, so that a Service
is not mixed only because one of those could be behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import z3

from npcompile.ir.cluster import ContainerPort, Service, ServicePort
from npcompile.ir.policy import Direction, Policy
from npcompile.questions import Example, MixedService, NotDecided
from npcompile.symbolic import properties
from npcompile.symbolic.decode import Candidates, Decoder, fresh
from npcompile.symbolic.encode import Encoding
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError, Query


def mixed_services(session: Session, question: str) -> Iterator[MixedService | NotDecided]:
    """By Service and port."""
    if not session.program.policies:
        return
    finder = _Finder(session)
    for service in session.program.cluster.services:
        for port in service.ports if service.selector else ():
            try:
                answer = finder.answer(service, port)
            except OutOfEffortError:
                yield NotDecided(question=question, policy=session.program.policies[0])
                continue
            if answer is not None:
                yield answer


class _Finder:
    """What all Services share: a second flow."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._other, self._possible = session.another()
        self._real = [pod for pod in session.program.cluster.pods if not pod.host_network]
        policies = session.program.policies
        self._of = {direction: [one for one in policies if direction in one.directions] for direction in Direction}
        self._rules = {
            direction: [of for of in session.rules if of.rule.direction is direction] for direction in Direction
        }

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self._session.program, self._session.vocabulary, self._other, self._session.addresses)

    def answer(self, service: Service, port: ServicePort) -> MixedService | None:
        """About one port."""
        session = self._session
        query = session.two_sided(
            *self._possible,
            session.encoding.flow.src.is_pod,
            *_behind(session.encoding, service, port),
            *_behind(self._other, service, port),
            *properties.parted(session.encoding, self._other, self._ingress(service), self._egress()),
        )
        if not query.satisfiable():
            return None
        allowed, denied = self._examples(query, service, port)
        source = allowed.flow.src.pod
        assert source is not None
        return MixedService(service=service, port=port, sources=(source,), allowed=allowed, denied=denied)

    def _ingress(self, service: Service) -> properties.Judges:
        def near(policy: Policy) -> bool:
            return policy.namespace == service.namespace

        return (
            [policy for policy in self._of[Direction.INGRESS] if near(policy)],
            [of for of in self._rules[Direction.INGRESS] if near(of.policy)],
        )

    def _egress(self) -> properties.Judges:
        return self._of[Direction.EGRESS], self._rules[Direction.EGRESS]

    def _examples(self, query: Query, service: Service, port: ServicePort) -> tuple[Example, Example]:
        # A real pod may declare a name several times, of which the first counts: only a number is the same for all.
        real = [pod for pod in self._real if service.selects(pod)] if isinstance(port.target, int) else []
        first = self._session.decoder.example(query, Direction.INGRESS, Candidates(subjects=real, peers=self._real))
        allowed = self._placed(first, service, port, taken=set())
        source, found = allowed.flow.src.pod, allowed.flow.dst.pod
        assert source is not None
        assert found is not None
        others = [pod for pod in real if pod.key not in (source.key, found.key)]
        query.satisfiable()
        second = self._decoder.example(query, Direction.INGRESS, Candidates(subjects=others, peers=[source]))
        return allowed, self._placed(second, service, port, taken={found.key})

    def _placed(self, example: Example, service: Service, port: ServicePort, *, taken: set[tuple[str, str]]) -> Example:
        """An example whose invented destination has all that puts it behind a Service's port, policies aside."""
        flow = example.flow
        pod = flow.dst.pod
        assert pod is not None
        if any(pod.key == real.key for real in self._real):
            return example
        ports = pod.ports
        if isinstance(port.target, str) and port.number_at(pod) is None:
            ports = (*ports, ContainerPort(name=port.target, protocol=port.protocol, number=flow.port or 0))
        names = {name for space, name in taken | {real.key for real in self._real} if space == pod.namespace}
        names |= {flow.src.pod.name} if flow.src.pod is not None else set()
        name = pod.name if pod.name not in names else fresh("example", names)
        placed = replace(pod, name=name, labels={**pod.labels, **(service.selector or {})}, ports=ports)
        return replace(example, flow=replace(flow, dst=replace(flow.dst, pod=placed)))


def _behind(encoding: Encoding, service: Service, port: ServicePort) -> Iterator[z3.BoolRef]:
    """Whether the destination is a pod behind a Service's port, and the flow comes to it there."""
    flow = encoding.flow
    yield encoding.carries(flow.dst, service.namespace, service.selector or {})
    yield encoding.carried_by(port.protocol)
    if isinstance(port.target, int):
        yield flow.port == port.target
    elif (declares := flow.declares.get((port.target, port.protocol))) is not None:
        yield declares
