"""`npcompile lab` on this machine: what it says of sound and of sabotaged artifacts, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Artifact, Options, Target
from npcompile.driver import lab as driver
from npcompile.driver.exit_codes import Exit
from npcompile.driver.lab import LabOptions, Prepared, Row
from npcompile.driver.lab_text import render_text
from npcompile.driver.trace import Question
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.runtime.lab.observation import Observed
from npcompile.runtime.lab.session import Lab
from tests.commands import ROOT, npcompile

pytestmark = pytest.mark.kernel("nft", "nsenter", "setpriv", "iptables-restore", "ip6tables-restore", "ipset")

PAYMENTS = "examples/payments"
SMALL = Path(__file__).with_name("lab.yaml")
CORNERS = Path(__file__).with_name("lab-corners.yaml")


@pytest.fixture(params=sorted(TARGETS.keys() - {"bpf"}))
def target(request: pytest.FixtureRequest) -> Target:
    return TARGETS[request.param]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A target whose artifacts are changed before they are loaded: what a mistake of a backend looks like."""

    change: Callable[[Artifact], Artifact]
    name: str = "changed"
    whole_services: bool = False

    def emit(self, program: Program, options: Options) -> Artifact:
        return self.change(TARGETS["iptables"].emit(program, options))


def edited(file: str, old: str, new: str) -> Changed:
    """The target iptables with one text in the place of another."""

    def change(artifact: Artifact) -> Artifact:
        text = artifact.files[file].decode()
        assert old in text
        return replace(artifact, files={**artifact.files, file: text.replace(old, new).encode()})

    return Changed(change=change)


def tried(path: Path | str, options: LabOptions, spoil: Callable[[Lab], None] = lambda lab: None) -> list[Row]:
    """What a lab says; `spoil` does something to it before anything is tried."""
    return tried_as(driver.prepare([str(path)], options), spoil)


def tried_as(prepared: Prepared, spoil: Callable[[Lab], None] = lambda lab: None) -> list[Row]:
    with driver.running(prepared) as lab:
        spoil(lab)
        return driver.try_everything(prepared, lab)


def questions(*flows: tuple[str, str, str]) -> tuple[Question, ...]:
    return tuple(Question(src=src, dst=dst, port=port, line=n) for n, (src, dst, port) in enumerate(flows, 1))


def seen(rows: list[Row]) -> dict[tuple[str, str, str], set[str]]:
    """What was observed, by what was asked."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        asked = row.question
        found.setdefault((asked.src, asked.dst, asked.port), set()).add(str(row.seen.observed))
    return found


# --- sound artifacts ---


def test_the_datapath_closes_services_that_not_every_backend_is_allowed_of() -> None:
    """Its programs see the Service's address, for which every backend must be allowed: docs/datapath.md says so."""
    result = npcompile("lab", PAYMENTS, "--target", "bpf", "--output-format", "jsonl")
    assert result.code == 0, result.err
    assert len(result.lines) > 800
    closed = [line for line in result.lines if line.get("closed")]
    assert {(line["src"], line["dst"]) for line in closed} == {
        ("production/payments-api-0", "production/svc/payments-api"),
        ("production/payments-api-1", "production/svc/payments-api"),
        ("production/postgres-0", "production/svc/postgres"),
    }
    assert all((line["verdict"], line["observed"]) == ("ALLOW", "DENY") for line in closed)
    assert all(line["observed"] == line["verdict"] for line in result.lines if line not in closed)


def test_the_example_does_what_its_policies_say(target: Target) -> None:
    result = npcompile("lab", PAYMENTS, "--target", target.name, "--output-format", "jsonl")
    assert result.code == 0, result.err
    assert "0 differ" in result.err
    assert {line["verdict"] for line in result.lines} == {"ALLOW", "DENY"}
    assert all(line["observed"] == line["verdict"] for line in result.lines)
    flows = {(line["src"], line["dst"], line["port"]): line["observed"] for line in result.lines}
    api, reporting, ingress = "production/payments-api-0", "analytics/reporting-0", "ingress-nginx/nginx-ingress-0"
    assert flows[ingress, api, "tcp/8080"] == "ALLOW"
    assert flows[ingress, api, "tcp/8081"] == "DENY"
    assert flows[reporting, api, "tcp/8080"] == "DENY"
    assert flows["172.18.0.2", api, "icmp"] == "ALLOW", "its own node"
    assert flows["172.18.0.3", api, "icmp"] == "DENY", "another node"
    assert flows[api, "172.18.0.2", "icmp"] == "DENY", "to its own node"
    assert flows["production/payments-worker-0", "203.0.113.0", "tcp/443"] == "ALLOW"
    assert flows["production/payments-worker-0", "203.0.114.0", "tcp/443"] == "DENY", "just behind the block"


def test_both_families_and_every_protocol(target: Target) -> None:
    prepared = driver.prepare([str(SMALL)], LabOptions(target=target))
    rows = tried_as(prepared)
    assert [row for row in rows if row.differs or not row.seen.is_known] == []
    assert driver.exit_code(rows) is Exit.CLEAN
    tried_flows = [one.traced.flow for one in prepared.asked]
    assert {flow.protocol for flow in tried_flows} == set(Protocol)
    verdicts = {(flow.protocol, flow.dst.family, str(row.seen.observed)) for row in rows for flow in (row.traced.flow,)}
    assert len(verdicts) == len(Protocol) * 2 * 2, "each protocol is allowed somewhere and denied somewhere, by family"
    assert {flow.dst.family for flow in tried_flows} == {4, 6}
    matrix = "".join(render_text(prepared, rows))
    assert re.search(r"^ 5 a/db +D +A +A +D +A ", matrix, re.MULTILINE)


def test_ports_are_tried_at_their_edges(target: Target) -> None:
    found = seen(tried(SMALL, LabOptions(target=target)))
    edges = {port: found["a/web", "a/db", f"udp/{port}"] for port in (4999, 5000, 6000, 6001)}
    assert edges == {4999: {"DENY"}, 5000: {"ALLOW"}, 6000: {"ALLOW"}, 6001: {"DENY"}}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_others_get_wrong(name: str) -> None:
    rows = tried(CORNERS, LabOptions(target=TARGETS[name]))
    assert [row for row in rows if row.differs or not row.seen.is_known] == []
    found = seen(rows)
    http = {dst: found["b/client", dst, "tcp/8080"] for dst in ("a/web0", "a/web1", "a/web2")}
    assert http == {"a/web0": {"ALLOW"}, "a/web1": {"DENY"}, "a/web2": {"DENY"}}, "each destination's own number"
    assert found["a/web0", "b/client", "icmp"] == {"DENY"}, "policies of TCP only close ICMP"
    assert found["192.168.7.1", "a/web0", "icmp"] == {"ALLOW"}, "its own node"
    assert found["192.168.7.2", "a/web0", "icmp"] == {"DENY"}, "another node"
    union = {src: port for (src, dst, port) in found if src.startswith("198.51.100.") and dst == "a/db"}
    assert union and all(found[src, "a/db", port] == {"ALLOW"} for src, port in union.items())


def test_forty_policies_on_one_pod_with_the_longest_names(target: Target, tmp_path: Path) -> None:
    namespace, name = "c" * 63, ".".join(letter * 61 for letter in "klmn")
    port = "a" * 15
    pod = (
        f"{{apiVersion: v1, kind: Pod, metadata: {{namespace: {namespace}, name: {name}, labels: {{app: p}}}}, spec: "
        f"{{containers: [{{name: c, ports: [{{name: {port}, containerPort: 7777}}]}}]}}, status: {{podIP: 10.9.9.9}}}}"
    )
    policies = [
        f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{namespace: {namespace}, "
        f"name: '{number:02}-{name[3:]}'}}, spec: {{podSelector: {{}}, ingress: [{{from: [{{ipBlock: "
        f"{{cidr: 10.0.{number}.0/24}}}}], ports: [{{port: {100 + number}, endPort: {100 + 2 * number}}}, "
        f"{{port: {port}}}]}}]}}}}"
        for number in range(40)
    ]
    file = tmp_path / "in.yaml"
    file.write_text("\n---\n".join([pod, *policies]), encoding="utf-8")
    asked = questions(
        *((f"10.0.{number}.1", f"{namespace}/{name}", f"tcp/{port}") for number in (0, 20, 39) for port in
          (7777, 99 + number, 100 + number, 100 + 2 * number, 101 + 2 * number)),
        ("10.0.40.1", f"{namespace}/{name}", "tcp/7777"),
    )  # fmt: skip
    rows = tried(file, LabOptions(target=target, questions=asked))
    assert [row for row in rows if row.differs or not row.seen.is_known] == []
    verdicts = [str(row.seen.observed) for row in rows]
    assert verdicts == [*["ALLOW", "DENY", "ALLOW", "ALLOW", "DENY"] * 3, "DENY"]


def test_chosen_flows(target: Target, tmp_path: Path) -> None:
    flows = [
        ("a/web", "a/db", "tcp/http", "ALLOW"),
        ("b/stranger", "a/db", "sctp/99", "DENY"),
        ("192.0.2.200", "10.0.0.5", "tcp/80", "DENY"),
        ("192.0.2.100", "10.0.0.5", "tcp/80", "ALLOW"),
        ("2001:db8::7", "a/db", "sctp/99", "ALLOW"),
        ("a/agent", "a/db", "icmp", "ALLOW"),
        ("a/db", "a/agent", "icmp", "DENY"),
        ("192.0.2.1", "192.0.2.2", "udp/53", "ALLOW"),
    ]
    file = tmp_path / "flows"
    file.write_text("".join(json.dumps({"src": s, "dst": d, "port": p}) + "\n" for s, d, p, _ in flows))
    result = npcompile("lab", SMALL, "--target", target.name, "--flows", file)
    assert result.code == 0, result.err
    keys = ("src", "dst", "port", "observed")
    assert [tuple(line[key] for key in keys) for line in result.lines] == flows
    traced = npcompile("trace", "-f", SMALL, "--flows", file)
    bound = {"judged", "egress", "ingress", "observed", "unbound"}  # a lab gives nodes and addresses
    without = [{key: value for key, value in line.items() if key not in bound} for line in result.lines]
    assert without == [{key: value for key, value in line.items() if key not in bound} for line in traced.lines]


def test_each_pod_behind_a_service_is_asked_for(target: Target) -> None:
    asked = questions(
        ("a/web", "a/svc/db", "tcp/80"), ("b/stranger", "a/svc/db", "tcp/80"), ("a/db", "a/svc/db", "sctp/99")
    )
    rows = tried(SMALL, LabOptions(target=target, questions=asked))
    assert [(row.question.src, str(row.traced.flow.dst), str(row.seen.observed)) for row in rows] == [
        ("a/web", "a/agent", "ALLOW"),
        ("a/web", "a/db", "ALLOW"),
        ("b/stranger", "a/agent", "ALLOW"),
        ("b/stranger", "a/db", "DENY"),
        ("a/db", "a/db", "ALLOW"),  # to itself and back
    ]


def test_only_some_ports() -> None:
    result = npcompile(
        "lab", PAYMENTS, "--target", "iptables", "--probe", "tcp/5432,icmp", "--output-format", "jsonl"
    )  # fmt: skip
    assert result.code == 0
    assert {line["port"] for line in result.lines} == {"tcp/5432", "icmp"}


def test_the_readme_shows_what_it_prints() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```console\n# npcompile (lab [^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found
    result = npcompile(*shlex.split(found[1]))
    printed = re.sub(r"\d+\.\d\d s$", "0.10 s", result.out + result.err, flags=re.MULTILINE)
    assert printed == found[2]


# --- artifacts and labs that are not ---


def test_an_artifact_that_forgets_a_rule_differs() -> None:
    forgetful = edited("iptables.restore", "--dport 5432", "--dport 5433")
    prepared = driver.prepare([PAYMENTS], LabOptions(target=forgetful))
    rows = tried_as(prepared)
    assert driver.exit_code(rows) is Exit.FINDINGS
    differing = seen([row for row in rows if row.differs])
    assert differing["production/payments-api-0", "production/postgres-0", "tcp/5432"] == {"DENY"}
    assert differing["production/payments-api-0", "production/postgres-0", "tcp/5433"] == {"ALLOW"}
    text = "".join(render_text(prepared, rows))
    assert (
        "DIFFERS  production/payments-api-0 -> production/postgres-0  tcp/5432: expected ALLOW, observed DENY\n"
        "  egress   allowed  by production/payments-api egress[0] (examples/payments/policies/payments-api.yaml:28)\n"
    ) in text
    assert "!" in text


def test_an_artifact_that_forgets_a_pod_differs() -> None:
    rows = tried(
        PAYMENTS, LabOptions(target=Changed(change=lambda one: replace(one, target="nothing", files={}, load=())))
    )
    assert driver.exit_code(rows) is Exit.FINDINGS
    assert {str(row.seen.observed) for row in rows} == {"ALLOW"}
    assert {row.differs for row in rows} == {True, False}


def test_an_answer_that_is_lost_is_no_verdict() -> None:
    """The request arrived: who denied it only on its way back has let it through."""
    asked = questions(("a/web", "b/stranger", "udp/53"), ("a/web", "b/stranger", "tcp/53"))
    dropping = "*filter\n-A FORWARD -p udp --sport 53 -j DROP\nCOMMIT\n"
    spoiled = Changed(
        change=lambda one: replace(
            one,
            target="drop",
            files={"drop": dropping.encode()},
            load=("iptables-restore drop", "ip6tables-restore drop"),
        )
    )
    udp, tcp = tried(SMALL, LabOptions(target=spoiled, questions=asked))
    assert (udp.seen.observed, udp.differs) == (Observed.ONE_WAY, True)
    assert tcp.seen.observed is Observed.ALLOW


def test_what_did_not_pass_before_is_never_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("npcompile.runtime.lab.session._CONTROL", (0.3, 0.3))
    asked = questions(("b/stranger", "a/db", "tcp/1"), ("a/web", "a/db", "tcp/1"))

    def spoil(lab: Lab) -> None:
        with lab.namespaces["b/stranger"].entered():
            subprocess.run(
                ["nft", "add table inet t; add chain inet t c { type filter hook output priority 0; policy drop; }"],
                check=True,
            )

    stranger, web = tried(SMALL, LabOptions(target=TARGETS["iptables"], questions=asked), spoil)
    assert stranger.traced.decision.verdict.value == "DENY"
    assert stranger.seen.observed is Observed.UNKNOWN
    assert "before anything was loaded" in stranger.seen.reason
    assert web.seen.observed is Observed.DENY
    assert driver.exit_code([stranger, web]) is Exit.UNDECIDED


@pytest.mark.parametrize("target", ["iptables", "by its commands"])
def test_of_an_artifact_that_does_not_load_nothing_is_known(target: str) -> None:
    asked = questions(("b/stranger", "a/db", "tcp/1"))
    broken = edited("iptables.restore", "-m conntrack", "-m nonsense")
    renamed = Changed(change=lambda one: replace(broken.change(one), target=target))
    (row,) = tried(SMALL, LabOptions(target=renamed, questions=asked))
    assert row.seen.observed is Observed.UNKNOWN
    assert "does not load" in row.seen.reason
    assert driver.exit_code([row]) is Exit.UNDECIDED


# --- what stays behind ---


def links() -> list[str]:
    """The links of a lab that this process sees."""
    shown = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in shown if re.match(r"np[0-9a-f]{12}|node\d|host\d", line)]


def namespaces_of(process: subprocess.Popen[str]) -> set[str]:
    """The network namespaces that a process holds open."""
    found = set()
    for path in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(OSError):
            found.add(path.readlink().name)
    return {one for one in found if one.startswith("net:")}


def session_of(process: subprocess.Popen[str]) -> list[str]:
    """What runs in the session that a process was the leader of."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            name, _, rest = path.read_text().rpartition(") ")
            if rest.split()[3] == str(process.pid) and not rest.startswith("Z"):
                found.append(name)
    return found


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """One flow, in a file."""
    file = tmp_path / "flows"
    file.write_text('{"src": "a/web", "dst": "a/db", "port": "tcp/80"}\n')
    return file


def start(flows: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "npcompile", "lab", str(SMALL), "--target", "iptables", "--flows", str(flows), *options],
        cwd=ROOT,
        env={**os.environ, "SHELL": "/bin/sh"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_leaves_nothing_behind(number: signal.Signals, flows: Path) -> None:
    with start(flows) as process:
        until(lambda: len(namespaces_of(process)) >= 5)
        process.send_signal(number)
        assert process.wait(timeout=10) != 0
    until(lambda: session_of(process) == [])  # what was just loading rules ends by itself
    assert links() == []


def test_pins_are_in_a_folder_of_the_labs_own(flows: Path) -> None:
    """Which goes with it, as its namespaces do, even after SIGKILL."""
    with start(flows, "--target", "bpf", "--shell", "--output-format", "text") as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("nsenter"):
            assert process.poll() is None
        pins = {path.name for path in Path(f"/proc/{process.pid}/root/run/npcompile/bpf").iterdir()}
        process.kill()
    here = Path("/run/npcompile/bpf")
    assert any(name.isdecimal() for name in pins)
    assert not {name for name in pins if name.isdecimal() and (here / name).exists()}


@pytest.fixture
def shell(flows: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A lab with a shell, and the command for each place."""
    with start(flows, "--shell", "--output-format", "text") as process:
        assert process.stdout is not None
        commands = {}
        while len(commands) < 5:
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            if line.startswith("nsenter"):
                command, _, place = line.partition("  # ")
                commands[place.split("  ")[0]] = command
        yield process, commands
        process.kill()


def in_place(command: str, words: str) -> str:
    return command.replace("COMMAND", words)


CONNECT = f'{sys.executable} -c \'import socket; socket.create_connection(("10.0.0.5", 80), 1); print("connected")\''


def test_a_shell_in_the_lab(shell: tuple[subprocess.Popen[str], dict[str, str]]) -> None:
    process, commands = shell
    assert set(commands) >= {"a/web", "a/db", "b/stranger", "n1", "n2"}
    script = [in_place(commands[name], CONNECT) + " || echo refused" for name in ("a/web", "b/stranger")]
    script.append(in_place(commands["a/web"], "sleep 1000 &"))
    out, _ = process.communicate("\n".join([*script, "exit"]) + "\n", timeout=60)
    assert [line for line in out.splitlines() if line in ("connected", "refused")] == ["connected", "refused"]
    assert process.returncode == 0
    assert session_of(process) == [], "the sleep that was left behind"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_shell_goes_with_the_lab(
    number: signal.Signals, shell: tuple[subprocess.Popen[str], dict[str, str]]
) -> None:
    process, _ = shell
    child = f"/proc/{process.pid}/task/{process.pid}/children"
    until(lambda: Path(child).read_text() != "")
    assert session_of(process) != []
    process.send_signal(number)
    process.wait(timeout=10)
    until(lambda: session_of(process) == [])


# --- how large, how fast ---


def test_a_pod_too_many(tmp_path: Path) -> None:
    file = tmp_path / "many.yaml"
    file.write_text(many(61))
    result = npcompile("lab", file, "--target", "iptables")
    assert (result.code, result.out) == (2, "")
    assert "61 pods, and a lab has room for 60" in result.err


def many(pods: int) -> str:
    return "---\n".join(
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}, labels: {{app: a{n % 3}}}}}\n" for n in range(pods)
    )


def test_sixty_pods(tmp_path: Path) -> None:
    file = tmp_path / "sixty.yaml"
    policy = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: np}\n"
    rule = "[{from: [{podSelector: {matchLabels: {app: a1}}}]}]"
    spec = f"spec: {{podSelector: {{matchLabels: {{app: a0}}}}, ingress: {rule}}}\n"
    file.write_text(many(60) + policy + spec)
    result = npcompile("lab", file, "--target", "iptables", "--probe", "tcp/80", "--output-format", "jsonl")
    assert result.code == 0, result.err
    assert len(result.lines) == 60 * 60 + 2 * 2 * 60 + 2 * 60


def test_nine_pods_over_three_ports_cost_little(tmp_path: Path) -> None:
    """In time of the processor, since the machine may be busy: a lab waits more than it works."""
    file = tmp_path / "nine.yaml"
    file.write_text(many(9))
    before = os.times()
    result = npcompile("lab", file, "--target", "iptables", "--probe", "tcp/80,tcp/443,udp/53")
    after = os.times()
    assert result.code == 0
    assert sum(after[:4]) - sum(before[:4]) < 3


def test_addresses_that_are_given_are_nobodys(tmp_path: Path) -> None:
    """Even where the input has those that a lab would give first."""
    file = tmp_path / "taken.yaml"
    pods = [("10.244.0.1", "n1"), ("172.18.0.1", "n1"), ("169.254.0.1", "n2")]
    file.write_text(
        many(2)
        + "".join(
            f"---\napiVersion: v1\nkind: Pod\nmetadata: {{name: x{i}}}\nspec: {{nodeName: {node}}}\n"
            f"status: {{podIP: {address}}}\n"
            for i, (address, node) in enumerate(pods)
        )
    )
    rows = tried(file, LabOptions(target=TARGETS["iptables"], numbers=((Protocol.TCP, 80),)))
    assert {row.seen.observed for row in rows} == {Observed.ALLOW}
    used = {row.traced.flow.dst.address for row in rows}
    assert {ip_address("10.244.0.2"), ip_address("172.18.0.2")} <= used
