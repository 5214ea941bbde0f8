"""`apply` in the kernel: what it changes, what it leaves alone, and what passes while it is at work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings

from npcompile.backends.iptables import lower
from npcompile.backends.target import Options
from npcompile.driver.emit import Emitted, emit_loaded
from npcompile.frontend import Loaded
from npcompile.ir.program import Program
from npcompile.runtime.iptables import IptablesLoader
from npcompile.runtime.loader import Loader
from npcompile.runtime.nf_tables import FIRST, INET, IPV4, IPV6, following, generation, may_have_chain, may_have_table
from npcompile.runtime.nftables import NftablesLoader
from npcompile.runtime.programs import locked
from npcompile.runtime.programs import run as run_step
from tests.kernel.applying import (
    BOTH,
    EGRESS_ONLY,
    HISTORY,
    INGRESS_ONLY,
    RESTARTED,
    WIDER,
    allows,
    assert_between,
    flows,
    kernel,
    npcompile,
    passed,
    stored,
    write,
)
from tests.kernel.wire import Lab, datagram, entered, forwarded, namespace, router, run
from tests.properties.test_deltas import histories

VARIANTS = ("legacy", "nft")

PROGRAMS = [
    f"{tool}-{v}-{verb}" for tool in ("iptables", "ip6tables") for v in VARIANTS for verb in ("save", "restore")
]

pytestmark = pytest.mark.kernel("ip", "ipset", "nft", *PROGRAMS)

LOADERS: Mapping[str, Loader] = {
    "legacy": IptablesLoader(variant="legacy"),
    "nft": IptablesLoader(variant="nft"),
    "nftables": NftablesLoader(),
}


@contextmanager
def foreign(where: str, variant: str) -> Iterator[None]:
    """Rules and sets of somebody else, who must find them as they were."""
    run("ip", "netns", "exec", where, "ipset", "restore", text="create theirs hash:ip\nadd theirs 192.0.2.9\n")
    for tool in ("iptables", "ip6tables"):
        text = (
            "*filter\n:THEIRS - [0:0]\n:NPC-LIKE - [0:0]\n-A FORWARD -j THEIRS\n-A INPUT -j THEIRS\n"
            "-A THEIRS -p tcp -j RETURN\nCOMMIT\n*nat\n-A POSTROUTING -p tcp -j MASQUERADE\nCOMMIT\n"
        )
        run("ip", "netns", "exec", where, f"{tool}-{variant}-restore", "--noflush", text=text)
    before = kernel(where, variant)
    yield
    assert kernel(where, variant) == before


@pytest.mark.parametrize("variant", VARIANTS)
def test_apply_and_detach_leave_what_is_not_ours(variant: str, tmp_path: Path) -> None:
    first, second = write(BOTH, "iptables", tmp_path / "1"), write(WIDER, "iptables", tmp_path / "2")
    with namespace() as where, foreign(where, variant):
        for artifact in (first, second, first):
            npcompile(where, "apply", artifact, "--variant", variant)
            held = kernel(where, variant)
            again = npcompile(where, "apply", artifact, "--variant", variant)
            assert again.stderr == b"apply: nothing to do\n"
            assert kernel(where, variant) == held
            assert [line for line in held["iptables"] if line.startswith("-A FORWARD")] == [
                "-A FORWARD -j NPC-FORWARD",
                "-A FORWARD -j THEIRS",
            ]
        would = npcompile(where, "apply", "--detach", "--variant", variant, "--dry-run")
        assert b"-X NPC-FORWARD" in would.stdout
        assert kernel(where, variant) == held
        npcompile(where, "apply", "--detach", "--variant", variant)


@pytest.mark.parametrize("in_one_step", [lower.MOST_IN_ONE_DISPATCH, 0], ids=["one step", "two steps"])
@pytest.mark.parametrize("variant", LOADERS)
@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(history=histories())
def test_the_kernel_ends_with_each_artifact_of_a_history(
    variant: str, in_one_step: int, history: list[Program]
) -> None:
    """Every artifact is read back as it was written: success of `apply` says so, and so does the delta after it.

    Of iptables with profiles looked up in one step, and in two, which takes more of them than a test has.
    """
    loader = LOADERS[variant]
    with namespace() as where, entered(where), pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower, "MOST_IN_ONE_DISPATCH", in_one_step)
        before = kernel(where)
        for program in history:
            loader.apply(stored(program, loader.target))
            assert not loader.delta(stored(program, loader.target)).steps
        loader.detach()
        assert kernel(where)["ipset"] == before["ipset"]
        assert "table inet npcompile" not in kernel(where)["nft"]


def test_nftables_needs_one_transaction_and_replaces_elements_only_when_a_pod_restarts() -> None:
    loader = LOADERS["nftables"]
    with namespace() as where, entered(where):
        run("ip", "netns", "exec", where, "nft", "-f", "-", text=THEIRS)
        loader.apply(stored(BOTH, loader.target))
        (step,) = loader.apply(stored(RESTARTED, loader.target)).steps
        run("ip", "netns", "exec", where, "nft", "add", "rule", "inet", "npcompile", "forward", "accept")
        (healing,) = loader.apply(stored(RESTARTED, loader.target)).steps
        loader.detach()
        assert run("ip", "netns", "exec", where, "nft", "list", "ruleset").stdout.decode().split() == THEIRS.split()
    assert {tuple(line.split()[:2]) for line in step.text.splitlines()} == {("add", "element"), ("delete", "element")}
    assert healing.text.startswith("flush chain inet npcompile forward\n")


THEIRS = """
table inet theirs {
    chain forward {
        type filter hook forward priority filter; policy accept;
        tcp dport 99 accept
    }
}
"""


def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    first, second = write(BOTH, "nftables", tmp_path / "1"), write(WIDER, "nftables", tmp_path / "2")
    path = shim(tmp_path / "bin", "nft", 'case "$*" in *-f*) exit 1;; esac\nexec $real "$@"')
    with namespace() as where:
        npcompile(where, "apply", first)
        before = listed(where)
        failed = npcompile(where, "apply", second, path=path, check=False)
        assert failed.returncode == 1
        assert b"loaded again" in failed.stderr
        assert listed(where) == before


def test_a_change_by_others_right_after_our_transaction_is_found_and_undone(tmp_path: Path) -> None:
    """What nobody else can have changed is not read again: so it must be noticed that somebody did."""
    first, second = write(BOTH, "nftables", tmp_path / "1"), write(RESTARTED, "nftables", tmp_path / "2")
    meddle = '$real "$@"; $real add rule inet npcompile forward accept; exit 0'
    path = shim(
        tmp_path / "bin",
        "nft",
        f'case "$*" in *-f*) [ -e $0.once ] || {{ touch $0.once; {meddle}; }};; esac\nexec $real "$@"',
    )
    with namespace() as where:
        npcompile(where, "apply", first)
        clean = listed(where)
        done = npcompile(where, "apply", second, path=path)
        assert (path / "nft.once").exists()
        assert b"2 steps" in done.stderr
        assert npcompile(where, "apply", second).stderr == b"apply: nothing to do\n"
        npcompile(where, "apply", first)
        assert listed(where) == clean


def test_the_kernel_tells_of_transactions_and_tables_at_once() -> None:
    with namespace() as where, entered(where):
        assert generation() == FIRST
        assert not may_have_table(INET, "theirs")
        run("nft", "-f", "-", text=THEIRS)
        assert generation() == following(FIRST)
        run("nft", "list", "ruleset")
        run("nft", "-c", "-f", "-", text="flush ruleset\n")
        assert generation() == following(FIRST)
        run("iptables-nft", "-A", "FORWARD", "-j", "ACCEPT")
        assert generation() == following(following(FIRST))
        assert [may_have_table(family, "filter") for family in (INET, IPV4, IPV6)] == [False, True, False]
        assert [may_have_table(family, "theirs") for family in (INET, IPV4, IPV6)] == [True, False, False]
        chains = [
            (IPV4, "filter", "FORWARD"),
            (IPV4, "filter", "theirs"),
            (IPV6, "filter", "FORWARD"),
            (INET, "theirs", "forward"),
        ]
        assert [may_have_chain(*chain) for chain in chains] == [True, False, False, True]
        run("nft", "-f", "-", text="".join(f"add table inet t{number}\n" for number in range(3000)))
        assert may_have_table(INET, "t2999")
        assert not may_have_table(INET, "t3000")
    assert following(0xFFFF_FFFF) == FIRST


def test_a_generation_is_told_when_all_of_it_can_be_read() -> None:
    """It is counted first: while a large transaction of others is at work, who asks waits."""
    elements = ", ".join(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(100_000))
    text = f"add set inet theirs many {{ type ipv4_addr; }}\nadd element inet theirs many {{ {elements} }}\n"
    waits = []
    with namespace() as where, entered(where):
        run("nft", "add", "table", "inet", "theirs")
        before = generation()
        assert before is not None
        with subprocess.Popen(["nft", "-f", "-"], stdin=subprocess.PIPE) as program:
            assert program.stdin is not None
            program.stdin.write(text.encode())
            program.stdin.close()
            while program.poll() is None:
                start = time.monotonic()
                assert generation() in {before, following(before)}
                waits.append(time.monotonic() - start)
        assert program.returncode == 0
        assert generation() == following(before)
    assert max(waits) > 0.05


@pytest.mark.parametrize("detach", [False, True])
def test_what_cannot_be_read_is_not_touched(tmp_path: Path, detach: bool) -> None:
    """iptables' back end nft tells nothing of a table in which it does not know a rule."""
    first, second = write(BOTH, "iptables", tmp_path / "1"), write(WIDER, "iptables", tmp_path / "2")
    with namespace() as where:
        npcompile(where, "apply", first, "--variant", "nft")
        run("ip", "netns", "exec", where, "nft", "insert rule ip filter FORWARD ct count over 3 accept")
        before = listed(where), kernel(where)["ipset"]
        refused = npcompile(where, "apply", *(["--detach"] if detach else [second]), "--variant", "nft", check=False)
        assert (refused.returncode, (listed(where), kernel(where)["ipset"])) == (2, before)
        assert b"others have put rules into it with nft" in refused.stderr
        told = npcompile(where, "apply", second, "--variant", "legacy").stderr
        assert b"loaded in the `nft` back end" in told


def listed(where: str) -> bytes:
    return run("ip", "netns", "exec", where, "nft", "list", "ruleset").stdout


def test_another_target_that_is_loaded_is_warned_of_and_detached_alone(tmp_path: Path) -> None:
    first, second = write(BOTH, "nftables", tmp_path / "1"), write(BOTH, "iptables", tmp_path / "2")
    with namespace() as where:
        npcompile(where, "apply", first)
        told = npcompile(where, "apply", second).stderr
        assert b"`nftables` is loaded, too" in told
        npcompile(where, "apply", "--detach", "--target", "nftables")
        assert b"npcompile" not in listed(where)
        assert npcompile(where, "apply", second).stderr == b"apply: nothing to do\n"
        npcompile(where, "apply", first)
        npcompile(where, "apply", "--detach")
        assert b"npcompile" not in listed(where)
        assert not kernel(where)["ipset"]


def test_rules_of_others_are_not_listed_to_know_whether_any_are_ours(tmp_path: Path) -> None:
    """Whatever else they loaded in the back end of iptables that is ours, too."""
    ours, ipt = write(BOTH, "nftables", tmp_path / "1"), write(BOTH, "iptables", tmp_path / "2")
    path = shim(tmp_path / "bin", "iptables-nft-save", 'touch $0.once; exec $real "$@"')
    with namespace() as where, foreign(where, "nft"):
        npcompile(where, "apply", ours, path=path)
        assert not (path / "iptables-nft-save.once").exists()
        npcompile(where, "apply", ipt, "--variant", "nft")
        assert b"`iptables` is loaded, too" in npcompile(where, "apply", ours, path=path).stderr
        assert (path / "iptables-nft-save.once").exists()
        npcompile(where, "apply", "--detach", "--variant", "nft", "--target", "iptables")
        npcompile(where, "apply", "--detach", "--target", "nftables")


def test_a_restarted_pod_changes_members_only(tmp_path: Path) -> None:
    first, second = write(BOTH, "iptables", tmp_path / "1"), write(RESTARTED, "iptables", tmp_path / "2")
    with namespace() as where:
        npcompile(where, "apply", first)
        would = npcompile(where, "apply", second, "--dry-run").stdout.decode()
        before = kernel(where)
        npcompile(where, "apply", second)
        after = kernel(where)
    assert [line for line in would.splitlines() if line.startswith("#")] == ["# ipset restore"]
    words = [line.split() for line in would.splitlines()[1:]]
    assert [(verb, name[:8], member) for verb, name, member in words] == [
        ("add", "npc4-pro", "10.7.0.9"), ("del", "npc4-sel", "10.7.0.1"),
        ("add", "npc4-sel", "10.7.0.9"), ("del", "npc4-pro", "10.7.0.1"),
        ("add", "npc6-pro", "fd07::9"), ("del", "npc6-sel", "fd07::1"),
        ("add", "npc6-sel", "fd07::9"), ("del", "npc6-pro", "fd07::1"),
    ]  # fmt: skip
    assert before["iptables"] == after["iptables"]
    assert before["ip6tables"] == after["ip6tables"]


@pytest.mark.parametrize("variant", LOADERS)
def test_at_every_step_packets_pass_as_both_programs_agree(variant: str) -> None:
    """Line by line, in the kernel.  EGRESS_ONLY to INGRESS_ONLY is what adding first and removing later gets wrong."""
    loader = LOADERS[variant]
    with router("nft") as lab, entered(lab.router):
        loader.apply(stored(HISTORY[0], loader.target))
        for old, new in pairwise(HISTORY):
            asked = flows(old, new)
            for step in loader.delta(stored(new, loader.target)).steps:
                whole = step.command[0] != "ipset"
                for text in [step.text] if whole else step.text.splitlines(keepends=True):
                    with locked() as lock:
                        run_step(replace(step, text=text), lock)
                    assert_between(passed(lab, asked), old, new)
            assert all(now == allows(new, flow) for flow, now in passed(lab, asked).items())
            assert not loader.delta(stored(new, loader.target)).steps


@pytest.mark.parametrize("variant", LOADERS)
def test_deltas_that_were_written_as_files_lead_through_a_history(variant: str, tmp_path: Path) -> None:
    """As docs/apply.md tells: the first artifact by its own files, each later one by its delta."""
    loader = LOADERS[variant]
    path = tmp_path / "bin"
    path.mkdir()
    for tool in ("iptables-restore", "ip6tables-restore") if loader.target == "iptables" else ():
        real = tool.replace("-", f"-{variant}-")
        (path / tool).symlink_to(run("which", real).stdout.decode().strip())
    with router("nft") as lab, entered(lab.router):

        def do(directory: Path, command: str) -> None:
            lab.run("sh", "-c", f"cd {directory} && PATH={path}:$PATH {command}")

        def emit(number: int) -> Emitted:
            before = str(tmp_path / str(number - 1)) if number else None
            loaded = Loaded(program=HISTORY[number], diagnostics=())
            return emit_loaded(loaded, (), loader.target, str(tmp_path / str(number)), Options(), against=before)

        first = emit(0)
        for command in first.artifact.load:
            do(first.directory, command)
        for number, (old, new) in enumerate(pairwise(HISTORY), 1):
            asked = flows(old, new)
            assert_between(passed(lab, asked), old, new)
            written = emit(number)
            assert written.delta
            for command in written.delta:
                do(written.directory, command)
                assert_between(passed(lab, asked), old, new)
            assert all(now == allows(new, flow) for flow, now in passed(lab, asked).items())
            assert not loader.delta(stored(new, loader.target)).steps


def test_adding_first_and_removing_later_lets_a_flow_through_that_neither_program_allows() -> None:
    """The counter-example, so that it is known to be one: the same members, in the order that adds first."""
    loader = LOADERS["nft"]
    asked = flows(EGRESS_ONLY, INGRESS_ONLY)
    with router("nft") as lab, entered(lab.router):
        loader.apply(stored(EGRESS_ONLY, loader.target))
        sets = {
            line.split()[1]: line.split()[2] for line in kernel(lab.router)["ipset"] if line.startswith("add npc4-sel")
        }
        (opened,) = sets
        (trusted,) = {line.split()[1] for line in kernel(lab.router)["ipset"] if "npc4-sel" in line} - {opened}
        assert_between(passed(lab, asked), EGRESS_ONLY, INGRESS_ONLY)
        lab.run("ipset", "add", trusted, "10.7.0.1")
        with pytest.raises(AssertionError, match=r"10\.7\.0\.1 -> 10\.7\.0\.2"):
            assert_between(passed(lab, asked), EGRESS_ONLY, INGRESS_ONLY)


@pytest.mark.parametrize("variant", LOADERS)
def test_no_new_connection_is_lost_or_let_through_while_artifacts_are_exchanged(variant: str) -> None:
    """Each packet opens a connection of its own.  Client to server is allowed always, and to the stranger never."""
    loader = LOADERS[variant]
    programs = [BOTH, replace(WIDER, cluster=BOTH.cluster), BOTH]
    allowed = forwarded("10.7.0.1", "10.7.0.2", 6, dport=80)
    denied = forwarded("10.7.0.1", "192.0.2.77", 6, dport=80)
    with router("nft") as lab, entered(lab.router):
        loader.apply(stored(programs[0], loader.target))
        with sending(lab, [allowed, denied]) as counts:
            end = time.monotonic() + 2
            while time.monotonic() < end:
                for one in programs:
                    loader.apply(stored(one, loader.target))
    assert counts["sent"] > 100
    assert (counts[0], counts[1]) == (counts["sent"], 0)


@contextmanager
def sending(lab: Lab, packets: list[object]) -> Iterator[dict[object, int]]:
    """Send packets, each with ports of its own, until the end; counts how many rounds were sent and how many of each
    came through.
    """
    counts: dict[object, int] = {}
    stop = threading.Event()

    def send() -> None:
        number = 0
        while not stop.wait(0.002):
            number += 1
            for index, packet in enumerate(packets):
                frame = datagram(replace(packet, sport=1024 + number % 60000), b"round%03d" % index)  # type: ignore[type-var]
                lab.near.send(lab.frame_heads["near", packet.family] + frame)  # type: ignore[attr-defined]
        counts["sent"] = number

    def receive() -> None:
        counts.update(dict.fromkeys(range(len(packets)), 0))
        while True:
            all_sent = "sent" in counts  # silence means the end only if it began after that
            try:
                frame = lab.far.recv(2048)
            except TimeoutError:
                if all_sent:
                    return
                continue
            if frame[-8:-3] == b"round":
                counts[int(frame[-3:])] += 1

    workers = [threading.Thread(target=one) for one in (send, receive)]
    for one in workers:
        one.start()
    try:
        yield counts
    finally:
        stop.set()
        for one in workers:
            one.join()


# --- when something goes wrong ---


def shim(folder: Path, program: str, script: str) -> Path:
    """A program of that name before the real one; `$real` runs that.  `$n` counts its calls."""
    folder.mkdir(exist_ok=True)
    real = run("which", program).stdout.decode().strip()
    count = folder / f"{program}.count"
    path = folder / program
    path.write_text(
        f"#!/bin/sh\nn=$(($(cat {count} 2>/dev/null || echo 0) + 1))\necho $n > {count}\nreal={real}\n{script}\n"
    )
    path.chmod(0o755)
    return folder


@pytest.mark.parametrize("program", ["ipset", "iptables-restore", "ip6tables-restore"])
def test_a_step_that_fails_is_rolled_back(program: str, tmp_path: Path) -> None:
    first, second = write(BOTH, "iptables", tmp_path / "1"), write(WIDER, "iptables", tmp_path / "2")
    is_step = '[ "$1" = restore ]' if program == "ipset" else 'echo "$*" | grep -q noflush'
    half = 'head -n 3 | $real "$@"; ' if program == "ipset" else ""
    fail = f"if {is_step} && [ ! -e $0.failed ]; then touch $0.failed; {half}exit 1; fi"
    with namespace() as where:
        npcompile(where, "apply", first)
        before = kernel(where)
        path = shim(tmp_path / "bin", program, f'{fail}\nexec $real "$@"')
        failed = npcompile(where, "apply", second, path=path, check=False)
        assert failed.returncode == 1
        assert b"NPC712" in failed.stderr
        assert b"loaded again" in failed.stderr
        assert (path / f"{program}.failed").exists()
        assert meaning(kernel(where)) == meaning(before)
        npcompile(where, "apply", second)
        npcompile(where, "apply", "--detach")


def meaning(held: Mapping[str, list[str]]) -> object:
    """What the kernel holds, with the artifacts' names of sets, in any order of chains."""
    return {
        key: sorted(re.sub(r"(npc[46]-\w+-\w{18})-[a-z]\b", r"\1", line) for line in lines)
        for key, lines in held.items()
    }


def test_a_change_by_others_right_after_our_flip_is_found_and_undone(tmp_path: Path) -> None:
    first, second = write(BOTH, "iptables", tmp_path / "1"), write(WIDER, "iptables", tmp_path / "2")
    meddle = '$real "$@"; iptables -I NPC-FORWARD -j ACCEPT; exit 0'
    once = f'case "$*" in *noflush*) [ -e $0.once ] || {{ touch $0.once; {meddle}; }};; esac'
    path = shim(tmp_path / "bin", "iptables-restore", f'{once}\nexec $real "$@"')
    with namespace() as where:
        npcompile(where, "apply", first)
        npcompile(where, "apply", second, path=path)
        assert (path / "iptables-restore.once").exists()
        held = kernel(where)
        assert "-A NPC-FORWARD -j ACCEPT" not in held["iptables"]
        assert npcompile(where, "apply", second).stderr == b"apply: nothing to do\n"


def test_when_the_way_back_fails_too_nothing_is_known(tmp_path: Path) -> None:
    first, second = write(BOTH, "iptables", tmp_path / "1"), write(WIDER, "iptables", tmp_path / "2")
    with namespace() as where:
        npcompile(where, "apply", first)
        path = shim(tmp_path / "bin", "ip6tables-restore", 'case "$*" in *--noflush*) exit 1;; esac\nexec $real "$@"')
        shim(path, "iptables-restore", 'case "$*" in *--noflush*) [ $n -lt 3 ] || exit 1;; esac\nexec $real "$@"')
        failed = npcompile(where, "apply", second, path=path, check=False)
        assert failed.returncode == 3
        assert b"could not be restored" in failed.stderr
        npcompile(where, "apply", second)
        assert npcompile(where, "apply", second).stderr == b"apply: nothing to do\n"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(5))
def test_killed_at_any_step_the_next_run_repairs(step: int, when: str, tmp_path: Path) -> None:
    """What passes after the kill is what a step leaves, and then the artifact is loaded as if nothing had happened."""
    loader = IptablesLoader()
    folder = tmp_path / "bin"
    calls = tmp_path / "calls"
    calls.write_text("")
    die = "kill -9 $PPID; exit 1" if when == "before" else '$real "$@"; kill -9 $PPID'
    for program in ("ipset", "iptables-restore", "ip6tables-restore"):
        only_steps = 'case "$*" in restore*|*--noflush*) ;; *) exec $real "$@";; esac'
        count = f'echo x >> {calls}; [ $(wc -l < {calls}) = {step + 1} ] || exec $real "$@"'
        shim(folder, program, f"{only_steps}\n{count}\n{die}")
    with router("nft") as lab, entered(lab.router):
        loader.apply(stored(BOTH, loader.target))
        artifact = write(WIDER, loader.target, tmp_path / "new")
        killed = npcompile(lab.router, "apply", artifact, path=folder, check=False)
        ended = len(calls.read_text().splitlines()) == step + 1
        assert killed.returncode == (-9 if ended else 0), killed.stderr
        assert ended or step > 3, "the delta has at least four steps"
        asked = flows(BOTH, WIDER)
        assert_between(passed(lab, asked), BOTH, WIDER)
        loader.apply(stored(WIDER, loader.target))
        assert all(now == allows(WIDER, flow) for flow, now in passed(lab, asked).items())
        assert not loader.delta(stored(WIDER, loader.target)).steps
        loader.detach()
        assert not kernel(lab.router)["ipset"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("old", "new"), [(None, WIDER), (BOTH, WIDER), (BOTH, None)], ids=["first", "change", "detach"]
)
def test_killed_at_its_one_step_nftables_is_all_old_or_all_new(
    old: Program | None, new: Program | None, when: str, tmp_path: Path
) -> None:
    """`None`: nothing of ours is loaded.  Then the next run does what is left."""
    loader = LOADERS["nftables"]
    nobody = replace(BOTH, policies=())
    die = "kill -9 $PPID; exit 1" if when == "before" else '$real "$@"; kill -9 $PPID'
    path = shim(tmp_path / "bin", "nft", f'case "$*" in *-f*) {die};; esac\nexec $real "$@"')
    command = ("apply", write(new, loader.target, tmp_path / "new")) if new else ("apply", "--detach")
    with router("nft") as lab, entered(lab.router):
        if old:
            loader.apply(stored(old, loader.target))
        killed = npcompile(lab.router, *command, path=path, check=False)
        assert killed.returncode == -9, killed.stderr
        there = (old if when == "before" else new) or nobody
        asked = flows(BOTH, WIDER)
        assert all(now == allows(there, flow) for flow, now in passed(lab, asked).items())
        done = npcompile(lab.router, *command)
        assert (b"nothing to do" in done.stderr) == (when == "after")
        assert all(now == allows(new or nobody, flow) for flow, now in passed(lab, asked).items())


def test_ctrl_c_takes_the_way_back(tmp_path: Path) -> None:
    loader = IptablesLoader()
    artifact = write(WIDER, loader.target, tmp_path / "new")
    interrupt = 'case "$*" in *--noflush*) if [ ! -e $0.once ]; then touch $0.once; kill -INT $PPID; sleep 5; fi;; esac'
    path = shim(tmp_path / "bin", "ip6tables-restore", f'{interrupt}\nexec $real "$@"')
    with namespace() as where, entered(where):
        loader.apply(stored(BOTH, loader.target))
        before = kernel(where)
        assert npcompile(where, "apply", artifact, path=path, check=False).returncode == 130
        assert meaning(kernel(where)) == meaning(before)


def test_two_at_a_time_wait_for_each_other(tmp_path: Path) -> None:
    artifacts = [write(one, "iptables", tmp_path / str(n)) for n, one in enumerate((BOTH, WIDER, EGRESS_ONLY))]
    with namespace() as where:
        running = [
            subprocess.Popen(
                ["ip", "netns", "exec", where, sys.executable, "-m", "npcompile", "apply", str(one)],
                stderr=subprocess.PIPE,
            )
            for one in artifacts
        ]
        results = [one.communicate(timeout=60)[1] for one in running]
        assert [one.returncode for one in running] == [0, 0, 0], results
        settled = [npcompile(where, "apply", one, "--dry-run").stdout == b"" for one in artifacts]
        assert sum(settled) == 1


def test_surplus_jumps_are_healed_and_ours_comes_first_again(tmp_path: Path) -> None:
    artifact = write(BOTH, "iptables", tmp_path / "1")
    with namespace() as where:
        npcompile(where, "apply", artifact)
        for tool in ("iptables", "ip6tables"):
            for rule in ("FORWARD -j NPC-FORWARD", "FORWARD 1 -p tcp -j ACCEPT", "INPUT -j NPC-INPUT"):
                run("ip", "netns", "exec", where, tool, "-I", *rule.split())
        npcompile(where, "apply", artifact)
        held = kernel(where)
    for tool in ("iptables", "ip6tables"):
        assert [line for line in held[tool] if line.startswith(("-A FORWARD", "-A INPUT"))] == [
            "-A INPUT -j NPC-INPUT",
            "-A FORWARD -j NPC-FORWARD",
            "-A FORWARD -p tcp -j ACCEPT",
        ]


def test_the_other_back_end_is_warned_of_and_detached(tmp_path: Path) -> None:
    artifact = write(BOTH, "iptables", tmp_path / "1")
    with namespace() as where:
        npcompile(where, "apply", artifact, "--variant", "legacy")
        told = npcompile(where, "apply", artifact, "--variant", "nft").stderr
        assert b"NPC713" in told
        assert b"`legacy`" in told
        npcompile(where, "apply", "--detach")
        held = [line for variant in VARIANTS for lines in kernel(where, variant).values() for line in lines]
        assert not [line for line in held if "npc" in line.lower()]


def test_a_rule_of_others_that_needs_our_chain_stops_the_removal(tmp_path: Path) -> None:
    artifact = write(BOTH, "iptables", tmp_path / "1")
    with namespace() as where:
        npcompile(where, "apply", artifact)
        run("ip", "netns", "exec", where, "iptables", "-A", "OUTPUT", "-d", "192.0.2.1", "-j", "NPC-ALLOW")
        before = kernel(where)
        failed = npcompile(where, "apply", "--detach", check=False)
        assert failed.returncode == 1
        assert kernel(where) == before


def test_a_set_that_others_ask_is_left_behind_and_said_so(tmp_path: Path) -> None:
    first, second = write(BOTH, "iptables", tmp_path / "1"), write(program_without_pods(), "iptables", tmp_path / "2")
    with namespace() as where:
        npcompile(where, "apply", first)
        name = next(line.split()[1] for line in kernel(where)["ipset"] if line.startswith("add npc4-sel"))
        run(
            "ip",
            "netns",
            "exec",
            where,
            "iptables",
            "-A",
            "OUTPUT",
            "-m",
            "set",
            "--match-set",
            name,
            "dst",
            "-j",
            "ACCEPT",
        )
        told = npcompile(where, "apply", second)
        assert b"NPC714" in told.stderr
        assert name.encode() in told.stderr or b"in use" in told.stderr
        run("ip", "netns", "exec", where, "iptables", "-F", "OUTPUT")
        npcompile(where, "apply", second)
        assert not [line for line in kernel(where)["ipset"] if name in line]


def program_without_pods() -> Program:
    return replace(BOTH, cluster=replace(BOTH.cluster, pods=()), policies=())


def test_the_golden_artifact_of_the_command_line(tmp_path: Path) -> None:
    """From YAML to the kernel, as a user types it."""
    built = tmp_path / "built"
    with namespace() as where:
        npcompile(where, "emit", "examples/payments", "--target", "iptables", "-o", built)
        npcompile(where, "apply", built)
        assert npcompile(where, "apply", built).stderr == b"apply: nothing to do\n"
        manifest = json.loads((built / "manifest.json").read_text())
        assert len({line.split()[1] for line in kernel(where)["ipset"]}) == manifest["summary"]["sets"]
