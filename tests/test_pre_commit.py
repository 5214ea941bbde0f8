"""The pre-commit hook, run by the real pre-commit in a real git repository of 300 policy files.

The hook repository is this checkout with its own .pre-commit-hooks.yaml, installed by pre-commit as on anyone's
machine (`language: python`: a virtual environment and pip).  Only two things differ, to need no network: pip takes no
dependencies and no build isolation, and PYTHONPATH lends the packages of the environment that runs the tests.  That
path also carries a `sitecustomize` that writes down each start of npcompile, so that runs are counted and not guessed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, need_module

# What npcompile is built from; it goes into the hook repository as it is in this checkout, committed or not.
SOURCES = ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml", "npcompile", "grammar", "bpf_templates")
TEAMS = 59  # of five files each, as has kube-system

COUNTER = """
import json, os, sys
if os.path.basename(sys.orig_argv[1] if len(sys.orig_argv) > 1 else "") == "npcompile":
    with open(os.environ["NPCOMPILE_TEST_RUNS"], "a", encoding="utf-8") as log:
        log.write(json.dumps(sys.orig_argv[2:]) + "\\n")
"""

NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: {team}
"""
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: {app}
  namespace: {team}
  labels: {{{key}: {app}}}
spec:
  containers:
    - name: main
      image: example.invalid/{app}
      ports: [{{containerPort: 8080}}]
status:
  phase: Running
  podIP: {address}
"""
DEFAULT_DENY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: default-deny
  namespace: {team}
spec:
  podSelector: {{}}
  policyTypes: [Ingress, Egress]
"""
ALLOW = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: api
  namespace: {team}
spec:
  podSelector:
    matchLabels: {{app: api}}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector:
            matchLabels: {{app: web}}
      ports: [{{port: 8080}}]
"""
ALLOW_OUT = """\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  namespace: {team}
spec:
  podSelector:
    matchLabels: {{app: web}}
  policyTypes: [Egress]
  egress:
    - to:
        - podSelector:
            matchLabels: {{app: api}}
      ports: [{{port: 8080}}]
    - to:
        - namespaceSelector: {{}}
          podSelector:
            matchLabels: {{k8s-app: kube-dns}}
      ports: [{{port: 53, protocol: UDP}}, {{port: 53, protocol: TCP}}]
"""
# A policy that selects nothing and can never select anything: a finding in whatever program it belongs to.
DEAD = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: dead
  namespace: team-00
spec:
  podSelector:
    matchExpressions:
      - {key: app, operator: Exists}
      - {key: app, operator: DoesNotExist}
  policyTypes: [Ingress]
"""
CONFIG = """\
[[program]]
name = "production"
paths = ["clusters/production"]
exclude = ["clusters/production/legacy"]
"""


@dataclass(frozen=True, slots=True)
class Repository:
    """A git repository whose commits run the hook."""

    directory: Path
    environ: dict[str, str]

    @property
    def cluster(self) -> Path:
        return self.directory / "clusters" / "production"

    @property
    def log(self) -> Path:
        return Path(self.environ["NPCOMPILE_TEST_RUNS"])

    def git(self, *arguments: str) -> str:
        return run(self.directory, self.environ, "git", *arguments)

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def commit(self) -> Commit:
        """Commit everything, with the hook."""
        self.log.unlink(missing_ok=True)
        self.git("add", "--all")
        result = subprocess.run(
            ["git", "commit", "--message", "a change"],
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        runs = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return Commit(result.returncode == 0, result.stdout + result.stderr, [json.loads(line) for line in runs])


@dataclass(frozen=True, slots=True)
class Commit:
    """How a commit went: whether it was made, what was printed, and the arguments of each run of npcompile."""

    made: bool
    output: str
    runs: list[list[str]]


def run(directory: Path, environ: dict[str, str], *command: str) -> str:
    result = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of git and pre-commit: nothing of the user's, no network, and npcompile's starts counted."""
    need_module("pre_commit")
    need_module("hatchling")
    home = tmp_path_factory.mktemp("home")
    path = tmp_path_factory.mktemp("path")
    (path / "sitecustomize.py").write_text(COUNTER, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PRE_COMMIT", "PYTHON"))}
    return kept | {
        "HOME": str(home),
        "PRE_COMMIT_HOME": str(home / "pre-commit"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "Somebody"),
        **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "somebody@example.invalid"),
        "PYTHONPATH": os.pathsep.join([str(path), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # sic: pip reads this one as the value of --build-isolation
        "NPCOMPILE_TEST_RUNS": str(home / "runs"),
    }


@pytest.fixture(scope="module")
def hook_repository(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as a hook repository with one commit."""
    directory = tmp_path_factory.mktemp("npcompile")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory / name)
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "all")):
        run(directory, environ, "git", *command)
    return directory


@pytest.fixture
def repository(environ: dict[str, str], hook_repository: Path, tmp_path: Path) -> Repository:
    """300 clean YAML files under one program, committed; the next commit runs the hook."""
    result = Repository(tmp_path, environ)
    rev = run(hook_repository, environ, "git", "rev-parse", "HEAD").strip()
    hook = f"repos:\n  - repo: {hook_repository}\n    rev: {rev}\n    hooks:\n      - id: npcompile-check\n"
    result.git("init", "--quiet")
    result.write(".pre-commit-config.yaml", hook)
    for number in range(TEAMS):
        team = f"team-{number:02d}"
        folder = f"clusters/production/{team}"
        result.write(f"{folder}/namespace.yaml", NAMESPACE.format(team=team))
        for index, app in enumerate(("web", "api")):
            address = f"10.1.{number}.{index + 1}"
            result.write(f"{folder}/{app}.yaml", POD.format(team=team, key="app", app=app, address=address))
        result.write(f"{folder}/default-deny.yaml", DEFAULT_DENY.format(team=team))
        result.write(f"{folder}/allow.yaml", (ALLOW + ALLOW_OUT).format(team=team))
    folder = "clusters/production/kube-system"
    result.write(f"{folder}/namespace.yaml", NAMESPACE.format(team="kube-system"))
    for index in range(4):
        pod = POD.format(team="kube-system", key="k8s-app", app="kube-dns", address=f"10.2.0.{index + 1}")
        result.write(f"{folder}/dns-{index}.yaml", pod.replace("name: kube-dns", f"name: kube-dns-{index}", 1))
    result.git("add", "--all")
    result.git("commit", "--quiet", "--message", "the cluster")
    run(tmp_path, environ, sys.executable, "-m", "pre_commit", "install")
    return result


@pytest.mark.parametrize(
    ("command", "file"),
    [("validate-manifest", ".pre-commit-hooks.yaml"), ("validate-config", ".pre-commit-config.yaml")],
)
def test_pre_commit_accepts_our_files(environ: dict[str, str], command: str, file: str) -> None:
    run(ROOT, environ, sys.executable, "-m", "pre_commit", command, file)


def test_a_clean_commit_passes_after_one_run(repository: Repository) -> None:
    files = list(repository.directory.rglob("*.yaml"))
    assert len([file for file in files if repository.cluster in file.parents]) == 300
    # Touch every policy file, so that pre-commit has 300 names to hand over if it would.
    for file in repository.cluster.rglob("*.yaml"):
        file.write_text("# reviewed\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    commit = repository.commit()
    assert commit.made, commit.output[-3000:]
    assert commit.runs == [["check"]]


def test_a_commit_that_touches_no_policy_is_checked_too(repository: Repository) -> None:
    repository.write("notes.txt", "nothing of Kubernetes\n")
    commit = repository.commit()
    assert commit.made, commit.output[-3000:]
    assert commit.runs == [["check"]]


def test_deleting_a_policy_alone_can_fail(repository: Repository) -> None:
    (repository.cluster / "team-07" / "default-deny.yaml").unlink()
    commit = repository.commit()
    assert commit.runs == [["check"]]
    assert not commit.made, commit.output[-3000:]
    assert "team-07" in commit.output
    assert "NPC3" in commit.output
    assert repository.git("log", "--oneline").count("\n") == 1


def test_deleting_what_nobody_needs_passes(repository: Repository) -> None:
    for name in ("namespace", "web", "api", "default-deny", "allow"):
        (repository.cluster / "team-07" / f"{name}.yaml").unlink()
    commit = repository.commit()
    assert commit.made, commit.output[-3000:]
    assert commit.runs == [["check"]]


def test_without_a_configuration_the_whole_repository_is_checked(repository: Repository) -> None:
    repository.write("clusters/production/legacy/dead.yaml", DEAD)
    commit = repository.commit()
    assert commit.runs == [["check"]]
    assert not commit.made, commit.output[-3000:]
    assert "clusters/production/legacy/dead.yaml" in commit.output


def test_a_configuration_says_what_is_checked(repository: Repository) -> None:
    repository.write("npcompile.toml", CONFIG)
    repository.write("clusters/production/legacy/dead.yaml", DEAD)
    repository.write("clusters/staging/dead.yaml", DEAD)
    commit = repository.commit()
    assert commit.made, commit.output[-3000:]
    assert commit.runs == [["check"]]

    repository.write("clusters/production/team-00/dead.yaml", DEAD)
    commit = repository.commit()
    assert commit.runs == [["check"]]
    assert not commit.made, commit.output[-3000:]
    assert "clusters/production/team-00/dead.yaml" in commit.output
