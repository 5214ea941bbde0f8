"""A policy lives in, or asks by name for, a namespace that is not in the input, although others are.

Where an input lists its namespaces, one that is missing is often misspelt: the API server refuses an object in a
namespace that does not exist, and a rule for one matches nothing.  The namespaces that every cluster has (`default`,
`kube-system` and the like) need not be listed.

Bad:

    apiVersion: v1
    kind: Namespace
    metadata: {name: web}
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: wbe}}}]

Good:

    apiVersion: v1
    kind: Namespace
    metadata: {name: web}
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: web}}}]
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from npcompile.analyses.claims import Case, Claim, Textual, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Severity
from npcompile.ir.labels import NAMESPACE_NAME, Operator
from npcompile.ir.policy import PodPeer, Policy
from npcompile.source import Span

RULE = RuleCode(code="NPC416", slug="unknown-namespace", severity=Severity.INFO, kind=Kind.HEURISTIC)
_ALWAYS = ("default", "kube-node-lease", "kube-public", "kube-system")


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a namespace that policies live in, and one a policy and name that it asks for."""
    cluster = case.program.cluster
    listed = sorted(name for name, namespace in cluster.namespaces.items() if namespace.listed)
    if not listed:
        return
    # Pods of a live namespace show that it exists.
    known = {*listed, *_ALWAYS, *(pod.namespace for pod in cluster.pods)}
    told: set[str] = set()
    for policy in case.program.policies:
        if policy.namespace not in known and policy.namespace not in told:
            told.add(policy.namespace)
            yield _claim(
                case, listed, f"`{policy}` is in namespace `{policy.namespace}`", policy.namespace, policy.span
            )
        for name, span in _asked_for(policy):
            if name not in known:
                yield _claim(case, listed, f"`{policy}` asks for namespace `{name}`", name, span)


def _asked_for(policy: Policy) -> Iterator[tuple[str, Span | None]]:
    """The names that a policy's selectors ask for, each once."""
    seen: set[str] = set()
    for rule in policy.rules:
        for peer in rule.match.peers:
            if not isinstance(peer, PodPeer) or peer.namespaces is None:
                continue
            for one in peer.namespaces.requirements:
                if one.key == NAMESPACE_NAME and one.operator is Operator.IN:
                    yield from ((name, one.span) for name in one.values if name not in seen)
                    seen.update(one.values)


def _claim(case: Case, listed: Sequence[str], what: str, name: str, span: Span | None) -> Claim:
    close = difflib.get_close_matches(name, listed, n=1)
    return Claim(
        rule=RULE,
        message=f"{what}, which the input does not list",
        span=span,
        evidence=Textual(),
        scope=case.scope,
        help=f"did you mean `{close[0]}`?" if close else "add the Namespace to the input, or correct the name",
    )
