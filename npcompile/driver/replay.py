"""From a check's claim to a diagnostic, through the reference evaluator.

Nothing that a check says reaches the user before `semantics` has confirmed its evidence; a claim that does not replay
is an internal error, because then one of two descriptions of the meaning is wrong.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import assert_never

from npcompile import semantics
from npcompile.analyses.claims import (
    Claim,
    FlowWitness,
    Matching,
    MixedBackends,
    NothingSelected,
    PortUndeclared,
    Textual,
    Unchanged,
    Unsatisfiable,
)
from npcompile.diagnostics.errors import InternalError
from npcompile.diagnostics.model import Diagnostic, Scope, WitnessText
from npcompile.ir.cluster import Cluster, Namespace, Pod
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.policy import BlockPeer, Direction, NamedPort, PodPeer, Policy, Rule
from npcompile.ir.printer import endpoint_text
from npcompile.ir.program import PolicyIndex, Program
from npcompile.questions import Example, RuleOf
from npcompile.symbolic.assumptions import ASSUMPTIONS


class Replayer:
    """Confirms the claims about one program."""

    def __init__(self, program: Program) -> None:
        self._cluster = program.cluster
        self._namespaces = dict(program.cluster.namespaces)
        self._policies = PolicyIndex(program.policies)
        self._known: dict[tuple[str, bool, frozenset[tuple[str, str]]], list[Policy]] = {}  # only remembers

    def confirm(self, claim: Claim) -> Diagnostic:
        """The claim as a diagnostic; raises InternalError when its evidence does not hold."""
        witness = None
        match claim.evidence:
            case FlowWitness() as evidence:
                witness = self._flow(claim, evidence)
            case Unchanged() as unchanged:
                witness = self._unchanged(claim, unchanged)
            case MixedBackends() as mixed:
                witness = self._mixed(claim, mixed)
            case NothingSelected(policy=policy, rule=rule):
                self._nothing(claim, policy, rule)
            case Unsatisfiable() | Textual():
                pass
            case Matching() as evidence:
                if self._matches(evidence) is not evidence.holds:
                    raise _contradiction(claim)
            case PortUndeclared(rule=rule_of, port=port):
                self._undeclared(claim, rule_of, port)
            case _:
                assert_never(claim.evidence)
        return Diagnostic(
            rule=claim.rule,
            severity=claim.rule.severity if claim.severity is None else claim.severity,
            message=claim.message,
            span=claim.span,
            label=claim.label,
            notes=claim.notes,
            help=claim.help,
            scope=claim.scope,
            every_pod=claim.every_pod,
            assumptions=() if isinstance(claim.evidence, Textual) else assumptions(claim.scope, claim.every_pod),
            witness=witness,
            fix=claim.fix,
        )

    def _flow(self, claim: Claim, evidence: FlowWitness) -> WitnessText:
        flow = evidence.flow
        cluster = self._cluster_with(evidence.invented)
        policies = self._judging(flow)
        decision = semantics.decide(policies, cluster, flow)
        if not _agrees(decision, evidence):
            raise _contradiction(claim)
        if evidence.matched_by is not None:
            _confirm_rule(claim, policies, cluster, evidence, evidence.matched_by)
        return witness_text(flow, decision, evidence.invented)

    def _unchanged(self, claim: Claim, evidence: Unchanged) -> WitnessText:
        """Each side of each flow, of which an end is the policy's subject, is judged alike with it and without; or the
        verdict is, and some side is not.
        """
        shown = None
        for example in evidence.examples:
            flow, cluster = example.flow, self._cluster_with(example.invented)
            policies = self._judging(flow)
            decision = semantics.decide(policies, cluster, flow)
            rest = [policy for policy in policies if policy.key != evidence.policy.key]
            without = semantics.decide(rest, cluster, flow)
            ends = (flow.src.pod, flow.dst.pod)
            if not any(pod is not None and semantics.selects(evidence.policy, pod) for pod in ends):
                raise _contradiction(claim)
            alike = _sides(decision) == _sides(without)
            if alike is evidence.verdict_only or decision.verdict is not without.verdict:
                raise _contradiction(claim)
            shown = shown or witness_text(flow, decision, example.invented)
        if shown is None:
            raise _contradiction(claim)
        return shown

    def _mixed(self, claim: Claim, evidence: MixedBackends) -> WitnessText:
        """Both flows are one pod's, to other pods behind the port, and are judged as claimed."""
        allowed, denied = evidence.allowed.flow, evidence.denied.flow
        if allowed.src != denied.src or allowed.src.pod is None or allowed.src.pod.host_network:
            raise _contradiction(claim)
        if self._decide(evidence.allowed).verdict is not Verdict.ALLOW:
            raise _contradiction(claim)
        for flow in (allowed, denied):
            pod = flow.dst.pod
            if pod is None or not evidence.service.selects(pod) or flow.protocol is not evidence.port.protocol:
                raise _contradiction(claim)
            if flow.port != evidence.port.number_at(pod) or (pod.key == allowed.src.pod.key and not pod.template):
                raise _contradiction(claim)
        decision = self._decide(evidence.denied)
        if decision.verdict is not Verdict.DENY:
            raise _contradiction(claim)
        return witness_text(denied, decision, evidence.denied.invented)

    def _decide(self, example: Example) -> semantics.Decision:
        cluster = self._cluster_with(example.invented)
        return semantics.decide(self._judging(example.flow), cluster, example.flow)

    def _judging(self, flow: Flow) -> list[Policy]:
        """The policies that select either end: no other can decide the flow."""
        pods = (end.pod for end in (flow.src, flow.dst) if end.pod is not None)
        return list({policy.key: policy for pod in pods for policy in self._selecting(pod)}.values())

    def _selecting(self, pod: Pod) -> list[Policy]:
        alike = (pod.namespace, pod.host_network, frozenset(pod.labels.items()))  # a selector sees no more of it
        if alike not in self._known:
            policies = self._policies.near(pod.namespace, pod.labels)
            self._known[alike] = [one for one in policies if semantics.selects(one, pod)]
        return self._known[alike]

    def _cluster_with(self, invented: Sequence[Namespace]) -> Cluster:
        if not invented:
            return self._cluster
        # Not a copy of all namespaces: there may be thousands of them, and of examples
        namespaces = ChainMap({one.name: one for one in invented}, self._namespaces)
        return replace(self._cluster, namespaces=namespaces)

    def _nothing(self, claim: Claim, policy: Policy, rule: Rule | None) -> None:
        """No pod is a subject or, with a rule, a peer; one that has `ports`, too, may lack only those."""
        pods = self._cluster.pods
        if rule is None:
            if any(semantics.selects(policy, pod) for pod in pods):
                raise _contradiction(claim)
            return
        ends = [Endpoint(pod=pod, address=address) for pod in pods for address in pod.addresses or (None,)]
        for item in rule.match.peers:
            peers = (end for end in ends if semantics.peer_matches(self._cluster, policy, item, end))
            if not rule.match.ports and (isinstance(item, BlockPeer) or next(peers, None) is not None):
                raise _contradiction(claim)

    def _matches(self, evidence: Matching) -> bool:
        policy, end = evidence.policy, evidence.endpoint
        if evidence.peer is not None:
            return semantics.peer_matches(self._cluster, policy, evidence.peer, end)
        return end.pod is not None and semantics.selects(policy, end.pod)

    def _undeclared(self, claim: Claim, rule_of: RuleOf, port: NamedPort) -> None:
        """There are destinations, and on none of their declared ports does the item match."""
        source = Endpoint(address=IPv4Address(0))  # whoever sends: the item judges the destination alone
        some = False
        for pod in self._cluster.pods:
            if not self._is_destination(rule_of, pod):
                continue
            some = True
            for one in pod.ports:
                flow = Flow(src=source, dst=Endpoint(pod=pod), protocol=one.protocol, port=one.number)
                if semantics.port_matches(port, flow):
                    raise _contradiction(claim)
        if not some:
            raise _contradiction(claim)

    def _is_destination(self, rule_of: RuleOf, pod: Pod) -> bool:
        policy, rule = rule_of.policy, rule_of.rule
        if rule.direction is Direction.INGRESS:
            return semantics.selects(policy, pod)
        ends = [Endpoint(pod=pod, address=address) for address in pod.addresses or (None,)]
        peers = rule.match.peers
        return not peers or any(
            semantics.peer_matches(self._cluster, policy, one, end) for one in peers for end in ends
        )


def assumptions(scope: Scope, every_pod: bool | None = None) -> tuple[str, ...]:
    """What a finding of this scope, unless it is about the text alone, rests on."""
    return () if scope is Scope.INVENTORY and not every_pod else ASSUMPTIONS


def _sides(decision: semantics.Decision) -> tuple[bool, bool]:
    return decision.egress.allowed, decision.ingress.allowed


def _agrees(decision: semantics.Decision, evidence: FlowWitness) -> bool:
    return all(
        claimed is None or claimed == side.allowed
        for claimed, side in ((evidence.egress_allowed, decision.egress), (evidence.ingress_allowed, decision.ingress))
    )


def _confirm_rule(claim: Claim, policies: list[Policy], cluster: Cluster, evidence: FlowWitness, rule: RuleOf) -> None:
    """The rule matches the flow; and, where claimed, nothing changes when the policy loses it."""
    flow = evidence.flow
    ends = (flow.src, flow.dst) if rule.rule.direction is Direction.EGRESS else (flow.dst, flow.src)
    subject, peer = ends
    if subject.pod is None or not semantics.selects(rule.policy, subject.pod):
        raise _contradiction(claim)
    if not semantics.rule_matches(cluster, rule.policy, rule.rule, peer, flow):
        raise _contradiction(claim)
    if evidence.even_without_item is not None:
        _confirm_item(claim, policies, cluster, evidence, rule)
    if evidence.even_without:
        rest = tuple(one for one in rule.policy.rules if one is not rule.rule)
        without = [replace(policy, rules=rest) if policy is rule.policy else policy for policy in policies]
        if not _agrees(semantics.decide(without, cluster, flow), evidence):
            raise _contradiction(claim)


def _confirm_item(claim: Claim, policies: list[Policy], cluster: Cluster, evidence: FlowWitness, rule: RuleOf) -> None:
    """The rule matches the flow by the item, and nothing changes when the rule loses that."""
    match, flow, item = rule.rule.match, evidence.flow, evidence.even_without_item
    peer = flow.dst if rule.rule.direction is Direction.EGRESS else flow.src
    if isinstance(item, PodPeer | BlockPeer):
        own = replace(match, peers=(item,))
        rest = replace(match, peers=tuple(one for one in match.peers if one is not item))
    else:
        own = replace(match, ports=(item,) if item is not None else ())
        rest = replace(match, ports=tuple(one for one in match.ports if one is not item))
    if not semantics.rule_matches(cluster, rule.policy, replace(rule.rule, match=own), peer, flow):
        raise _contradiction(claim)
    if (match.peers and not rest.peers) or (match.ports and not rest.ports):
        raise _contradiction(claim)
    reduced = tuple(replace(one, match=rest) if one is rule.rule else one for one in rule.policy.rules)
    without = [replace(policy, rules=reduced) if policy is rule.policy else policy for policy in policies]
    if not _agrees(semantics.decide(without, cluster, flow), evidence):
        raise _contradiction(claim)


def witness_text(flow: Flow, decision: semantics.Decision, invented: Sequence[Namespace]) -> WitnessText:
    """A judged flow in words.

    Of a pod that the input does not have, nobody could replay it without its namespace's labels and its port's names.
    """
    namespaces = {one.name: one for one in invented}
    return WitnessText(
        src=endpoint_text(flow.src, _home(flow.src, namespaces)),
        dst=endpoint_text(flow.dst, _home(flow.dst, namespaces)),
        port=flow.port_text,
        verdict=str(decision.verdict),
        details={
            "src": _end(flow.src, _home(flow.src, namespaces)),
            "dst": _end(flow.dst, _home(flow.dst, namespaces)),
            "port": flow.port_text,
            "port_names": _port_names(flow),
            "verdict": str(decision.verdict),
            "egress_allowed": decision.egress.allowed,
            "ingress_allowed": decision.ingress.allowed,
        },
    )


def _home(endpoint: Endpoint, namespaces: Mapping[str, Namespace]) -> Namespace | None:
    return namespaces.get(endpoint.pod.namespace) if endpoint.pod else None


def _port_names(flow: Flow) -> list[str]:
    """What the destination calls the port."""
    declared = flow.dst.pod.ports if flow.dst.pod else ()
    here = (one for one in declared if (one.protocol, one.number) == (flow.protocol, flow.port))
    return sorted({one.name for one in here if one.name})


def _end(endpoint: Endpoint, home: Namespace | None) -> dict[str, object]:
    pod = endpoint.pod
    end: dict[str, object] = {"address": str(endpoint.address) if endpoint.address else None}
    if pod is not None:
        end |= {"namespace": pod.namespace, "pod": pod.name, "labels": dict(sorted(pod.labels.items()))}
    if home is not None:
        end["namespace_labels"] = dict(sorted(home.labels.items()))
    return end


def _contradiction(claim: Claim) -> InternalError:
    return InternalError(
        f"{claim.rule.code}: the reference evaluator does not confirm `{claim.message}` ({claim.evidence})"
    )
