"""A policy selects a pod without an owner, and the network plugin enforces policies for owned pods only (`--cni aws`).

The Amazon EKS user guide: policies apply to pods that are part of a Deployment (or another workload), and pods without
`metadata.ownerReferences` cannot have policies applied to them (aws-network-policy-agent issue 327).

Bad (`--cni aws`):

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Ingress]
    ---
    apiVersion: v1
    kind: Pod
    metadata:
      name: api-7d4b9-x2x
      namespace: web
      labels: {app: api}
      ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: api-7d4b9, uid: a, controller: true}]
    spec: {containers: [{name: main, image: api}]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import some
from npcompile.analyses.claims import Case, Claim, Cni, Matching, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import Policy

RULE = RuleCode(code="NPC506", slug="cni-standalone-pod", severity=Severity.WARNING, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a policy that selects pods without an owner."""
    if case.cni is not Cni.AWS:
        return
    pods = case.pods()
    for policy in case.program.policies:
        bare = [pod for pod in pods.subjects(policy) if pod.workload is None]
        if bare:
            yield _claim(policy, bare)


def _claim(policy: Policy, bare: list[Pod]) -> Claim:
    verb = "has" if len(bare) == 1 else "have"
    return Claim(
        rule=RULE,
        message=f"`{policy}` selects {some(bare)}, which {verb} no owner: {Cni.AWS} applies no policy to such pods",
        span=policy.subjects.span or policy.span,
        evidence=Matching(policy=policy, endpoint=Endpoint(pod=bare[0]), holds=True),
        scope=Scope.INVENTORY,
        help="let a Deployment or another workload make the pods",
    )
