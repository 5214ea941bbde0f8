"""NetworkPolicy objects: strict decoding and the API server's validation, to `RawPolicy`.

Source: `ValidateNetworkPolicy` and what it calls in k8s.io/kubernetes/pkg/apis/networking/validation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from npcompile.diagnostics.model import Severity
from npcompile.frontend import codes, names
from npcompile.frontend.fields import Fields, Problems, describe, integer, string, string_map
from npcompile.frontend.metadata import read_metadata
from npcompile.frontend.nodes import Mapping, Node, Scalar, Sequence, span_of
from npcompile.frontend.raw import RawBlock, RawPeer, RawPolicy, RawPort, RawRequirement, RawRule, RawSelector
from npcompile.netset.cidrs import Network

_TYPES = ("Ingress", "Egress")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")

_T = TypeVar("_T")


def read_network_policy(problems: Problems, node: Node) -> RawPolicy | None:
    """A NetworkPolicy of networking.k8s.io/v1; None when its problems were added instead."""
    before = len(problems.found)
    top = Fields(problems, node, "")
    top.take("apiVersion"), top.take("kind")
    metadata = read_metadata(problems, top)
    spec = top.object("spec") or Fields(problems, None, "spec")
    _note_status(problems, top)
    top.close()
    policy = RawPolicy(
        namespace=metadata.namespace,
        name=metadata.name,
        pod_selector=_selector(spec, "podSelector"),
        policy_types=_policy_types(spec),
        ingress=_rules(spec, "ingress", "from"),
        egress=_rules(spec, "egress", "to"),
        span=span_of(problems.file, node),
    )
    spec.close()
    bad = any(problem.severity is Severity.ERROR for problem in problems.found[before:])
    return None if bad else policy


def _note_status(problems: Problems, top: Fields) -> None:
    """NetworkPolicy had a status until Kubernetes 1.28, and what older clusters exported still carries it."""
    top.take("status")
    if key := top.key_node("status"):
        problems.add(key, "`status` is no field of a NetworkPolicy any more, and has no effect",
                     rule=codes.STALE_FIELD,
                     help="remove it: API servers since 1.28 refuse it under strict validation")  # fmt: skip


def _policy_types(spec: Fields) -> tuple[str, ...] | None:
    items = spec.list("policyTypes")
    if items is None:
        return None
    words = []
    for item, path in items:
        found = string(spec.problems, item, path)
        if found is None:
            continue
        if found[0] not in _TYPES:
            _unsupported(spec.problems, item, found[0], path, _TYPES)
        words.append(found[0])
    if len(items) > len(_TYPES):
        spec.problems.add(items[-1][0], f"`{spec.path}.policyTypes` may not have more than two entries")
    return tuple(words)


def _rules(spec: Fields, name: str, peers: str) -> tuple[RawRule, ...] | None:
    items = spec.list(name)
    return None if items is None else tuple(_rule(spec.problems, node, path, peers) for node, path in items)


def _rule(problems: Problems, node: Node, path: str, peers: str) -> RawRule:
    fields = Fields(problems, node, path, what=f"an object with `{peers}` and `ports`")
    rule = RawRule(
        peers=_each(fields, peers, _peer),
        ports=_each(fields, "ports", _port),
        span=span_of(problems.file, node),
    )
    fields.close()
    return rule


def _each(fields: Fields, name: str, read: Callable[[Problems, Node, str], _T | None]) -> tuple[_T, ...]:
    items = (read(fields.problems, node, path) for node, path in fields.list(name) or ())
    return tuple(item for item in items if item is not None)


def _peer(problems: Problems, node: Node, path: str) -> RawPeer | None:
    fields = Fields(problems, node, path, what="an object with `podSelector`, `namespaceSelector` or `ipBlock`")
    if not isinstance(node, Mapping | Scalar):
        return None
    peer = RawPeer(
        pod_selector=_selector(fields, "podSelector"),
        namespace_selector=_selector(fields, "namespaceSelector"),
        block=_block(fields),
        span=span_of(problems.file, node),
    )
    selectors = [name for name in ("podSelector", "namespaceSelector") if fields.take(name) is not None]
    has_block = fields.take("ipBlock") is not None
    fields.close()
    if not selectors and not has_block:
        problems.add(node, f"`{path}` is empty: a peer needs `podSelector`, `namespaceSelector` or `ipBlock`",
                     help="to match everything, leave the whole list out")  # fmt: skip
    if selectors and has_block:
        problems.add(node, f"`{path}` has `ipBlock` beside `{selectors[0]}`",
                     help="make them two items of the list: either may then match")  # fmt: skip
    return peer


def _block(peer: Fields) -> RawBlock | None:
    fields = peer.object("ipBlock")
    if fields is None:
        return None
    found = fields.string("cidr")
    network = None
    if found is None or not found[0]:
        at = found[1] if found else fields.node
        if at is not None and (found or isinstance(fields.node, Mapping)) and fields.take("cidr") is None:
            peer.problems.add(at, f"`{fields.path}.cidr` is required")
        elif found:
            peer.problems.add(found[1], f"`{fields.path}.cidr` is required")
    else:
        network = _cidr(peer.problems, found[1], found[0], f"{fields.path}.cidr")
    excepts = [_except(peer.problems, item, path, network) for item, path in fields.list("except") or ()]
    fields.close()
    if network is None:
        return None
    return RawBlock(cidr=network, excepts=tuple(one for one in excepts if one is not None))


def _cidr(problems: Problems, node: Scalar, text: str, path: str) -> Network | None:
    network = names.cidr(text)
    if network is None:
        problems.add(node, f"`{path}` must be a CIDR such as `10.0.0.0/8` or `2001:db8::/32`, not `{text}`")
    elif mapped := names.mapped_ipv4(network):
        problems.add(node, f"`{path}`: `{text}` is an IPv4-mapped IPv6 block, which network plugins read differently",
                     help=f"write `{mapped}`")  # fmt: skip
        return None
    elif not names.is_canonical_cidr(text):
        problems.add(node, f"`{path}`: `{text}` has leading zeros, which the API server reads as decimal",
                     rule=codes.ODD_CIDR, help=f"write `{network}`: others may read octal, or refuse it")  # fmt: skip
    return network


def _except(problems: Problems, node: Node, path: str, outer: Network | None) -> Network | None:
    found = string(problems, node, path)
    network = _cidr(problems, found[1], found[0], path) if found else None
    if network is None or outer is None:
        return network
    if network.version != outer.version or not network.subnet_of(outer) or network == outer:  # type: ignore[arg-type]
        problems.add(node, f"`{path}`: `{network}` must lie strictly inside `cidr` (`{outer}`)",
                     help="`except` takes addresses out of this `cidr` only; it denies nothing")  # fmt: skip
    return network


def _port(problems: Problems, node: Node, path: str) -> RawPort | None:
    fields = Fields(problems, node, path, what="an object with `protocol`, `port` and `endPort`")
    if isinstance(node, Sequence):
        return None
    protocol = fields.string("protocol")
    if protocol and protocol[0] not in _PROTOCOLS:
        _unsupported(problems, protocol[1], protocol[0], f"{path}.protocol", _PROTOCOLS)
    port = _int_or_string(fields)
    end = fields.integer("endPort")
    _check_end_port(fields, port, end)
    fields.close()
    return RawPort(
        protocol=protocol[0] if protocol else None,
        port=port,
        end_port=end[0] if end else None,
        span=span_of(problems.file, node),
    )


def _int_or_string(fields: Fields) -> int | str | None:
    """`port`: a number, or a name.  A quoted number is a name, and an invalid one."""
    node = fields.take("port")
    if node is None:
        return None
    path = f"{fields.path}.port"
    value = fields.problems.value(node) if isinstance(node, Scalar) else None
    if isinstance(value, str):
        if wrong := names.port_name(value):
            advice = (
                f"for the number, write it without quotes: `{value}`"
                if isinstance(node, Scalar) and node.style and value.isdecimal()
                else ""
            )
            fields.problems.add(node, f"`{path}`: `{value}` is no port name: {wrong}",
                                help=advice)  # fmt: skip
        return value
    found = integer(fields.problems, node, path)
    if found and not 1 <= found[0] <= 65535:
        fields.problems.add(node, f"`{path}`: `{found[0]}` is no port: it must be between 1 and 65535")
    return found[0] if found else None


def _check_end_port(fields: Fields, port: int | str | None, end: tuple[int, Scalar] | None) -> None:
    if end is None:
        return
    path, problems = f"{fields.path}.endPort", fields.problems
    if port is None and fields.take("port") is None:
        problems.add(end[1], f"`{path}` needs `port`, the first of the range")
    elif isinstance(port, str):
        problems.add(end[1], f"`{path}` needs a numeric `port`, not the name `{port}`")
    elif not 1 <= end[0] <= 65535:
        problems.add(end[1], f"`{path}`: `{end[0]}` is no port: it must be between 1 and 65535")
    elif port is not None and end[0] < port:
        problems.add(end[1], f"`{path}`: `{end[0]}` must not be less than `port` ({port})")


def _selector(parent: Fields, name: str) -> RawSelector | None:
    fields = parent.object(name)
    if fields is None:
        return None
    problems, path = parent.problems, fields.path
    requirements = []
    for key, value, key_node, value_node in string_map(problems, fields.take("matchLabels"), f"{path}.matchLabels"):
        _check(problems, key_node, f"label key `{key}` in `{path}.matchLabels`", names.label_key(key))
        _check(problems, value_node, f"label value `{value}` in `{path}.matchLabels`", names.label_value(value))
        requirements.append(
            RawRequirement(key=key, operator="In", values=(value,), span=span_of(problems.file, key_node))
        )
    for node, item_path in fields.list("matchExpressions") or ():
        requirement = _requirement(problems, node, item_path)
        if requirement:
            requirements.append(requirement)
    fields.close()
    span = fields.span
    return RawSelector(requirements=tuple(requirements), span=span) if span else None


def _requirement(problems: Problems, node: Node, path: str) -> RawRequirement | None:
    fields = Fields(problems, node, path, what="an object with `key`, `operator` and `values`")
    if isinstance(node, Sequence):
        return None
    key, operator = fields.string("key"), fields.string("operator")
    items = fields.list("values") or []
    found = [string(problems, item, item_path) for item, item_path in items]
    fields.close()
    word = operator[0] if operator else ""
    if operator is None or word not in _OPERATORS:
        _unsupported(problems, operator[1] if operator else node, word, f"{path}.operator", _OPERATORS)
    elif word in ("In", "NotIn") and not items:
        problems.add(operator[1], f"`{path}`: operator `{word}` needs `values`")
    elif word not in ("In", "NotIn") and items:
        problems.add(items[0][0], f"`{path}`: operator `{word}` takes no `values`")
    if key and key[0]:
        _check(problems, key[1], f"label key `{key[0]}` in `{path}.key`", names.label_key(key[0]))
    elif key or fields.take("key") is None:
        problems.add(key[1] if key else node, f"`{path}.key` is required")
    for value in found:
        if value is not None:
            _check(problems, value[1], f"label value `{value[0]}` in `{path}.values`", names.label_value(value[0]))
    return RawRequirement(
        key=key[0] if key else "",
        operator=word,
        values=tuple(value[0] for value in found if value is not None),
        span=span_of(problems.file, node),
    )


def _check(problems: Problems, node: Node, what: str, wrong: str | None) -> None:
    if wrong:
        problems.add(node, f"{what}: {wrong}")


def _unsupported(problems: Problems, node: Node, word: str, path: str, allowed: tuple[str, ...]) -> None:
    right = next((one for one in allowed if one.lower() == word.lower()), None)
    choices = ", ".join(f"`{one}`" for one in allowed)
    shown = f"`{word}`" if word else describe(problems, node) if isinstance(node, Scalar) and node.value else "nothing"
    problems.add(
        node, f"`{path}` must be one of {choices}, not {shown}", help=f"did you mean `{right}`?" if right else ""
    )
