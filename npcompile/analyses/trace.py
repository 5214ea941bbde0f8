"""Why a flow is allowed or denied: every pair of ends that a question names, judged by the reference evaluator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from npcompile import semantics
from npcompile.analyses.addressing import Directory, Port, endpoints_of, usage_error
from npcompile.ir.cluster import Cluster, Pod, Service
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.labels import Labels, Requirement, Selector
from npcompile.ir.policy import BlockPeer, Direction, Policy, Rule
from npcompile.ir.printer import labels_text, peer_text, port_item_text, requirement_text
from npcompile.ir.program import PolicyIndex, Program
from npcompile.netset.cidrs import Address, Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A rule of an isolating policy that does not match, and what keeps it from matching."""

    policy: Policy
    rule: Rule
    peer: int | None  # counted from 1; None when the rule has no peers
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """One judged flow.

    `family`: set where the two families of dual-stack ends get different answers.  `service`: what the destination was
    reached through.  `misses`: for a denied side, its rules, the closest first.  `unbound`: ends whose address is not
    known, although a rule with an ipBlock might match it.  `pairs`: how many pairs of pods got this very answer.
    """

    flow: Flow
    decision: semantics.Decision
    family: Family | None = None
    service: Service | None = None
    misses: tuple[Miss, ...] = ()
    unbound: tuple[Pod, ...] = ()
    pairs: int = 1


class Tracer:
    """Answers questions about one program."""

    def __init__(self, program: Program) -> None:
        self._cluster = program.cluster
        self._directory = Directory(program.cluster)
        self._policies = PolicyIndex(program.policies)

    def trace(self, src: str, dst: str, port: Port, *, explain: bool = True) -> list[Traced]:
        """One answer, or one a pair of pods where those of a workload get different ones; raises InputError.

        A Service gets one for each of its backends.
        """
        pairs = self._pairs(src, dst, port, explain=explain)
        answers = [one for pair in pairs for one in _one_answer(pair)]
        return answers if any(one.service for one in answers) else _agreed(answers)

    def each(self, src: str, dst: str, port: Port) -> list[Traced]:
        """One answer a pair of addresses, whether or not they get the same; raises InputError."""
        return [one for pair in self._pairs(src, dst, port, explain=False) for one in pair]

    def _pairs(self, src: str, dst: str, port: Port, *, explain: bool) -> Iterator[list[Traced]]:
        """For each pair of ends, its answers: one an address family."""
        source, target = self._directory.find(src), self._directory.find(dst)
        if isinstance(source, Service):
            raise usage_error(f"`{src}` is a Service, and a Service sends nothing", "name a pod or a workload")
        for destination, number, service in _destinations(self._cluster, dst, target, port):
            for sender in source if isinstance(source, tuple) else (source,):
                yield self._pair(sender, destination, port, number, service, explain=explain)

    def _pair(
        self, src: Pod | Address, dst: Pod | Address, port: Port, number: int | None, service: Service | None,
        *, explain: bool,
    ) -> list[Traced]:  # fmt: skip
        flows = [
            Flow(src=a, dst=b, protocol=port.protocol, port=number) for a, b in _families(_ends_of(src), _ends_of(dst))
        ]
        if not flows:
            raise usage_error(f"`{src}` and `{dst}` have no address family in common")
        return [self._traced(flow, service, explain=explain) for flow in flows]

    def _traced(self, flow: Flow, service: Service | None, *, explain: bool) -> Traced:
        decision = semantics.decide(self._policies.judging(flow), self._cluster, flow)
        misses: list[Miss] = []
        unbound: list[Pod] = []
        for direction, side in ((Direction.EGRESS, decision.egress), (Direction.INGRESS, decision.ingress)):
            if side.allowed:
                continue
            subject, peer = (flow.src, flow.dst) if direction is Direction.EGRESS else (flow.dst, flow.src)
            isolating = [
                policy
                for policy in self._policies.judging(flow)
                if subject.pod and direction in policy.directions and semantics.selects(policy, subject.pod)
            ]
            if peer.pod is not None and peer.address is None and _may_match_address(isolating, direction, flow):
                unbound.append(peer.pod)
            if explain:
                misses += _misses(self._cluster, isolating, direction, peer, flow)
        return Traced(flow=flow, decision=decision, service=service, misses=tuple(misses), unbound=tuple(unbound))


def _one_answer(pair: list[Traced]) -> list[Traced]:
    """One answer for all families, if they got the same."""
    if all(one.decision == pair[0].decision for one in pair):
        return pair[:1]
    return [replace(one, family=one.flow.src.family or one.flow.dst.family) for one in pair]


def _agreed(answers: list[Traced]) -> list[Traced]:
    """One answer for all pairs, if they all got the same."""
    first = answers[0]
    if first.family is None and all((one.decision, one.family) == (first.decision, None) for one in answers):
        return [replace(first, pairs=len(answers))]
    return answers


def _destinations(
    cluster: Cluster, word: str, target: tuple[Pod, ...] | Address | Service, port: Port
) -> Iterator[tuple[Pod | Address, int | None, Service | None]]:
    """Every destination that a word stands for, with the port's number there."""
    if isinstance(target, Service):
        yield from _backends(cluster, target, port)
    elif isinstance(target, tuple):
        for pod in target:
            yield pod, _number_at(pod, port), None
    elif port.name is not None:
        raise usage_error(f"`{port.name}` has no number at `{word}`: only pods declare ports", "write the number")
    else:
        yield target, port.number, None


def _number_at(pod: Pod, port: Port) -> int | None:
    if port.name is None:
        return port.number
    declared = [one for one in pod.ports if (one.name, one.protocol) == (port.name, port.protocol)]
    if not declared:
        names = ", ".join(f"`{one.protocol}/{one.name}`" for one in pod.ports if one.name) or "none"
        raise usage_error(f"`{pod}` declares no port `{port.protocol}/{port.name}`", f"its named ports: {names}")
    return declared[0].number


def _backends(cluster: Cluster, service: Service, port: Port) -> Iterator[tuple[Pod, int | None, Service]]:
    """The pods behind a Service's port, each with its target port: what the packet is judged on after DNAT."""
    wanted = [
        one
        for one in service.ports
        if one.protocol is port.protocol and (one.name == port.name if port.name else one.number == port.number)
    ]
    if not wanted:
        ports = ", ".join(f"`{one.protocol}/{one.number}`" for one in service.ports) or "none"
        raise usage_error(f"Service `{service}` has no such port", f"its ports: {ports}")
    numbers = [(pod, wanted[0].number_at(pod)) for pod in cluster.pods if service.selects(pod)]
    yield from ((pod, number, service) for pod, number in numbers if number is not None)
    if all(number is None for _, number in numbers):
        raise usage_error(f"Service `{service}` has no backend for that port in the input")


def _ends_of(one: Pod | Address) -> tuple[Endpoint, ...]:
    return endpoints_of((one,) if isinstance(one, Pod) else one)


def _families(sources: Sequence[Endpoint], targets: Sequence[Endpoint]) -> Iterator[tuple[Endpoint, Endpoint]]:
    for a in sources:
        for b in targets:
            if a.family is None or b.family is None or a.family == b.family:
                yield a, b


def _may_match_address(policies: Sequence[Policy], direction: Direction, flow: Flow) -> bool:
    """Whether an address could make the difference: some ipBlock rule matches the flow's port."""
    return any(
        any(isinstance(item, BlockPeer) for item in rule.match.peers)
        and (not rule.match.ports or any(semantics.port_matches(item, flow) for item in rule.match.ports))
        for policy in policies
        for rule in policy.rules_of(direction)
    )


def _misses(
    cluster: Cluster, policies: Sequence[Policy], direction: Direction, peer: Endpoint, flow: Flow
) -> list[Miss]:
    """Why each rule does not match, the closest first."""
    misses = []
    for policy in policies:
        for rule in policy.rules_of(direction):
            port = _port_reasons(rule, flow)
            if not rule.match.peers:
                misses.append(Miss(policy=policy, rule=rule, peer=None, reasons=port))
            for index in range(1, len(rule.match.peers) + 1):
                reasons = (*_peer_reasons(cluster, policy, rule, index, peer), *port)
                misses.append(Miss(policy=policy, rule=rule, peer=index, reasons=reasons))
    return sorted(misses, key=lambda miss: len(miss.reasons))


def _port_reasons(rule: Rule, flow: Flow) -> tuple[str, ...]:
    ports = rule.match.ports
    if not ports or any(semantics.port_matches(item, flow) for item in ports):
        return ()
    return (f"wants {' or '.join(port_item_text(item) for item in ports)}, the flow is {flow.port_text}",)


def _peer_reasons(cluster: Cluster, policy: Policy, rule: Rule, index: int, peer: Endpoint) -> tuple[str, ...]:
    item = rule.match.peers[index - 1]
    if semantics.peer_matches(cluster, policy, item, peer):
        return ()
    if isinstance(item, BlockPeer):
        return (f"wants {peer_text(item)}, has {peer.address or 'no address yet'}",)
    pod = peer.pod
    if pod is None or pod.host_network:
        who = "a pod on its node's network" if pod else f"the address {peer.address}"
        # More than any label can be wrong by: no label would help.
        return (f"wants a pod, has {who}",) * 2
    reasons = []
    if item.namespaces is None:
        if pod.namespace != policy.namespace:
            reasons.append(f"wants namespace {policy.namespace}, has {pod.namespace}")
    else:
        labels = cluster.namespaces[pod.namespace].labels
        reasons += [f"{text} on its namespace" for text in _label_reasons(item.namespaces.requirements, labels)]
    return (*reasons, *_label_reasons(item.pods.requirements, pod.labels))


def _label_reasons(requirements: Sequence[Requirement], labels: Labels) -> list[str]:
    return [
        f"wants {requirement_text(one)}, has "
        + (labels_text({one.key: labels[one.key]}) if one.key in labels else f"no {one.key}")
        for one in requirements
        if not semantics.matches(Selector(requirements=(one,)), labels)
    ]
