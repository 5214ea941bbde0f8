"""An egress rule names a port that has several numbers, and the network plugin gives up on it (`--cni cilium`).

Cilium skips a named port of an egress rule ("duplicate named ports") when pods declare different numbers under it: any
pod of the cluster in versions without pull request 44429 (merged in 2026, issue 30003), and pods that the rule selects
even later.  Traffic that the API allows is then dropped.

Bad (`--cni cilium`):

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Egress]
      egress:
      - ports: [{port: http}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: web, labels: {app: db}}
    spec: {containers: [{name: main, image: db, ports: [{name: http, containerPort: 80}]}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: web, labels: {app: web}}
    spec: {containers: [{name: main, image: web, ports: [{name: http, containerPort: 8080}]}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Egress]
      egress:
      - ports: [{port: 80}, {port: 8080}]
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: web, labels: {app: db}}
    spec: {containers: [{name: main, image: db, ports: [{name: http, containerPort: 80}]}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: web, labels: {app: web}}
    spec: {containers: [{name: main, image: web, ports: [{name: http, containerPort: 8080}]}]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, Cni, Textual, Undecided
from npcompile.diagnostics.model import Kind, Note, RuleCode, Scope, Severity
from npcompile.ir.cluster import Pod
from npcompile.ir.policy import Direction, NamedPort
from npcompile.ir.printer import port_item_text
from npcompile.netset.ports import Protocol
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC505", slug="cni-port-name", severity=Severity.WARNING, kind=Kind.HEURISTIC)


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a named egress port that pods of the cluster declare with several numbers."""
    if case.cni is not Cni.CILIUM:
        return
    declared = _declared(case)
    for policy in case.program.policies:
        for rule in policy.rules_of(Direction.EGRESS):
            for item in rule.match.ports:
                if isinstance(item, NamedPort):
                    numbers = declared.get((item.name, item.protocol), {})
                    if len(numbers) > 1:
                        yield _claim(RuleOf(policy=policy, rule=rule), item, numbers)


def _declared(case: Case) -> Mapping[tuple[str, Protocol], dict[int, Pod]]:
    """The numbers that pods declare under a name, each with the first pod that does."""
    found: dict[tuple[str, Protocol], dict[int, Pod]] = {}
    for pod in case.program.cluster.pods:
        for port in pod.ports:
            if port.name and not pod.host_network:
                found.setdefault((port.name, port.protocol), {}).setdefault(port.number, pod)
    return found


def _claim(rule: RuleOf, item: NamedPort, numbers: Mapping[int, Pod]) -> Claim:
    return Claim(
        rule=RULE,
        message=f"{named(rule)}: Cilium may skip `{port_item_text(item)}`, a name with several numbers in the cluster",
        span=item.span,
        evidence=Textual(),
        scope=Scope.INVENTORY,
        notes=tuple(
            Note(text=f"`{pod}` declares `{item.name}` as {number}", span=pod.span)
            for number, pod in sorted(numbers.items())
        ),
        help="write the numbers",
    )
