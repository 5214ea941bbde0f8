"""What npcompile says passes between every pair of pods, and between every pod and every address that is no pod's.

Twice: `by_relation` asks the relation engine, and `by_evaluator` the reference evaluator, flow by flow, with one flow
for each box of addresses and ports that nothing in the input splits.  The two share nothing but the IR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from npcompile import semantics
from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.policy import BlockPeer, PortRange
from npcompile.ir.program import PolicyIndex, Program
from npcompile.netset import cidrs, ports
from npcompile.netset.intervals import IntervalSet, union
from npcompile.netset.ports import EVERY_PORT
from npcompile.relation.relation import relate
from tests.oracles.peers.table import End, Table

_Allowed = Callable[[Endpoint, Endpoint], IntervalSet]
_Places = list[tuple[End, list[Endpoint]]]  # how a table names an end, and the endpoints that stand for all of it


def by_relation(program: Program) -> Table:
    """The connectivity of a program's pods, asked of the relation engine."""
    relation = relate(program)
    outside = {one.addresses: one.representative for one in relation.identities.outside}
    return _table(program, outside, relation.allowed)


def by_evaluator(program: Program) -> Table:
    """The connectivity of a program's pods, asked of the reference evaluator."""
    index = PolicyIndex(program.policies)
    boxes = list(_port_boxes(program))

    def passes(src: Endpoint, dst: Endpoint, box: IntervalSet) -> bool:
        protocol, port = ports.at(box.first)
        flow = Flow(src=src, dst=dst, protocol=protocol, port=port)
        return semantics.decide(index.judging(flow), program.cluster, flow).verdict is Verdict.ALLOW

    return _table(
        program,
        {box: cidrs.at(box.first) for box in _address_boxes(program)},
        lambda src, dst: union(box for box in boxes if passes(src, dst, box)),
    )


def _table(program: Program, outside: dict[IntervalSet, cidrs.Address], allowed: _Allowed) -> Table:
    pods: _Places = [(str(pod), _endpoints(pod)) for pod in program.cluster.pods]
    addresses: _Places = [(block, [Endpoint(address=address)]) for block, address in outside.items()]
    pairs = [(src, dst) for src in (*pods, *addresses) for dst in (*pods, *addresses)]
    found: dict[tuple[End, End], IntervalSet] = {}
    for (src, sources), (dst, destinations) in pairs:
        values = {allowed(a, b) for a in sources for b in destinations if a.pod or b.pod if _meet(a, b)}
        if len(values) > 1:
            raise ValueError(f"{src} => {dst} differs between address families, which no peer knows of")
        if values:
            found[src, dst] = values.pop()
    return found


def _endpoints(pod: Pod) -> list[Endpoint]:
    return [Endpoint(pod=pod, address=address) for address in pod.addresses or (None,)]


def _meet(a: Endpoint, b: Endpoint) -> bool:
    return a.family is None or b.family is None or a.family is b.family


def _address_boxes(program: Program) -> Iterator[IntervalSet]:
    """Ranges of addresses that are no pod's, cut wherever a network or an address in the input begins or ends."""
    pods = union(_single(address) for pod in program.cluster.pods for address in pod.addresses)
    sets = [cidrs.EVERY_V4, cidrs.EVERY_V6, pods]
    sets += [_single(address) for node in program.cluster.nodes.values() for address in node.addresses]
    for peer in (peer for policy in program.policies for rule in policy.rules for peer in rule.match.peers):
        if isinstance(peer, BlockPeer):
            sets += [cidrs.block(network) for network in (peer.cidr, *peer.excepts)]
    return _boxes(sets, cidrs.EVERY_ADDRESS - pods)


def _single(address: cidrs.Address) -> IntervalSet:
    return IntervalSet.of(cidrs.point(address), cidrs.point(address))


def _port_boxes(program: Program) -> Iterator[IntervalSet]:
    """Ranges of ports, cut wherever a range in a policy and a port of a container begins or ends."""
    sets = [EVERY_PORT]
    for item in (item for policy in program.policies for rule in policy.rules for item in rule.match.ports):
        if isinstance(item, PortRange):
            sets.append(ports.port_range(item.protocol, item.first, item.last))
    for port in (port for pod in program.cluster.pods for port in pod.ports):
        sets.append(ports.port_range(port.protocol, port.number, port.number))
    return _boxes(sets, EVERY_PORT)


def _boxes(sets: list[IntervalSet], within: IntervalSet) -> Iterator[IntervalSet]:
    cuts = sorted({cut for one in sets for cut in one.bounds})
    return (IntervalSet.of(start, end - 1) for start, end in pairwise(cuts) if start in within)
