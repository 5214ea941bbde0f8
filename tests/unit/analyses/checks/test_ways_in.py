"""What gets in, what does not, and for whom that is said."""

from __future__ import annotations

import pytest

from npcompile.analyses.checks.pods import Pods
from npcompile.analyses.checks.reachable import check
from npcompile.analyses.claims import Case, Claim, Undecided
from npcompile.diagnostics.model import Scope
from npcompile.frontend import decode, load
from npcompile.questions import NotDecided
from npcompile.relation.engine import RelationEngine
from tests.commands import npcompile

POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: web}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 192.0.2.0/24}}]
  - from: [{podSelector: {matchExpressions: [CONDITIONS]}}]
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: web, labels: {app: api}}
status: {phase: Running, podIP: 10.0.0.1}
"""


@pytest.mark.parametrize(
    ("conditions", "every_pod"),
    [
        ("{key: app, operator: In, values: [front]}", False),  # a pod that may come
        ("{key: app, operator: Exists}, {key: app, operator: DoesNotExist}", True),
    ],
)
def test_rules_that_let_nothing_in_are_named(conditions: str, every_pod: bool) -> None:
    text = POLICY.replace("CONDITIONS", conditions).encode()
    (one,) = npcompile("check", "-", "--select", "NPC302", "--output-format", "json", stdin=text).json["diagnostics"]
    assert one["message"] == "the isolated pods of `web` are reached through 1 rule only, and from their own nodes"
    assert one["every_pod"] is every_pod
    assert [(note["line"], "lets nothing in" in note["text"]) for note in one["notes"]] == [(8, False), (9, True)]


def test_what_is_undecided_is_not_said_to_be_closed() -> None:
    text = POLICY.replace("CONDITIONS", "{key: app, operator: In, values: [front]}")
    program = load([decode("input.yaml", text.encode())]).program
    engine = RelationEngine(program)
    (policy,) = program.policies
    case = Case(
        program=program,
        scope=Scope.ANY_POD,
        engine=engine,
        any_pod=lambda some: engine,
        everywhere=lambda answer: True,
        half_open=lambda: (),
        ways_in=lambda: (*engine.ways_in(), NotDecided(question="ways-in", policy=policy, rule=policy.rules[1])),
        pods=lambda: Pods(program.cluster),
    )
    unknown, claim = check(case)
    assert isinstance(unknown, Undecided)
    assert isinstance(claim, Claim)
    assert claim.message == "the isolated pods of `web` are reached through 1 rule at least, and from their own nodes"
    assert claim.every_pod is None
    assert len(claim.notes) == 1
