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

    subjects: Sequence[Box]
    rules: Index


class FarEnds:
    """The far ends of flows, by the index of their namespace's name."""

    def __init__(self, space: Space, isolating: Mapping[Direction, Mapping[int, Sequence[Policy]]]) -> None:
        self._space = space
        self._isolating = isolating
        self._known: dict[tuple[Direction, int], _There] = {}

    def allowed(self, of: RuleOf, found: Sequence[Box], names: Collection[int] | None = None) -> Iterator[Flows]:
        """The flows in boxes, of those that a rule matches, that the far end allows; only where it is a pod in a
        namespace of some names, if those are given.
        """
        space, direction = self._space, of.rule.direction.opposite
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
                yield from self._in(box, self._there(direction, one))

    @staticmethod
    def _in(box: Box, there: _There) -> Iterator[Flows]:
        without = tuple(subject for subject in there.subjects if intersection(box, subject) is not None)
        yield Flows(box=box, without=without)
        for number in members(there.rules.meeting(box, there.rules.every)):
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
            yield self.allowed(of, found)
            return
        axes = (*space.labels(far=False), *space.namespace_labels(far=False))
        least = {axis: values & -values for axis in axes if (values := found[0].get(axis, space.universe[axis]))}
        near = space.join(found, (least,))
        yield map(Flows.of, space.join(near, ({where: space.bare},)))
        mentioned = 0
        for box in near:
            mentioned |= box.get(name, space.universe[name])
        for one in (own, *members(mentioned & ~(1 << own))):
            yield self.allowed(of, near, (one,))

    def _there(self, direction: Direction, name: int) -> _There:
        if (direction, name) not in self._known:
            space, policies = self._space, self._isolating[direction][name]
            subjects = [subject for policy in policies if (subject := space.subject(policy)) is not None]
            rules = (RuleOf(policy=policy, rule=rule) for policy in policies for rule in policy.rules_of(direction))
            self._known[direction, name] = _There(
                subjects=[space.transposed(subject) for subject in subjects],
                rules=Index((space.transposed(box) for of in rules for box in space.rule(of)), space.universe),
            )
        return self._known[direction, name]
