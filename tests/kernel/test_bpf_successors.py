"""Who comes to an interface, or to an address, after somebody else: what that one was allowed serves it not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from npcompile.ir.program import Program
from npcompile.runtime.bpf import attach, transition
from npcompile.runtime.bpf.loaded import Here
from npcompile.runtime.bpf.loader import BpfLoader
from tests.kernel import frames as f
from tests.kernel.applying import BOTH, EGRESS_ONLY, WIDER, pod, program, stored
from tests.kernel.test_bpf_apply import BINDINGS, LOADER, Node, made, sends
from tests.kernel.wire import run

pytestmark = pytest.mark.kernel("clang", "ip")

OPENING = f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40000, 80))
LATER = f.ip("10.7.0.1", "10.7.0.2", 6, f.tcp(40000, 80, f.ACK))
CLIENT, CLOSED_SERVER = pod(1, app="client"), pod(2, app="server")
CLOSED = program([CLOSED_SERVER, CLIENT], *BOTH.policies)  # the client may not reach the server


def heir_of(one: Program) -> Program:
    """Another pod has the client's address."""
    pods = tuple(replace(pod, name="heir") if pod.name == "p1" else pod for pod in one.cluster.pods)
    return replace(one, cluster=replace(one.cluster, pods=pods))


HEIR = BpfLoader(bindings={**BINDINGS, "a/heir": "to1"})


@pytest.fixture
def node() -> Iterator[Node]:
    with made() as one:
        LOADER.apply(stored(BOTH, "bpf"))
        assert sends(OPENING) and sends(LATER)
        yield one


def test_the_same_pod_keeps_its_flows(node: Node) -> None:
    LOADER.apply(stored(CLOSED, "bpf"))
    assert sends(LATER) and not sends(OPENING)


def test_another_pod_at_once(node: Node) -> None:
    HEIR.apply(stored(heir_of(CLOSED), "bpf"))
    assert not sends(LATER)


def test_another_address_of_the_same_pod(node: Node) -> None:
    moved = replace(CLIENT, addresses=pod(9).addresses)
    LOADER.apply(stored(program([CLOSED_SERVER, moved], *BOTH.policies), "bpf"))
    assert not sends(LATER)


def test_a_pod_that_comes_after_one_has_gone(node: Node) -> None:
    LOADER.apply(stored(WIDER, "bpf"))  # without the client; its interface stays
    assert attach.interfaces()["to1"] not in attach.attached()
    HEIR.apply(stored(heir_of(CLOSED), "bpf"))
    assert not sends(LATER)


def test_a_restarted_pod_at_an_interface_with_the_same_number(node: Node) -> None:
    """Same name, same address, other labels, and the kernel gives the number of the interface that has gone again."""
    index = attach.interfaces()["to1"]
    run("ip", "-n", node.name, "link", "delete", "to1")
    run("ip", "-n", node.name, "link", "add", "to1", "index", str(index), "type", "veth", "peer", "name", "xto1")
    assert attach.interfaces()["to1"] == index and index not in attach.attached()
    LOADER.apply(stored(CLOSED, "bpf"))
    assert not sends(LATER)


def test_a_kill_between_the_flip_and_the_forgetting(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Nothing of ours catches it, so that nothing is rolled back."""

    def killed(*_: object) -> None:
        raise Killed

    real = transition.change
    with monkeypatch.context() as patched:
        patched.setattr(transition, "change", lambda *arguments: (real(*arguments), killed()))
        with pytest.raises(Killed):
            HEIR.apply(stored(heir_of(CLOSED), "bpf"))
    assert Here.of_thread().stale() == {attach.interfaces()["to1"]}
    assert HEIR.apply(stored(heir_of(CLOSED), "bpf")).steps
    assert not sends(LATER)
    assert not Here.of_thread().stale() and HEIR.apply(stored(heir_of(CLOSED), "bpf")).steps == ()


def test_a_failure_that_is_rolled_back_forgets_no_flow_of_before(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(12, "refused by the test")

    with monkeypatch.context() as patched:
        patched.setattr(transition, "change", refused)
        with pytest.raises(Exception, match="refused by the test"):
            LOADER.apply(stored(EGRESS_ONLY, "bpf"))
    assert sends(LATER)


def test_another_pod_at_once_under_a_policy_that_stays(node: Node) -> None:
    """Not an entry changes but whose they are."""
    LOADER.apply(stored(CLOSED, "bpf"))
    assert sends(LATER)
    heir = stored(heir_of(CLOSED), "bpf")
    assert [step.command for step in HEIR.delta(heir).steps] == [("bpf", "flows")]
    HEIR.apply(heir)
    assert not sends(LATER)
    assert HEIR.delta(heir).steps == ()


def test_interfaces_that_have_exchanged_their_names(node: Node) -> None:
    """What was the client's now is the server's, who cannot go on where the client was."""
    assert sends(LATER)
    names = (("to1", "between"), ("to2", "to1"), ("between", "to2"))
    run("ip", "-n", node.name, "-batch", "-", text="".join(f"link set {old} name {new}\n" for old, new in names))
    LOADER.apply(stored(CLOSED, "bpf"))
    assert not sends(LATER, at="to2")
