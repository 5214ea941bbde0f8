"""From the words of the command line (`payments/api`, `10.0.0.9`, `tcp/8080`) to the ends of flows."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from ipaddress import ip_address

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import RuleCode, Severity, diagnose
from npcompile.ir.cluster import Cluster, Pod, Service
from npcompile.ir.flow import Endpoint
from npcompile.netset.cidrs import Address
from npcompile.netset.ports import FIRST_PORT, LAST_PORT, Protocol

USAGE = RuleCode(code="NPC021", slug="usage", severity=Severity.ERROR)
"""A word of the command line, or of a list of flows, names nothing."""

Target = tuple[Pod, ...] | Address | Service
_DEFAULT_NAMESPACE = "default"
_KINDS = {
    "po": "Pod", "pod": "Pod", "pods": "Pod", "svc": "Service", "service": "Service", "services": "Service",
    "deploy": "Deployment", "deployment": "Deployment", "rs": "ReplicaSet", "replicaset": "ReplicaSet",
    "sts": "StatefulSet", "statefulset": "StatefulSet", "ds": "DaemonSet", "daemonset": "DaemonSet",
    "job": "Job", "cronjob": "CronJob", "rc": "ReplicationController",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port as asked for: `name` where the destination has to say its number."""

    protocol: Protocol
    number: int | None = None
    name: str | None = None


def parse_port(text: str) -> Port:
    """`tcp/8080`, `udp/dns`, `icmp`; raises InputError."""
    word, slash, port = text.partition("/")
    protocol = next((one for one in Protocol if str(one) == word.lower()), None)
    if protocol is None:
        raise usage_error(f"`{text}` is no port", "write `tcp/8080`, `udp/53`, `sctp/99`, `tcp/http` or `icmp`")
    if not protocol.has_ports:
        if slash:
            raise usage_error(f"`{text}`: {protocol} has no ports", f"write `{protocol}`")
        return Port(protocol=protocol)
    if port.isascii() and port.isdecimal():
        if not FIRST_PORT <= int(port) <= LAST_PORT:
            raise usage_error(f"`{text}`: a port is between {FIRST_PORT} and {LAST_PORT}")
        return Port(protocol=protocol, number=int(port))
    if not port:
        raise usage_error(f"`{text}` names no port", f"write `{protocol}/8080` or `{protocol}/http`")
    return Port(protocol=protocol, name=port)


class Directory:
    """Everything in a cluster that a user can name.  Building it once makes looking up cheap."""

    def __init__(self, cluster: Cluster) -> None:
        self._pods = {pod.key: pod for pod in cluster.pods}
        self._services = {(one.namespace, one.name): one for one in cluster.services}
        self._workloads: dict[tuple[str, str], list[Pod]] = {}
        self._addresses: dict[Address, Pod | Service] = {}
        for service in cluster.services:
            self._addresses.update(dict.fromkeys(service.addresses, service))
        for pod in cluster.pods:
            if pod.workload is not None:
                self._workloads.setdefault((pod.namespace, pod.workload.name), []).append(pod)
            # Several pods may be on one node's network; its address then is the node's and no pod's.
            if not pod.host_network:
                self._addresses.update(dict.fromkeys(pod.addresses, pod))

    def find(self, text: str) -> Target:
        """What a word names: an address, `ns/pod`, `ns/workload`, `ns/service`, or `ns/kind/name`; raises InputError.

        An address that a pod or Service has is that pod or Service.  Without a kind, a pod's name goes before a
        workload's, and that before a Service's.
        """
        address = _address(text)
        if address is not None:
            owner = self._addresses.get(address)
            if isinstance(owner, Pod):
                return (owner,)
            return address if owner is None else owner
        namespace, kind, name = self._split(text)
        key = (namespace, name)
        if kind in (None, "Pod") and key in self._pods:
            return (self._pods[key],)
        workload = tuple(
            pod for pod in self._workloads.get(key, ()) if pod.workload and kind in (None, pod.workload.kind)
        )
        if workload:
            return workload
        if kind in (None, "Service") and key in self._services:
            return self._services[key]
        raise self._unknown(text)

    def _split(self, text: str) -> tuple[str, str | None, str]:
        parts = text.split("/")
        if len(parts) == 1:
            return _DEFAULT_NAMESPACE, None, text
        if len(parts) == 2:
            return parts[0], None, parts[1]
        kind = _KINDS.get(parts[1].lower()) if len(parts) == 3 else None
        if kind is None:
            raise usage_error(f"`{text}` names nothing", "write `namespace/name`, `namespace/svc/name` or an address")
        return parts[0], kind, parts[2]

    def _unknown(self, text: str) -> InputError:
        names = {f"{ns}/{name}" for ns, name in (*self._pods, *self._workloads, *self._services)}
        close = difflib.get_close_matches(text, sorted(names), n=3, cutoff=0.5)
        if close:
            return usage_error(
                f"`{text}` is not in the input", "did you mean " + " or ".join(f"`{c}`" for c in close) + "?"
            )
        return usage_error(f"`{text}` is not in the input", "write `namespace/pod`, `namespace/workload` or an address")


def endpoints_of(target: tuple[Pod, ...] | Address) -> tuple[Endpoint, ...]:
    """Every end that a target has: each pod at each of its addresses (once without, if it has none)."""
    if not isinstance(target, tuple):
        return (Endpoint(address=target),)
    return tuple(Endpoint(pod=pod, address=address) for pod in target for address in pod.addresses or (None,))


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def usage_error(message: str, help: str = "") -> InputError:  # noqa: A002
    """What to raise for a word that names nothing."""
    return InputError([diagnose(USAGE, None, message, help=help)])
