"""`npcompile trace` as it is typed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.commands import npcompile

EXAMPLE = "examples/payments"


def flow_lines(*flows: tuple[str, str, str]) -> bytes:
    return "".join(json.dumps(dict(zip(("src", "dst", "port"), flow, strict=True))) + "\n" for flow in flows).encode()


def test_many_flows_from_stdin() -> None:
    stdin = flow_lines(
        ("ingress-nginx/nginx-ingress-0", "production/payments-api-0", "tcp/8080"),
        ("analytics/reporting-0", "production/payments-api-0", "tcp/8080"),
    )
    result = npcompile("trace", "--flows", "-", "-f", EXAMPLE, stdin=stdin)
    assert result.code == 0
    assert [line["verdict"] for line in result.lines] == ["ALLOW", "DENY"]
    allowed, denied = result.lines
    assert (allowed["src"], allowed["dst"], allowed["port"]) == (
        "ingress-nginx/nginx-ingress-0", "production/payments-api-0", "tcp/8080",
    )  # fmt: skip
    assert [rule["policy"] for rule in allowed["rules"]] == ["production/payments-api"]
    assert allowed["rules"][0]["file"] == "examples/payments/policies/payments-api.yaml"
    assert denied["rules"][0]["policy"] == "production/default-deny-ingress"


def test_bad_flows_are_all_named_and_none_is_answered(tmp_path: Path) -> None:
    file = tmp_path / "flows"
    good = flow_lines(("analytics/reporting", "production/postgres", "icmp"))
    file.write_bytes(good + b"nonsense\n" + b'{"src": "a"}\n' + flow_lines(("a/b", "production/postgres", "tcp/1")))
    result = npcompile("trace", "--flows", file, "-f", EXAMPLE)
    assert (result.code, result.out) == (2, "")
    assert ":2: not JSON" in result.err
    assert ":3: a flow needs `dst`, `port`" in result.err
    file.write_bytes(good + flow_lines(("a/b", "production/postgres", "tcp/1"), ("10.0.0.1", "10.0.0.2", "tcp/0")))
    result = npcompile("trace", "--flows", file, "-f", EXAMPLE)
    assert (result.code, result.out) == (2, "")
    assert "line 2: `a/b` is not in the input" in result.err
    assert "line 3: `tcp/0`: a port is between 1 and 65535" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("production/payment-api", "production/postgres", "tcp/80"), "did you mean `production/payments-api`"),
        (("production/payments-api", "production/postgres", "tcp"), "names no port"),
        (("production/payments-api", "production/postgres", "http/80"), "is no port"),
        (("production/payments-api", "production/postgres", "icmp/8"), "has no ports"),
        (("production/payments-api", "production/postgres", "tcp/none"), "declares no port"),
        (("production/payments-api", "10.0.0.1", "tcp/http"), "has no number"),
        (("production/svc/payments-api", "production/postgres", "tcp/1"), "sends nothing"),
        (("10.0.0.1", "production/svc/payments-api", "tcp/1"), "has no such port"),
        (("2001:db8::1", "production/payments-api", "tcp/1"), "no address family in common"),
        (("production/payments-api", "production/postgres"), "give SRC, DST and PORT"),
    ],
)
def test_questions_that_cannot_be_answered(arguments: tuple[str, ...], said: str) -> None:
    result = npcompile("trace", *arguments, "-f", EXAMPLE)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_an_address_of_a_pod_is_the_pod() -> None:
    by_name = npcompile("trace", "analytics/reporting", "production/payments-api-0", "tcp/8080", "-f", EXAMPLE)
    by_address = npcompile("trace", "10.244.2.30", "10.244.1.10", "tcp/8080", "-f", EXAMPLE)
    assert by_name.out.splitlines()[1:] == by_address.out.splitlines()[1:]


DUAL = """\
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: a}}
status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: shop, labels: {app: b}}
status: {phase: Running, podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}, {ip: "fd00::2"}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec:
  podSelector: {matchLabels: {app: b}}
  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]
"""


def test_families_that_disagree_are_told_apart() -> None:
    result = npcompile(
        "trace", "shop/a", "shop/b", "tcp/80", "-f", "-", "--output-format", "jsonl", stdin=DUAL.encode()
    )
    assert [(line["family"], line["verdict"]) for line in result.lines] == [(4, "ALLOW"), (6, "DENY")]
    same = npcompile("trace", "shop/b", "shop/a", "tcp/80", "-f", "-", "--output-format", "jsonl", stdin=DUAL.encode())
    assert [line.get("family") for line in same.lines] == [None]


def test_an_unknown_address_is_said() -> None:
    text = DUAL.replace(', podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]', "")
    result = npcompile("trace", "shop/a", "shop/b", "tcp/80", "-f", "-", stdin=text.encode())
    assert result.out.startswith("DENY")
    assert "the address of shop/a is not known yet" in result.out


def test_ten_thousand_flows_in_seconds(tmp_path: Path) -> None:
    flows = [(f"10.{i % 250}.0.1", "production/payments-api-0", f"tcp/{1 + i}") for i in range(10_000)]
    (tmp_path / "flows").write_bytes(flow_lines(*flows))
    started = time.perf_counter()
    result = npcompile("trace", "--flows", tmp_path / "flows", "-f", EXAMPLE)
    # Generous: it guards against work per flow that grows with the input, not against a busy machine.
    assert time.perf_counter() - started < 30
    assert len(result.lines) == 10_000
    assert {line["verdict"] for line in result.lines} == {"DENY"}


# --- through an artifact ---

ALLOWED = ("production/payments-api-0", "production/postgres-0", "tcp/5432")
DENIED = ("analytics/reporting-0", "production/payments-api-0", "tcp/8080")


def artifact(out: Path, target: str, *options: str, source: str | Path = EXAMPLE) -> Path:
    result = npcompile("emit", source, "--target", target, "-o", out, *options)
    assert result.code == 0, result.err
    return out


TARGETS = ("iptables", "nftables", "bpf")


@pytest.mark.parametrize("target", TARGETS)
def test_a_flows_way_through_an_artifact(tmp_path: Path, target: str) -> None:
    where = artifact(tmp_path / "out", target)
    result = npcompile("trace", *ALLOWED, "-f", EXAMPLE, "--artifact", where)
    assert (result.code, result.err) == (0, "")
    assert f"  artifact {where} ({target}, for every node): ALLOW" in result.out
    origins = [line.split("   <- ")[1] for line in result.out.splitlines() if "   <- " in line]
    assert origins == [
        "production/payments-api egress[0] (examples/payments/policies/payments-api.yaml:28)",
        "production/postgres ingress[0] (examples/payments/policies/postgres.yaml:15)",
    ]
    shown = [line.split(": ", 1) for line in result.out.splitlines() if line.startswith("      ")]
    assert len(shown) > 4
    for place, text in shown:
        name, line = place.strip().split(":")
        assert (where / name).read_text().splitlines()[int(line) - 1].strip(" ,") == text.split("   <- ")[0]


@pytest.mark.parametrize("target", ["iptables", "nftables"])
def test_a_denied_flows_way_as_json(tmp_path: Path, target: str) -> None:
    where = artifact(tmp_path / "out", target)
    result = npcompile("trace", *DENIED, "-f", EXAMPLE, "--artifact", where, "--output-format", "jsonl")
    (told,) = [line["artifact"] for line in result.lines]
    assert (told["target"], told["node"], told["verdict"], told["differs"]) == (target, None, "DENY", False)
    (hook,) = told["hooks"]
    assert (hook["hook"], hook["node"], hook["ending"]) == ("FORWARD", "worker-2", "DROP")
    assert "drop" in hook["walk"][-1]["text"].lower()


@pytest.mark.parametrize("target", TARGETS)
def test_a_drop_tells_who_isolates(tmp_path: Path, target: str) -> None:
    where = artifact(tmp_path / "out", target)
    result = npcompile("trace", *DENIED, "-f", EXAMPLE, "--artifact", where, "--output-format", "jsonl")
    *before, hook = result.lines[0]["artifact"]["hooks"]
    assert [one["ending"] for one in before] == (["ACCEPT"] if target == "bpf" else [])
    assert hook["ending"] == "DROP"
    assert [(one["policy"], one["direction"], one["rule"]) for one in hook["isolating"]] == [
        ("production/default-deny-ingress", "ingress", None),
        ("production/payments-api", "ingress", None),
    ]
    told = npcompile("trace", *DENIED, "-f", EXAMPLE, "--artifact", where).out
    assert "isolated by production/payments-api ingress (examples/payments/policies/payments-api.yaml:" in told


def test_a_service_that_the_datapath_closes_is_no_contradiction(tmp_path: Path) -> None:
    source = tmp_path / "in.yaml"
    pods = "".join(
        f"---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {app}, who: {name}}}}}, "
        f"status: {{podIP: 10.0.0.{number}}}}}\n"
        for number, (name, app) in enumerate((("client", "client"), ("one", "web"), ("two", "web")), 1)
    )
    source.write_text(
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.1, selector: {app: web}, "
        "ports: [{port: 80, targetPort: 8080}]}}\n---\n"
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: out}, spec: {podSelector: "
        "{matchLabels: {app: client}}, egress: [{to: [{podSelector: {matchLabels: {who: one}}}]}], "
        f"policyTypes: [Egress]}}}}\n{pods}",
        encoding="utf-8",
    )
    where = artifact(tmp_path / "out", "bpf", source=source)
    result = npcompile("trace", "default/client", "default/svc/web", "tcp/80", "-f", source, "--artifact", where)
    assert result.code == 0
    assert result.out.count("not every backend of the Service is allowed") == 2
    assert "\nALLOW" in f"\n{result.out}"
    direct = npcompile("trace", "default/client", "default/one", "tcp/8080", "-f", source, "--artifact", where)
    assert f"artifact {where} (bpf, for every node): ALLOW" in direct.out


def test_a_nodes_artifact_judges_its_own_hooks(tmp_path: Path) -> None:
    here, there = (artifact(tmp_path / node, "nftables", "--node", node) for node in ("worker-1", "worker-2"))
    told = {
        where: npcompile("trace", *DENIED, "-f", EXAMPLE, "--artifact", where, "--output-format", "jsonl").lines[0]
        for where in (here, there)
    }
    assert [told[where]["artifact"]["verdict"] for where in (here, there)] == ["DENY", None]
    assert told[there]["artifact"]["elsewhere"] == [{"hook": "FORWARD", "node": "worker-1"}]
    assert told[here]["artifact"]["elsewhere"] == [{"hook": "FORWARD", "node": "worker-2"}]
    text = npcompile("trace", *DENIED, "-f", EXAMPLE, "--artifact", there)
    assert text.code == 0
    assert "(nftables, for node worker-2): passes here" in text.out
    assert "FORWARD on node worker-1: judged by that node's own artifact" in text.out


def test_an_artifact_of_other_policies_differs(tmp_path: Path) -> None:
    for name in ("namespaces", "nodes", "pods"):
        (tmp_path / f"{name}.yaml").write_bytes(Path(EXAMPLE, f"{name}.yaml").read_bytes())
    where = artifact(tmp_path / "out", "nftables", source=tmp_path)
    result = npcompile("trace", *DENIED, "-f", EXAMPLE, "--artifact", where)
    assert result.code == 1
    assert "ALLOW   <- not what the policies say" in result.out


def test_an_artifact_that_was_changed_is_refused(tmp_path: Path) -> None:
    where = artifact(tmp_path / "out", "nftables")
    file = where / "nftables.nft"
    file.write_bytes(file.read_bytes().replace(b"drop", b"accept"))
    result = npcompile("trace", *DENIED, "-f", EXAMPLE, "--artifact", where)
    assert (result.code, result.out) == (2, "")
    assert "is not what was emitted" in result.err


def test_an_end_without_an_address_has_no_way(tmp_path: Path) -> None:
    source = tmp_path / "in.yaml"
    source.write_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: a}}\n---\n"
        "{apiVersion: v1, kind: Pod, metadata: {name: b}, status: {podIP: 10.0.0.1}}\n",
        encoding="utf-8",
    )
    where = artifact(tmp_path / "out", "nftables", source=source)
    result = npcompile("trace", "default/a", "default/b", "tcp/1", "-f", source, "--artifact", where)
    assert result.code == 0
    assert "an end has no address yet, so it has no packets" in result.out
