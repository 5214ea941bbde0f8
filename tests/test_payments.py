"""The example, end to end: what a newcomer sees first is what the golden files hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.commands import npcompile
from tests.golden import Golden

GOLDEN = Path(__file__).parent / "golden" / "payments"
EXAMPLE = "examples/payments"

TRACES = {
    "allowed": ("ingress-nginx/nginx-ingress", "production/payments-api", "tcp/8080"),
    "wrong-port": ("ingress-nginx/nginx-ingress", "production/payments-api", "tcp/9090"),
    "unrelated": ("analytics/reporting", "production/payments-api", "tcp/8080"),
    "through-a-service": ("ingress-nginx/nginx-ingress", "production/svc/payments-api", "tcp/80"),
    "database": ("production/payments-api", "production/postgres", "tcp/postgres"),
    "dns": ("production/payments-api", "kube-system/coredns", "udp/53"),
    "out": ("production/payments-api", "203.0.113.9", "tcp/443"),
}


@pytest.mark.parametrize("form", ["full", "concise", "json", "jsonl"])
def test_check(golden: Golden, form: str) -> None:
    result = npcompile("check", EXAMPLE, "--output-format", form)
    assert result.code == 0
    assert re.fullmatch(r"Found \d+ findings? \(.*\) in 5 policies, 7 pods; \d+\.\d\d s\n", result.err)
    golden.check(result.out, GOLDEN / f"check.{form}")


@pytest.mark.parametrize("name", TRACES)
def test_trace(golden: Golden, name: str) -> None:
    result = npcompile("trace", *TRACES[name], "-f", EXAMPLE)
    assert (result.code, result.err) == (0, "")
    golden.check(result.out, GOLDEN / f"trace-{name}.txt")


def test_trace_as_json(golden: Golden) -> None:
    result = npcompile("trace", *TRACES["unrelated"], "-f", EXAMPLE, "--output-format", "json")
    assert result.json["flows"][0]["verdict"] == "DENY"
    golden.check(result.out, GOLDEN / "trace-unrelated.json")


ARTIFACTS = {
    "iptables": ("emit", ["ip6tables.restore", "ipset.restore", "iptables.restore", "manifest.json"]),
    "nftables": ("emit-nftables", ["manifest.json", "nftables.nft"]),
}


@pytest.mark.parametrize("target", ARTIFACTS)
def test_emit(golden: Golden, tmp_path: Path, target: str) -> None:
    result = npcompile("emit", EXAMPLE, "--target", target, "-o", tmp_path / "out")
    assert (result.code, result.out) == (0, "")
    folder, names = ARTIFACTS[target]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names
    for name in names:
        golden.check((tmp_path / "out" / name).read_text(encoding="utf-8"), GOLDEN / folder / name)
