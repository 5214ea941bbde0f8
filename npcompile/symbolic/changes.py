"""What a change of policies opens and closes, for every pod and namespace that could exist, as boxes of flows.

Flows are looked at by pairs of groups of ends: each namespace whose policies can judge that end by itself, the listed
and the unlisted rest, and addresses.  So a question is about the policies of two namespaces, however many there are,
and only pairs are asked about for which some rule that can match differs.  Boxes are as large as can be within a pair
(see `cover`); boxes of several pairs that differ in one end only are then made one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from npcompile.ir.classes import EndClass
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.ir.versions import Both, Change
from npcompile.questions import (
    Blocker,
    Passing,
    PossibleChange,
    PossibleChanges,
    SurpriseExample,
    Unsettled,
)
from npcompile.symbolic.assumptions import ASSUMPTIONS, COMPARED
from npcompile.symbolic.change_causes import Causes
from npcompile.symbolic.end_axes import EndBox, PortBox, described
from npcompile.symbolic.pair_question import Found, Question
from npcompile.symbolic.pairs import Pairs
from npcompile.symbolic.solve import OutOfEffortError
from npcompile.symbolic.versions import Versions


def possible_changes(old: Program, new: Program, effort: int, *, seed: int = 0) -> PossibleChanges:
    """Everything that a change of policies and namespaces opens and closes, whatever pods there are."""
    versions = Versions(Both(old, new), effort=effort, seed=seed)
    questions = [Question(versions, pair) for pair in Pairs(versions).different()]
    changes: list[PossibleChange] = []
    unsettled: list[Unsettled] = []
    spent = 0
    for change in Change:
        found: list[Found] = []
        for question in questions:
            some, complete = question.boxes(change, solver=spent <= versions.total)
            found += some
            if not complete:
                unsettled.append(question.unsettled(change))
            spent = max(spent, question.spent)
        for parts in _merged(found):
            try:
                changes.append(_Telling(change, parts).change())
            except OutOfEffortError:
                unsettled += [one.question.unsettled(change) for one in parts]
    return PossibleChanges(changes=tuple(changes), unsettled=tuple(unsettled), assumptions=(*ASSUMPTIONS, *COMPARED))


class _Telling:
    """Makes one change of boxes that are together the product of their sources, their targets and one port."""

    def __init__(self, change: Change, parts: Sequence[Found]) -> None:
        self._change, self._parts = change, parts
        self._first = min(parts, key=lambda one: one.order)
        self._causes = [Causes(one) for one in parts]

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


def _all_passing(parts: Iterable[Passing]) -> Passing:
    listed = list(parts)
    rules = {of.order: of for one in listed for of in one.rules}
    directions = [direction for direction in Direction if any(direction in one.not_isolated for one in listed)]
    return Passing(rules=tuple(rules[order] for order in sorted(rules)), not_isolated=tuple(directions), own_node=False)


def _all_blockers(parts: Iterable[Iterable[Blocker]]) -> tuple[Blocker, ...]:
    found = {(list(Direction).index(one.direction), one.policy.key): one for some in parts for one in some}
    return tuple(found[key] for key in sorted(found))


def _merged(found: Sequence[Found]) -> list[list[Found]]:
    """Boxes in lists, each of which is one product: of all its sources, all its targets and one port."""
    sources: dict[tuple[EndBox, PortBox], list[Found]] = {}
    for one in found:
        sources.setdefault((one.target, one.port), []).append(one)
    groups: dict[tuple[frozenset[EndBox], PortBox], list[Found]] = {}
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
