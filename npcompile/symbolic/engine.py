"""The symbolic engine: answers for every pod and namespace that could exist, with z3, within an effort.

See `assumptions.ASSUMPTIONS` for what is assumed of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import pairwise
from typing import TypeVar

import z3

from npcompile.ir.cluster import Namespace
from npcompile.ir.labels import NAMESPACE_NAME
from npcompile.ir.policy import Direction, PodPeer, Policy, PortItem
from npcompile.ir.program import Program
from npcompile.netset import ports
from npcompile.netset.ports import Protocol
from npcompile.questions import (
    DefeatedDeny,
    DefeatedExcept,
    DnsBlocked,
    Example,
    HalfOpen,
    MixedService,
    NotDecided,
    Redundant,
    RuleOf,
    Shadowed,
    ShadowedItem,
    SplitPeer,
    Uncovered,
    Unfelt,
    Vacuous,
    WayIn,
    WideOpen,
)
from npcompile.symbolic import boxes, breadth, defeats, mixed, properties, redundancy, shadowing, unfelt
from npcompile.symbolic.covers import Box
from npcompile.symbolic.decode import Candidates
from npcompile.symbolic.flows import Flows
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError

DEFAULT_EFFORT = 1_000_000

Item = TypeVar("Item", Policy, RuleOf)
Answer = TypeVar("Answer")


class SymbolicEngine:
    """An `Engine` for all that could exist.

    `effort` bounds each solver check, in z3's resource units.  `seed` is the solver's; no answer depends on it, unless
    a check is near the bound.
    """

    def __init__(self, program: Program, effort: int = DEFAULT_EFFORT, *, seed: int = 0) -> None:
        self._session = Session(program, effort=effort, seed=seed)

    def shadowed(self) -> Iterator[Shadowed | NotDecided]:
        """Rules that other rules make superfluous, whatever is in the cluster."""
        return iter(self._shadowed)

    def shadowed_items(self) -> Iterator[ShadowedItem | NotDecided]:
        """Peers and port items that the rest of their rule and other rules make superfluous."""
        gone = frozenset(one.subject.order for one in self._shadowed if isinstance(one, Shadowed))
        return shadowing.shadowed_items(self._session, gone, "shadowed-items")

    def redundant(self) -> Iterator[Redundant | NotDecided]:
        """Policies that can be removed, whatever is in the cluster."""
        return redundancy.redundant(self._session, "redundant")

    def unfelt(self) -> Iterator[Unfelt | NotDecided]:
        """Policies that decide sides of flows and no verdict, whatever is in the cluster."""
        return unfelt.unfelt(self._session, "unfelt")

    def vacuous(self) -> Iterator[Vacuous | NotDecided]:
        """Policies that can have no subject, and rules that can match nothing."""
        return _each("vacuous", self._session.program.policies, self._vacuous)

    def half_open(self) -> Iterator[HalfOpen | NotDecided]:
        """Rules, or their port items, that flows between pods match which the other end denies: all, or some.

        The example of some is the least one of the first policy that isolates such an end.
        """
        return _each("half-open", self._session.rules, self._half_open)

    def wide_open(self) -> Iterator[WideOpen | NotDecided]:
        """Isolated pods that are open to everyone of a kind."""
        return breadth.wide_open(self._session, "wide-open")

    def defeated_denies(self) -> Iterator[DefeatedDeny | NotDecided]:
        """Policies without rules whose subjects other policies open to everyone."""
        return defeats.defeated_denies(self._session, "defeated-denies")

    def defeated_excepts(self) -> Iterator[DefeatedExcept | NotDecided]:
        """Excepts of ipBlocks that another rule allows again."""
        return _each("defeated-excepts", self._session.rules, partial(defeats.defeated_excepts, self._session))

    def mixed_services(self) -> Iterator[MixedService | NotDecided]:
        """Services that could have pods behind them some of which deny what others allow."""
        return mixed.mixed_services(self._session, "mixed-services")

    def uncovered(self) -> Iterator[Uncovered | NotDecided]:
        """Listed namespaces and those with policies, in which a pod is possible that no policy isolates.

        `pods` is one pod: a real one of the input, if there is such a one, or else an invented one.
        """
        program = self._session.program
        listed = {name for name, namespace in program.cluster.namespaces.items() if namespace.listed}
        policies_of: dict[str, list[Policy]] = {name: [] for name in listed}
        for policy in program.policies:
            policies_of.setdefault(policy.namespace, []).append(policy)
        for name, policies in sorted(policies_of.items()):
            for direction in (Direction.INGRESS, Direction.EGRESS):
                isolating = [policy for policy in policies if direction in policy.directions]
                try:
                    yield from self._uncovered(self._namespace(name), direction, isolating)
                except OutOfEffortError:
                    yield NotDecided(question="uncovered", policy=isolating[0])

    def ways_in(self) -> Iterator[WayIn | NotDecided]:
        """Ingress rules by which something can come in."""
        rules = (of for of in self._session.rules if of.rule.direction is Direction.INGRESS)
        return _each("ways-in", rules, self._ways_in)

    def dns_blocked(self) -> Iterator[DnsBlocked | NotDecided]:
        """Policies with subjects that may send something, and not ask port 53 over UDP, or over TCP.

        A policy has two answers where some of its subjects lack UDP, and others TCP only.
        """
        policies = (policy for policy in self._session.program.policies if Direction.EGRESS in policy.directions)
        return _each("dns-blocked", policies, self._dns_blocked)

    def split_peers(self) -> Iterator[SplitPeer | NotDecided]:
        """Adjacent peers of namespaces only and of pods only, that differ from their AND."""
        return _each("split-peers", self._session.rules, self._split_peers)

    @cached_property
    def _shadowed(self) -> tuple[Shadowed | NotDecided, ...]:
        return tuple(shadowing.shadowed(self._session, "shadowed"))

    # One answer each

    def _vacuous(self, policy: Policy) -> Iterator[Vacuous]:
        session = self._session
        rules = [RuleOf(policy=policy, rule=rule) for rule in policy.rules]
        empty = [of for of in rules if not session.matches_something(of)]
        if len(empty) == len(rules) and session.space.subject(policy) is None:
            yield Vacuous(policy=policy, rule=None, impossible=True)
            return
        yield from (Vacuous(policy=policy, rule=of.rule, impossible=True) for of in empty)

    def _half_open(self, of: RuleOf) -> Iterator[HalfOpen]:
        items: tuple[PortItem | None, ...] = of.rule.match.ports or (None,)
        found = [one for item in items if (one := self._dead(of, item) or self._partly_denied(of, item)) is not None]
        dead = [one for one in found if one.fully]
        if len(dead) == len(items) and len({one.blocker.key for one in dead}) == 1 and items != (None,):
            whole = self._dead(of, None)
            found = found if whole is None else [whole]
        yield from found

    def _dead(self, of: RuleOf, item: PortItem | None) -> HalfOpen | None:
        session, encoding, space = self._session, self._session.encoding, self._session.space
        direction, found = of.rule.direction, self._between_pods(of, item)

        def among(*terms: z3.BoolRef) -> tuple[z3.BoolRef, ...]:
            return properties.between_pods(encoding, of, item), *terms

        free = session.open_names(of)
        there = space.join(found, ({space.name(far=True): sum(1 << name for name in free)},)) if free else []
        ways = (
            (map(Flows.of, there), lambda: among(properties.far_end_in(encoding, of, free))),
            (session.far.allowed(direction, found), lambda: among(session.far_end_allows(of))),
        )
        if any(session.some(flows, terms, two_sided=True) for flows, terms in ways):
            return None
        example = session.least(map(Flows.of, found), among, direction, lambda: session.candidates(of), two_sided=True)
        if example is None:
            return None
        far = example.flow.src if direction is Direction.INGRESS else example.flow.dst
        assert far.pod is not None, "the flow is between pods"
        blocker = next(policy for policy in session.far_policies(of) if session.boxes.selects(policy, far.pod))
        return HalfOpen(opener=of, port=item, blocker=blocker, fully=True, example=example)

    def _partly_denied(self, of: RuleOf, item: PortItem | None) -> HalfOpen | None:
        session, direction, found = self._session, of.rule.direction, self._between_pods(of, item)
        for blocker in session.far_isolating(of):
            name = session.vocabulary.names.index(blocker.namespace)
            flows = list(session.far.denied(direction, found, name, blocker))

            def terms(blocker: Policy = blocker) -> tuple[z3.BoolRef, ...]:
                return properties.between_pods(session.encoding, of, item), session.far_end_denies(of, blocker)

            if session.some(flows, terms, two_sided=True):
                example = session.least(flows, terms, direction, lambda: session.candidates(of), two_sided=True)
                assert example is not None, "there is such a flow"
                return HalfOpen(opener=of, port=item, blocker=blocker, fully=False, example=example)
        return None

    def _between_pods(self, of: RuleOf, item: PortItem | None) -> list[Box]:
        """The flows between pods that a rule matches by a port item (None: anyhow)."""
        space = self._session.space
        ports_used = ({},) if item is None else space.ports(of.rule.direction, (item,))
        return space.join(space.rule(of), ports_used, ({space.where(far=True): space.pods},))

    def _uncovered(self, namespace: Namespace, direction: Direction, isolating: list[Policy]) -> Iterator[Uncovered]:
        session = self._session
        pods = session.inhabitants(namespace.name)
        if isolating:
            found = session.least(
                session.from_outside((session.pods_of(namespace.name),), isolating),
                lambda: (
                    *properties.not_isolated(session.encoding, namespace.name, direction, isolating),
                    session.decoder.outside(session.encoding.peer(direction)),
                ),
                direction,
                lambda: Candidates(subjects=pods),
                outside=True,
            )
            if found is None:
                return
            example = found
        else:
            example = session.decoder.unconstrained(namespace.name, direction, pods)
        end = example.flow.dst if direction is Direction.INGRESS else example.flow.src
        yield Uncovered(
            namespace=namespace, direction=direction, pods=() if end.pod is None else (end.pod,), example=example
        )

    def _ways_in(self, of: RuleOf) -> Iterator[WayIn]:
        session = self._session
        internet = self._from_internet(of)
        if internet is not None and not session.program.cluster.pods:
            yield WayIn(opener=of, example=internet, internet=internet)  # what is below would give the same
            return
        example = session.let_in(of)
        if example is not None:
            yield WayIn(opener=of, example=example, internet=internet)

    def _from_internet(self, of: RuleOf) -> Example | None:
        session, encoding, space = self._session, self._session.encoding, self._session.space
        addresses = boxes.bare(session.boxes.rule(of))
        if not addresses:
            return None
        outside = ({space.where(far=True): session.chooser.outside()},)
        return session.least(
            map(Flows.of, space.join(space.rule(of), outside)),
            lambda: (encoding.explicit(of), session.decoder.outside(encoding.flow.src, addresses)),
            of.rule.direction,
            lambda: session.candidates(of),
            outside=True,
        )

    def _dns_blocked(self, policy: Policy) -> Iterator[DnsBlocked]:
        session = self._session
        own = session.space.subject(policy)
        if own is None:
            return
        applying = [
            of
            for of in session.rules_of(policy.namespace, Direction.EGRESS)
            if boxes.labels_meet(session.boxes.subjects(policy), session.boxes.subjects(of.policy))
            and session.matches_something(of)
        ]
        by_udp = [of.policy for of in applying if self._may_ask(of, Protocol.UDP)]
        by_tcp = [of.policy for of in applying if self._may_ask(of, Protocol.TCP)]
        allowing = [of.policy for of in applying]
        for protocol, some, none in ((Protocol.UDP, allowing, by_udp), (Protocol.TCP, by_udp, by_tcp)):
            asking = session.space.join((own,), session.subject_boxes(some), (session.space.asked(protocol),))
            without = session.subject_boxes(none)
            example = session.least(
                (Flows(box=box, without=without) for box in asking),
                partial(self._asking, policy, protocol, some, none),
                Direction.EGRESS,
                lambda: Candidates(subjects=session.subjects(policy), peers=session.name_servers()),
            )
            if example is not None:
                pods = () if example.flow.src.pod is None else (example.flow.src.pod,)
                yield DnsBlocked(policy=policy, pods=pods, udp_allowed=protocol is Protocol.TCP, example=example)

    def _asking(
        self, policy: Policy, protocol: Protocol, some: Sequence[Policy], none: Sequence[Policy]
    ) -> Iterator[z3.BoolRef]:
        encoding = self._session.encoding
        yield from properties.sends_without(encoding, policy, some, none)
        yield from properties.asks(encoding, protocol)

    def _may_ask(self, of: RuleOf, protocol: Protocol) -> bool:
        """Whether a rule matches port 53 over a protocol, for some destination."""
        session, encoding = self._session, self._session.encoding
        if ports.point(protocol, properties.DNS) not in session.boxes.rule(of).ports:
            return False
        asked = session.space.join(session.space.rule(of), (session.space.asked(protocol),))
        return session.some(map(Flows.of, asked), lambda: (encoding.explicit(of), *properties.asks(encoding, protocol)))

    def _split_peers(self, of: RuleOf) -> Iterator[SplitPeer]:
        for one, other in pairwise(of.rule.match.peers):
            if not isinstance(one, PodPeer) or not isinstance(other, PodPeer):
                continue
            for spaces, pods in ((one, other), (other, one)):
                if _only_namespaces(spaces) and _only_pods(pods):
                    yield from self._split(of, spaces, pods)

    def _split(self, of: RuleOf, spaces: PodPeer, pods: PodPeer) -> Iterator[SplitPeer]:
        session = self._session
        both, difference = properties.split(session.encoding, of, spaces, pods)
        query = session.query(difference)
        if session.satisfiable(both) and query.satisfiable():
            example = session.example(query, of)
            yield SplitPeer(subject=of, namespaces=spaces, pods=pods, example=example, closes=None)

    def _namespace(self, name: str) -> Namespace:
        unlisted = Namespace(name=name, labels={NAMESPACE_NAME: name}, listed=False)
        return self._session.program.cluster.namespaces.get(name, unlisted)


def _each(
    question: str, items: Iterable[Item], answer: Callable[[Item], Iterator[Answer]]
) -> Iterator[Answer | NotDecided]:
    """The answers about each item, or that its effort did not suffice."""
    for item in items:
        try:
            yield from answer(item)
        except OutOfEffortError:
            if isinstance(item, RuleOf):
                yield NotDecided(question=question, policy=item.policy, rule=item.rule)
            else:
                yield NotDecided(question=question, policy=item)


def _only_namespaces(peer: PodPeer) -> bool:
    return peer.namespaces is not None and bool(peer.namespaces.requirements) and not peer.pods.requirements


def _only_pods(peer: PodPeer) -> bool:
    return peer.namespaces is None and bool(peer.pods.requirements)
