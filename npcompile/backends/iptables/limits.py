"""What the target cannot express: refused before anything is emitted, all of it at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from npcompile.backends.iptables.structure import Ruleset
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
"""The target cannot do what an option asks for: an unknown node, or a packet mark that is not a single free bit."""

KUBE_PROXY_MARKS = 0xC000  # 0x4000 to masquerade, 0x8000 to drop
MOST_SETS = 65534  # IPSET_INVALID_ID of linux/netfilter/ipset/ip_set.h, less one
_SPARE_SETS = 1  # the temporary set of a reload


def refuse_input(program: Program, options: Options) -> None:
    """Raise InputError with everything about the options and the cluster that the target cannot work with."""
    if problems := [*_options(program.cluster, options), *_addresses(program.cluster)]:
        raise InputError(sorted(problems, key=lambda problem: problem.order))


def refuse_size(ruleset: Ruleset) -> None:
    """Raise InputError when the kernel cannot hold what was lowered."""
    if len(ruleset.sets) + _SPARE_SETS > MOST_SETS:
        message = f"the policies need {len(ruleset.sets)} sets, and the kernel has room for {MOST_SETS}"
        hint = "let rules share their selectors, or emit another target"
        raise InputError([diagnose(CAPACITY, None, message, help=hint)])


def _options(cluster: Cluster, options: Options) -> Iterator[Diagnostic]:
    mark = options.mark
    if not 0 < mark < 1 << 32 or mark & (mark - 1):
        message = f"the mark `{mark:#x}` is not one bit of 32"
        yield diagnose(BAD_OPTION, None, message, help="choose a power of two such as `0x1000000`")
    elif mark & KUBE_PROXY_MARKS:
        message = f"the mark `{mark:#x}` is one of kube-proxy's (`0x4000`, `0x8000`)"
        yield diagnose(BAD_OPTION, None, message, help="choose another bit such as `0x1000000`")
    if options.node is None:
        return
    if options.node not in cluster.nodes and all(pod.node != options.node for pod in cluster.pods):
        known = ", ".join(f"`{name}`" for name in sorted(cluster.nodes)) or "none"
        yield diagnose(BAD_OPTION, None, f"there is no node `{options.node}`", help=f"the nodes of the input: {known}")
    else:
        message = f"the target `iptables` cannot be restricted to the node `{options.node}` yet"
        yield diagnose(BAD_OPTION, None, message, help="emit without a node: what comes out is right on every node")


def _addresses(cluster: Cluster) -> Iterator[Diagnostic]:
    """Sets tell pods by address alone: two pods with one address, or a pod with a node's, would share a verdict."""
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
