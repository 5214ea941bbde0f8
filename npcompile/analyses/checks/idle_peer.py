"""One of several peers of a rule matches no pod, while others do.

The rule works, so nobody notices that a part of it does not: a misspelt label, a pod that was renamed, or a workload
that is not deployed yet.  An error when no pod could ever match, because the peer's selectors contradict themselves.
A rule of which no peer matches anything is `vacuous`.

Bad:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from:
        - podSelector: {matchLabels: {app: api}}
        - podSelector: {matchLabels: {app: wrokers}}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: web, labels: {app: db}}
    spec: {containers: [{name: main, image: db}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api}]}

Good:

    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: db, namespace: web}
    spec:
      podSelector: {matchLabels: {app: db}}
      ingress:
      - from:
        - podSelector: {matchLabels: {app: api}}
        - ipBlock: {cidr: 192.0.2.0/24}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: db, namespace: web, labels: {app: db}}
    spec: {containers: [{name: main, image: db}]}
    ---
    apiVersion: v1
    kind: Pod
    metadata: {name: api, namespace: web, labels: {app: api}}
    spec: {containers: [{name: main, image: api}]}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

from npcompile.analyses.checks.wording import named
from npcompile.analyses.claims import Case, Claim, NothingSelected, Undecided, Unsatisfiable, undecided
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.ir.labels import NAMESPACE_NAME, Selector
from npcompile.ir.policy import Match, Peer, PodPeer, Policy, Rule
from npcompile.ir.printer import peer_text
from npcompile.questions import NotDecided, RuleOf, Vacuous

RULE = RuleCode(code="NPC421", slug="idle-peer", severity=Severity.INFO, kind=Kind.PROVED)
Place = tuple[tuple[str, str], int]  # a policy's key, and the number of one of its peers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Numbered:
    """A peer of a rule with several, and a rule for it alone, whose index is its number in the policy."""

    of: RuleOf
    peer: Peer
    alone: Rule

    @property
    def place(self) -> Place:
        return self.of.policy.key, self.alone.index


def check(case: Case) -> Iterator[Claim | Undecided]:
    """One claim a peer."""
    divided = [one for policy in case.program.policies for one in _divided(policy)]
    never: set[Place] = set()
    if doubtful := [one for one in divided if _may_contradict(one.peer)]:
        for answer in _asked(case, doubtful):
            if isinstance(answer, NotDecided):
                yield undecided(RULE, answer)
            elif answer.rule is not None:
                never.add((answer.policy.key, answer.rule.index))
    idle = never | (set(_unmatched(case, divided)) if case.scope is Scope.INVENTORY else set())
    yield from _claims(case, divided, idle, never)


def _divided(policy: Policy) -> Iterator[_Numbered]:
    """Every peer of the rules that have several."""
    rules = (rule for rule in policy.rules if len(rule.match.peers) > 1)
    peers = ((rule, peer) for rule in rules for peer in rule.match.peers)
    for number, (rule, peer) in enumerate(peers):
        alone = Rule(direction=rule.direction, index=number, match=Match(peers=(peer,)), span=peer.span)
        yield _Numbered(of=RuleOf(policy=policy, rule=rule), peer=peer, alone=alone)


def _may_contradict(peer: Peer) -> bool:
    """Conditions on different keys never contradict each other, but a namespace's name tells its other labels."""
    if not isinstance(peer, PodPeer):
        return False
    spaces = peer.namespaces or Selector()
    keys = [one.key for one in spaces.requirements]
    return NAMESPACE_NAME in keys or any(
        len({one.key for one in selector.requirements}) < len(selector.requirements) for selector in (spaces, peer.pods)
    )


def _asked(case: Case, peers: Sequence[_Numbered]) -> Iterator[Vacuous | NotDecided]:
    """What z3 says of these peers, each as a rule of its own."""
    policies = {one.of.policy.key: one.of.policy for one in peers}
    rules: dict[tuple[str, str], list[Rule]] = {}
    for one in peers:
        rules.setdefault(one.of.policy.key, []).append(one.alone)
    return case.any_pod([replace(policy, rules=tuple(rules[key])) for key, policy in policies.items()]).vacuous()


def _unmatched(case: Case, peers: Sequence[_Numbered]) -> Iterator[Place]:
    """The peers of pods of which the inventory has none, in policies that have subjects."""
    pods = case.pods()
    for one in peers:
        policy, peer = one.of.policy, one.peer
        if isinstance(peer, PodPeer) and pods.subjects(policy) and not pods.matched(policy, peer):
            yield one.place


def _claims(case: Case, divided: Sequence[_Numbered], idle: Set[Place], never: Set[Place]) -> Iterator[Claim]:
    """A rule all of whose peers are idle has `vacuous` to tell of it."""
    alive = {one.of.order for one in divided if one.place not in idle}
    for one in divided:
        if one.place in idle and one.of.order in alive:
            yield _claim(case, one, never=one.place in never)


def _claim(case: Case, one: _Numbered, *, never: bool) -> Claim:
    assert isinstance(one.peer, PodPeer)
    return Claim(
        rule=RULE,
        severity=Severity.ERROR if never else Severity.INFO,
        message=f"peer `{peer_text(one.peer)}` of {named(one.of)} "
        + ("can never match" if never else "matches no pod"),
        span=one.peer.span,
        label="nothing matches this",
        evidence=Unsatisfiable() if never else NothingSelected(policy=one.of.policy, rule=one.alone),
        scope=Scope.ANY_POD if never else case.scope,
        help="its conditions contradict each other" if never else "compare the labels with those of the pods meant",
    )
