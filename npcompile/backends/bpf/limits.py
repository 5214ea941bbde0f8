"""What the target cannot express, refused before anything is emitted, and what it does that one might not expect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from npcompile.backends.bpf.structure import MixedService, Tables
from npcompile.backends.filters.limits import AMBIGUOUS_ADDRESS, BAD_OPTION, CAPACITY
from npcompile.backends.target import Options
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, Note, RuleCode, Severity, diagnose
from npcompile.ir.cluster import Cluster, Node, Pod
from npcompile.netset.cidrs import Address

CLOSED_SERVICE = RuleCode(code="NPC720", slug="service-closed", severity=Severity.WARNING)
"""The target `bpf` judges what a pod sends to a Service before a backend is chosen.  Some pods may reach some of the
Service's backends, or the Service's address as an address, but not every backend (or none is known): for them the
Service's port is closed."""

MOST_ENTRIES = {"addresses": 1 << 20, "networks": 1 << 24, "classes": 1 << 21, "policy": 1 << 21}
"""Of each section of `maps.json`: what fills half of the loader's largest table, at most, as a table's buckets must not
crowd; and of networks, what the kernel gives in one piece."""


def wrong_options(options: Options) -> Iterator[Diagnostic]:
    """What the target cannot do of what is asked for."""
    if options.accept:
        message = "the target `bpf` has no `--accept`: what its programs let pass meets every other filter"
        yield diagnose(BAD_OPTION, None, message, help="leave it out")
    if options.mark is not None:
        message = f"the target `bpf` uses no packet mark, so `{options.mark:#x}` cannot be it"
        yield diagnose(BAD_OPTION, None, message, help="leave `--mark` out")


def wrong_cluster(cluster: Cluster) -> Iterator[Diagnostic]:
    """What of the cluster the target cannot work with, beside what no packet filter can."""
    owners: dict[Address, Pod | Node] = {a: node for node in cluster.nodes.values() for a in node.addresses}
    owners |= {a: pod for pod in cluster.pods if not pod.host_network for a in pod.addresses}
    for service in cluster.services:
        for address in service.addresses:
            if (owner := owners.get(address)) is not None:
                who = f"node {owner.name}" if isinstance(owner, Node) else str(owner)
                notes = (Note(text=f"`{who}` has it too", span=owner.span),)
                message = f"the address `{address}` belongs to Service `{service}` and to `{who}`"
                yield diagnose(AMBIGUOUS_ADDRESS, service.span, message, notes=notes, help="correct one of them")


def refuse_size(tables: Tables) -> None:
    """Raise InputError when the kernel's maps cannot hold what was lowered."""
    sizes = {
        "addresses": len(tables.addresses),
        "networks": len(tables.networks),
        "classes": len(tables.classes),
        "policy": len(tables.policy),
    }
    problems = [
        diagnose(CAPACITY, None, f"the policies need {size} entries of `{name}`, and a map has room for {most}",
                 help="emit for one node with `--node`")
        for name, size in sizes.items()
        if size > (most := MOST_ENTRIES[name])
    ]  # fmt: skip
    if problems:
        raise InputError(problems)


def closed_services(mixed: Iterable[MixedService]) -> Iterator[Diagnostic]:
    """One for each Service port that some ruleset does not open although one might expect it."""
    ordered = sorted(mixed, key=_order)
    for _, same in groupby(ordered, key=_order):
        first = next(same)
        port = f"{first.port.protocol}/{first.port.number}"
        if first.known:
            message = (
                f"`{first.service}` {port} is closed to pods that may reach it in part: not every backend is allowed"
            )
            advice = "let the policies allow every pod behind the Service, or none"
        else:
            message = f"`{first.service}` {port} is closed to pods that may reach its address: no backend is known"
            advice = "add its pods to the input; a Service without a selector stays closed"
        yield diagnose(CLOSED_SERVICE, first.service.span, message, help=advice)


def _order(one: MixedService) -> tuple[str, str, str, int]:
    return one.service.namespace, one.service.name, one.port.protocol.value, one.port.number
