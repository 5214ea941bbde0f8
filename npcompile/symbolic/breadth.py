"""Which isolated pods could be open to everyone of a kind.

The question is whether some subject and port exist such that every peer is matched.  It is answered by refinement: a
subject and port are guessed, and a peer that no rule matches there teaches the next guess that it needs such a rule.
Guesses are the least in the rules that they make active, so the answer does not depend on what the solver finds first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import z3

from npcompile.ir.policy import Direction, NamedPort, PortRange
from npcompile.netset import ports
from npcompile.netset.cidrs import EVERY_V4, EVERY_V6, Family
from npcompile.netset.intervals import union
from npcompile.netset.ports import Protocol
from npcompile.questions import Breadth, Example, NotDecided, RuleOf, WideOpen
from npcompile.symbolic import boxes
from npcompile.symbolic.covers import Box, Index, Steps, intersection, point_of
from npcompile.symbolic.flows import Flows
from npcompile.symbolic.session import Session
from npcompile.symbolic.solve import OutOfEffortError


def wide_open(session: Session, question: str) -> Iterator[WideOpen | NotDecided]:
    """By namespace, direction and kind."""
    for namespace in sorted({policy.namespace for policy in session.program.policies}):
        for direction in (Direction.INGRESS, Direction.EGRESS):
            rules = [one for of in session.rules_of(namespace, direction) if (one := _by_number(of)) is not None]
            for breadth in Breadth:
                finder = _Finder(session=session, namespace=namespace, direction=direction, breadth=breadth)
                try:
                    answer = finder.answer(rules)
                except OutOfEffortError:
                    yield NotDecided(question=question, policy=rules[0].policy)
                    continue
                if answer is not None:
                    yield answer


def _by_number(of: RuleOf) -> RuleOf | None:
    """A rule without what cannot be open to everyone: a destination that is anyone need not declare a port's name."""
    items = of.rule.match.ports
    if of.rule.direction is Direction.INGRESS or not items:
        return of
    numbers = tuple(item for item in items if not isinstance(item, NamedPort))
    match = replace(of.rule.match, ports=numbers)
    return RuleOf(policy=of.policy, rule=replace(of.rule, match=match)) if numbers else None


def is_open(session: Session, answer: WideOpen) -> bool:
    """Whether the subject of an answer's example is open to everyone of the kind on that port by the answer's rules,
    which all select it.
    """
    flow = answer.example.flow
    finder = _Finder(session=session, namespace=answer.namespace, direction=answer.direction, breadth=answer.breadth)
    numbered = [one for of in answer.rules if (one := _by_number(of)) is not None]
    at = ports.point(flow.protocol, flow.port)
    return finder.reaches_all([of for of in numbered if at in session.boxes.rule(of).ports])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Finder:
    """A question about one namespace, direction and kind."""

    session: Session
    namespace: str
    direction: Direction
    breadth: Breadth

    def answer(self, rules: Sequence[RuleOf]) -> WideOpen | None:
        """On all ports, for which rules without ports are needed, or else on some."""
        portless = self._found([of for of in rules if not of.rule.match.ports], every_port=True)
        return portless or self._found(rules, every_port=False)

    def reaches_all(self, rules: Sequence[RuleOf]) -> bool:
        """Whether some rules together match everyone of the kind."""
        space = self.session.space
        without = tuple(chain.from_iterable(space.peers(of.policy, of.rule.match) for of in rules))
        everyone = Flows(box=self._everyone_box(), without=without)
        return not self.session.some((everyone,), partial(self._nobody, rules))

    def _found(self, rules: Sequence[RuleOf], *, every_port: bool) -> WideOpen | None:
        matching = [of for of in rules if self._may_match(of)]
        if not matching or not self._may_suffice(matching):
            return None
        active = self.session.decided(
            lambda steps: self._active_by_boxes(matching, steps), lambda: self._active(matching)
        )
        if active is None:
            return None
        cover = self._irredundant(active)
        example = self._example(cover, every_port=every_port)
        if example is None:
            return None
        real = {of.order: of for of in self.session.rules_of(self.namespace, self.direction)}
        return WideOpen(
            namespace=self.namespace,
            direction=self.direction,
            breadth=self.breadth,
            every_port=every_port,
            rules=tuple(real[of.order] for of in cover),
            example=example,
        )

    def _example(self, cover: Sequence[RuleOf], *, every_port: bool) -> Example | None:
        session, encoding, space, first = self.session, self.session.encoding, self.session.space, cover[0]
        tcp = PortRange(protocol=Protocol.TCP, first=ports.FIRST_PORT, last=ports.LAST_PORT)
        found = space.join(
            *map(self._applying, cover),
            (self._everyone_box(example=True),),
            space.peers(first.policy, first.rule.match),
            space.ports(self.direction, (tcp,) if every_port else ()),
        )
        return session.least(
            map(Flows.of, found),
            lambda: (
                *(self._applies(of) for of in cover),
                *self._everyone(example=True),
                encoding.peers(first),
                *([encoding.carried_by(Protocol.TCP)] if every_port else ()),
            ),
            self.direction,
            lambda: session.candidates(first),
            outside=self.breadth is not Breadth.PODS,
        )

    def _active_by_boxes(self, rules: Sequence[RuleOf], steps: Steps) -> list[RuleOf] | None:
        """What `_active` finds."""
        space, chooser = self.session.space, self.session.chooser
        applies = [self._applying(of) for of in rules]
        peers = [space.peers(of.policy, of.rule.match) for of in rules]
        everyone = self._everyone_box()
        wanted: list[Box] = list(space.absorbed(chain.from_iterable(applies)))
        missed: Box | None = everyone
        while missed is not None:
            needed = [one for one, found in zip(applies, peers, strict=True) if self._meet_at(missed, found)]
            wanted = list(space.absorbed(space.join(wanted, chain.from_iterable(needed))))
            left = [Flows.of(box) for box in wanted]
            active: list[int] = []
            for number, applying in enumerate(applies):
                rest = [replace(one, without=(*one.without, *applying)) for one in left]
                rest = [one for one in rest if chooser.some((one,), steps)]
                if not rest:
                    active.append(number)
                    both = (replace(one, box=box) for one in left for box in space.join((one.box,), applying))
                    rest = [one for one in both if chooser.some((one,), steps)]
                left = rest
            if not left:
                return None
            matched = Index(chain.from_iterable(peers[number] for number in active), space.universe)
            missed = matched.outside(everyone, matched.every, steps)
            if missed is None:
                return [rules[number] for number in active]
        return None

    def _meet_at(self, missed: Box, found: Iterable[Box]) -> bool:
        """Whether some boxes contain the last point of a box: for pods, an unmentioned label in another namespace."""
        point = point_of(missed, self.session.space.universe, last=True)
        return any(intersection(point, box) is not None for box in found)

    def _applying(self, of: RuleOf) -> list[Box]:
        space = self.session.space
        return space.join(self.session.subject_boxes((of.policy,)), space.ports(self.direction, of.rule.match.ports))

    def _everyone_box(self, *, example: bool = False) -> Box:
        """What `_everyone` says, for pods of the namespace as near end."""
        space, chooser = self.session.space, self.session.chooser
        if self.breadth is Breadth.PODS:
            where = space.pods if example else space.no_address
        else:
            family = Family.V6 if self.breadth is Breadth.IPV6 else Family.V4
            where = chooser.outside(family) if example else chooser.bare(family)
        return {**self.session.pods_of(self.namespace), space.where(far=True): where}

    def _active(self, rules: Sequence[RuleOf]) -> list[RuleOf] | None:
        """The rules that apply to the least subject and port for which they match everyone."""
        encoding = self.session.encoding
        applies = [self._applies(of) for of in rules]
        query = self.session.query(encoding.subject(self.direction).is_pod, encoding.some(applies))
        while query.satisfiable():
            with query.scope():
                chosen = [query.first([z3.Not(term), term]) == 1 for term in applies]
            active = [of for of, one in zip(rules, chosen, strict=True) if one]
            missed = self._missed(active, rules)
            if missed is None:
                return active
            query.add(encoding.some(term for term, one in zip(applies, missed, strict=True) if one))
        return None

    def _missed(self, active: Sequence[RuleOf], rules: Sequence[RuleOf]) -> list[bool] | None:
        """Which rules match somebody of the kind whom no active one matches, or None where there is nobody."""
        query = self.session.query(*self._nobody(active))
        return [query.holds(self.session.encoding.peers(of)) for of in rules] if query.satisfiable() else None

    def _nobody(self, rules: Sequence[RuleOf]) -> list[z3.BoolRef]:
        """Of the kind, and matched by none of some rules."""
        encoding = self.session.encoding
        return [*self._everyone(), z3.Not(encoding.some(map(encoding.peers, rules)))]

    def _irredundant(self, active: Sequence[RuleOf]) -> list[RuleOf]:
        for of in active:
            if self.reaches_all([of]):
                return [of]
        kept = list(active)
        for of in active:
            rest = [one for one in kept if one is not of]
            if self.reaches_all(rest):
                kept = rest
        return kept

    def _applies(self, of: RuleOf) -> z3.BoolRef:
        encoding = self.session.encoding
        selected = encoding.selects(of.policy, encoding.subject(self.direction))
        return encoding.every((selected, encoding.ports(of.rule.match.ports)))

    def _everyone(self, *, example: bool = False) -> list[z3.BoolRef]:
        """Of the kind: addresses (for an example, ones outside the cluster), or pods, which need have no address."""
        peer = self.session.encoding.peer(self.direction)
        if self.breadth is Breadth.PODS:
            return [peer.is_pod] if example else [peer.is_pod, z3.Not(peer.has_address)]
        family = peer.is_v6 if self.breadth is Breadth.IPV6 else z3.Not(peer.is_v6)
        if example:
            return [self.session.decoder.outside(peer), family]
        return [z3.Not(peer.is_pod), peer.has_address, family]

    def _may_match(self, of: RuleOf) -> bool:
        if self.breadth is Breadth.PODS:
            return bool(self.session.boxes.names(of))
        wanted = EVERY_V4 if self.breadth is Breadth.IPV4 else EVERY_V6
        return not boxes.bare(self.session.boxes.rule(of)).isdisjoint(wanted)

    def _may_suffice(self, rules: Sequence[RuleOf]) -> bool:
        """False is certain."""
        found = [self.session.boxes.rule(of) for of in rules]
        if self.breadth is Breadth.PODS:
            other = self.session.vocabulary.names.other
            return any(
                box.peers is None
                or any(isinstance(peer, boxes.PodBox) and other in peer.places.names for peer in box.peers)
                for box in found
            )
        return (EVERY_V4 if self.breadth is Breadth.IPV4 else EVERY_V6) <= union(map(boxes.bare, found))
