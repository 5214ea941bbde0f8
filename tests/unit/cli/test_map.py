"""`npcompile map` as it is typed."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from unittest import mock

import pytest

from npcompile.analyses.reach import Reach
from npcompile.driver.map import _Replay
from npcompile.ir.policy import Direction
from tests.commands import npcompile
from tests.golden import Golden

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "map"
EXAMPLE = "examples/payments"

MAPS = {
    "workloads.txt": (),
    "pods.txt": ("--group-by", "pod"),
    "namespaces.txt": ("--group-by", "namespace"),
    "workloads.json": ("-o", "json"),
    "from-production.csv": ("-o", "csv", "--from", "production"),
    "to-production.txt": ("--to", "production"),
    "to-production.json": ("--to", "production", "-o", "json"),
    "to-one-pod.txt": ("--to", "production/postgres-0"),
    "from-production.txt": ("--from", "production"),
    "from-production.json": ("--from", "production", "-o", "json"),
    "from-one-pod.txt": ("--from", "production/postgres-0"),
    "from-a-node.txt": ("--from", "172.18.0.2"),
    "from-outside.txt": ("--from", "internet"),
    "exposure-from.txt": ("--exposure", "--from", "production"),
    "to-dns.txt": ("--to", "kube-system/coredns"),
    "to-the-bank.txt": ("--to", "203.0.113.9"),
    "from-the-internet.txt": ("--from", "internet", "--to", "analytics"),
    "between.txt": ("--from", "analytics", "--to", "production"),
    "exposure.txt": ("--exposure",),
    "exposure-to.txt": ("--exposure", "--to", "ingress-nginx"),
    "exposure-out.txt": ("--exposure", "--to", "internet"),
}


@pytest.mark.parametrize("name", MAPS)
def test_the_example(golden: Golden, name: str) -> None:
    result = npcompile("map", EXAMPLE, *MAPS[name])
    assert result.code == 0
    assert "7 pods, 5 policies; " in result.err
    golden.check(result.out, GOLDEN / name)


def test_json_and_csv_say_the_same() -> None:
    document = npcompile("map", EXAMPLE, "-o", "json").json
    assert (document["version"], document["group_by"], document["closing"]) == (1, "workload", None)
    ranges = [(edge, ports) for edge in document["edges"] for ports in edge["ports"]]
    rows = list(csv.DictReader(io.StringIO(npcompile("map", EXAMPLE, "-o", "csv").out)))
    assert len(rows) == len(ranges)
    for row, (edge, ports) in zip(rows, ranges, strict=True):
        assert row["pairs"] == edge["holds"]
        assert (row["protocol"], row["first_port"]) == (ports["protocol"], str(ports["first"] or ""))


def test_the_same_input_gives_the_same_map() -> None:
    assert npcompile("map", EXAMPLE, "-o", "json").out == npcompile("map", EXAMPLE, "-o", "json").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "prodction"), "did you mean the namespace `production`?"),
        (("--from", "production/payment-api"), "did you mean `production/payments-api`"),
        (("--to", "production/svc/payments-api"), "policies judge the pods behind it"),
        (("--to", "nowhere"), "write a namespace, `namespace/pod`, `namespace/workload`, an address, or `internet`"),
        (("--from", "nowhere/x", "--to", "nobody/y"), "`nobody/y` is not in the input"),
        (("--exposure", "--from", "analytics", "--to", "production"), "here neither end is"),
        (("--group-by", "node"), "is not one of"),
        (("-o", "yaml"), "is not one of"),
    ],
)
def test_questions_that_cannot_be_answered(arguments: tuple[str, ...], said: str) -> None:
    result = npcompile("map", EXAMPLE, *arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


NOTHING = b"""\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}}
"""


def test_without_pods_nothing_is_claimed() -> None:
    result = npcompile("map", "-", stdin=NOTHING)
    assert result.code == 0
    assert "the input has no pods" in result.err
    asked = npcompile("map", "-", "--to", "shop", stdin=NOTHING)
    assert "has no pods" in asked.out
    assert "checked" not in asked.out
    leaving = npcompile("map", "-", "--from", "shop", stdin=NOTHING)
    assert leaving.out == "shop has no pods in the input: nothing is known of what it would reach\n"


def test_what_always_passes_is_said_of_pods_on_their_nodes_network() -> None:
    result = npcompile("map", "-", "--from", "infra", stdin=ON_THE_NODE)
    assert "internet is reached from infra/proxy (host network) any port\n" in result.out
    assert result.out.endswith(
        "infra reaches nothing else: 1 other class checked (a node always reaches its own pods)\n"
    )


ON_THE_NODE = b"""\
apiVersion: v1
kind: Pod
metadata: {name: proxy, namespace: infra}
spec: {hostNetwork: true, nodeName: one, containers: [{name: main, image: proxy}]}
status: {phase: Running, podIP: 172.18.0.2, hostIP: 172.18.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {nodeName: two, containers: [{name: main, image: web}]}
status: {phase: Running, podIP: 10.0.0.5, hostIP: 172.18.0.3}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {}}
"""


REPLICAS = b"""\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: own, namespace: shop}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}
"""


def test_the_replicas_of_a_workload_may_reach_each_other() -> None:
    result = npcompile("map", "-", "--to", "shop", stdin=REPLICAS)
    assert "  from shop/web  tcp/80\n" in result.out
    assert "ingress  shop/own ingress[0] (-:9)" in result.out
    assert "internet: nothing from outside the cluster reaches shop\n" in result.out


def test_an_address_that_may_change_the_map_is_said_to_be_missing() -> None:
    blocks = REPLICAS.replace(b"podSelector: {}}], ports", b"ipBlock: {cidr: 10.0.0.0/8}}], ports")
    result = npcompile("map", "-", "--to", "shop", stdin=blocks)
    assert "  from 10.0.0.0/8  tcp/80\n" in result.out
    assert "from shop/web" not in result.out
    assert result.out.endswith("note: 1 pod has no address yet; rules with an ipBlock do not match them here, and may "
                               "when they have one\n")  # fmt: skip
    assert npcompile("map", "-", "-o", "json", stdin=blocks).json["unbound"] == 1
    assert "note" not in npcompile("map", "-", "--to", "shop", stdin=REPLICAS).out


def test_a_map_that_does_not_replay_is_withheld() -> None:
    """A rule too few, and an edge too few: both are contradictions, and nothing is printed."""
    with mock.patch("npcompile.analyses.deciders.Deciders.of", return_value=((), ())):
        result = npcompile("map", EXAMPLE)
    assert (result.code, result.out) == (3, "")
    assert "the reference evaluator does not confirm" in result.err
    original = Reach.closing

    def too_few(self: Reach, direction: Direction) -> object:
        self._leaving = ()
        return original(self, direction)

    with mock.patch.object(Reach, "closing", too_few):
        results = [npcompile("map", EXAMPLE, which, "kube-system") for which in ("--to", "--from")]
    for result in results:
        assert (result.code, result.out) == (3, "")
        assert "which the reference evaluator allows" in result.err


@pytest.mark.parametrize("which", ["--to", "--from"])
def test_every_edge_of_one_place_is_replayed(which: str) -> None:
    seen = []
    original = _Replay._decide

    def count(self: _Replay, flow: object) -> object:
        seen.append(flow)
        return original(self, flow)  # type: ignore[arg-type]

    with mock.patch.object(_Replay, "_decide", count):
        result = npcompile("map", EXAMPLE, which, "kube-system", "--group-by", "pod", "-o", "json")
    closing = result.json["closing"]
    assert len(seen) == len(result.json["edges"]) + closing["other_classes"]
