"""A policy's labels fit a pod that is on its node's network, where no policy reaches it.

A pod with `hostNetwork: true` is its node: network plugins cannot tell its traffic from the node's, so it stays open
whatever the policy says.  A warning where the policy asks for certain labels; an info where it selects all pods.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: agent, namespace: web}
    spec:
      podSelector: {matchLabels: {app: agent}}
      policyTypes: [Ingress]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: agent-0, namespace: web, labels: {app: agent}}
    spec: {hostNetwork: true, containers: [{name: main, image: agent}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: agent, namespace: web}
    spec:
      podSelector: {matchLabels: {app: agent}}
      policyTypes: [Ingress]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: agent-0, namespace: web, labels: {app: agent}}
    spec: {containers: [{name: main, image: agent}]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import some
from npcompile.analyses.claims import Case, Claim, Matching, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import PodPeer, Policy

RULE = RuleCode(code="NPC417", slug="host-network-subject", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a policy whose labels fit pods that it does not protect."""
    pods = case.pods()
    for policy in case.program.policies:
        fitting = pods.labelled(policy, PodPeer(namespaces=None, pods=policy.subjects))
        hosts = [pod for pod in fitting if pod.host_network]
        if hosts:
            yield _claim(policy, hosts)


def _claim(policy: Policy, hosts: list[Pod]) -> Claim:
    are = "is" if len(hosts) == 1 else "are"
    return Claim(
        rule=RULE,
        severity=Severity.WARNING if policy.subjects.requirements else Severity.INFO,
        message=f"`{policy}` does not protect {some(hosts)}, which {are} on the node's network",
        span=policy.subjects.span or policy.span,
        label="no policy selects `hostNetwork` pods",
        evidence=Matching(policy=policy, endpoint=Endpoint(pod=hosts[0]), holds=False),
        scope=Scope.INVENTORY,
        help="do without `hostNetwork`, or protect the node itself",
    )
