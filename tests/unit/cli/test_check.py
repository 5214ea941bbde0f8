"""`npcompile check` as it is typed: paths, formats, exit codes and their precedence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import npcompile

POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: NAME, namespace: web}
spec:
  podSelector: {matchLabels: {app: api}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 80}]
"""
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: web, labels: {app: APP}}
spec: {containers: [{name: main, image: x}]}
status: {phase: Running, podIP: ADDRESS}
"""
CLEAN = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: web}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
"""
PODS = "---\n".join(
    POD.replace("NAME", app).replace("APP", app).replace("ADDRESS", address)
    for app, address in (("api", "10.0.0.1"), ("web", "10.0.0.2"))
)
SHADOWED = "---\n".join((CLEAN + POLICY.replace("NAME", "a"), POLICY.replace("NAME", "b"), PODS))
BY_TWO = "---\n".join(
    POLICY.replace("NAME", name).replace("port: 80", f"port: {first}, endPort: {last}")
    for name, first, last in (("a", 80, 90), ("b", 91, 99), ("c", 85, 95))
)
SPLIT = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: split, namespace: web}
spec:
  podSelector: {}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {team: web}}}, {podSelector: {matchLabels: {app: web}}}]
"""
BAD = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\nspec: {podselector: {}}\n"


def codes(result: object) -> list[str]:
    return [one["code"] for one in result.json["diagnostics"]]  # type: ignore[attr-defined]


@pytest.fixture
def shadowed(tmp_path: Path) -> Path:
    (tmp_path / "all.yaml").write_text(SHADOWED, encoding="utf-8")
    return tmp_path


def test_findings_exit_with_1(shadowed: Path) -> None:
    result = npcompile("check", shadowed, "--output-format", "json")
    assert result.code == 1
    (finding,) = [one for one in result.json["diagnostics"] if one["code"] == "NPC101"]
    assert finding["severity"] == "warning"
    assert finding["kind"] == "proved"
    assert finding["scope"] == "inventory"
    assert finding["witness"]["verdict"] == "ALLOW"
    assert (finding["line"], finding["column"]) == (21, 5)
    assert finding["file"] == str(shadowed / "all.yaml")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--fail-on", "error"], 0),
        (["--fail-on", "never"], 0),
        (["--ignore", "NPC101"], 1),
        (["--ignore", "NPC101,NPC102"], 0),
        (["--ignore", "shadowed-rule,redundant-policy"], 0),
        (["--select", "NPC2"], 0),
        (["--select", "NPC2,NPC1"], 1),
        (["--fail-on", "info", "--ignore", "NPC1"], 1),
    ],
)
def test_choosing_what_fails(shadowed: Path, options: list[str], code: int) -> None:
    assert npcompile("check", shadowed, *options).code == code


@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_a_rule_that_does_not_exist_hides_nothing(shadowed: Path, option: str) -> None:
    result = npcompile("check", shadowed, option, "NPC101,NPC999,shadow-rule")
    assert (result.code, result.out) == (2, "")
    assert "there is no rule `NPC999`" in result.err
    assert "did you mean `shadowed-rule`?" in result.err


def test_without_its_cover_the_rule_is_not_shadowed(shadowed: Path) -> None:
    cover = POLICY.replace("NAME", "a")
    text = SHADOWED.replace(cover, cover.replace("port: 80", "port: 81"))
    (shadowed / "all.yaml").write_text(text, encoding="utf-8")
    result = npcompile("check", shadowed, "--output-format", "json")
    assert "NPC101" not in codes(result)
    assert result.code == 0


def test_bad_input_exits_with_2_and_says_everything(shadowed: Path) -> None:
    (shadowed / "bad.yaml").write_text(BAD + "---\n" + BAD.replace("podselector: {}", "ingress: 5"), encoding="utf-8")
    (shadowed / "worse.yaml").write_text("apiVersion: [\n", encoding="utf-8")
    result = npcompile("check", shadowed, "--output-format", "concise")
    assert result.code == 2
    lines = result.out.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["error[NPC006] unknown-field", "error[NPC008] invalid-value",
                                                       "error[NPC001] syntax"]  # fmt: skip
    assert "bad.yaml:4:8: " in lines[0]
    assert "podSelector" not in result.err


def test_a_policy_without_pods_is_judged_for_every_pod(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY.replace("NAME", "a") + "---\n" + POLICY.replace("NAME", "b"), "utf-8")
    result = npcompile("check", tmp_path, "--output-format", "json")
    assert result.code == 1
    (finding,) = [one for one in result.json["diagnostics"] if one["code"] == "NPC101"]
    assert finding["scope"] == "any-pod"
    assert finding["witness"]["verdict"] == "ALLOW"


@pytest.mark.parametrize("pods", ["", "---\n" + PODS], ids=["any-pod", "inventory"])
def test_too_little_effort_is_undecided_and_never_success(tmp_path: Path, pods: str) -> None:
    (tmp_path / "p.yaml").write_text(BY_TWO + pods, "utf-8")
    result = npcompile("check", tmp_path, "--effort", "1", "--output-format", "json", "--select", "NPC101")
    assert result.code == 3
    assert set(codes(result)) == {"NPC901"}
    (one, *_) = result.json["diagnostics"]
    assert one["message"].startswith("undecided (NPC101): whether other rules cover `web/")
    assert one["help"] == "try again with a larger `--effort`"
    assert one["line"]


def test_a_finding_goes_before_undecided(tmp_path: Path) -> None:
    never = SPLIT.replace("spec:", "spec:\n  policyTypes: [Egress]")  # a rule that is not in force
    (tmp_path / "p.yaml").write_text(BY_TWO + "---\n" + never, "utf-8")
    result = npcompile("check", tmp_path, "--effort", "1", "--output-format", "json")
    assert {"NPC403", "NPC901"} <= set(codes(result))
    assert result.code == 1
    assert npcompile("check", tmp_path, "--effort", "1", "--fail-on", "error").code == 3


def test_a_finding_for_every_pod_says_so(shadowed: Path) -> None:
    result = npcompile("check", shadowed, "--output-format", "json", "--select", "NPC1,NPC3")
    said = {one["code"]: (one["every_pod"], len(one["assumptions"])) for one in result.json["diagnostics"]}
    assert said == {"NPC101": (True, 4), "NPC102": (True, 4), "NPC301": (None, 0), "NPC302": (True, 4)}
    full = npcompile("check", shadowed, "--select", "NPC101").out
    assert "= scope: for the pods in this inventory, and for every pod that could exist\n   = assumed: " in full
    concise = npcompile("check", shadowed, "--select", "NPC101,NPC301", "--output-format", "concise").out.splitlines()
    assert [line.endswith(" (every pod)") for line in concise] == [False, True]


def test_a_finding_for_these_pods_claims_no_more(tmp_path: Path) -> None:
    by_name = POLICY.replace("NAME", "b").replace("port: 80", "port: http")
    named = PODS.replace("image: x", "image: x, ports: [{name: http, containerPort: 80}]")
    (tmp_path / "p.yaml").write_text("---\n".join((POLICY.replace("NAME", "a"), by_name, named)), "utf-8")
    result = npcompile("check", tmp_path, "--output-format", "json", "--select", "NPC101")
    (finding,) = result.json["diagnostics"]
    assert (finding["every_pod"], finding["assumptions"]) == (False, [])
    assert "could exist" not in npcompile("check", tmp_path, "--select", "NPC101").out


def test_what_is_not_confirmed_stands_and_is_not_undecided(shadowed: Path) -> None:
    enough = npcompile("check", shadowed, "--output-format", "json", "--select", "NPC101", "--effort", "20000")
    (finding,) = enough.json["diagnostics"]
    assert finding["every_pod"] is False, "a twentieth of the effort is for this"
    assert enough.code == 1


def test_findings_for_any_pod_say_what_is_assumed(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY.replace("NAME", "a") + "---\n" + POLICY.replace("NAME", "b"), "utf-8")
    found = npcompile("check", tmp_path, "--output-format", "json").json["diagnostics"]
    assert found
    for one in found:
        assert one["every_pod"] is None
        assert any("exactly the labels" in sentence for sentence in one["assumptions"])
    assert npcompile("check", tmp_path).out.count("= assumed: ") == len(found)


def test_the_text_alone_rests_on_nothing() -> None:
    text = POLICY.replace("NAME", "a").replace("spec:", "spec:\n  policyTypes: [Egress]")
    (one,) = npcompile("check", "-", "--select", "NPC403", "--output-format", "json", stdin=text.encode()).json[
        "diagnostics"
    ]
    assert (one["scope"], one["assumptions"]) == ("any-pod", [])


def test_several_paths_and_stdin() -> None:
    result = npcompile("check", "-", "examples/payments", "--output-format", "json", stdin=SHADOWED.encode())
    assert result.json["summary"]["policies"] == 8
    assert result.json["summary"]["pods"] == 9


def test_one_file_twice_is_read_once(shadowed: Path) -> None:
    result = npcompile("check", shadowed, shadowed / "all.yaml", "-f", shadowed, "--output-format", "json")
    assert "NPC012" not in codes(result)


@pytest.mark.parametrize("stdin", [b"", b"  \n\n"])
def test_empty_stdin_is_an_error(stdin: bytes) -> None:
    result = npcompile("check", "-", "--output-format", "json", stdin=stdin)
    assert result.code == 2
    assert codes(result) == ["NPC004"]


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    result = npcompile("check", tmp_path / "no", tmp_path / "neither", "--output-format", "concise")
    assert result.code == 2
    assert result.out.count("does not exist") == 2


def test_what_the_user_names_must_be_readable(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("{apiVersion: v1, kind: Namespace, metadata: {name: a}}", encoding="utf-8")
    (tmp_path / "other.yaml").write_text("[" * 50_000, encoding="utf-8")
    assert npcompile("check", tmp_path).code == 0
    result = npcompile("check", tmp_path / "other.yaml", "--output-format", "json")
    assert result.code == 2
    assert codes(result) == ["NPC003"]
    assert npcompile("check", "-", stdin=b"a: [").code == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no YAML or JSON file in `{place}`"),
        ("", "no NetworkPolicy in `{place}/some.yaml`"),
        ("replicas: 3", "no NetworkPolicy in `{place}/some.yaml`"),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", "no NetworkPolicy in `{place}/some.yaml`"),
    ],
)
def test_nothing_to_check_is_an_error(text: str | None, why: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "some.yaml").write_text(text, encoding="utf-8")
    for _ in range(2):  # nothing is no answer to remember
        result = npcompile("check", tmp_path, "--ignore", "NPC", "--output-format", "json")
        assert result.code == 2
        assert codes(result) == ["NPC004"]
        assert why.format(place=tmp_path) in result.json["diagnostics"][0]["message"]


def test_pods_without_policies_are_something_to_check(tmp_path: Path) -> None:
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: main, image: i}]}}"
    (tmp_path / "pod.yaml").write_text(pod, encoding="utf-8")
    result = npcompile("check", tmp_path)
    assert result.code == 0
    assert "in 0 policies, 1 pod;" in result.err


def test_bad_usage_exits_with_2() -> None:
    assert npcompile("check", "--output-format", "xml").code == 2
    assert npcompile("chekc").code == 2


PROGRAMS = """\
fail-on = "error"
[[program]]
name = "one"
paths = ["one"]
[[program]]
name = "two"
paths = ["two"]
exclude = ["two/old"]
"""


def test_programs_of_the_config(tmp_path: Path) -> None:
    for folder in ("one", "two", "two/old", "two/sub"):
        (tmp_path / folder).mkdir()
        # The same objects in each: an error within one program, and no business of another.
    (tmp_path / "one" / "a.yaml").write_text(SHADOWED, encoding="utf-8")
    (tmp_path / "two" / "sub" / "a.yaml").write_text(SHADOWED, encoding="utf-8")
    (tmp_path / "two" / "old" / "a.yaml").write_text(SHADOWED.replace("port: 80", "port: 81"), encoding="utf-8")
    (tmp_path / "npcompile.toml").write_text(PROGRAMS, encoding="utf-8")
    result = npcompile("check", "--output-format", "json", cwd=tmp_path / "one")
    assert result.code == 0
    assert "NPC012" not in codes(result)
    assert codes(result).count("NPC101") == 2
    assert {one["file"] for one in result.json["diagnostics"]} == {"a.yaml", "../two/sub/a.yaml"}
    assert npcompile("check", ".", cwd=tmp_path).code == 2


def test_a_bad_config_says_everything(tmp_path: Path) -> None:
    text = 'fail_on = "x"\nselect = 3\n[[program]]\npath = ["a"]\n'
    (tmp_path / "npcompile.toml").write_text(text, encoding="utf-8")
    result = npcompile("check", cwd=tmp_path)
    assert result.code == 2
    assert "did you mean `fail-on`?" in result.err
    assert "`select` must be a list of strings" in result.err
    assert "did you mean `paths`?" in result.err
    assert "needs `paths`" in result.err


def test_github_annotations(shadowed: Path) -> None:
    result = npcompile("check", shadowed, "--output-format", "github", "--select", "NPC101")
    assert result.out.startswith(f"::warning file={shadowed / 'all.yaml'},line=21,col=5,title=NPC101 shadowed-rule::")
