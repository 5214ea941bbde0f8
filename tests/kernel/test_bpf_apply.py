"""`apply` of BPF artifacts: from whatever was loaded before to the new one, and through no third state."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from npcompile.backends.bpf import BpfTarget
from npcompile.backends.bpf.source import Features, render
from npcompile.backends.target import Established, Options
from npcompile.diagnostics.errors import InputError
from npcompile.ir.flow import Flow
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.runtime.bpf import attach, capacity, packed, transition
from npcompile.runtime.bpf.counters import counted
from npcompile.runtime.bpf.loaded import Here, close
from npcompile.runtime.bpf.loader import BpfLoader
from npcompile.runtime.loader import LoadError, Stored
from tests.kernel import frames as f
from tests.kernel.applying import BOTH, EGRESS_ONLY, HISTORY, INGRESS_ONLY, WIDER, allows, flows, stored
from tests.kernel.bpf import PASS
from tests.kernel.wire import entered, namespace, run

pytestmark = pytest.mark.kernel("clang", "ip")

PODS = ("a/p1", "a/p2", "a/p3", "a/p9")
BINDINGS = {pod: f"to{pod[-1]}" for pod in PODS}
LOADER = BpfLoader(bindings=BINDINGS)
NUMBERS = {"TCP": 6, "UDP": 17}


@dataclass(frozen=True, slots=True)
class Node:
    """A network namespace with an interface for each pod that there may be."""

    name: str

    def verdicts(self, asked: list[Flow]) -> dict[Flow, bool]:
        """Which flows' first packets pass the programs at both ends, as far as there are any."""
        here = Here.of_thread()
        current = here.current()
        enforced = attach.attached()
        programs = {} if current is None else here.programs(current.pins)
        indices = attach.interfaces()
        try:
            seen = {}
            for flow in asked:
                frame = f.ip(
                    str(flow.src.address),
                    str(flow.dst.address),
                    NUMBERS[flow.protocol.value],
                    f.transport(NUMBERS[flow.protocol.value], flow.port, random.randrange(1024, 65536)),
                )
                seen[flow] = True
                for address, direction in ((flow.src.address, Direction.EGRESS), (flow.dst.address, Direction.INGRESS)):
                    index = indices.get(f"to{int(address) & 15}") if address is not None else None  # type: ignore[arg-type]
                    if index is not None and direction in enforced.get(index, ()) and programs:
                        program = programs[attach.PROGRAMS[direction]]
                        context = b"".join(n.to_bytes(4, "little") for n in (0, 0, 0, 0, 0, 0, 0, 0, 0, 1, index))
                        seen[flow] &= program.run(frame, context).result == PASS
            return seen
        finally:
            close(programs.values())


@pytest.fixture
def node() -> Iterator[Node]:
    with made() as one:
        yield one


@contextmanager
def made() -> Iterator[Node]:
    with namespace() as name:
        links = "".join(f"link add {one} type veth peer name x{one}\n" for one in BINDINGS.values())
        run("ip", "-n", name, "-batch", "-", text=links)
        with entered(name):
            try:
                yield Node(name)
            finally:
                LOADER.detach()


ASKED = flows(*HISTORY)


def assert_says(node: Node, program: Program) -> None:
    addresses = {address for pod in program.cluster.pods for address in pod.addresses}
    for flow, passed in node.verdicts(ASKED).items():
        if flow.src.address in addresses or flow.dst.address in addresses:
            assert passed == allows(program, flow), flow


def test_each_of_a_history(node: Node) -> None:
    for program in HISTORY:
        LOADER.apply(stored(program, "bpf"))
        assert_says(node, program)
        assert LOADER.apply(stored(program, "bpf")).steps == ()
        wanted = {attach.interfaces()[BINDINGS[str(pod)]] for pod in program.cluster.pods}
        assert attach.attached() == {index: frozenset(Direction) for index in wanted}


def test_nothing_is_left_after_detaching(node: Node) -> None:
    LOADER.apply(stored(WIDER, "bpf"))
    here = Here.of_thread()
    assert here.current() is not None
    assert LOADER.delta(None).steps
    LOADER.detach()
    assert attach.attached() == {}
    assert not here.files.exists() and not here.pins.exists()
    assert "clsact" not in run("ip", "netns", "exec", node.name, "tc", "qdisc", "show").stdout.decode()
    assert LOADER.delta(None).steps == ()
    LOADER.detach()


def test_a_pod_more_writes_little(node: Node) -> None:
    before, after = HISTORY[3], WIDER
    LOADER.apply(stored(before, "bpf"))
    again = BpfTarget().emit(after, Options(earlier=dict(stored(before, "bpf").files)))
    delta = LOADER.delta(Stored(target="bpf", files=again.files, manifest={}))
    assert not any(step.command == ("bpf", "load") for step in delta.steps)
    changed = [line for step in delta.steps for line in step.text.splitlines() if not line.startswith("attach")]
    assert 0 < len(changed) < 16
    assert LOADER.delta(stored(before, "bpf")).steps == ()  # asking changes nothing


@pytest.mark.parametrize(("old", "new"), list(pairwise((EGRESS_ONLY, INGRESS_ONLY, BOTH, WIDER, EGRESS_ONLY))))
def test_every_step_allows_what_old_and_new_agree_on(
    node: Node, old: Program, new: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watched before and after each change to a map, to a filter, and to what counts."""
    LOADER.apply(stored(old, "bpf"))
    asked = [flow for flow in ASKED if flow.port == 80]
    before = node.verdicts(asked)
    seen: list[dict[Flow, bool]] = []
    real = {name: getattr(transition.attach, name) for name in ("attach", "detach")}
    flip = transition.change

    def watched(name: str) -> object:
        def act(*arguments: object) -> None:
            seen.append(node.verdicts(asked))
            real[name](*arguments)
            seen.append(node.verdicts(asked))

        return act

    def change(*arguments: object) -> object:
        seen.append(node.verdicts(asked))
        result = flip(*arguments)  # type: ignore[arg-type]
        seen.append(node.verdicts(asked))
        return result

    for name in real:
        monkeypatch.setattr(transition.attach, name, watched(name))
    monkeypatch.setattr(transition, "change", change)
    LOADER.apply(stored(new, "bpf"))
    after = node.verdicts(asked)
    assert len(seen) >= 2
    for one in seen:
        for flow, passed in one.items():
            assert (before[flow] and after[flow]) <= passed <= (before[flow] or after[flow]), flow
    assert_says(node, new)


def test_other_features_take_new_programs_and_keep_the_flows(node: Node) -> None:
    opening = f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40000, 80))
    later = f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40000, 80, f.ACK))
    LOADER.apply(stored(BOTH, "bpf"))
    assert sends(opening) and sends(later)
    first = Here.of_thread().current()
    rechecking = BpfTarget().emit(EGRESS_ONLY, Options(established=Established.RECHECK))
    LOADER.apply(Stored(target="bpf", files=rechecking.files, manifest={}))
    second = Here.of_thread().current()
    assert first is not None and second is not None and first != second
    assert list(Here.of_thread().others(second.pins)) == []
    assert sends(later)  # egress allows it still
    closed = BpfTarget().emit(INGRESS_ONLY, Options(established=Established.RECHECK))
    LOADER.apply(Stored(target="bpf", files=closed.files, manifest={}))
    assert not sends(later)


def test_without_ipv6_nothing_is_left_to_do(node: Node) -> None:
    """The node's own addresses of IPv6 have no map, and are not told to be missing in one."""
    with_ipv6 = stored(BOTH, "bpf")
    head = with_ipv6.files["maps.json"].replace(b'"ipv6": true', b'"ipv6": false')
    source = render(Features(ipv6=False)).encode()
    without = Stored(target="bpf", files={**with_ipv6.files, "maps.json": head, "datapath.c": source}, manifest={})
    run("ip", "-n", node.name, "address", "add", "fd00::99/128", "dev", "lo")
    assert LOADER.apply(with_ipv6).steps and LOADER.apply(without).steps
    assert LOADER.delta(without).steps == ()
    assert [step.command for step in LOADER.apply(with_ipv6).steps][1:] == [("bpf", "map", "np_addresses6")]


def sends(frame: bytes, repeat: int = 1, at: str = "to1") -> bool:
    here = Here.of_thread()
    current = here.current()
    assert current is not None
    programs = here.programs(current.pins)
    try:
        index = attach.interfaces()[at]
        context = b"".join(n.to_bytes(4, "little") for n in (0, 0, 0, 0, 0, 0, 0, 0, 0, 1, index))
        return programs["np_from_pod"].run(frame, context, repeat).result == PASS
    finally:
        close(programs.values())


def test_maps_that_are_too_small_are_replaced(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_LEAST", 1)
    monkeypatch.setattr(packed, "_LEAST", 1)
    moves = []
    real = transition._move
    monkeypatch.setattr(transition, "_move", lambda *arguments: moves.append(1) or real(*arguments))
    LOADER.apply(stored(EGRESS_ONLY, "bpf"))
    assert len(moves) == 1
    for program in (*HISTORY, WIDER):
        LOADER.apply(stored(program, "bpf"))
        assert_says(node, program)
    many = [replace(EGRESS_ONLY.policies[0], name=f"more{n}") for n in range(40)]
    grown = replace(EGRESS_ONLY, policies=(*EGRESS_ONLY.policies, *many))
    LOADER.apply(stored(grown, "bpf"))
    assert_says(node, grown)
    assert len(moves) > 1


def test_counts_go_on_under_new_numbers(node: Node) -> None:
    LOADER.apply(stored(BOTH, "bpf"))
    for port in (40001, 40002, 40003):
        assert sends(f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(port, 80)))
    LOADER.apply(stored(WIDER, "bpf"))
    assert hits() == {"out": 3}
    LOADER.apply(stored(BOTH, "bpf"))
    assert hits() == {"out": 3}


def hits() -> dict[str, int]:
    """What rules have allowed, by their policies' names."""
    names = {one.id: one.policy.name for one in BpfTarget().emit(WIDER, Options()).rules}
    return {names[origin]: count for origin, count in counted(Here.of_thread()).items() if count}


def test_what_cannot_be_loaded_touches_nothing(node: Node) -> None:
    LOADER.apply(stored(BOTH, "bpf"))
    missing = BpfLoader(bindings={**BINDINGS, "a/p9": "nowhere"})
    with pytest.raises(InputError, match="nowhere"):
        missing.apply(stored(WIDER, "bpf"))
    twice = BpfLoader(bindings={**BINDINGS, "a/p9": "to2"})
    with pytest.raises(InputError, match="several pods"):
        twice.apply(stored(WIDER, "bpf"))
    broken = Stored(target="bpf", files={"maps.json": b"{"}, manifest={})
    with pytest.raises(InputError):
        LOADER.apply(broken)
    no_source = Stored(target="bpf", files={"maps.json": stored(WIDER, "bpf").files["maps.json"]}, manifest={})
    with pytest.raises(InputError, match=r"datapath\.c"):
        LOADER.apply(no_source)
    no_object = Stored(target="bpf", files={**stored(WIDER, "bpf").files, "datapath.o": b"\x7fELF"}, manifest={})
    with pytest.raises(LoadError):
        LOADER.apply(no_object)
    assert_says(node, BOTH)
    some = BpfLoader(bindings={"a/p1": "to1"})
    told = some.apply(stored(BOTH, "bpf")).diagnostics
    assert [one.message for one in told] == ["`a/p2` has no interface in the bindings: nothing is enforced for it"]


APPLY = """
import sys
from pathlib import Path
from npcompile.runtime.bpf.loader import BpfLoader
from npcompile.runtime.loader import Stored
bindings = dict(line.split("=") for line in sys.argv[1].split(","))
for name in sys.argv[2:]:
    files = {path.name: path.read_bytes() for path in Path(name).iterdir()}
    BpfLoader(bindings=bindings).apply(Stored(target="bpf", files=files, manifest={}))
"""


def test_after_a_kill_at_any_moment_the_next_apply_carries_on(node: Node, tmp_path: Path) -> None:
    """Old and new agree on what the killed one may have left; the next one makes it what it says."""
    chosen = random.Random(1)
    states = (EGRESS_ONLY, INGRESS_ONLY, WIDER)
    recheck = Options(established=Established.RECHECK)
    for number, program in enumerate(states):
        options = recheck if number == 1 else Options()  # so that programs and maps are replaced, too
        (tmp_path / f"{number}").mkdir()
        for name, data in BpfTarget().emit(program, options).files.items():
            (tmp_path / f"{number}" / name).write_bytes(data)
    for options in (recheck, Options()):
        LOADER.apply(Stored(target="bpf", files=BpfTarget().emit(BOTH, options).files, manifest={}))  # compiled, kept
    asked = [flow for flow in ASKED if flow.port == 80]
    took = timed(node, tmp_path, (0, 1, 2, 0))
    killed = 0
    for _ in range(10):
        LOADER.apply(stored(EGRESS_ONLY, "bpf"))
        old = node.verdicts(asked)
        child = spawn(tmp_path, (1,) if chosen.random() < 0.5 else (2,))
        time.sleep(took * chosen.uniform(0.3, 0.95))
        killed += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
        new = INGRESS_ONLY if child.args[-1].endswith("1") else WIDER  # type: ignore[index,union-attr]
        middle = node.verdicts(asked)
        LOADER.apply(stored(new, "bpf"))
        after = node.verdicts(asked)
        for flow in asked:
            assert (old[flow] and after[flow]) <= middle[flow] <= (old[flow] or after[flow]), flow
        assert_says(node, new)
        current = Here.of_thread().current()
        assert current is not None and list(Here.of_thread().others(current.pins)) == []
    assert killed > 2


def spawn(folder: Path, numbers: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """This thread's namespace is the child's."""
    pairs = ",".join(f"{pod}={name}" for pod, name in BINDINGS.items())
    return subprocess.Popen([sys.executable, "-c", APPLY, pairs, *(str(folder / str(one)) for one in numbers)])


def timed(node: Node, folder: Path, numbers: tuple[int, ...]) -> float:
    """How long one apply takes, with the start of the interpreter."""
    started = time.monotonic()
    for number in numbers:
        child = spawn(folder, (number,))
        assert child.wait() == 0
    return (time.monotonic() - started) / len(numbers)


def test_the_command(node: Node, tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text(
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: a, name: deny},"
        " spec: {podSelector: {}}}\n---\n"
        "{apiVersion: v1, kind: Pod, metadata: {namespace: a, name: p1}, status: {podIP: 10.7.0.1}}\n"
    )
    (tmp_path / "bindings").write_text("a/p1=to1\n")
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": "."}

    def npcompile(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "npcompile", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert npcompile("emit", tmp_path / "in.yaml", "--target", "bpf", "-o", out).returncode == 0
    assert json.loads((out / "manifest.json").read_text())["target"] == "bpf"
    dry = npcompile("apply", out, "--bindings", tmp_path / "bindings", "--dry-run")
    assert dry.returncode == 0 and "attach ifindex" in dry.stdout, dry.stderr
    assert attach.attached() == {}
    done = npcompile("apply", out, "--bindings", tmp_path / "bindings")
    assert done.returncode == 0, done.stderr
    assert len(attach.attached()) == 1
    assert "nothing to do" in npcompile("apply", out, "--bindings", tmp_path / "bindings").stderr
    run("ip", "netns", "exec", node.name, "tc", "qdisc", "add", "dev", "to2", "ingress")
    (tmp_path / "more").write_text("a/p1=to2\n")
    failed = npcompile("apply", out, "--bindings", tmp_path / "more")
    assert failed.returncode == 1 and "attach to `to2`" in failed.stderr and "rolled back" in failed.stderr
    assert "nothing to do" in npcompile("apply", out, "--bindings", tmp_path / "bindings").stderr
    bad = tmp_path / "bad"
    bad.write_text("a/p1\na/p1=this-name-is-far-too-long\n")
    wrong = npcompile("apply", out, "--bindings", bad)
    assert wrong.returncode == 2 and wrong.stderr.count("NPC707") == 2, wrong.stderr
    assert npcompile("apply", "--detach", "--target", "bpf").returncode == 0
    assert attach.attached() == {}
