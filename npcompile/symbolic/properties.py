"""What is asked of z3, one term a property.  All range over one possible flow, as `assume` says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import z3

from npcompile.ir.policy import Direction, PodPeer, Policy, PortItem
from npcompile.netset.ports import Protocol
from npcompile.questions import RuleOf
from npcompile.symbolic.encode import Encoding

DNS = 53

Judges = tuple[Sequence[Policy], Sequence[RuleOf]]


def outside_of(encoding: Encoding, of: RuleOf) -> z3.BoolRef:
    """With `explicit(r)`: unsatisfiable iff `of` matches, for its subjects, everything that r matches."""
    return z3.Not(encoding.explicit(of))


def isolation_lost(
    encoding: Encoding,
    direction: Direction,
    policy: Policy,
    *,
    others: Iterable[Policy],
    every: Iterable[Policy],
    rules: Iterable[RuleOf],
) -> z3.BoolRef:
    """Unsatisfiable iff `others` isolate every subject of a policy that any of `every` isolates, and the policy's
    `rules` match everything of every other subject.
    """
    shared = encoding.isolated(direction, every)
    return encoding.every(
        (
            encoding.selects(policy, encoding.subject(direction)),
            z3.Not(encoding.isolated(direction, others)),
            z3.Or(shared, z3.Not(encoding.some(map(encoding.explicit, rules)))),
        )
    )


def rule_lost(encoding: Encoding, of: RuleOf, every: Iterable[Policy], rules: Iterable[RuleOf]) -> z3.BoolRef:
    """Unsatisfiable iff `rules` match all that a rule matches for subjects that any of `every` isolates."""
    outside = (outside_of(encoding, rule) for rule in rules)
    return encoding.every((encoding.explicit(of), encoding.isolated(of.rule.direction, every), *outside))


def closed_alone(
    encoding: Encoding, direction: Direction, policy: Policy, others: Iterable[Policy], rules: Iterable[RuleOf]
) -> z3.BoolRef:
    """Unsatisfiable iff the policy's `rules` match everything of its subjects that none of `others` isolates."""
    alone = (encoding.selects(policy, encoding.subject(direction)), z3.Not(encoding.isolated(direction, others)))
    return encoding.every((*alone, z3.Not(encoding.some(map(encoding.explicit, rules)))))


def denied(encoding: Encoding, direction: Direction, policy: Policy, rules: Iterable[RuleOf]) -> z3.BoolRef:
    """Unsatisfiable iff `rules` match every flow of every subject of a policy."""
    explicit = encoding.some(map(encoding.explicit, rules))
    return encoding.every((encoding.selects(policy, encoding.subject(direction)), z3.Not(explicit)))


def between_pods(encoding: Encoding, of: RuleOf, port: PortItem | None) -> z3.BoolRef:
    """Unsatisfiable iff a rule matches no flow between two pods that uses a port item (None: any of the rule's)."""
    direction = of.rule.direction
    return encoding.every(
        (
            encoding.explicit(of),
            encoding.peer(direction).is_pod,
            *(() if port is None else (encoding.one_port(port),)),
        )
    )


def far_end_allows(encoding: Encoding, of: RuleOf, policies: Sequence[Policy], rules: Sequence[RuleOf]) -> z3.BoolRef:
    """With `explicit` of a rule: unsatisfiable iff the other end denies all that the rule allows.

    `policies` are all that may isolate the other end, `rules` all that may allow such a flow there.
    """
    return encoding.allowed(of.rule.direction.opposite, policies, rules)


def far_end_in(encoding: Encoding, of: RuleOf, names: frozenset[int]) -> z3.BoolRef:
    """With `between_pods`: unsatisfiable iff the other end is never in the namespaces of these names."""
    return encoding.in_names(encoding.peer(of.rule.direction), names)


def not_isolated(
    encoding: Encoding, namespace: str, direction: Direction, policies: Iterable[Policy]
) -> tuple[z3.BoolRef, ...]:
    """Unsatisfiable iff policies isolate every pod of a namespace that could exist."""
    subject = encoding.subject(direction)
    return (
        subject.is_pod,
        encoding.inhabits(subject, namespace),
        z3.Not(encoding.isolated(direction, policies)),
    )


def sends_without(
    encoding: Encoding, policy: Policy, allowing: Iterable[Policy], resolving: Iterable[Policy]
) -> tuple[z3.BoolRef, ...]:
    """Unsatisfiable iff every subject of a policy that one of `allowing` selects is selected by one of `resolving`."""
    sender = encoding.subject(Direction.EGRESS)
    return (
        encoding.selects(policy, sender),
        encoding.some(encoding.selects(one, sender) for one in allowing),
        z3.Not(encoding.some(encoding.selects(one, sender) for one in resolving)),
    )


def asks(encoding: Encoding, protocol: Protocol) -> tuple[z3.BoolRef, ...]:
    """Unsatisfiable with a rule iff the rule never matches port 53 over a protocol."""
    return encoding.carried_by(protocol), encoding.flow.port == DNS


def parted(one: Encoding, other: Encoding, ingress: Judges, egress: Judges) -> tuple[z3.BoolRef, ...]:
    """Of two flows with one source: unsatisfiable iff both ends allow the other flow whenever they allow the one.

    `ingress` and `egress` are the policies and rules that may have a say in it.
    """
    sides = ((Direction.INGRESS, *ingress), (Direction.EGRESS, *egress))
    passes = (one.allowed(direction, policies, rules) for direction, policies, rules in sides)
    stopped = (z3.Not(other.allowed(direction, policies, rules)) for direction, policies, rules in sides)
    return (*passes, other.some(stopped))


def split(encoding: Encoding, of: RuleOf, spaces: PodPeer, pods: PodPeer) -> tuple[z3.BoolRef, z3.BoolRef]:
    """Two terms about a peer with the selectors of two: unsatisfiable iff it matches nothing; and iff it matches all
    that either of the two does.
    """
    end = encoding.peer(of.rule.direction)
    joined = PodPeer(namespaces=spaces.namespaces, pods=pods.pods)
    first, second, both = (encoding.one_peer(of.policy, peer, end) for peer in (spaces, pods, joined))
    around = (encoding.selects(of.policy, encoding.subject(of.rule.direction)), encoding.ports(of.rule.match.ports))
    return encoding.every((*around, both)), encoding.every((*around, z3.Or(first, second), z3.Not(both)))
