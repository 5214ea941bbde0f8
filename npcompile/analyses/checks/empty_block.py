"""The `except` of an ipBlock takes all of its `cidr` away, or nearly all.

A block whose exceptions cover it matches nothing: a warning.  One that leaves less than a hundredth is legal and odd:
an info.  `except` is no deny rule; it only says what this one peer does not match.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - from:
        - ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/9, 10.128.0.0/9]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: api, namespace: web}
    spec:
      podSelector: {matchLabels: {app: api}}
      ingress:
      - from:
        - ipBlock: {cidr: 10.0.0.0/8, except: [10.128.0.0/9]}
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, Textual, Undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.policy import BlockPeer
from npcompile.netset.cidrs import block, block_except, prefixes
from npcompile.netset.intervals import IntervalSet
from npcompile.questions import RuleOf

RULE = RuleCode(code="NPC414", slug="empty-block", severity=Severity.WARNING, kind=Kind.PROVED)
_NEARLY_ALL = 100
_SHOWN = 3


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a block of which (nearly) nothing is left."""
    for policy in case.program.policies:
        for rule in policy.rules:
            for peer in rule.match.peers:
                if isinstance(peer, BlockPeer) and peer.excepts:
                    left = block_except(peer.cidr, peer.excepts)
                    if left.size * _NEARLY_ALL < block(peer.cidr).size:
                        yield _claim(case, RuleOf(policy=policy, rule=rule), peer, left)


def _claim(case: Case, rule: RuleOf, peer: BlockPeer, left: IntervalSet) -> Claim:
    shown = [f"`{one}`" for one in islice(prefixes(left), _SHOWN + 1)]
    rest = ", ".join(shown[:_SHOWN]) + (", …" if len(shown) > _SHOWN else "")
    what = f"leaves nothing but {rest}" if left else "leaves nothing"
    return Claim(
        rule=RULE,
        severity=Severity.INFO if left else Severity.WARNING,
        message=f"{named(rule)}: the `except` of `{peer.cidr}` {what}",
        span=peer.span,
        label="" if left else "matches no address",
        evidence=Textual(),
        scope=Scope.ANY_POD,
        help="write what is left as the `cidr`" if left else "remove the peer, or correct its exceptions",
    )
