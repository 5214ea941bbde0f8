"""`npcompile test` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import ROOT, npcompile
from tests.golden import Golden

EXAMPLE = "examples/payments"
SPECS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "specs/properties").glob("*.npspec"))
GOLDEN = ROOT / "tests/golden/spec"
FAILING = "tests/golden/spec/failing.npspec"
POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY, encoding="utf-8")
    return file


def spec_file(tmp_path: Path, text: str, name: str = "a.npspec") -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("options", [(), ("--symbolic",)])
@pytest.mark.parametrize("spec", SPECS)
def test_the_example_does_what_it_is_meant_to(spec: str, options: tuple[str, ...]) -> None:
    result = npcompile("test", spec, "-f", EXAMPLE, *options)
    assert result.code == 0, result.out
    assert {line.split()[0] for line in result.out.splitlines()} == {"PROVED"}
    scope = "every pod and namespace that could exist" if options else "the pods in this inventory"
    assert f"proved, for {scope}; " in result.err


@pytest.mark.parametrize("removed", ["default-deny.yaml", "payments-api.yaml", "payments-worker.yaml", "postgres.yaml"])
def test_the_example_without_a_policy_does_not(removed: str) -> None:
    folder = ROOT / EXAMPLE
    kept = [path for path in sorted(folder.rglob("*.yaml")) if path.name != removed]
    files = [argument for path in kept for argument in ("-f", path.relative_to(ROOT))]
    result = npcompile("test", *SPECS, *files)
    assert result.code == 1
    assert "REFUTED" in result.out


@pytest.mark.parametrize(
    ("form", "ending"), [("text", "text"), ("json", "json"), ("jsonl", "jsonl"), ("concise", "concise")]
)
def test_every_kind_of_failure(golden: Golden, form: str, ending: str) -> None:
    result = npcompile("test", FAILING, "-f", EXAMPLE, "--today", "2027-01-31", "--output-format", form)
    assert result.code == 1
    golden.check(result.out, GOLDEN / f"failing.{ending}")


def test_the_same_for_every_pod(golden: Golden) -> None:
    result = npcompile("test", FAILING, "-f", EXAMPLE, "--today", "2027-02-01", "--symbolic")
    assert result.code == 1
    golden.check(result.out, GOLDEN / "failing.symbolic")


def test_without_pods_the_answer_is_for_every_pod(tmp_path: Path, policy: Path) -> None:
    spec = spec_file(tmp_path, "deny world -> ns:shop\nallow world -> ns:open on tcp/80\n")
    result = npcompile("test", spec, "-f", policy, "--output-format", "json")
    assert result.code == 0
    assert result.json["scope"] == "any-pod"
    assert [one["outcome"] for one in result.json["assertions"]] == ["PROVED", "PROVED"]
    (remark,) = result.json["assertions"][1]["diagnostics"]
    assert (remark["code"], remark["severity"]) == ("NPC606", "warning")


FAILS = "allow world -> ns:shop"


@pytest.mark.parametrize(
    ("attributes", "options", "code"),
    [
        ("", (), 1),
        ("", ("--fail-on", "never"), 0),
        (" [severity=warning]", (), 0),
        (" [severity=warning]", ("--fail-on", "warning"), 1),
        (" [severity=warning]", ("--fail-on", "info"), 1),
        (" [severity=info]", ("--fail-on", "warning"), 0),
        (" [severity=warning, until=2027-01-31]", ("--today", "2027-01-31"), 0),
        (" [severity=warning, until=2027-01-31]", ("--today", "2027-02-01"), 1),
        (" [severity=warning, until=2000-01-01]", (), 1),
    ],
)
def test_what_fails_the_run(tmp_path: Path, policy: Path, attributes: str, options: tuple[str, ...], code: int) -> None:
    result = npcompile("test", spec_file(tmp_path, f"{FAILS}{attributes}\n"), "-f", policy, *options)
    assert result.code == code
    assert result.out.startswith("REFUTED")
    expired = attributes.endswith("]") and "until" in attributes and code == 1
    assert ("held until" in result.out) is expired


def test_exit_codes_by_precedence(tmp_path: Path, policy: Path) -> None:
    good, bad = spec_file(tmp_path, "deny world -> ns:shop\n"), spec_file(tmp_path, f"{FAILS}\n", "b.npspec")
    undecided = npcompile("test", good, "-f", policy, "--effort", 1)
    assert (undecided.code, undecided.out.split()[0]) == (3, "UNKNOWN")
    assert "larger `--effort`" in undecided.out
    both = npcompile("test", good, bad, "-f", policy, "--effort", 100_000)
    assert both.code == 1
    broken = spec_file(tmp_path, "deny\n", "c.npspec")
    assert npcompile("test", bad, broken, "-f", policy).code == 2


def test_all_that_is_wrong_with_the_input_is_told_at_once(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, "deny world\nallow\n")
    policies = tmp_path / "bad.yaml"
    policies.write_text(POLICY.replace("podSelector", "podSelektor"), encoding="utf-8")
    result = npcompile("test", spec, "-f", policies)
    assert (result.code, result.out) == (2, "")
    assert result.err.count("NPC601") == 2
    assert "podSelektor" in result.err


def test_usage(tmp_path: Path, policy: Path) -> None:
    spec = spec_file(tmp_path, FAILS)
    assert "is a directory" in npcompile("test", tmp_path, "-f", policy).err
    assert "does not exist" in npcompile("test", tmp_path / "none", "-f", policy).err
    assert "can be read once" in npcompile("test", "-", "-f", "-").err
    for arguments in (("test", spec), ("test", "-f", policy), ("test", spec, "-f", policy, "--today", "soon")):
        assert npcompile(*arguments).code == 2


def test_sentences_from_standard_input(policy: Path) -> None:
    result = npcompile("test", "-", "-f", policy, stdin=b"deny world -> ns:shop\n")
    assert (result.code, result.out) == (0, "PROVED   -:1: deny world -> ns:shop\n")


def test_policies_that_are_not_judged_are_told(tmp_path: Path, policy: Path) -> None:
    foreign = tmp_path / "calico.yaml"
    foreign.write_text(
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: x, namespace: shop}\nspec: {}\n",
        encoding="utf-8",
    )
    result = npcompile("test", spec_file(tmp_path, "deny world -> ns:shop"), "-f", policy, "-f", foreign)
    assert result.code == 0
    assert "NPC010" in result.err


def test_rules_are_documented() -> None:
    for code in ("NPC601", "NPC602", "NPC603", "NPC604", "NPC605", "NPC606"):
        assert len(npcompile("rule", code).out.splitlines()) >= 3
