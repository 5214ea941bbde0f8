"""Which policies without rules, and which excepts, other rules defeat, whatever is in the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from npcompile.ir.policy import BlockPeer, Direction, Policy
from npcompile.netset.cidrs import EVERY_ADDRESS
from npcompile.netset.intervals import union
from npcompile.questions import DefeatedDeny, DefeatedExcept, NotDecided, RuleOf
from npcompile.symbolic import boxes, properties
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError


def defeated_denies(session: Session, question: str) -> Iterator[DefeatedDeny | NotDecided]:
    """By policy and direction."""
    for policy in sorted(session.program.policies, key=lambda policy: policy.key):
        if policy.rules or boxes.void(session.boxes.subjects(policy)):
            continue
        for direction in (one for one in Direction if one in policy.directions):
            try:
                answer = _answer(session, policy, direction)
            except OutOfEffortError:
                yield NotDecided(question=question, policy=policy)
                continue
            if answer is not None:
                yield answer


def _answer(session: Session, policy: Policy, direction: Direction) -> DefeatedDeny | None:
    own = session.boxes.subjects(policy)
    near = [
        of
        for of in session.rules_of(policy.namespace, direction)
        if not of.rule.match.ports and boxes.labels_meet(own, session.boxes.subjects(of.policy))
    ]  # port-less protocols are among everything, and only rules without ports match those
    addresses = union(boxes.bare(session.boxes.rule(of)) for of in near)
    if addresses != EVERY_ADDRESS:
        return None
    if not opens(session, policy, direction, near):
        return None
    cover = _irredundant(session, policy, direction, near)
    selected = session.encoding.selects(policy, session.encoding.subject(direction))
    query = session.query(selected, session.encoding.explicit(cover[0]))
    if not query.satisfiable():
        return None
    example = session.example(query, cover[0])
    return DefeatedDeny(policy=policy, direction=direction, rules=tuple(cover), example=example)


def _irredundant(session: Session, policy: Policy, direction: Direction, rules: Sequence[RuleOf]) -> list[RuleOf]:
    for of in rules:
        if opens(session, policy, direction, [of]):
            return [of]
    kept = list(rules)
    for of in rules:
        rest = [one for one in kept if one is not of]
        if opens(session, policy, direction, rest):
            kept = rest
    return kept


def opens(session: Session, policy: Policy, direction: Direction, rules: Sequence[RuleOf]) -> bool:
    """Whether rules match every flow of every subject of a policy."""
    return not session.satisfiable(properties.denied(session.encoding, direction, policy, rules))


def defeated_excepts(session: Session, of: RuleOf) -> Iterator[DefeatedExcept]:
    """By peer and except of a rule."""
    blocks = [peer for peer in of.rule.match.peers if isinstance(peer, BlockPeer)]
    for peer, excepted in ((block, network) for block in blocks for network in block.excepts):
        match = replace(of.rule.match, peers=(BlockPeer(cidr=excepted),))
        own = RuleOf(policy=of.policy, rule=replace(of.rule, match=match))
        box = session.boxes.match(of.policy, match)
        selected = session.encoding.selects(of.policy, session.encoding.subject(of.rule.direction))
        for other in session.rules_of(of.policy.namespace, of.rule.direction):
            if other.order == of.order or not boxes.meet(box, session.boxes.rule(other)):
                continue
            query = session.query(selected, session.encoding.matches(own), session.encoding.explicit(other))
            if query.satisfiable():
                example = session.example(query, other)
                yield DefeatedExcept(subject=of, peer=peer, excepted=excepted, opener=other, example=example)
                break
