"""The IR in a reader's words: the one place where policies, rules, selectors and endpoints become text."""

from __future__ import annotations

from typing import assert_never

from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.labels import Labels, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, NamedPort, Peer, PodPeer, Policy, PortItem, PortRange, Rule
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


def endpoint_text(endpoint: Endpoint) -> str:
    """A flow's end with all that is known of it: `web/cron-7c (app=cron) 10.0.0.9`."""
    words = [pod_text(endpoint.pod)] if endpoint.pod else []
    return " ".join([*words, *([str(endpoint.address)] if endpoint.address else [])])
