"""What the other end of a rule's flows says of them, as boxes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from npcompile.ir.policy import Direction, Policy
from npcompile.questions import RuleOf
from npcompile.symbolic.bitsets import members
from npcompile.symbolic.covers import Box, Index, intersection
from npcompile.symbolic.flows import Flows
from npcompile.symbolic.space import Space


@dataclass(frozen=True, slots=True, kw_only=True)
class _There:
    """The policies of a namespace that isolate in a direction, as a rule at the other end of a flow sees them: their
    subjects, and what their rules match.
    """

    subjects: Mapping[tuple[str, str], Box]  # by policy
    rules: Index
    own: Mapping[tuple[str, str], int]  # the boxes of each policy's rules


class FarEnds:
    """The far ends of flows, by the index of their namespace's name."""

    def __init__(self, space: Space, isolating: Mapping[Direction, Mapping[int, Sequence[Policy]]]) -> None:
        self._space = space
        self._isolating = isolating
        self._known: dict[tuple[Direction, int], _There] = {}

    def allowed(
        self,
        near: Direction,
        found: Sequence[Box],
        names: Collection[int] | None = None,
        without: Policy | None = None,
    ) -> Iterator[Flows]:
        """The flows in boxes, whose near end is judged by a direction, that the far end allows; only where it is a pod
        in a namespace of some names, if those are given, and as if there was no policy `without`.
        """
        space, direction = self._space, near.opposite
        where, name = space.where(far=True), space.name(far=True)
        closed = self._isolating[direction]
        wanted = space.universe[name]
        if names is None:
            yield from map(Flows.of, space.join(found, ({where: space.bare},)))
        else:
            wanted = sum(1 << one for one in names)
        open_names = wanted & ~sum(1 << one for one in closed)
        if open_names:
            yield from map(Flows.of, space.join(found, ({where: space.pods, name: open_names},)))
        mentioned = 0
        for box in found:
            mentioned |= box.get(name, space.universe[name])
        for one in members(mentioned & wanted & ~open_names):
            for box in space.join(found, ({where: space.pods, name: 1 << one},)):
                yield from self._in(box, self._there(direction, one), None if without is None else without.key)

    def denied(self, near: Direction, found: Sequence[Box], name: int, isolating: Policy) -> Iterator[Flows]:
        """The flows in boxes, whose near end is judged by a direction, that the far end denies, where that is a subject
        of a policy that isolates it, in the namespace of a name.

        No rule denies more for an address of the near end, so that end needs none.
        """
        space, there = self._space, self._there(near.opposite, name)
        subject = there.subjects.get(isolating.key)
        if subject is None:
            return
        for box in space.join(found, (subject,)):
            rules = members(there.rules.meeting(box, there.rules.every))
            yield Flows(box=box, without=tuple(there.rules.boxes[number] for number in rules))

    @staticmethod
    def _in(box: Box, there: _There, gone: tuple[str, str] | None) -> Iterator[Flows]:
        subjects = (subject for key, subject in there.subjects.items() if key != gone)
        yield Flows(box=box, without=tuple(one for one in subjects if intersection(box, one) is not None))
        left = there.rules.every & ~(there.own.get(gone, 0) if gone else 0)
        for number in members(there.rules.meeting(box, left)):
            both = intersection(box, there.rules.boxes[number])
            if both is not None:
                yield Flows.of(both)

    def by_preference(self, of: RuleOf, found: Sequence[Box], own: int) -> Iterator[Iterable[Flows]]:
        """`allowed` in parts: the least flow of the first part that has any is the least of all.

        A flow's near end is chosen first.  Where there are far ends that nothing isolates, outside of the near end's
        namespace, they do not restrict it; so it is the same for all, and what is left is in the order of far ends: no
        pod, a pod of the same namespace, or of the others in turn.
        """
        space, where, name = self._space, self._space.where(far=True), self._space.name(far=True)
        closed = sum(1 << one for one in self._isolating[of.rule.direction.opposite])
        elsewhere = space.universe[name] & ~closed & ~(1 << own)
        if not found or not elsewhere or not space.join(found, ({where: space.pods, name: elsewhere},)):
            yield self.allowed(of.rule.direction, found)
            return
        axes = (*space.labels(far=False), *space.namespace_labels(far=False))
        least = {axis: values & -values for axis in axes if (values := found[0].get(axis, space.universe[axis]))}
        near = space.join(found, (least,))
        yield map(Flows.of, space.join(near, ({where: space.bare},)))
        mentioned = 0
        for box in near:
            mentioned |= box.get(name, space.universe[name])
        for one in (own, *members(mentioned & ~(1 << own))):
            yield self.allowed(of.rule.direction, near, (one,))

    def _there(self, direction: Direction, name: int) -> _There:
        if (direction, name) not in self._known:
            subjects: dict[tuple[str, str], Box] = {}
            own: dict[tuple[str, str], int] = {}
            boxes: list[Box] = []
            for policy in self._isolating[direction][name]:
                subject = self._space.subject(policy)
                if subject is None:
                    continue
                subjects[policy.key], first = self._space.transposed(subject), len(boxes)
                for rule in policy.rules_of(direction):
                    boxes += map(self._space.transposed, self._space.rule(RuleOf(policy=policy, rule=rule)))
                own[policy.key] = (1 << len(boxes)) - (1 << first)
            rules = Index(boxes, self._space.universe)
            self._known[direction, name] = _There(subjects=subjects, rules=rules, own=own)
        return self._known[direction, name]
