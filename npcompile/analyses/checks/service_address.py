"""A rule names a Service's address, where policies mostly see the pods behind it.

Whether policies judge before or after a Service's address is replaced by a pod's is left open by the API; most network
plugins judge after, and then such an ipBlock matches nothing.  Only narrow blocks are looked at.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Egress]
      egress:
      - to: [{ipBlock: {cidr: 10.96.0.7/32}}]
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: db, namespace: web}
    spec: {selector: {app: db}, clusterIP: 10.96.0.7, ports: [{port: 5432}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      policyTypes: [Egress]
      egress:
      - to: [{podSelector: {matchLabels: {app: db}}}]
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: db, namespace: web}
    spec: {selector: {app: db}, clusterIP: 10.96.0.7, ports: [{port: 5432}]}
"""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, Textual, Undecided
from npcompile.diagnostics.model import Kind, Note, RuleCode, Scope, Severity
from npcompile.ir.cluster import Service
from npcompile.ir.policy import BlockPeer, Direction
from npcompile.ir.printer import labels_text
from npcompile.netset.cidrs import Address, block_except, point
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC419", slug="service-address", severity=Severity.WARNING, kind=Kind.HEURISTIC)
_NARROW = 256  # addresses


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a narrow egress block that holds a Service's address."""
    for policy in case.program.policies:
        for rule in policy.rules_of(Direction.EGRESS):
            for peer in rule.match.peers:
                if isinstance(peer, BlockPeer):
                    found = _service_within(case, peer)
                    if found is not None:
                        yield _claim(RuleOf(policy=policy, rule=rule), peer, *found)


def _service_within(case: Case, peer: BlockPeer) -> tuple[Service, Address] | None:
    if peer.cidr.num_addresses > _NARROW:
        return None
    addresses = block_except(peer.cidr, peer.excepts)
    services = case.program.cluster.services
    held = ((one, address) for one in services for address in one.addresses if point(address) in addresses)
    return next(held, None)


def _claim(rule: RuleOf, peer: BlockPeer, service: Service, address: Address) -> Claim:
    wanted = f" (`{labels_text(service.selector)}`)" if service.selector else ""
    return Claim(
        rule=RULE,
        message=f"{named(rule)}: `{peer.cidr}` holds `{address}`, the address of Service `{service}`",
        span=peer.span,
        label="is a pod's address by the time that most plugins judge",
        evidence=Textual(),
        scope=Scope.INVENTORY,
        notes=(Note(text=f"Service `{service}`", span=service.span),),
        help=f"select the pods behind it{wanted}, and their target port",
    )
