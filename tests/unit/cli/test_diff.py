"""`npcompile diff` as it is typed: its formats, exit codes and inputs, commits among them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from npcompile.analyses import diff as analysis
from npcompile.driver import diff as driver
from npcompile.ir.program import Program
from npcompile.ir.versions import Change
from tests.commands import Result, npcompile
from tests.golden import Golden

GOLDEN = Path(__file__).parents[2] / "golden" / "diff"
CASES = sorted(folder.name for folder in GOLDEN.iterdir())
IN_GENERAL = sorted(folder.name for folder in GOLDEN.with_name("diff-in-general").iterdir())
SUFFIXES = {"text": "txt", "json": "json", "markdown": "md"}

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
"""
POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}]
"""
OTHER_PORT = POLICY.replace("port: 80", "port: 81")
TWO_PORTS = POLICY.replace("{port: 80}", "{port: 80}, {port: 81}")


def write(file: Path, *parts: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("---\n".join(parts), encoding="utf-8")
    return file


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("output_format", SUFFIXES)
def test_golden(case: str, output_format: str, golden: Golden) -> None:
    result = npcompile("diff", "old", "new", "--output-format", output_format, cwd=GOLDEN / case)
    assert result.code == 1
    golden.check(result.out, GOLDEN / case / f"diff.{SUFFIXES[output_format]}")


@pytest.mark.parametrize("case", IN_GENERAL)
@pytest.mark.parametrize("output_format", SUFFIXES)
def test_golden_without_pods(case: str, output_format: str, golden: Golden) -> None:
    folder = GOLDEN.with_name("diff-in-general") / case
    result = npcompile("diff", "old.yaml", "new.yaml", "--output-format", output_format, cwd=folder)
    assert result.code == 1
    golden.check(result.out, folder / f"diff.{SUFFIXES[output_format]}")


@pytest.mark.parametrize(
    ("old", "new", "fail_on", "code"),
    [
        (POLICY, POLICY, "any", 0),
        (POLICY, TWO_PORTS, "any", 1),
        (POLICY, TWO_PORTS, "widened", 1),
        (POLICY, TWO_PORTS, "narrowed", 0),
        (TWO_PORTS, POLICY, "widened", 0),
        (TWO_PORTS, POLICY, "narrowed", 1),
        (POLICY, OTHER_PORT, "widened", 1),
        (POLICY, OTHER_PORT, "narrowed", 1),
    ],
)
def test_exit_codes(tmp_path: Path, old: str, new: str, fail_on: str, code: int) -> None:
    first, second = write(tmp_path / "a.yaml", WORKLOADS, old), write(tmp_path / "b.yaml", WORKLOADS, new)
    assert npcompile("diff", first, second, "--fail-on", fail_on).code == code
    if fail_on == "any":
        assert npcompile("diff", first, second).code == code


def test_nothing_differs(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", WORKLOADS, POLICY)
    same = npcompile("diff", file, file)
    assert (same.code, same.out) == (0, "")
    assert "No flow opens or closes; 2 pods in both" in same.err
    assert "No flow opens or closes for the 2 pods" in npcompile("diff", file, file, "--output-format", "markdown").out
    document = npcompile("diff", file, file, "--output-format", "json").json
    assert (document["version"], document["opened"], document["closed"], document["undecided"]) == (1, [], [], None)


def test_the_same_meaning_in_other_words_is_no_difference(tmp_path: Path) -> None:
    other = POLICY.replace("{port: 80}", "{port: 80, protocol: TCP}, {port: 80}").replace("name: p,", "name: q,")
    result = npcompile(
        "diff", write(tmp_path / "a.yaml", WORKLOADS, POLICY), write(tmp_path / "b.yaml", WORKLOADS, other)
    )
    assert (result.code, result.out) == (0, "")
    assert "policies: 1 added, 1 removed" in result.err


def test_an_inventory_is_added_to_both(tmp_path: Path) -> None:
    old, new = write(tmp_path / "a.yaml", POLICY), write(tmp_path / "b.yaml", OTHER_PORT)
    pods = write(tmp_path / "pods.yaml", WORKLOADS)
    result = npcompile("diff", old, new, "--inventory", pods, "--output-format", "json")
    assert result.code == 1
    (opened,), (closed,) = result.json["opened"], result.json["closed"]
    assert (opened["ports"], closed["ports"]) == (["tcp/81"], ["tcp/80"])
    (rule,) = [one for one in opened["allowed_by"] if one["reason"] == "rule"]
    assert (rule["file"], rule["line"]) == (str(new), 6)
    assert closed["denied_by"][0]["file"] == str(new)
    assert opened["witness"]["old"] == "DENY"
    from_stdin = npcompile("diff", old, new, "--inventory", "-", stdin=WORKLOADS.encode())
    assert from_stdin.code == 1
    assert "ONLY IN" not in from_stdin.out
    assert npcompile("diff", pods, pods, "--inventory", pods).code == 0


def test_without_pods_every_pod_that_could_exist_is_meant(tmp_path: Path) -> None:
    old, new = write(tmp_path / "a.yaml", POLICY), write(tmp_path / "b.yaml", TWO_PORTS)
    result = npcompile("diff", old, new, "--output-format", "json")
    assert (result.code, result.json["scope"], result.json["closed"]) == (1, "any-pod", [])
    (opened,) = result.json["opened"]
    assert ([one["name"] for one in opened["from"]], opened["ports"]) == (["app=web in shop"], ["tcp/81"])
    assert opened["to"][0]["conditions"]["namespaces"] == {"names": ["shop"], "excluded": False}
    assert opened["denied_by"][0]["file"] == str(old)
    assert result.json["assumptions"]
    assert npcompile("diff", old, new, "--fail-on", "narrowed").code == 0
    assert npcompile("diff", new, old, "--fail-on", "narrowed").code == 1
    for output_format in ("text", "markdown"):
        out = npcompile("diff", old, new, "--output-format", output_format).out
        assert "every pod that could exist" in out
        assert "a namespace of the input has exactly the labels" in out


def test_without_pods_and_without_a_difference(tmp_path: Path) -> None:
    old = write(tmp_path / "a.yaml", POLICY)
    same = npcompile("diff", old, old)
    assert (same.code, same.out) == (0, "")
    assert "the policies and namespaces are equal" in same.err
    assert "policies and namespaces are equal" in npcompile("diff", old, old, "--output-format", "markdown").out
    labelled = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: x}}\n"
    renamed = POLICY.replace("name: p,", "name: other,")
    for new in (write(tmp_path / "b.yaml", POLICY, labelled), write(tmp_path / "c.yaml", renamed)):
        result = npcompile("diff", old, new)
        assert (result.code, result.out) == (0, "")
        assert "No flow opens or closes; for every pod that could exist" in result.err
        assert "No flow opens or closes for every pod" in npcompile("diff", old, new, "--output-format", "markdown").out


def test_symbolic_goes_beyond_the_pods_of_the_input(tmp_path: Path) -> None:
    free = POLICY.replace("app: web", "app: nobody-yet")
    old, new = write(tmp_path / "a.yaml", WORKLOADS, free), write(tmp_path / "b.yaml", WORKLOADS)
    for file in (old, new):
        assert npcompile("diff", file, file, "--symbolic").code == 0
    same = write(tmp_path / "c.yaml", WORKLOADS, free.replace("port: 80", "port: 81"))
    assert npcompile("diff", old, same).code == 0
    result = npcompile("diff", old, same, "--symbolic", "--output-format", "json")
    assert (result.code, result.json["scope"]) == (1, "any-pod")
    assert result.json["opened"][0]["witness"]["dst"] == "shop/api"


@pytest.mark.parametrize("output_format", SUFFIXES)
def test_out_of_effort_is_undecided(tmp_path: Path, output_format: str) -> None:
    old, new = write(tmp_path / "a.yaml", POLICY), write(tmp_path / "b.yaml", OTHER_PORT)
    result = npcompile("diff", old, new, "--effort", "1", "--output-format", output_format)
    assert result.code == 3
    assert "No flow" not in result.out + result.err
    assert "what else is opened from" in result.out
    assert "undecided" in result.err
    assert "larger `--effort`" in result.err


def test_pods_on_one_side_only(tmp_path: Path) -> None:
    old, new = write(tmp_path / "a.yaml", POLICY), write(tmp_path / "b.yaml", WORKLOADS, OTHER_PORT)
    result = npcompile("diff", old, new, "--fail-on", "widened")
    assert (result.code, "no pod is in both" in result.err, "`--symbolic`" in result.err) == (3, True, True)
    assert npcompile("diff", old, new, "--symbolic", "--fail-on", "widened").code == 1


def test_pods_of_one_side_are_not_compared(tmp_path: Path) -> None:
    api, web = WORKLOADS.split("---\n")
    old, new = write(tmp_path / "a.yaml", WORKLOADS, POLICY), write(tmp_path / "b.yaml", api, POLICY)
    result = npcompile("diff", old, new, "--output-format", "json")
    assert result.code == 1
    assert (result.json["opened"], result.json["closed"]) == ([], [])
    assert result.json["not_compared"] == [{"pod": "shop/web", "only_in": "old", "family": None}]
    assert npcompile("diff", old, new, "--fail-on", "widened").code == 0
    none = npcompile("diff", write(tmp_path / "c.yaml", web, POLICY), new)
    assert none.code == 1
    assert "no pod is in both" in none.err
    assert "No flow" not in none.err
    assert npcompile("diff", tmp_path / "c.yaml", new, "--fail-on", "widened").code == 3


def test_bad_input_of_both_sides_is_named(tmp_path: Path) -> None:
    bad = POLICY.replace("podSelector: {matchLabels: {app: api}}", "podselector: {}", 1)
    result = npcompile("diff", write(tmp_path / "a.yaml", bad), write(tmp_path / "b.yaml", bad))
    assert (result.code, result.out) == (2, "")
    assert "a.yaml:4:8: error[NPC006]" in result.err or "a.yaml:5:3: error[NPC006]" in result.err
    assert "b.yaml" in result.err
    missing = npcompile("diff", tmp_path / "no", tmp_path / "neither")
    assert missing.code == 2
    assert missing.err.count("does not exist") == 2


def test_what_cannot_be_read_does_not_hide_what_is_wrong_elsewhere(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.yaml", POLICY.replace("podSelector: {matchLabels: {app: api}}", "podselector: {}", 1))
    result = npcompile("diff", tmp_path / "no", bad, "--inventory", tmp_path / "neither")
    assert (result.code, result.out) == (2, "")
    assert result.err.count("does not exist") == 2
    assert "NPC006" in result.err
    assert result.err.count("NPC006") == npcompile("diff", bad, bad).err.count("NPC006"), "said once"


def test_a_file_that_was_added_or_removed(tmp_path: Path) -> None:
    file, gone = write(tmp_path / "a.yaml", POLICY), tmp_path / "b.yaml"
    assert npcompile("diff", gone, file).code == 2
    added = npcompile("diff", "-N", gone, file, "--output-format", "json")
    assert (added.code, added.json["policies"]["added"], added.json["opened"]) == (1, ["shop/p"], [])
    assert added.json["closed"]
    removed = npcompile("diff", "--new-file", file, gone, "--output-format", "json")
    assert (removed.code, removed.json["policies"]["removed"], removed.json["closed"]) == (1, ["shop/p"], [])
    neither = npcompile("diff", "-N", gone, tmp_path / "c.yaml")
    assert (neither.code, "neither" in neither.err) == (2, True)
    dangling = tmp_path / "dangling.yaml"
    dangling.symlink_to("nowhere.yaml")
    assert npcompile("diff", "-N", dangling, file).code == 2, "a link that leads nowhere is there"


def test_standard_input_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", WORKLOADS, POLICY)
    assert npcompile("diff", "-", "-", stdin=b"x").code == 2
    assert npcompile("diff", "-", file, "--inventory", "-", stdin=b"x").code == 2
    assert npcompile("diff", file, "-", stdin=file.read_bytes()).code == 0


def test_names_are_no_markup(tmp_path: Path) -> None:
    odd = tmp_path / "a|b <b>*x*"
    old, new = write(odd / "a.yaml", WORKLOADS, POLICY), write(odd / "b.yaml", WORKLOADS, OTHER_PORT)
    text = npcompile("diff", old, new, "--output-format", "markdown").out
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {7}
    assert "<b>" not in text
    assert "a&#124;b &#60;b&#62;&#42;x&#42;" in text


def test_a_difference_that_does_not_replay_is_an_internal_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = write(tmp_path / "a.yaml", WORKLOADS, POLICY), write(tmp_path / "b.yaml", WORKLOADS, OTHER_PORT)
    wrong: list[Callable[[analysis.Changed], analysis.Changed]] = [
        lambda one: replace(one, witness=type(one.witness)(*(replace(flow, port=82) for flow in one.witness))),
        lambda one: replace(one, change=next(other for other in Change if other is not one.change)),
        lambda one: replace(one, why=replace(one.why, rules=())),
        lambda one: replace(one, why=replace(one.why, not_isolated=())),
        lambda one: replace(one, blockers=()),
    ]
    for mistake in wrong:

        def compare(*programs: Program, mistake: Callable[..., analysis.Changed] = mistake) -> analysis.Comparison:
            comparison = analysis.compare(*programs)
            return replace(comparison, changes=tuple(mistake(one) for one in comparison.changes))

        monkeypatch.setattr(driver, "compare", compare)
        result = npcompile("diff", old, new)
        assert (result.code, result.out) == (3, "")
        assert "does not confirm" in result.err


# Commits


class Repository:
    """A git repository of its own, with no one's configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        who = {f"GIT_{role}_{what}": "x@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        environment = {**clean, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=x")

    def diff(self, *arguments: str | Path, inside: str = "") -> Result:
        return npcompile("diff", *arguments, cwd=self.folder / inside)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """One with a commit and a change that is not committed."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    found = Repository(tmp_path / "repository")
    write(found.folder / "k8s" / "all.yaml", WORKLOADS)
    write(found.folder / "k8s" / "sub" / "policy.yaml", POLICY)
    write(found.folder / "k8s" / ".hidden" / "policy.yaml", POLICY)
    write(found.folder / "k8s" / "README.md", "no manifest")
    found.commit()
    write(found.folder / "k8s" / "sub" / "policy.yaml", OTHER_PORT)
    return found


@pytest.mark.parametrize(
    ("old", "new", "inside"),
    [
        ("git:HEAD", ".", ""),
        ("git:main", "k8s", ""),
        ("git:HEAD:k8s", "k8s", ""),
        ("git:HEAD:k8s/", ".", "k8s"),
        ("git:HEAD:./", ".", "k8s"),
        ("git:HEAD:.", ".", "k8s"),
        ("git:HEAD:../", "..", "k8s"),
        ("git:HEAD", "..", "k8s"),
    ],
)
def test_a_commit_and_the_working_tree(repository: Repository, old: str, new: str, inside: str) -> None:
    before = repository.git("status", "--porcelain=v2", "--branch")
    result = repository.diff(old, new, "--output-format", "json", inside=inside)
    assert result.code == 1
    (closed,) = result.json["closed"]
    (rule,) = [one for one in closed["allowed_by"] if one["reason"] == "rule"]
    assert rule["file"] == f"{':'.join(old.split(':')[:2])}:k8s/sub/policy.yaml"
    assert repository.git("status", "--porcelain=v2", "--branch") == before


def test_two_commits_and_a_file(repository: Repository) -> None:
    repository.commit()
    assert repository.diff("git:HEAD~1", "git:HEAD").code == 1
    assert repository.diff("git:HEAD", ".").code == 0
    assert repository.diff("git:HEAD", "git:main^{commit}").code == 0
    policies = ("git:HEAD~1:k8s/sub/policy.yaml", "git:HEAD:k8s/sub/policy.yaml")
    assert repository.diff(*policies, "--output-format", "json").json["scope"] == "any-pod"
    assert repository.diff(*policies, "--inventory", "git:HEAD:k8s/all.yaml").code == 1


def test_a_file_that_one_commit_lacks(repository: Repository) -> None:
    write(repository.folder / "k8s" / "sub" / "new.yaml", POLICY.replace("name: p,", "name: q,"))
    repository.commit()
    words = ("git:HEAD~1:k8s/sub/new.yaml", "k8s/sub/new.yaml")
    assert repository.diff(*words).code == 2
    result = repository.diff("-N", *words, "--inventory", "k8s/all.yaml", "--output-format", "json")
    assert (result.code, result.json["policies"]["added"], result.json["opened"]) == (1, ["shop/q"], [])
    assert repository.diff("-N", "git:nothing:k8s", "k8s").code == 2, "no commit is not an empty one"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("git:nothing", "`nothing` is no commit of this repository"),
        ("git:HEAD:nothing", "the commit has no `nothing`"),
        ("git:HEAD:k8s/all.yaml/x", "the commit has no `k8s/all.yaml/x`"),
        ("git:HEAD:../x", "outside the repository"),
        ("git:", "names no commit"),
        ("git::k8s", "names no commit"),
        ("git:--all", "names no commit"),
        ("git:HEAD:k8s/sub/policy.yaml extra", "the commit has no"),
    ],
)
def test_what_no_commit_has(repository: Repository, word: str, said: str) -> None:
    result = repository.diff(word, ".")
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_outside_of_any_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    result = npcompile("diff", "git:HEAD", ".", cwd=tmp_path)
    assert result.code == 2
    assert "not a git repository" in result.err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "cannot run `git`" in npcompile("diff", "git:HEAD", ".", cwd=tmp_path).err


def test_links_are_followed_within_the_commit(repository: Repository) -> None:
    folder = repository.folder
    (folder / "linked").mkdir()
    (folder / "linked" / "all.yaml").symlink_to("../k8s/all.yaml")
    (folder / "linked" / "policy.yaml").symlink_to("../elsewhere/sub/policy.yaml")
    (folder / "linked" / "again.yaml").symlink_to("policy.yaml")
    (folder / "linked" / "dangling.yaml").symlink_to("nowhere.yaml")
    (folder / "linked" / "loop.yaml").symlink_to("loop.yaml")
    (folder / "elsewhere").symlink_to("k8s")
    repository.commit()
    assert repository.diff("git:HEAD:linked", "k8s").code == 0
    assert repository.diff("git:HEAD:linked", "linked").code == 0
    assert repository.diff("git:HEAD:elsewhere", "k8s").code == 0
    (folder / "linked" / "out.yaml").symlink_to(repository.folder.parent / "x.yaml")
    repository.commit()
    assert "leads out of the repository" in repository.diff("git:HEAD:linked", "k8s").err


def test_what_a_commit_does_not_hold_is_refused(repository: Repository) -> None:
    write(repository.folder / "lfs" / "a.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    repository.commit()
    refused = repository.diff("git:HEAD:lfs", "k8s")
    assert refused.code == 2
    assert "Git LFS" in refused.err
    head = repository.git("rev-parse", "HEAD").strip()
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{head},k8s/module")
    repository.git("commit", "--quiet", "--message=x")
    refused = repository.diff("git:HEAD:k8s", "k8s")
    assert refused.code == 2
    assert "is a submodule" in refused.err
    assert repository.diff("git:HEAD:k8s/all.yaml", "k8s").code in (0, 1)


def test_policies_that_select_no_pod_are_counted(tmp_path: Path) -> None:
    """What changes in a policy of another namespace cannot be seen in this inventory."""
    elsewhere = POLICY.replace("namespace: shop", "namespace: bank")
    old = write(tmp_path / "old.yaml", WORKLOADS, POLICY, elsewhere)
    new = write(tmp_path / "new.yaml", WORKLOADS, TWO_PORTS, elsewhere.replace("port: 80", "port: 81"))
    both = npcompile("diff", old, new)
    assert "policies: 2 changed (1 without a pod here: `--symbolic` says what that changes)" in both.err
    assert "without a pod" not in npcompile("diff", old, new, "--symbolic").err
    assert "without a pod" not in npcompile("diff", old, old).err
