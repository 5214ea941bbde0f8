"""The IR in a reader's words: the one place where policies, rules, selectors and endpoints become text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from npcompile.ir.classes import AddressClass, DeclaredPort, EndClass, LabelCondition, PodClass
from npcompile.ir.cluster import Namespace, Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.labels import NAMESPACE_NAME, Labels, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, NamedPort, Peer, PodPeer, Policy, PortItem, PortRange, Rule
from npcompile.netset import cidrs
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import FIRST_PORT, LAST_PORT


def rule_text(policy: Policy, rule: Rule) -> str:
    """`payments/allow-ingress ingress[0]`."""
    return f"{policy} {rule.direction}[{rule.index}]"


def requirement_text(requirement: Requirement) -> str:
    """As kubectl writes selectors: `app=web`, `tier in (a,b)`, `!legacy`."""
    key, values = requirement.key, requirement.values
    match requirement.operator:
        case Operator.IN:
            return f"{key}={values[0]}" if len(values) == 1 else f"{key} in ({','.join(values)})"
        case Operator.NOT_IN:
            return f"{key}!={values[0]}" if len(values) == 1 else f"{key} notin ({','.join(values)})"
        case Operator.EXISTS:
            return key
        case Operator.DOES_NOT_EXIST:
            return f"!{key}"
        case _:
            assert_never(requirement.operator)


def selector_text(selector: Selector, *, everything: str = "everything") -> str:
    """A selector's requirements, or a word for the one that has none."""
    return ",".join(requirement_text(requirement) for requirement in selector.requirements) or everything


def peer_text(peer: Peer) -> str:
    """`app=web in namespaces team=x`, `10.0.0.0/8 except 10.1.0.0/16`."""
    match peer:
        case BlockPeer():
            excepts = ", ".join(str(one) for one in peer.excepts)
            return f"{peer.cidr} except {excepts}" if excepts else str(peer.cidr)
        case PodPeer():
            pods = selector_text(peer.pods, everything="every pod")
            if peer.namespaces is None:
                return f"{pods} in its own namespace"
            return f"{pods} in {selector_text(peer.namespaces, everything='every namespace')}"
        case _:
            assert_never(peer)


def port_item_text(item: PortItem) -> str:
    """`tcp/80`, `tcp/1000-2000`, `udp`, `tcp/http`."""
    match item:
        case NamedPort():
            return f"{item.protocol}/{item.name}"
        case PortRange():
            if (item.first, item.last) == (FIRST_PORT, LAST_PORT):
                return str(item.protocol)
            last = "" if item.first == item.last else f"-{item.last}"
            return f"{item.protocol}/{item.first}{last}"
        case _:
            assert_never(item)


def labels_text(labels: Labels) -> str:
    """`app=web,tier=front`, sorted."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def pod_text(pod: Pod) -> str:
    """A pod with its labels: `web/cron-7c (app=cron)`."""
    labels = labels_text(pod.labels)
    return f"{pod} ({labels})" if labels else str(pod)


def endpoint_text(endpoint: Endpoint, home: Namespace | None = None) -> str:
    """A flow's end with all that is known of it: `web/cron-7c (app=cron) 10.0.0.9`.

    `home`: its namespace, where that is invented: `example/example (app=cron) in a namespace with team=web`.
    """
    words = [pod_text(endpoint.pod)] if endpoint.pod else []
    words += [str(endpoint.address)] if endpoint.address else []
    if home is not None and (labels := {key: value for key, value in home.labels.items() if key != NAMESPACE_NAME}):
        words.append(f"in a namespace with {labels_text(labels)}")
    return " ".join(words)


def class_text(ends: EndClass) -> str:
    """`app=web in namespaces labelled team=x`, `every pod in a, b at 10.0.0.0/8`, `every address (but 10.0.0.0/8)`."""
    match ends:
        case AddressClass():
            return _addresses_text(ends.addresses)
        case PodClass():
            pods = _conditions_text(ends.labels) or "every pod"
            return f"{pods}{_namespaces_text(ends)}{_own_address_text(ends)}"
        case _:
            assert_never(ends)


def _namespaces_text(ends: PodClass) -> str:
    names = ", ".join(ends.names)
    labels = _conditions_text(ends.namespace_labels)
    if labels and ends.labels_in is not None:
        labels += f" as {ends.labels_in} has them"
    if ends.excluded:
        but = f" but {names}" if names else ""
        return f" in namespaces labelled {labels}{but}" if labels else f" in every namespace{but}" if but else ""
    return f" in {names} labelled {labels}" if labels else f" in {names}"


def _own_address_text(ends: PodClass) -> str:
    if ends.addresses == cidrs.EVERY_ADDRESS:
        return "" if ends.unaddressed else " with an address"
    if not ends.addresses:
        return " without an address"
    return f" at {_addresses_text(ends.addresses)}" + (" or without an address" if ends.unaddressed else "")


def _addresses_text(addresses: IntervalSet) -> str:
    """CIDRs, or larger ones and what is missing of them, where these are fewer: `10.0.0.0/8 (but 10.1.0.0/16)`."""
    if addresses == cidrs.EVERY_ADDRESS:
        return "every address"
    own = [part for family in cidrs.Family if (part := addresses & cidrs.every_address(family))]
    words = [_but(str(cidrs.enclosing(part)), cidrs.block(cidrs.enclosing(part)), part) for part in own]
    whole = _but("every address", cidrs.EVERY_ADDRESS, addresses)
    return min(", ".join(words), whole, key=lambda text: text.count(","))


def _but(name: str, whole: IntervalSet, addresses: IntervalSet) -> str:
    inside = [str(one) for one in cidrs.prefixes(addresses)]
    missing = [str(one) for one in cidrs.prefixes(whole - addresses)]
    return ", ".join(inside) if len(inside) <= len(missing) + 1 else f"{name} (but {', '.join(missing)})"


def _conditions_text(conditions: Iterable[LabelCondition]) -> str:
    return ",".join(condition_text(one) for one in conditions)


def condition_text(condition: LabelCondition) -> str:
    """As kubectl writes selectors; what no selector can say is in brackets: `(!app or app=web)`."""
    key, values = condition.key, condition.values
    if condition.excluded:
        present = [] if condition.absent else [Requirement(key=key, operator=Operator.EXISTS)]
        others = [Requirement(key=key, operator=Operator.NOT_IN, values=values)] if values else []
        return ",".join(map(requirement_text, (*present, *others)))
    lacking = [Requirement(key=key, operator=Operator.DOES_NOT_EXIST)] if condition.absent else []
    having = [Requirement(key=key, operator=Operator.IN, values=values)] if values else []
    words = [requirement_text(one) for one in (*lacking, *having)]
    return words[0] if len(words) == 1 else f"({' or '.join(words)})"


def declared_text(ports: Iterable[DeclaredPort]) -> str:
    """What the destination declares: `named tcp/http`, `not named tcp/http`."""
    return ", ".join(f"{'' if one.declared else 'not '}named {one.protocol}/{one.name}" for one in ports)
