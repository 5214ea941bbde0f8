"""From what is written to what is meant: every default of the NetworkPolicy API is decided here, and nowhere else.

Quotations are of the field documentation in k8s.io/api/networking/v1.
"""

from __future__ import annotations

from npcompile.frontend.raw import RawBlock, RawPeer, RawPolicy, RawPort, RawRule, RawSelector
from npcompile.ir.labels import EVERYTHING, Operator, Requirement, Selector
from npcompile.ir.policy import (
    BlockPeer,
    Direction,
    Match,
    NamedPort,
    Peer,
    PodPeer,
    Policy,
    PortItem,
    PortRange,
    Rule,
)
from npcompile.netset.ports import FIRST_PORT, LAST_PORT, Protocol

DEFAULT_NAMESPACE = "default"

_OPERATORS = {operator.value: operator for operator in Operator}
_PROTOCOLS = {protocol.value: protocol for protocol in Protocol}


def resolve(raw: RawPolicy) -> Policy:
    """The policy that a manifest stands for."""
    directions = _directions(raw)
    lists = {Direction.INGRESS: raw.ingress, Direction.EGRESS: raw.egress}
    written = [
        _rule(direction, index, rule) for direction, rules in lists.items() for index, rule in enumerate(rules or ())
    ]
    return Policy(
        namespace=raw.namespace or DEFAULT_NAMESPACE,
        name=raw.name,
        # "An empty selector matches all pods in the policy's namespace"; a missing one is its zero value.
        subjects=_selector(raw.pod_selector) if raw.pod_selector else EVERYTHING,
        directions=directions,
        rules=tuple(rule for rule in written if rule.direction in directions),
        inactive=tuple(rule for rule in written if rule.direction not in directions),
        unlisted=frozenset(direction for direction, rules in lists.items() if rules is None),
        span=raw.span,
    )


def _directions(raw: RawPolicy) -> frozenset[Direction]:
    """The API's words: "If this field is not specified, it will default based on the existence of ingress or egress
    rules; policies that contain an egress section are assumed to affect egress, and all policies (whether or not they
    contain an ingress section) are assumed to affect ingress."  The server counts rules: `egress: []` has none.
    """
    if raw.policy_types:
        return frozenset(Direction(word.lower()) for word in raw.policy_types)
    return frozenset({Direction.INGRESS, Direction.EGRESS} if raw.egress else {Direction.INGRESS})


def _rule(direction: Direction, index: int, raw: RawRule) -> Rule:
    """The API's words: "If this field is empty or missing, this rule matches all sources" (and all ports), so that
    empty tuples do not restrict.
    """
    match = Match(peers=tuple(_peer(peer) for peer in raw.peers), ports=tuple(_port(port) for port in raw.ports))
    return Rule(direction=direction, index=index, match=match, span=raw.span)


def _peer(raw: RawPeer) -> Peer:
    """The API's words: namespaceSelector, "if present but empty", selects all namespaces; without one, podSelector
    selects "the pods matching podSelector in the policy's own namespace"; without podSelector, all pods of the
    namespaces selected.
    """
    if raw.block is not None:
        return _block(raw, raw.block)
    return PodPeer(
        namespaces=_selector(raw.namespace_selector) if raw.namespace_selector else None,
        pods=_selector(raw.pod_selector) if raw.pod_selector else EVERYTHING,
        span=raw.span,
    )


def _block(raw: RawPeer, block: RawBlock) -> BlockPeer:
    excepts = sorted(set(block.excepts), key=lambda n: (int(n.network_address), n.prefixlen))
    return BlockPeer(cidr=block.cidr, excepts=tuple(excepts), span=raw.span)


def _port(raw: RawPort) -> PortItem:
    """The API's words: protocol, "if not specified, this field defaults to TCP"; without port, "this matches all port
    names and numbers"; with endPort, "the range of ports from port to endPort, inclusive".
    """
    protocol = _PROTOCOLS[raw.protocol or "TCP"]
    match raw.port:
        case None:
            return PortRange(protocol=protocol, first=FIRST_PORT, last=LAST_PORT, span=raw.span)
        case int(number):
            last = number if raw.end_port is None else raw.end_port
            return PortRange(protocol=protocol, first=number, last=last, span=raw.span)
        case name:
            return NamedPort(protocol=protocol, name=name, span=raw.span)


def _selector(raw: RawSelector) -> Selector:
    """Requirements are a conjunction: their order and repetitions mean nothing."""
    meant = {
        (item.key, item.operator, tuple(sorted(set(item.values)))): item.span for item in reversed(raw.requirements)
    }
    requirements = (
        Requirement(key=key, operator=_OPERATORS[operator], values=values, span=meant[key, operator, values])
        for key, operator, values in sorted(meant)
    )
    return Selector(requirements=tuple(requirements), span=raw.span)
