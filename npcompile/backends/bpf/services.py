"""Services: what a pod sends to one is judged by all of its backends.

A pod's packets are judged before kube-proxy exchanges the Service's address for that of a backend, whichever it will
be.  So a Service's (address, protocol, port) is open to a ruleset where every backend is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from npcompile.backends.bpf.rulesets import Opening, Openings, RuleKey, Ruleset
from npcompile.ir.cluster import Cluster, Pod, Service, ServicePort
from npcompile.ir.flow import Endpoint
from npcompile.netset.cidrs import Address, Family, family_of, point
from npcompile.netset.ports import point as port_point
from npcompile.passes.assign_identities import Identities


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPort:
    """A port of a Service at one of its addresses.  `backends`: bitsets of identities by the port's point that they are
    reached at; empty where none are known.
    """

    service: Service
    port: ServicePort
    backends: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """An address of Services, the identity that it would have as an address like others, and its ports."""

    address: Address
    identity: int
    ports: tuple[FrontPort, ...]


def fronts(cluster: Cluster, identities: Identities) -> tuple[Front, ...]:
    """Every address of a Service, in order.  Addresses that are a pod's too are left out: `limits` refuses them."""
    ports: dict[Address, list[FrontPort]] = defaultdict(list)
    pods: dict[str, list[Pod]] = defaultdict(list)
    for pod in cluster.pods:
        pods[pod.namespace].append(pod)
    for service in cluster.services:
        behind = [pod for pod in pods[service.namespace] if service.selects(pod)]
        for address in service.addresses:
            ports[address] += (
                FrontPort(service=service, port=port, backends=_backends(port, behind, family_of(address), identities))
                for port in service.ports
            )
    return tuple(
        Front(address=address, identity=identities.of(Endpoint(address=address)), ports=tuple(ports[address]))
        for address in sorted(ports, key=point)
    )


def _backends(
    port: ServicePort, behind: Iterable[Pod], family: Family, identities: Identities
) -> tuple[tuple[int, int], ...]:
    found: dict[int, int] = defaultdict(int)
    for pod in behind:
        for address, identity in identities.of_pod(pod):
            if address is not None and family_of(address) is family and (number := port.number_at(pod)) is not None:
                found[port_point(port.protocol, number)] |= 1 << identity
    return tuple(sorted(found.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A Service's port for one ruleset: the least rule that allows a backend, where every one is allowed; else None.

    `partly`: some backends are allowed.
    """

    rule: RuleKey | None
    partly: bool


def judge(front: FrontPort, ruleset: Ruleset) -> Judged:
    """Ask an egress ruleset about every backend."""
    rules: list[RuleKey] = []
    allowed_everywhere = bool(front.backends)
    for at, backends in front.backends:
        for peer_class in ruleset.classes:
            if peer_class.identities & backends:
                if (rule := rule_at(peer_class.openings, at)) is None:
                    allowed_everywhere = False
                else:
                    rules.append(rule)
    if allowed_everywhere:
        return Judged(rule=min(rules, default=None), partly=False)
    return Judged(rule=None, partly=bool(rules))


def rule_at(openings: Openings, at: int) -> RuleKey | None:
    """The rule that opens a port, by its point on the axis of `netset.ports`."""
    return next((one.rule for one in openings if one.first <= at <= one.last), None)


def overlay(openings: Openings, at: int, rule: RuleKey | None) -> Openings:
    """The openings with one port opened by `rule`, or closed as one of a Service that not every backend allows."""
    kept: list[Opening] = []
    for one in openings:
        if one.first <= at <= one.last:
            kept += [Opening(first=one.first, last=at - 1, rule=one.rule)] if one.first < at else []
            kept += [Opening(first=at + 1, last=one.last, rule=one.rule)] if at < one.last else []
        else:
            kept.append(one)
    return tuple(sorted([*kept, Opening(first=at, last=at, rule=rule)], key=lambda one: one.first))
