"""The way of a packet through an artifact of the target bpf: the map entries that the programs at the pods' interfaces
find.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from npcompile.analyses.addressing import Port
from npcompile.driver.walk import Ending, Origins, Passed, Place, Step, Visit
from npcompile.ir.cluster import Cluster, Pod, Service
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Address
from npcompile.netset.ports import Protocol
from npcompile.readers.bpf_lookup import Judged, Reason, judge
from npcompile.readers.bpf_maps import entry_lines, read_maps
from npcompile.readers.problems import ReadingError, not_understood
from npcompile.runtime.loader import Stored

MAPS_FILE = "maps.json"
_PROGRAMS = {Direction.EGRESS: "np_from_pod", Direction.INGRESS: "np_to_pod"}


class BpfGuide:
    """Knows the way through an artifact for `node` (None: for every one); raises ReadingError."""

    def __init__(self, stored: Stored, cluster: Cluster, node: str | None) -> None:
        data = stored.files.get(MAPS_FILE)
        if data is None:
            raise ReadingError([not_understood(f"there is no file `{MAPS_FILE}`")])
        self._maps = read_maps(data, MAPS_FILE)
        self._lines = data.decode().split("\n")
        self._numbers: Mapping[tuple[str, frozenset[tuple[str, object]]], int] = {
            (section, _key(section, entry)): line for section, line, entry in entry_lines(data)
        }
        self._origins = Origins(stored)
        self._cluster = cluster
        self._node = node

    def passed(self, flow: Flow, service: Service | None, port: Port) -> Passed:
        """The way of a flow whose ends both have an address; `service` and `port`: what it was asked for through."""
        src, dst = flow.src, flow.dst
        if src.pod is not None and dst.pod is not None and src.pod.key == dst.pod.key:
            return Passed(visits=())
        visits: list[Visit] = []
        elsewhere: list[Place] = []
        for direction, pod, peer, number in _sides(flow, service, port):
            place = Place(hook=_PROGRAMS[direction], node=pod.node)
            if self._node is not None and pod.node not in {self._node, None}:
                elsewhere.append(place)
                continue
            visits.append(self._visit(place, direction, pod, peer, (flow.protocol, number)))
            if visits[-1].ending is Ending.DROP:
                break
        return Passed(visits=tuple(visits), elsewhere=tuple(elsewhere))

    def _visit(
        self, place: Place, direction: Direction, pod: Pod, peer: Address, port: tuple[Protocol, int | None]
    ) -> Visit:
        endpoint = self._maps.endpoints.get(str(pod))
        if endpoint is None:  # an interface without an entry has no program
            return Visit(place=place, ending=Ending.ACCEPT, steps=())
        judged = judge(self._maps, endpoint, direction, peer, port)
        own_node = direction is Direction.INGRESS and self._is_own_node(pod, peer)
        dropped = not judged.allowed and not own_node
        return Visit(
            place=place,
            ending=Ending.DROP if dropped else Ending.ACCEPT,
            steps=tuple(self._steps(judged)),
            isolating=self._origins.isolating(f"ruleset {judged.ruleset}") if dropped else (),
            service_mixed=judged.reason is Reason.SERVICE_MIXED,
        )

    def _is_own_node(self, pod: Pod, peer: Address) -> bool:
        """Whether the node itself sends, which the program sees in the packet, not in a map."""
        node = self._cluster.nodes.get(pod.node) if pod.node is not None else None
        return node is not None and peer in node.addresses

    def _steps(self, judged: Judged) -> Iterator[Step]:
        for asked in judged.asked:
            line = self._numbers.get((asked.section, frozenset(asked.fields)))
            if line is not None:
                origin = self._origins.of(judged.origin) if asked.section == "rules" else None
                id_ = judged.origin if asked.section == "rules" else ""
                yield Step(file=MAPS_FILE, line=line, text=self._lines[line - 1].strip(" ,"), id=id_, origin=origin)


_KEYS = {
    "endpoints": ("pod",),
    "addresses": ("address",),
    "networks": ("network",),
    "classes": ("ruleset", "identity"),
    "policy": ("ruleset", "class", "protocol", "ports"),
    "rulesets": ("id",),
    "rules": ("id",),
}


def _key(section: str, entry: Mapping[str, object]) -> frozenset[tuple[str, object]]:
    return frozenset((name, entry[name]) for name in _KEYS[section])


def _sides(flow: Flow, service: Service | None, port: Port) -> Iterator[tuple[Direction, Pod, Address, int | None]]:
    """The pods that have a side, each with the other end's address and the port, as its program sees them.

    Where a pod sends, a Service's address is not yet exchanged for a backend's.
    """
    if (sender := _on_pod_network(flow.src)) is not None and flow.dst.address is not None:
        front = _front(service, port, flow) if service is not None else None
        peer, number = front or (flow.dst.address, flow.port)
        yield Direction.EGRESS, sender, peer, number
    if (receiver := _on_pod_network(flow.dst)) is not None and flow.src.address is not None:
        yield Direction.INGRESS, receiver, flow.src.address, flow.port


def _on_pod_network(end: Endpoint) -> Pod | None:
    return None if end.pod is None or end.pod.host_network else end.pod


def _front(service: Service, port: Port, flow: Flow) -> tuple[Address, int] | None:
    """The Service's address of the flow's family, and the port that was asked for; None: it has no such address."""
    addresses = [one for one in service.addresses if flow.dst.address and one.version == flow.dst.address.version]
    numbers = [
        one.number
        for one in service.ports
        if one.protocol is port.protocol and (one.name == port.name if port.name else one.number == port.number)
    ]
    return (addresses[0], numbers[0]) if addresses and numbers else None
