"""Pods that restart with a new address, one or many at once, change members of sets only, whatever the target.

And at no line of the change is a flow cut that both states allow, or let through that neither does.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from npcompile.backends.bpf.target import BPF
from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Options
from npcompile.ir.flow import Flow
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.runtime.bpf.loader import BpfLoader
from npcompile.runtime.iptables import IptablesLoader
from npcompile.runtime.loader import Step, Stored
from npcompile.runtime.nftables import NftablesLoader
from npcompile.runtime.programs import locked
from npcompile.runtime.programs import run as run_step
from tests.kernel.applying import allows, assert_between, flows, having, passed, pod, policy, program, stored
from tests.kernel.wire import entered, namespace, router, run

PROGRAMS = [
    f"{tool}-{variant}-{verb}"
    for tool in ("iptables", "ip6tables")
    for variant in ("legacy", "nft")
    for verb in ("save", "restore")
]

pytestmark = pytest.mark.kernel("ip", "ipset", "nft", *PROGRAMS)

LOADERS = {
    "legacy": IptablesLoader(variant="legacy"),
    "nft": IptablesLoader(variant="nft"),
    "nftables": NftablesLoader(),
}
# Isolated both ways, and each other's peers: where several restart at once, what they exchange is the hard part.
REPLICAS = [pod(number, app="web") for number in range(1, 13)]
OTHERS = [pod(200, app="client"), pod(201, app="server"), pod(202, app="idle")]
POLICIES = (
    policy("in", having(app="web"), Direction.INGRESS, having(app="web"), having(app="client")),
    policy("out", having(app="web"), Direction.EGRESS, having(app="web"), having(app="server")),
    policy("closed", having(app="server"), Direction.INGRESS, having(app="client")),
)
BEFORE = program([*REPLICAS, *OTHERS], *POLICIES)
COUNTS = (1, 2, 10)


def restarted(number: int) -> Program:
    fresh = [replace(one, addresses=tuple(address + 100 for address in one.addresses)) for one in REPLICAS[:number]]
    return program([*fresh, *REPLICAS[number:], *OTHERS], *POLICIES)


@pytest.mark.parametrize("number", COUNTS)
@pytest.mark.parametrize("variant", LOADERS)
def test_restarts_change_members_only_and_keep_the_bounds(variant: str, number: int) -> None:
    loader, after = LOADERS[variant], restarted(number)
    dice, changed = random.Random(1), set(BEFORE.cluster.pods) ^ set(after.cluster.pods)
    asked = [*some(dice, flows(program(changed))), *some(dice, flows(BEFORE, after))]
    with router("nft") as lab, entered(lab.router):
        loader.apply(stored(BEFORE, loader.target))
        steps = loader.delta(stored(after, loader.target)).steps
        assert verbs(steps) == (
            {("add", "element"), ("delete", "element")} if variant == "nftables" else {"add", "del"}
        )
        for step in steps:
            for text in [step.text] if variant == "nftables" else step.text.splitlines(keepends=True):
                with locked() as lock:
                    run_step(replace(step, text=text), lock)
                assert_between(passed(lab, asked), BEFORE, after)
        assert all(now == allows(after, flow) for flow, now in passed(lab, asked).items())
        assert not loader.delta(stored(after, loader.target)).steps


def some(dice: random.Random, of: list[Flow]) -> list[Flow]:
    """As many as there is time for after each line."""
    return dice.sample(of, min(len(of), 200))


def verbs(steps: tuple[Step, ...]) -> set[object]:
    """What the lines do, of nft with what they do it to."""
    assert {step.command[0] for step in steps} <= {"ipset", "nft"}
    words = [(step, line.split()) for step in steps for line in step.text.splitlines()]
    return {tuple(line[:2]) if step.command[0] == "nft" else line[0] for step, line in words}


@contextmanager
def interfaces(of: Program) -> Iterator[BpfLoader]:
    names = {str(one): f"pod{number}" for number, one in enumerate(of.cluster.pods)}
    with namespace() as where, entered(where):
        links = "".join(f"link add {name} type veth peer name x{name}\n" for name in names.values())
        run("ip", "-batch", "-", text=links)
        loader = BpfLoader(bindings=names)
        try:
            yield loader
        finally:
            loader.detach()


@pytest.mark.kernel("ip", "clang")
@pytest.mark.parametrize("number", COUNTS)
def test_restarts_change_the_addresses_in_bpf_maps_only(number: int) -> None:
    with interfaces(BEFORE) as loader:
        first = stored(BEFORE, BPF)
        loader.apply(first)
        files = TARGETS[BPF].emit(restarted(number), Options(earlier=first.files)).files
        after = Stored(target=BPF, files=files, manifest={})
        commands = {step.command for step in loader.apply(after).steps}
        maps = ("np_endpoints", "np_addresses4", "np_addresses6")
        # What was allowed to the pods that are gone is forgotten, too.
        assert commands == {*(("bpf", "map", name) for name in maps), ("bpf", "flows")}
        assert not loader.delta(after).steps
