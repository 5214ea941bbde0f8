"""A Service sends a client to pods that let it in, and to pods that do not.

Which pod a connection gets is chosen anew each time, so that some connections work and others hang: the hardest kind of
failure to find.  The pods behind a port of the Service are those with the labels of its selector, each judged on the
number that `targetPort` has there; pods on their node's network count too, and no policy closes those.  A pod that
calls its own Service is judged on the other pods behind it.

A warning with the pods that are concerned.  For every pod that could exist it is an info: policies can tell apart pods
that the Service does not, so that a pod with the wrong labels would be enough.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: api, track: stable}}
      ingress:
      - from: [{podSelector: {matchLabels: {app: web}}}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: default-deny, namespace: shop}
    spec: {podSelector: {}, policyTypes: [Ingress]}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: api, namespace: shop}
    spec: {selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: shop, labels: {app: web}}
    spec: {containers: [{name: main, image: web}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: shop, labels: {app: api, track: stable}}
    spec: {containers: [{name: main, image: api}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api-canary, namespace: shop, labels: {app: api, track: canary}}
    spec: {containers: [{name: main, image: api}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - from: [{podSelector: {matchLabels: {app: web}}}]
    ---
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: default-deny, namespace: shop}
    spec: {podSelector: {}, policyTypes: [Ingress]}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: api, namespace: shop}
    spec: {selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: shop, labels: {app: web}}
    spec: {containers: [{name: main, image: web}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: shop, labels: {app: api, track: stable}}
    spec: {containers: [{name: main, image: api}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api-canary, namespace: shop, labels: {app: api, track: canary}}
    spec: {containers: [{name: main, image: api}]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import some
from npcompile.analyses.claims import Case, Claim, MixedBackends, Undecided, undecided
from npcompile.diagnostics.model import Kind, Note, RuleCode, Scope, Severity
from npcompile.ir.printer import endpoint_text
from npcompile.questions import MixedService, NotDecided

RULE = RuleCode(code="NPC204", slug="mixed-service", severity=Severity.WARNING, kind=Kind.PROVED)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a port of a Service."""
    for answer in case.engine.mixed_services():
        yield undecided(RULE, answer) if isinstance(answer, NotDecided) else _claim(case, answer)


def _claim(case: Case, answer: MixedService) -> Claim:
    service, port, allowed = answer.service, answer.port, answer.allowed.flow
    here = case.scope is Scope.INVENTORY
    if here:
        reach = "reaches" if len(answer.sources) == 1 else "reach"
        what = f"{some(answer.sources)} {reach} some of the pods behind Service `{service}` {port}, and not others"
    else:
        what = f"policies can tell apart the pods behind Service `{service}` {port}: some allow what others deny"
    return Claim(
        rule=RULE,
        severity=Severity.WARNING if here else Severity.INFO,
        message=what,
        span=service.span,
        label=f"sends some connections to `{answer.denied.flow.dst}`",
        evidence=MixedBackends(service=service, port=port, allowed=answer.allowed, denied=answer.denied),
        scope=case.scope,
        notes=(
            Note(text=f"allowed: {endpoint_text(allowed.src)} -> {endpoint_text(allowed.dst)} {allowed.port_text}"),
        ),
        help=f"treat all pods behind it alike; `npcompile trace {answer.sources[0]} {service} {port}` shows each"
        if here
        else "select the pods by the labels of the Service",
    )
