"""`npcompile emit` as it is typed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.commands import npcompile

WORKLOADS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: shop}
spec: {selector: {matchLabels: {app: api}}, template: {metadata: {labels: {app: api}}, spec: {containers: []}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: []}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}]
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "in.yaml"
    file.write_text(WORKLOADS, encoding="utf-8")
    return file


def emit(source: Path, out: Path, *options: str | Path) -> dict[str, bytes]:
    result = npcompile("emit", source, "--target", "iptables", "-o", out, *options)
    assert result.code == 0, result.err
    return {file.name: file.read_bytes() for file in out.iterdir()}


def test_same_input_same_bytes(source: Path, tmp_path: Path) -> None:
    first = emit(source, tmp_path / "a")
    text = source.read_text(encoding="utf-8")
    assert first == emit(source, tmp_path / "b")
    source.write_text("---\n".join(reversed(text.split("---\n"))), encoding="utf-8")
    again = emit(source, tmp_path / "c")
    assert {k: v for k, v in first.items() if k != "manifest.json"} == {
        k: v for k, v in again.items() if k != "manifest.json"
    }


def test_the_manifest_is_true(source: Path, tmp_path: Path) -> None:
    files = emit(source, tmp_path / "out")
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["outcome"] == "NOT_ATTEMPTED"
    assert manifest["files"] == {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in files.items()}
    assert manifest["unbound"] == ["shop/api", "shop/web"]
    ((rule_id, origin),) = [item for item in manifest["rules"].items() if item[1]["rule"] is not None]
    assert rule_id.encode() in files["iptables.restore"]
    ((isolation_id, isolation),) = [item for item in manifest["rules"].items() if item[0] != rule_id]
    assert isolation == {**origin, "rule": None, "line": isolation["line"]}
    assert isolation["line"] < origin["line"]
    assert len(manifest["isolating"]) == 2  # a set of each family
    for name, isolating in manifest["isolating"].items():
        assert name.encode() in files["iptables.restore"] + files["ip6tables.restore"]
        assert isolating == [isolation_id]
    assert (origin["policy"], origin["direction"], origin["rule"]) == ("shop/p", "ingress", 0)
    assert (origin["file"], origin["line"]) == (str(source), 16)


RUNNING = """\
---
{apiVersion: v1, kind: Node, metadata: {name: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: here, namespace: shop, labels: {app: api}}, spec: {nodeName: n1},
 status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: lost, namespace: shop, labels: {app: api}}, status: {podIP: 10.0.0.2}}
"""


def test_a_node_and_what_becomes_of_connections_are_in_the_manifest(source: Path, tmp_path: Path) -> None:
    source.write_text(WORKLOADS + RUNNING, encoding="utf-8")
    everywhere = json.loads(emit(source, tmp_path / "a")["manifest.json"])
    assert (everywhere["node"], everywhere["established"]) == (None, "keep")
    result = npcompile("emit", source, "--target", "iptables", "-o", tmp_path / "b", "--node", "n1",
                       "--established", "recheck")  # fmt: skip
    assert result.code == 0
    assert (
        "info[NPC709] no-node: `shop/lost` has no node: what runs anywhere is filtered by every node's artifact"
        in result.err
    )
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_bytes())
    assert (manifest["node"], manifest["established"]) == ("n1", "recheck")


def test_bindings_change_set_members_only(source: Path, tmp_path: Path) -> None:
    unbound = emit(source, tmp_path / "a")
    bindings = tmp_path / "bindings"
    bindings.write_text(
        "# where they run\nshop/api=10.0.0.1,veth1\nshop/api=fd00::1\n\nshop/web=10.0.0.2\n", encoding="utf-8"
    )
    bound = emit(source, tmp_path / "b", "--bindings", bindings)
    assert json.loads(bound["manifest.json"])["unbound"] == []
    for name in ("iptables.restore", "ip6tables.restore"):
        assert bound[name] == unbound[name]
    assert b"10.0.0.1" in bound["ipset.restore"]
    assert b"fd00::1" in bound["ipset.restore"]
    assert b"10.0.0.1" not in unbound["ipset.restore"]


def test_bad_bindings_are_all_named_and_nothing_is_written(source: Path, tmp_path: Path) -> None:
    bindings = tmp_path / "bindings"
    lines = [
        "shop/api=10.0.0.1",
        "shop/api=10.0.0.2",
        "shop/web=10.0.0.1",
        "shop/none=10.0.0.3",
        "shop/web=ten",
        "shop/web",
    ]
    bindings.write_text("\n".join(lines), encoding="utf-8")
    result = npcompile("emit", source, "--target", "iptables", "-o", tmp_path / "out", "--bindings", bindings)
    assert result.code == 2
    assert not (tmp_path / "out").exists()
    for line, said in enumerate(
        (
            "",
            "bound twice for IPv4",
            "address of `shop/api` already",
            "no pod or workload",
            "is not `ns/pod=",
            "is not `",
        ),
        1,
    ):
        assert not said or f"bindings:{line}:1: error[NPC707] bindings: " in result.err
        assert said in result.err


def test_bad_input_writes_nothing(source: Path, tmp_path: Path) -> None:
    emit(source, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    source.write_text(WORKLOADS.replace("port: 80", "port: 0"), encoding="utf-8")
    result = npcompile("emit", source, "--target", "iptables", "-o", tmp_path / "out")
    assert result.code == 2
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.yaml", "out"]


def test_a_directory_of_somebody_else_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x", encoding="utf-8")
    result = npcompile("emit", source, "--target", "iptables", "-o", tmp_path / "out")
    assert result.code == 2
    assert "holds no npcompile artifact" in result.err
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["precious"]


def test_unknown_nodes_and_marks_are_refused(source: Path, tmp_path: Path) -> None:
    for option in (["--node", "nowhere"], ["--mark", "0x4000"], ["--mark", "0"], ["--mark", "many"]):
        result = npcompile("emit", source, "--target", "iptables", "-o", tmp_path / "out", *option)
        assert result.code == 2, option
        assert not (tmp_path / "out").exists()


def test_bpf_keeps_the_numbers_of_an_earlier_artifact(source: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert npcompile("emit", source, "--target", "bpf", "-o", first).code == 0
    numbers = json.loads((first / "numbers.json").read_text())
    numbers["endpoints"] = {pod: number + 100 for pod, number in numbers["endpoints"].items()}
    edited = json.dumps(numbers)
    (first / "numbers.json").write_text(edited)
    manifest = json.loads((first / "manifest.json").read_text())
    manifest["files"]["numbers.json"] = f"sha256:{hashlib.sha256(edited.encode()).hexdigest()}"
    (first / "manifest.json").write_text(json.dumps(manifest))
    assert npcompile("emit", source, "--target", "bpf", "--lock", first, "-o", second).code == 0
    endpoints = json.loads((second / "maps.json").read_text())["endpoints"]
    assert [one["id"] for one in endpoints] == [101 + place for place in range(len(endpoints))]


FOREIGN = {
    "bpf": {"--accept": (), "--mark": ("0x1000000",), "--against": ("old",)},
    "iptables": {"--lock": ("old",), "--compile": ()},
    "nftables": {"--accept": (), "--mark": ("0x1000000",), "--lock": ("old",), "--compile": ()},
}


@pytest.mark.parametrize("target", FOREIGN)
def test_options_of_other_targets_are_refused_all_at_once(source: Path, tmp_path: Path, target: str) -> None:
    foreign = {option: (option, *values) for option, values in FOREIGN[target].items()}
    for words in ([word for own in foreign.values() for word in own], *map(list, foreign.values())):
        result = npcompile("emit", source, "--target", target, "-o", tmp_path / "new", *words)
        assert result.code == 2
        assert {option for option in foreign if f"`{option}" in result.err} == foreign.keys() & {*words}
        assert result.err.count("NPC705") == len(foreign.keys() & {*words})
        assert not (tmp_path / "new").exists()


def test_a_lock_is_an_artifact_of_the_same_target(source: Path, tmp_path: Path) -> None:
    assert npcompile("emit", source, "--target", "nftables", "-o", tmp_path / "old").code == 0
    result = npcompile("emit", source, "--target", "bpf", "--lock", tmp_path / "old", "-o", tmp_path / "new")
    assert result.code == 2
    assert "NPC721" in result.err
