"""What a change of policies opens and closes, for every pod and namespace that could exist, as boxes of flows.

Flows are looked at by pairs of groups of ends: each namespace whose policies can judge that end by itself, the listed
and the unlisted rest, and addresses.  So a question is about the policies of two namespaces, however many there are,
and only pairs are asked about for which some rule that can match differs.  Boxes are as large as can be within a pair
(see `cover`); boxes of several pairs that differ in one end only are then made one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import z3

from npcompile.diagnostics.errors import InternalError
from npcompile.ir.classes import EndClass
from npcompile.ir.policy import Direction, Policy, PortItem
from npcompile.ir.program import PolicyIndex, Program
from npcompile.ir.versions import Both, Change, Version
from npcompile.questions import (
    Blocker,
    Example,
    Passing,
    PossibleChange,
    PossibleChanges,
    RuleOf,
    SurpriseExample,
    Unsettled,
)
from npcompile.symbolic import boxes
from npcompile.symbolic.assumptions import ASSUMPTIONS, COMPARED
from npcompile.symbolic.boxes import LabelBox, PeerBox
from npcompile.symbolic.cover import Box, Cover
from npcompile.symbolic.end_axes import EndAxes, EndBox, Group, PortAxes, PortBox, described
from npcompile.symbolic.ends import End
from npcompile.symbolic.solve import OutOfEffortError
from npcompile.symbolic.versions import Versions


class _Side(NamedTuple):
    """The policies of a version that may isolate one end, in order, and their rules that may match the other one."""

    policies: tuple[Policy, ...]
    rules: tuple[RuleOf, ...]

    @property
    def meaning(self) -> list[object]:
        """The same for sides that judge alike, whatever their policies are called."""
        found = []
        for policy in self.policies:
            matches = [of.rule.match for of in self.rules if of.policy is policy]
            found.append((policy.subjects, matches))
        return sorted(found, key=repr)


class _Pair(NamedTuple):
    """The flows from one group of ends to another, with what may judge them in each version, by direction."""

    source: Group
    target: Group
    sides: Both[dict[Direction, _Side]]


def possible_changes(old: Program, new: Program, effort: int, *, seed: int = 0) -> PossibleChanges:
    """Everything that a change of policies and namespaces opens and closes, whatever pods there are."""
    versions = Versions(Both(old, new), effort=effort, seed=seed)
    questions = [_Question(versions, pair) for pair in _Pairs(versions).different()]
    changes: list[PossibleChange] = []
    unsettled: list[Unsettled] = []
    spent = 0
    for change in Change:
        found: list[_Found] = []
        for question in questions:
            some, complete = question.boxes(change) if spent <= versions.total else ([], False)
            found += some
            if not complete:
                unsettled.append(question.unsettled(change))
            spent = max(spent, question.query.spent)
        for parts in _merged(found):
            try:
                changes.append(_Telling(change, parts).change())
            except OutOfEffortError:
                unsettled += [one.question.unsettled(change) for one in parts]
    return PossibleChanges(changes=tuple(changes), unsettled=tuple(unsettled), assumptions=(*ASSUMPTIONS, *COMPARED))


class _Pairs:
    """Which pairs of groups may have flows that the versions judge differently."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._policies = Both(*(PolicyIndex(program.policies) for program in versions.programs))
        old, new = (set(program.policies) for program in versions.programs)
        self._changed = {
            direction: {
                versions.vocabulary.names.index(policy.namespace)
                for policy in old ^ new
                if direction in policy.directions
            }
            for direction in Direction
        }

    def different(self) -> Iterator[_Pair]:
        sources, targets = (list(self._groups(direction)) for direction in (Direction.EGRESS, Direction.INGRESS))
        for target in targets:
            for source in sources:
                if not self._may_be_judged_anew(source, target):
                    continue
                pair = _Pair(source, target, Both(*(self._sides(v, source, target) for v in Version)))
                if self._may_differ(pair):
                    yield pair

    def _may_be_judged_anew(self, source: Group, target: Group) -> bool:
        leaving, entering = (self._changed[direction] for direction in (Direction.EGRESS, Direction.INGRESS))
        relabelled = (source.names | target.names) & self._versions.relabelled
        between_pods = not (source.outside and target.outside)
        return between_pods and bool(source.names & leaving or target.names & entering or relabelled)

    def _groups(self, direction: Direction) -> Iterator[Group]:
        """The groups of an end that policies of a direction isolate."""
        versions = self._versions
        vocabulary, special = versions.vocabulary, versions.relabelled
        isolated = {
            vocabulary.names.index(policy.namespace)
            for program in versions.programs
            for policy in program.policies
            if direction in policy.directions
        }
        for name in sorted(isolated | special):
            yield self._group(frozenset({name}))
        rest = vocabulary.possible - isolated - special
        for names in (rest & vocabulary.listed, rest - vocabulary.listed):
            if names:
                yield self._group(names)
        yield Group(names=frozenset())

    def _group(self, names: frozenset[int]) -> Group:
        """A group of namespaces that are listed alike."""
        free = [version for version in Version if not names <= self._versions.listed[version]]
        return Group(names=names, labelled=bool(free), labels_in=free[0] if len(free) == 1 else None)

    def _sides(self, version: Version, source: Group, target: Group) -> dict[Direction, _Side]:
        return {
            Direction.EGRESS: self._side(version, Direction.EGRESS, source, target),
            Direction.INGRESS: self._side(version, Direction.INGRESS, target, source),
        }

    def _side(self, version: Version, direction: Direction, subjects: Group, peers: Group) -> _Side:
        if len(subjects.names) != 1 or self._versions.vocabulary.names.other in subjects.names:
            return _Side((), ())  # several namespaces are one group because none has policies
        (name,) = subjects.names
        policies = tuple(
            policy
            for policy in self._policies[version].of(self._versions.name(name))
            if direction in policy.directions and not boxes.void(self._versions.boxes[version].subjects(policy))
        )
        rules = (RuleOf(policy=policy, rule=rule) for policy in policies for rule in policy.rules_of(direction))
        return _Side(policies, tuple(of for of in rules if self._may_match(version, of, peers)))

    def _may_match(self, version: Version, of: RuleOf, peers: Group) -> bool:
        known = self._versions.boxes[version]
        return bool(boxes.bare(known.rule(of)) if peers.outside else known.names(of) & peers.names)

    def _may_differ(self, pair: _Pair) -> bool:
        if (pair.source.names | pair.target.names) & self._versions.relabelled:
            return True
        old, new = pair.sides
        return any(old[direction].meaning != new[direction].meaning for direction in Direction)


class _Question:
    """What opens and what closes between two groups.  All of it is asked of one query."""

    def __init__(self, versions: Versions, pair: _Pair) -> None:
        self.versions, self.pair = versions, pair
        encoding, flow = versions.encoding, versions.encoding.flow
        self._source = self._axes(flow.src, pair.source, self._seen(Direction.EGRESS))
        self._target = self._axes(flow.dst, pair.target, self._seen(Direction.INGRESS))
        self._port = PortAxes(encoding, list(self._items()), pods=not pair.target.outside)
        apart = [versions.apart()] if self._source.judged_by_address and self._target.judged_by_address else []
        self.query = versions.query(*_within(versions, pair), *apart)
        self._names: dict[int, tuple[z3.BoolRef, z3.BoolRef]] = {}  # literals by their terms' numbers, and the terms
        self._cover: Cover | None = None

    def boxes(self, change: Change) -> tuple[list[_Found], bool]:
        """Boxes of what changes, and whether they are all of it; then none of them is superfluous."""
        passing = change.passing
        inside = self.name(z3.And(self._allows(passing), z3.Not(self._allows(passing.other))))
        try:
            if not self.query.satisfiable(switches=[inside]):
                return [], True
        except OutOfEffortError:
            return [], False
        if self._cover is None:
            axes = [*self._source.axes, *self._target.axes, *self._port.axes]
            self._cover = Cover(self.query, axes, self.versions.total)
        found, complete = self._cover.boxes(inside)
        return [self._read(box, self._cover.assumed(box)) for box in found], complete

    def unsettled(self, change: Change) -> Unsettled:
        """That not all of it was found."""
        flow, vocabulary = self.versions.encoding.flow, self.versions.vocabulary
        ends = (self._axes(flow.src, group, ()) for group in (self.pair.source, self.pair.target))
        source, target = (
            described(vocabulary, one.read(tuple(frozenset(range(axis.size)) for axis in one.axes))) for one in ends
        )
        return Unsettled(change=change, source=source, target=target)

    def name(self, term: z3.BoolRef) -> z3.BoolRef:
        """A literal for a term."""
        number = term.get_id()
        if number not in self._names:
            self._names[number] = (self.query.name(term), term)
        return self._names[number][0]

    def _allows(self, version: Version) -> z3.BoolRef:
        encoding, sides = self.versions.encodings[version], self.pair.sides[version]
        return encoding.every(
            encoding.allowed(direction, side.policies, side.rules) for direction, side in sides.items()
        )

    def _axes(self, end: End, group: Group, seen: Iterable[PeerBox | LabelBox]) -> EndAxes:
        return EndAxes(self.versions.encoding, self.versions.vocabulary, end, group, list(seen))

    def _seen(self, direction: Direction) -> Iterator[PeerBox | LabelBox]:
        """The boxes that policies judge an end by: the subject of this direction, and the other one's peer."""
        for version in Version:
            known, sides = self.versions.boxes[version], self.pair.sides[version]
            yield from (known.subjects(policy) for policy in sides[direction].policies)
            for of in sides[direction.opposite].rules:
                yield from known.rule(of).peers or ()

    def _items(self) -> Iterator[PortItem]:
        for sides in self.pair.sides:
            for side in sides.values():
                yield from (item for of in side.rules for item in of.rule.match.ports)

    def _read(self, box: Box, assumed: Sequence[z3.BoolRef]) -> _Found:
        first = len(self._source.axes)
        second = first + len(self._target.axes)
        return _Found(
            source=self._source.read(box[:first]),
            target=self._target.read(box[first:second]),
            port=self._port.read(box[second:]),
            question=self,
            assumed=tuple(assumed),
        )


def _within(versions: Versions, pair: _Pair) -> Iterator[z3.BoolRef]:
    """What is true of the flows between two groups."""
    encoding, flow = versions.encoding, versions.encoding.flow
    for end, group in ((flow.src, pair.source), (flow.dst, pair.target)):
        if group.outside:
            yield z3.Not(end.is_pod)
        else:
            yield from (end.is_pod, encoding.in_names(end, group.names))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """A box between two groups, in terms of both ends and the port, and what to assume for it."""

    source: EndBox
    target: EndBox
    port: PortBox
    question: _Question
    assumed: tuple[z3.BoolRef, ...]

    @property
    def order(self) -> tuple[object, ...]:
        return (self.target.order, self.source.order, self.port.order)

    def some(self, *literals: z3.BoolRef) -> bool:
        """Whether some flow of the box has all of some literals."""
        return self.question.query.satisfiable(switches=[*self.assumed, *literals])

    def example(self, direction: Direction, *literals: z3.BoolRef) -> Example:
        """The canonical one of the flows that `some` is about; there must be one."""
        query, versions = self.question.query, self.question.versions
        with query.scope():
            query.add(*self.assumed, *literals, versions.apart())
            if not query.satisfiable():
                raise InternalError("a difference without a flow")
            return versions.example(query, direction)


class _Telling:
    """Makes one change of boxes that are together the product of their sources, their targets and one port."""

    def __init__(self, change: Change, parts: Sequence[_Found]) -> None:
        self._change, self._parts = change, parts
        self._first = min(parts, key=lambda one: one.order)
        self._causes = [_Causes(one) for one in parts]

    def change(self) -> PossibleChange:
        """The change, with its causes and the canonical flow of its first box."""
        passing, port = self._change.passing, self._first.port
        sideways = Direction.EGRESS if self._first.question.pair.target.outside else Direction.INGRESS
        return PossibleChange(
            change=self._change,
            sources=self._described(one.source for one in self._parts),
            targets=self._described(one.target for one in self._parts),
            ports=port.ports,
            declared=port.declared,
            why=_all_passing(one.passing(passing) for one in self._causes),
            blockers=_all_blockers(one.blockers(passing.other) for one in self._causes),
            example=self._first.example(sideways),
            surprise=self._surprise() if self._change is Change.CLOSED else None,
        )

    def _described(self, ends: Iterable[EndBox]) -> tuple[EndClass, ...]:
        vocabulary = self._first.question.versions.vocabulary
        return tuple(described(vocabulary, one) for one in _joined(ends))

    def _surprise(self) -> SurpriseExample | None:
        return next((found for one in self._causes if (found := one.surprise()) is not None), None)


class _Causes:
    """Why the flows of a box pass in one version, and not in the other."""

    def __init__(self, found: _Found) -> None:
        self._found = found
        self._encodings, self._sides = found.question.versions.encodings, found.question.pair.sides
        self._name = found.question.name

    def passing(self, version: Version) -> Passing:
        """Every rule that decides some of the flows, the first that matches, and where no rule is needed."""
        encoding = self._encodings[version]
        rules: list[RuleOf] = []
        open_: list[Direction] = []
        for direction, side in self._sides[version].items():
            before: list[z3.BoolRef] = []
            for of in side.rules:
                explicit = self._name(encoding.explicit(of))
                if self._found.some(explicit, *before):
                    rules.append(of)
                before.append(z3.Not(explicit))
            isolated = self._name(encoding.isolated(direction, side.policies))
            if self._found.some(encoding.subject(direction).is_pod, z3.Not(isolated)):
                open_.append(direction)
        return Passing(rules=tuple(rules), not_isolated=tuple(open_), own_node=False)

    def blockers(self, version: Version) -> Iterator[Blocker]:
        """The least policy that isolates each of the ends that deny."""
        encoding = self._encodings[version]
        for direction, side in self._sides[version].items():
            allowed = self._name(encoding.allowed(direction, side.policies, side.rules))
            before: list[z3.BoolRef] = []
            for policy in side.policies:
                selected = self._name(encoding.selects(policy, encoding.subject(direction)))
                if self._found.some(z3.Not(allowed), selected, *before):
                    yield Blocker(direction=direction, policy=policy)
                before.append(z3.Not(selected))

    def surprise(self) -> SurpriseExample | None:
        """The first flow that a newly isolated end denies, and that a rule of the other end's allows."""
        old, new = self._encodings
        for direction in (Direction.INGRESS, Direction.EGRESS):
            before, now = (sides[direction] for sides in self._sides)
            wanted = new.some(map(new.explicit, self._sides.new[direction.opposite].rules))
            literals = (
                z3.Not(self._name(old.isolated(direction, before.policies))),
                z3.Not(self._name(new.allowed(direction, now.policies, now.rules))),
                self._name(wanted),
            )
            if self._found.some(*literals):
                return SurpriseExample(direction=direction, example=self._found.example(direction, *literals))
        return None


def _all_passing(parts: Iterable[Passing]) -> Passing:
    listed = list(parts)
    rules = {of.order: of for one in listed for of in one.rules}
    directions = [direction for direction in Direction if any(direction in one.not_isolated for one in listed)]
    return Passing(rules=tuple(rules[order] for order in sorted(rules)), not_isolated=tuple(directions), own_node=False)


def _all_blockers(parts: Iterable[Iterable[Blocker]]) -> tuple[Blocker, ...]:
    found = {(list(Direction).index(one.direction), one.policy.key): one for some in parts for one in some}
    return tuple(found[key] for key in sorted(found))


def _merged(found: Sequence[_Found]) -> list[list[_Found]]:
    """Boxes in lists, each of which is one product: of all its sources, all its targets and one port."""
    sources: dict[tuple[EndBox, PortBox], list[_Found]] = {}
    for one in found:
        sources.setdefault((one.target, one.port), []).append(one)
    groups: dict[tuple[frozenset[EndBox], PortBox], list[_Found]] = {}
    for (_, port), parts in sources.items():
        groups.setdefault((frozenset(one.source for one in parts), port), []).extend(parts)
    return sorted(groups.values(), key=lambda parts: min(one.order for one in parts))


def _joined(ends: Iterable[EndBox]) -> list[EndBox]:
    """The different ones of some ends, as one where only the namespaces differ."""
    names: dict[tuple[bool, EndBox], frozenset[int]] = {}
    for one in ends:
        key = (bool(one.names), replace(one, names=frozenset()))
        names[key] = names.get(key, frozenset()) | one.names
    return sorted((replace(box, names=some) for (_, box), some in names.items()), key=lambda one: one.order)
