"""`apply` of BPF artifacts where the kernel refuses something: what was loaded before is loaded again, whichever call
it was, and a run that could not even do that is repaired by the next one.

Every call that changes the kernel or a file of ours is made to fail in turn, once, and then for good.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from npcompile.backends.bpf import BpfTarget
from npcompile.backends.bpf.target import SOURCE_FILE
from npcompile.backends.target import Established, Options
from npcompile.diagnostics.errors import InputError
from npcompile.ir.flow import Flow
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.runtime.bpf import attach, capacity, loaded, loader, packed, transition
from npcompile.runtime.bpf import maps as maps_module
from npcompile.runtime.bpf.libbpf import Map
from npcompile.runtime.bpf.loaded import Here
from npcompile.runtime.bpf.loader import BpfLoader
from npcompile.runtime.bpf.maps import LAYOUT
from npcompile.runtime.loader import LEFT_BEHIND, Delta, LoadError, Stored
from tests.kernel.applying import BOTH, EGRESS_ONLY, INGRESS_ONLY, WIDER, allows, having, policy
from tests.kernel.test_bpf_apply import ASKED, BINDINGS, LOADER, Node, assert_says, made
from tests.kernel.wire import run

pytestmark = pytest.mark.kernel("clang", "ip")

WEB = [flow for flow in ASKED if flow.port == 80]
RECHECK = Options(established=Established.RECHECK)


def artifact(made_of: Program, options: Options | None = None) -> Stored:
    return Stored(target="bpf", files=BpfTarget().emit(made_of, options or Options()).files, manifest={})


def refusal() -> OSError:
    return OSError(errno.ENOMEM, "refused by the test")


class Killed(BaseException):
    """What stands for SIGKILL: nothing of ours catches it."""


@dataclass(slots=True)
class Refusals:
    """Calls are counted; from the one `at` on, `many` fail."""

    at: int = -1
    many: int = 0
    how: Callable[[], BaseException] = refusal
    seen: list[str] = field(default_factory=list)

    def asked(self, what: str) -> bool:
        self.seen.append(what)
        return 0 <= self.at <= len(self.seen) - 1 < self.at + self.many

    @contextmanager
    def refusing(self, at: int, many: int, how: Callable[[], BaseException] = refusal) -> Iterator[None]:
        self.seen.clear()
        self.at, self.many, self.how = at, many, how
        try:
            yield
        finally:
            self.at = -1


class Route:
    """The kernel's side, some of whose changes are refused."""

    def __init__(self, real: object, refusals: Refusals) -> None:
        self._real, self._refusals = real, refusals

    def tc(self, command: str, *arguments: object, **options: object) -> None:
        if self._refusals.asked(f"tc {command}"):
            raise self._refusals.how()
        self._real.tc(command, *arguments, **options)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Refusals:
    """Every call that changes something, through here."""
    counted = Refusals()
    monkeypatch.setattr(capacity, "FLOWS", 64)  # the kernel's time goes into making room for them

    def wrapped(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def act(*arguments: object, **named: object) -> object:
            empty = name in ("put_all", "delete_all") and not [*arguments[1]]  # type: ignore[call-overload]
            if not empty and counted.asked(name):
                if name == "put_all":  # the kernel has taken some
                    entries = list(arguments[1])  # type: ignore[call-overload]
                    real(arguments[0], entries[: len(entries) // 2], *arguments[2:])
                raise counted.how()
            return real(*arguments, **named)

        return act

    for owner, names in (
        (Map, ("put", "put_all", "put_per_cpu", "delete_all")),
        (Here, ("_write", "unpin", "set_stale", "forget_artifacts", "clear")),
        (transition, ("Object",)),
        (loaded, ("pin",)),
        (maps_module, ("wait_for_programs",)),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, wrapped(name, getattr(owner, name)))
    real_netlink = attach._netlink

    @contextmanager
    def netlink(*arguments: str) -> Iterator[Route]:
        with real_netlink(*arguments) as route:
            yield Route(route, counted)

    monkeypatch.setattr(attach, "_netlink", netlink)
    return counted


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a node holds of ours, but the number of the generation."""

    verdicts: dict[Flow, bool]
    attached: object
    current: object
    pins: tuple[str, ...]
    files: frozenset[str]

    @classmethod
    def of(cls, node: Node) -> Seen:
        here = Here.of_thread()
        files = {path.name for path in here.files.glob("*")} if here.files.exists() else set()
        return cls(
            node.verdicts(WEB),
            attach.attached(),
            here.current(),
            tuple(here.others("")),
            frozenset(name for name in files if not name.endswith(".artifact")),
        )


CHANGES = {
    "the first one": (None, artifact(BOTH)),
    "entries": (artifact(EGRESS_ONLY), artifact(INGRESS_ONLY)),
    "pods that come and go": (artifact(WIDER), artifact(BOTH)),
    "other programs": (artifact(BOTH), artifact(WIDER, RECHECK)),
    "the last one": (artifact(BOTH), None),
}


def load(one: Stored | None) -> Delta:
    return LOADER.detach() if one is None else LOADER.apply(one)


def calls(refusals: Refusals, old: Stored | None, new: Stored | None) -> list[tuple[int, str]]:
    """What leads from one to the other, call by call; of many alike in a row the first and the last."""
    load(old)
    with refusals.refusing(-1, 0):
        load(new)
    seen = [*refusals.seen]
    load(old)
    return [(at, what) for at, what in enumerate(seen) if seen[max(0, at - 1) : at + 2] != [what] * 3]


@pytest.mark.parametrize("change", CHANGES)
def test_each_call_refused_once_is_rolled_back(change: str, refusals: Refusals) -> None:
    old, new = CHANGES[change]
    rolled_back = 0
    with made() as node:
        for at, what in calls(refusals, old, new):
            before = Seen.of(node)
            try:
                with refusals.refusing(at, 1):
                    delta = load(new)
            except LoadError as error:
                assert error.restored and "refused by the test" in str(error), what
                assert Seen.of(node) == before, what
                assert LOADER.delta(old).steps == (), what
                rolled_back += 1
                continue
            # All that mattered was done, and what has no effect is left for the next one.
            assert LEFT_BEHIND in {one.rule for one in delta.diagnostics}, what
            load(new)
            assert LOADER.delta(new).steps == ()
            load(old)
        assert rolled_back > 5
        load(new)
        assert LOADER.delta(new).steps == ()


def assert_between(node: Node, before: Mapping[Flow, bool], after: Mapping[Flow, bool], what: str) -> None:
    """What both states allow passes, and nothing does that neither allows."""
    for flow, passed in node.verdicts(WEB).items():
        assert (before[flow] and after[flow]) <= passed <= (before[flow] or after[flow]), (what, flow)


@pytest.mark.parametrize("change", CHANGES)
def test_what_cannot_be_rolled_back_is_repaired_by_the_next_one(change: str, refusals: Refusals) -> None:
    """From some call on the kernel refuses everything: no flow is let through that neither state allows."""
    old, new = CHANGES[change]
    with made() as node:
        load(new)
        after = node.verdicts(WEB)
        places = calls(refusals, old, new)
        before = node.verdicts(WEB)
        failed = 0
        for at, what in places[::5]:
            try:
                with refusals.refusing(at, 1_000_000):
                    load(new)
            except LoadError as error:
                failed += not error.restored
            assert_between(node, before, after, what)
            load(old)
            assert node.verdicts(WEB) == before, what
            assert LOADER.delta(old).steps == (), what
        assert failed > 0 or change == "the first one"


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_kill_at_any_call_the_next_one_carries_on(change: str, refusals: Refusals) -> None:
    old, new = CHANGES[change]
    with made() as node:
        load(new)
        after = node.verdicts(WEB)
        places = calls(refusals, old, new)
        before = node.verdicts(WEB)
        for at, what in places[::3]:
            with refusals.refusing(at, 1, Killed), pytest.raises(Killed):
                load(new)
            assert_between(node, before, after, what)
            load(new)
            assert node.verdicts(WEB) == after, what
            assert LOADER.delta(new).steps == (), what
            load(old)


def test_an_interface_that_goes_before_it_is_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    with made() as node:
        load(artifact(BOTH))
        before = Seen.of(node)
        real = transition.attach.attach

        def gone(ifindex: int, programs: object) -> None:
            if ifindex == attach.interfaces().get("to9"):
                run("ip", "-n", node.name, "link", "delete", "to9")
            real(ifindex, programs)  # type: ignore[arg-type]

        monkeypatch.setattr(transition.attach, "attach", gone)
        with pytest.raises(LoadError, match=r"attach to .*: No such device") as raised:
            load(artifact(WIDER))
        assert raised.value.restored
        assert Seen.of(node) == before


GONE = ["ip link delete to1"]
AGAIN = [*GONE, "ip link add to1 index {index} type veth peer name again"]
OTHER = [*GONE, "ip link add to1 type veth peer name again"]


@pytest.mark.parametrize(("commands", "succeeds"), [(GONE, False), (OTHER, False), (AGAIN, True),
                                                    (["tc qdisc delete dev to1 clsact"], True)])  # fmt: skip
def test_an_enforced_interface_that_changes_while_something_is_loaded(
    commands: list[str], succeeds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What succeeds has enforced, whatever was seen before."""
    real = transition.load

    def late(*arguments: Any) -> object:
        for command in commands:
            run("ip", "netns", "exec", node.name, *command.format(index=index).split())
        return real(*arguments)

    with made() as node:
        load(artifact(BOTH))
        index = attach.interfaces()["to1"]
        monkeypatch.setattr(transition, "load", late)
        if not succeeds:
            with pytest.raises(LoadError, match=f"attach to interface {index}: No such device") as raised:
                load(artifact(EGRESS_ONLY))
            assert raised.value.restored
            return
        load(artifact(EGRESS_ONLY))
        assert attach.attached()[index] == frozenset(Direction)
        assert_says(node, EGRESS_ONLY)


def test_an_interface_with_a_qdisc_that_has_one_hook_only() -> None:
    with made() as node:
        run("ip", "netns", "exec", node.name, "tc", "qdisc", "add", "dev", "to2", "ingress")
        with pytest.raises(LoadError, match="attach to `to2`: it has another qdisc") as raised:
            load(artifact(BOTH))
        assert raised.value.restored and attach.attached() == {} and Here.of_thread().is_empty()
        left = run("ip", "netns", "exec", node.name, "tc", "filter", "show", "dev", "to2", "ingress")
        assert left.stdout == b""


def test_an_interface_that_is_gone_is_left() -> None:
    with made() as node:
        load(artifact(BOTH))
        run("ip", "-n", node.name, "link", "delete", "to1")
        gone = BpfLoader(bindings={pod: name for pod, name in BINDINGS.items() if name != "to1"})
        gone.apply(artifact(INGRESS_ONLY))
        assert attach.attached().keys() == {attach.interfaces()["to2"]}
        assert gone.apply(artifact(INGRESS_ONLY)).steps == ()


@pytest.mark.parametrize("hook", ["ingress", "egress"])
def test_a_filter_that_somebody_removed_is_put_back(hook: str) -> None:
    with made() as node:
        load(artifact(BOTH))
        run("ip", "netns", "exec", node.name, "tc", "filter", "delete", "dev", "to1", hook)
        assert "attach" in "".join(step.text for step in LOADER.delta(artifact(BOTH)).steps)
        load(artifact(BOTH))
        assert attach.attached()[attach.interfaces()["to1"]] == frozenset(Direction)
        assert_says(node, BOTH)


def test_maps_of_another_version_are_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are programs of such a version loaded, that an artifact holds."""
    ours = artifact(BOTH)
    source = ours.files[SOURCE_FILE]
    other = source.replace(f"#define LAYOUT {LAYOUT} ".encode(), f"#define LAYOUT {LAYOUT + 1} ".encode())
    assert other != source
    theirs = replace(ours, files={**ours.files, SOURCE_FILE: other})
    with made():
        load(ours)
        with monkeypatch.context() as patched:
            patched.setattr(maps_module, "LAYOUT", LAYOUT + 1)
            with pytest.raises(InputError, match="another version"):
                load(artifact(WIDER))
            assert len(attach.attached()) == 2
            load(None)
        assert attach.attached() == {} and Here.of_thread().is_empty()
        with pytest.raises(LoadError, match="another version") as raised:
            load(theirs)
        assert raised.value.restored and Here.of_thread().is_empty()


def test_programs_whose_maps_nobody_knows_any_more_are_not_taken_away_by_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> None:
        raise refusal()

    with made() as node:
        load(artifact(BOTH))
        Here.of_thread().clear()  # the pins are gone, and the filters stay
        enforced = attach.attached()
        with monkeypatch.context() as patched:
            patched.setattr(transition, "change", refused)
            with pytest.raises(LoadError, match="pinned nowhere") as raised:
                load(artifact(WIDER))
        assert not raised.value.restored
        assert attach.attached().items() >= enforced.items()
        denied = {flow for flow in WEB if not allows(BOTH, flow) and not allows(WIDER, flow)}
        assert denied
        assert not any(passed for flow, passed in node.verdicts(WEB).items() if flow in denied)
        load(artifact(WIDER))
        assert_says(node, WIDER)


def test_ctrl_c_is_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with made() as node:
        load(artifact(EGRESS_ONLY))
        before = Seen.of(node)
        with monkeypatch.context() as patched:
            patched.setattr(maps_module, "settle", interrupt)  # behind the flip
            with pytest.raises(KeyboardInterrupt):
                load(artifact(INGRESS_ONLY))
        assert Seen.of(node) == before
        assert LOADER.delta(artifact(EGRESS_ONLY)).steps == ()


def test_a_map_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader computes the sizes, so here they are kept from it."""
    monkeypatch.setattr(capacity, "_LEAST", 1)
    monkeypatch.setattr(packed, "_LEAST", 1)
    real = loader.capacity

    def enough(*arguments: Any) -> capacity.Capacity:
        room = real(*arguments)
        return replace(room, entries={**room.entries, "np_rule_hits": 4096})

    monkeypatch.setattr(loader, "capacity", enough)
    monkeypatch.setattr(loader, "too_small", lambda *_: False)
    with made() as node:
        load(artifact(EGRESS_ONLY))
        before = Seen.of(node)
        full = "write np_[a-z0-9]*: the map is full"
        with pytest.raises(LoadError, match=full) as raised:
            load(artifact(crowded()))
        assert raised.value.restored
        assert Seen.of(node) == before


def crowded() -> Program:
    """One with many ports."""
    server, client = having(app="server"), having(app="client")
    many = (policy(f"more{n}", server, Direction.INGRESS, client, port=1000 + 2 * n) for n in range(40))
    return replace(EGRESS_ONLY, policies=(*EGRESS_ONLY.policies, *many))


def test_programs_that_the_kernel_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is none, of a first load and of a later one."""
    with made() as node:
        broken = Stored(target="bpf", files={**artifact(BOTH).files, "datapath.o": b"\x7fELF"}, manifest={})
        with pytest.raises(LoadError, match="open the object") as raised:
            load(broken)
        assert raised.value.restored and Here.of_thread().is_empty() and attach.attached() == {}
        load(artifact(BOTH))
        before = Seen.of(node)
        with pytest.raises(LoadError, match="open the object"):
            load(broken)
        assert Seen.of(node) == before
