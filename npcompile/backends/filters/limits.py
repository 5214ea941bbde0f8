"""What packet filters cannot express: refused before anything is emitted, all of it at once."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator

from npcompile.backends.target import Options
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, Note, RuleCode, Severity, diagnose
from npcompile.ir.cluster import Cluster, Node, Pod
from npcompile.ir.program import Program
from npcompile.netset.cidrs import at, point

CAPACITY = RuleCode(code="NPC701", slug="over-capacity", severity=Severity.ERROR)
"""The kernel has no room for what the policies need: `emit` writes nothing, rather than an artifact that loads half."""

AMBIGUOUS_ADDRESS = RuleCode(code="NPC703", slug="ambiguous-address", severity=Severity.ERROR)
"""Two endpoints have one address: packet filters would give one the other's policies.  Usually one of the pods no
longer runs, or a pod on its node's network lacks `hostNetwork: true`."""

BAD_OPTION = RuleCode(code="NPC705", slug="unsupported-option", severity=Severity.ERROR)
"""The target cannot do what an option asks for: an unknown node, a packet mark that is not a single free bit, or an
option that only another target has."""

_MOST_LISTED = 8


def refuse_input(program: Program, options: Options, own: Iterable[Diagnostic]) -> None:
    """Raise InputError with everything about the options and the cluster that no packet filter can work with, and with
    what the target itself has to say (`own`).
    """
    if problems := [*own, *_node(program.cluster, options.node), *_addresses(program.cluster)]:
        raise InputError(sorted(problems, key=lambda problem: problem.order))


def _node(cluster: Cluster, node: str | None) -> Iterator[Diagnostic]:
    known = sorted({*cluster.nodes, *(pod.node for pod in cluster.pods if pod.node is not None)})
    if node is None or node in known:
        return
    close = difflib.get_close_matches(node, known, n=1)
    listed = ", ".join(f"`{name}`" for name in known[:_MOST_LISTED]) or "none"
    more = f" and {len(known) - _MOST_LISTED} more" if len(known) > _MOST_LISTED else ""
    guess = f"did you mean `{close[0]}`?  " if close else ""
    yield diagnose(
        BAD_OPTION, None, f"there is no node `{node}`", help=f"{guess}the nodes of the input: {listed}{more}"
    )


def _addresses(cluster: Cluster) -> Iterator[Diagnostic]:
    """Sets tell pods by address alone: two pods with one address, or a pod with a node's, would share a verdict."""
    known: tuple[Pod | Node, ...] = (*cluster.nodes.values(), *(pod for pod in cluster.pods if not pod.host_network))
    every = [point(address) for one in known for address in one.addresses]
    if len(every) == len(set(every)):
        return
    owners: dict[int, list[Pod | Node]] = defaultdict(list)
    for node in sorted(cluster.nodes.values(), key=lambda node: node.name):
        for address in sorted({point(address) for address in node.addresses}):
            owners[address].append(node)
    for pod in sorted(cluster.pods, key=lambda pod: pod.key):
        if not pod.host_network:
            for address in sorted({point(address) for address in pod.addresses}):
                owners[address].append(pod)
    for number, holders in sorted(owners.items()):
        pods = [holder for holder in holders if isinstance(holder, Pod)]
        if not pods or len(holders) == 1:
            continue
        who = " and ".join(f"`{_name(holder)}`" for holder in holders)
        notes = tuple(Note(text=f"`{_name(holder)}` has it too", span=holder.span) for holder in holders[:-1])
        message = f"the address `{at(number)}` belongs to {who}"
        yield diagnose(
            AMBIGUOUS_ADDRESS, pods[-1].span, message, notes=notes, help="leave out the pods that no longer run"
        )


def _name(holder: Pod | Node) -> str:
    return f"node {holder.name}" if isinstance(holder, Node) else str(holder)
