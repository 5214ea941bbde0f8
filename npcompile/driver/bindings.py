"""`--bindings FILE`: addresses for endpoints that have none yet, one `ns/pod=address[,ifname]` a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, RuleCode, Severity, diagnose
from npcompile.driver.inputs import read_sources
from npcompile.ir.cluster import Pod
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address, family_of
from npcompile.source import SourceFile, Span

BINDINGS = RuleCode(code="NPC707", slug="bindings", severity=Severity.ERROR)
"""A line of the bindings file binds nothing: it is not `ns/pod=address[,ifname]`, or the pod cannot be bound so."""


def bind(program: Program, path: str) -> Program:
    """The program with the addresses of a bindings file; raises InputError with every bad line."""
    (source,) = read_sources([path])
    pods = {str(pod): pod for pod in program.cluster.pods}
    owners = {address: str(pod) for pod in program.cluster.pods for address in pod.addresses}
    bound: dict[str, list[Address]] = {}
    problems: list[Diagnostic] = []
    for span, line in lines(source):
        name, _, value = line.partition("=")
        text = value.partition(",")[0].strip()
        try:
            address = ip_address(text)
        except ValueError:
            problems.append(diagnose(BINDINGS, span, f"`{line}` is not `ns/pod=address[,ifname]`"))
            continue
        wrong = _wrong(pods.get(name.strip()), name.strip(), address, owners, bound)
        if wrong:
            problems.append(diagnose(BINDINGS, span, wrong))
            continue
        bound.setdefault(name.strip(), []).append(address)
        owners[address] = name.strip()
    if problems:
        raise InputError(problems)
    # With an address, a workload's template is one pod of it.
    rebound = tuple(
        replace(pod, addresses=tuple(bound[str(pod)]), template=False) if str(pod) in bound else pod
        for pod in program.cluster.pods
    )
    return replace(program, cluster=replace(program.cluster, pods=rebound))


def lines(source: SourceFile) -> Iterator[tuple[Span, str]]:
    """The lines that say something, with their places."""
    for number, line in enumerate(source.text.split("\n"), 1):
        text = line.partition("#")[0].strip()
        if text:
            yield Span(source, number, 1, number, len(line) + 1), text


def _wrong(
    pod: Pod | None, name: str, address: Address, owners: dict[Address, str], bound: dict[str, list[Address]]
) -> str | None:
    if pod is None:
        return f"`{name}` is no pod or workload of the input"
    if pod.host_network:
        return f"`{name}` is on its node's network: its address is the node's"
    if pod.addresses:
        return f"`{name}` has the address {pod.addresses[0]} already"
    if address in owners:
        return f"{address} is the address of `{owners[address]}` already"
    if any(family_of(one) is family_of(address) for one in bound.get(name, ())):
        return f"`{name}` is bound twice for IPv{address.version}"
    return None
