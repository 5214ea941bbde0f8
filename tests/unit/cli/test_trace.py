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
