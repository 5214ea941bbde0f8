"""From one program to another, in the steps of `apply`: at no moment does the kernel cut a flow that both allow, or let
one through that neither does.

The steps run line by line in the tests' own kernel.  The readers of artifacts read back every state that it goes
through, and the reference evaluator says what old and new allow, for every pair of addresses that either program knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from itertools import islice, pairwise

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from npcompile.backends.iptables import IptablesTarget, lower
from npcompile.backends.iptables.target import IPSET_FILE, TABLE_FILES
from npcompile.backends.target import Options
from npcompile.ir.cluster import Cluster, Pod
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address, Family, family_of
from npcompile.netset.ports import Protocol
from npcompile.readers.artifact import load
from npcompile.readers.passage import passage
from npcompile.runtime.iptables import IptablesLoader
from npcompile.runtime.iptables.image import Image, read_artifact
from npcompile.runtime.iptables.loader import State
from npcompile.runtime.loader import Step, Stored
from npcompile.semantics import decide
from tests.kernel.applying import EGRESS_ONLY, INGRESS_ONLY
from tests.strategies import OUTSIDE, labels, pods, policies, programs
from tests.unit.runtime.iptables.kernel import FakeKernel, same

PORTS = ((Protocol.TCP, 80), (Protocol.UDP, 53), (Protocol.TCP, 8080), (Protocol.ICMP, None))


def images(program: Program, options: Options | None = None) -> Mapping[Family, Image]:
    files = IptablesTarget().emit(program, options or Options()).files
    return read_artifact(files[IPSET_FILE], {family: files[name] for family, name in TABLE_FILES.items()})


def artifact(program: Program) -> Stored:
    return Stored(target="iptables", files=IptablesTarget().emit(program, Options()).files, manifest={})


def steps(kernel: FakeKernel, wanted: Mapping[Family, Image]) -> Sequence[Step]:
    return IptablesLoader().steps(State(sets=kernel.told_sets(), tables=kernel.told_tables()), wanted)


def bring(kernel: FakeKernel, wanted: Mapping[Family, Image]) -> Iterator[Step]:
    """Do each step, and each line of those that are not one transaction; yields after each."""
    for step in steps(kernel, wanted):
        one_by_one = step.command[0] == "ipset"
        for text in step.text.splitlines(keepends=True) if one_by_one else [step.text]:
            kernel.run(replace(step, text=text))
            yield step
    loaded = kernel.loaded()
    assert all(same(loaded[family].image, wanted[family]) for family in Family)
    assert not any(one.idle or one.stale or one.shared for one in loaded.values())
    assert not steps(kernel, wanted)


@pytest.fixture(scope="module", params=[lower.MOST_IN_ONE_DISPATCH, 0], ids=["one step", "two steps"])
def dispatched(request: pytest.FixtureRequest) -> Iterator[None]:
    """Profiles are looked up in one step, or in two, where short ones have no chain of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower, "MOST_IN_ONE_DISPATCH", request.param)
        yield


# --- two programs that share much ---


@st.composite
def successors(draw: st.DrawFn, program: Program, number: int) -> Program:
    """Pods come, go, move to another address or change their labels, policies come and go; seldom all of it."""
    kept: list[Pod] = []
    for pod in program.cluster.pods:
        match draw(st.sampled_from(("stays", "stays", "stays", "goes", "moves", "labels"))):
            case "stays":
                kept.append(pod)
            case "moves":
                kept.append(pod if pod.host_network else replace(pod, addresses=tuple(map(moved, pod.addresses))))
            case "labels":
                kept.append(replace(pod, labels=draw(labels())))
    if draw(st.booleans()):
        kept.append(draw(pods(number, bound=True)))
    chosen = list(program.policies)
    if draw(st.integers(0, 2)) == 0:
        chosen = [one for one in chosen if draw(st.booleans())]
        chosen += [draw(policies(f"later{number}"))] if draw(st.booleans()) else []
    cluster = replace(program.cluster, pods=tuple(sorted(kept, key=lambda pod: pod.key)))
    return Program(policies=tuple(sorted(chosen, key=lambda one: one.key)), cluster=cluster)


def moved(address: Address) -> Address:
    return address + 100


@st.composite
def histories(draw: st.DrawFn) -> list[Program]:
    """Three programs, each made of the one before."""
    found = [draw(programs(max_pods=5, bound=True))]
    for number in (40, 41):
        found.append(draw(successors(found[-1], number)))
    return found


# --- the verdicts of flows between addresses ---


class World:
    """All addresses that two programs know, and what passes between them.

    Where a packet meets which hook is a fact of the machines: a pod that either program knows is there all the time.
    """

    def __init__(self, old: Program, new: Program) -> None:
        self.programs = (old, new)
        known = {address: pod for program in self.programs for pod in program.cluster.pods for address in pod.addresses}
        there = {address: replace(pod, name=f"at-{address}", addresses=(address,)) for address, pod in known.items()}
        self.cluster = Cluster(namespaces=new.cluster.namespaces, pods=tuple(there.values()), nodes=new.cluster.nodes)
        self._ends = [dict(self._endpoints(program)) for program in self.programs]
        places = sorted({*known, *OUTSIDE}, key=lambda one: (one.version, int(one)))
        ends = {address: Endpoint(pod=there.get(address), address=address) for address in places}
        self.flows = [
            Flow(src=ends[src], dst=ends[dst], protocol=protocol, port=port)
            for src in places
            for dst in places
            if src != dst and src.version == dst.version and (src in known or dst in known)
            if not self._same_pod(known.get(src), known.get(dst))
            for protocol, port in PORTS
        ]
        self.verdicts = [self._verdicts(flow) for flow in self.flows]

    @staticmethod
    def _endpoints(program: Program) -> Iterator[tuple[Address, Endpoint]]:
        for pod in program.cluster.pods:
            for address in pod.addresses:
                yield address, Endpoint(pod=pod, address=address)

    @staticmethod
    def _same_pod(one: Pod | None, other: Pod | None) -> bool:
        """A pod on its node's network has several addresses of a family; what it sends to itself meets no hook."""
        return one is not None and other is not None and one.host_network and one.key == other.key

    def _verdicts(self, flow: Flow) -> tuple[bool, bool]:
        return tuple(self._allows(program, ends, flow) for program, ends in zip(self.programs, self._ends, strict=True))  # type: ignore[return-value]

    @staticmethod
    def _allows(program: Program, ends: Mapping[Address, Endpoint], flow: Flow) -> bool:
        src, dst = (ends.get(one.address, Endpoint(address=one.address)) for one in (flow.src, flow.dst))
        judged = replace(flow, src=src, dst=dst)
        return decide(program.policies, program.cluster, judged).verdict is Verdict.ALLOW

    def assert_bounds(self, kernel: FakeKernel, *, only: Family | None = None) -> None:
        """Read back what the kernel holds, and send every flow through it."""
        rulesets = load(kernel.ipset_text(), {family: kernel.table_text(family) for family in Family})
        for flow, (before, after) in zip(self.flows, self.verdicts, strict=True):
            if only is None or family_of(flow.dst.address) is only:
                now = passage(lambda _: rulesets, self.cluster, flow).verdict is Verdict.ALLOW
                assert (before and after) <= now <= (before or after), str(flow)


def asked(kernel: FakeKernel) -> object:
    """What matters of a state: the chains, and the sets that they ask."""
    sets = {name: frozenset(members) for name, (_, members) in kernel.sets.items() if kernel.references(name)}
    return sets, {family: {name: tuple(lines) for name, lines in kernel.tables[family].items()} for family in Family}


@pytest.mark.usefixtures("dispatched")
@settings(max_examples=12, deadline=None)
@given(histories())
def test_every_state_between_two_programs_is_between_their_verdicts(history: list[Program]) -> None:
    kernel = FakeKernel()
    for step in bring(kernel, images(history[0])):
        assert step.text
    for old, new in pairwise(history):
        world = World(old, new)
        last = asked(kernel)
        world.assert_bounds(kernel)
        for step in bring(kernel, images(new)):
            event(
                "a flip"
                if step.command[0] != "ipset"
                else f"a line of ipset that {'shows' if asked(kernel) != last else 'shows nothing'}"
            )
            if asked(kernel) != last:
                last = asked(kernel)
                world.assert_bounds(kernel)


@settings(max_examples=12, deadline=None)
@given(histories())
@example([EGRESS_ONLY, INGRESS_ONLY, EGRESS_ONLY])  # sets change under their names, which random histories seldom do
def test_deltas_between_artifacts_lead_on_from_where_the_last_one_ended(history: list[Program]) -> None:
    """They keep the bounds, and end with the names that artifacts give, from which the next one starts."""
    kernel = FakeKernel()
    for _ in bring(kernel, images(history[0])):
        pass
    for old, new in pairwise(history):
        world = World(old, new)
        last = asked(kernel)
        for step in IptablesLoader().between(artifact(old), artifact(new)).steps:
            for text in step.text.splitlines(keepends=True) if step.command[0] == "ipset" else [step.text]:
                kernel.run(replace(step, text=text))
                if asked(kernel) != last:
                    last = asked(kernel)
                    world.assert_bounds(kernel)
        wanted = images(new)
        assert set(kernel.sets) == {name for image in wanted.values() for name in image.sets}
        assert all(same(kernel.loaded()[family].image, wanted[family]) for family in Family)


@settings(max_examples=25, deadline=None)
@given(histories(), st.data())
def test_whatever_was_interrupted_the_next_run_repairs(history: list[Program], data: st.DataObject) -> None:
    """Every history ends in the last program's state, wherever the runs before it were killed."""
    kernel = FakeKernel()
    for program in history[:-1]:
        states = bring(kernel, images(program))
        for _ in range(data.draw(st.integers(0, 40))):
            if next(states, None) is None:
                break
    for _ in bring(kernel, images(history[-1])):
        pass
    detached = bring(kernel, dict.fromkeys(Family, Image()))
    assert list(detached)
    assert not kernel.sets
    assert kernel.tables == FakeKernel().tables


PODS = 5


@pytest.mark.usefixtures("dispatched")
@settings(max_examples=25, deadline=None)
@given(programs(max_pods=PODS, bound=True), st.sets(st.integers(0, PODS - 1), min_size=1), st.integers(0, 30))
def test_pods_that_restart_change_members_only(program: Program, numbers: set[int], killed: int) -> None:
    """However many at once; and where that was interrupted, the next run repairs, within the same bounds."""
    restarting = [one for number, one in enumerate(program.cluster.pods) if number in numbers and not one.host_network]
    twins = [
        replace(one, name=f"twin{number}", addresses=(ip_address(f"10.0.9.{number}"), ip_address(f"fd00::9:{number}")))
        for number, one in enumerate(restarting)
    ]
    staying = [one for one in program.cluster.pods if one not in restarting]
    before, after = (
        replace(program, cluster=replace(program.cluster, pods=(*staying, *pods, *twins)))
        for pods in (restarting, [replace(one, addresses=tuple(map(moved, one.addresses))) for one in restarting])
    )
    event(f"{len(restarting)} restart")
    kernel, interrupted = FakeKernel(), FakeKernel()
    for one in (kernel, interrupted):
        for _ in bring(one, images(before)):
            pass
    done = steps(kernel, images(after))
    assert {step.command[0] for step in done} <= {"ipset"}
    assert {line.split()[0] for step in done for line in step.text.splitlines()} <= {"add", "del"}
    world = World(before, after)
    for _ in bring(kernel, images(after)):
        world.assert_bounds(kernel)
    for _ in islice(bring(interrupted, images(after)), killed):
        pass
    for _ in bring(interrupted, images(after)):
        world.assert_bounds(interrupted)


@pytest.mark.parametrize("accept", [False, True])
def test_options_change_the_chains_at_once(accept: bool) -> None:
    program = Program(policies=(), cluster=Cluster(namespaces={}, pods=(), nodes={}))
    kernel = FakeKernel()
    for wanted in (images(program, Options(accept=accept)), images(program, Options(accept=not accept, mark=0x200))):
        flips = [step for step in bring(kernel, wanted) if step.command[0] != "ipset"]
        assert len(flips) == len(Family)


def lines(texts: Iterable[Step]) -> list[str]:
    return [line for step in texts for line in step.text.splitlines()]


def test_our_jump_comes_first_and_once_again() -> None:
    kernel = FakeKernel()
    wanted = images(Program(policies=(), cluster=Cluster(namespaces={}, pods=(), nodes={})))
    for _ in bring(kernel, wanted):
        pass
    rules = kernel.tables[Family.V4]["FORWARD"]
    rules[:0] = ["-p tcp -j ACCEPT", "-j NPC-FORWARD"]
    rules += ["-i eth0 -j NPC-FORWARD", "-j NPC-FORWARD"]
    healing = steps(kernel, wanted)
    assert [line for line in lines(healing) if "FORWARD" in line] == [
        *["-D FORWARD -j NPC-FORWARD"] * 3,
        "-I FORWARD 1 -j NPC-FORWARD",
    ]
    for _ in bring(kernel, wanted):
        pass
    assert rules == ["-j NPC-FORWARD", "-p tcp -j ACCEPT", "-i eth0 -j NPC-FORWARD"]
