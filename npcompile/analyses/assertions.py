"""Sentences of assertion files: what comes of each, for the pods of the input or for every pod that could exist.

Which engine answers, the sentences do not know: both are a `Judge`.  What an engine says of a flow is believed only
after it was replayed (see `assertion_meaning`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol, assert_never

from npcompile.analyses.assertion_advice import Known, Remark
from npcompile.diagnostics.model import Scope
from npcompile.ir.assertion import (
    ANY_POD,
    AllOf,
    Allowed,
    Assertion,
    Denied,
    Ends,
    GaveUpError,
    Isolated,
    Party,
    Region,
    Requirement,
)
from npcompile.ir.cluster import Pod
from npcompile.ir.program import Program
from npcompile.questions import Example


class Outcome(Enum):
    """What came of a sentence.  A refuted one may be empty in part, too; an undecided one is nothing else."""

    PROVED = "PROVED"
    REFUTED = "REFUTED"
    VACUOUS = "VACUOUS"
    UNKNOWN = "UNKNOWN"

    def __str__(self) -> str:
        return self.value


class Judge(Protocol):
    """An engine that answers about sentences.  Raises GaveUpError where an answer takes more than the effort."""

    def has(self, ends: Ends) -> bool:
        """Whether some end is one of these."""
        ...

    def common(self, regions: Sequence[Region]) -> Example | None:
        """The canonical flow that is in all of some regions (one at least)."""
        ...

    def counterexample(self, requirement: Requirement) -> Example | None:
        """The canonical flow that refutes a requirement."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Refutation:
    """A flow that a requirement forbids."""

    requirement: Requirement
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A sentence and what came of it.

    `refutations` has one for each requirement that does not hold; `empty` the parts that make it vacuous; `doubts`
    others that say nothing; `not_judged` the pods that it would speak of, were they not on their node's network.
    """

    assertion: Assertion
    outcome: Outcome
    refutations: tuple[Refutation, ...] = ()
    empty: tuple[Remark, ...] = ()
    doubts: tuple[Remark, ...] = ()
    not_judged: tuple[Pod, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """A flow that one sentence allows and another one denies.  None: that was not decided."""

    allowing: Assertion
    denying: Assertion
    example: Example | None


def judge_each(program: Program, scope: Scope, assertions: Iterable[Assertion], judge: Judge) -> list[Judged]:
    """What comes of each sentence."""
    judging = _Judging(judge, Known(program.cluster, scope))
    return [judging.judged(assertion) for assertion in assertions]


def contradictions(judged: Sequence[Judged], judge: Judge) -> Iterator[Contradiction]:
    """Every two sentences that cannot both hold.  One of such two does not, so two proved ones are not compared."""
    for one in judged:
        for other in judged:
            if one is other or Outcome.PROVED is one.outcome is other.outcome:
                continue
            try:
                example = _conflict(one.assertion, other.assertion, judge)
            except GaveUpError:
                yield Contradiction(allowing=one.assertion, denying=other.assertion, example=None)
                continue
            if example is not None:
                yield Contradiction(allowing=one.assertion, denying=other.assertion, example=example)


def _conflict(one: Assertion, other: Assertion, judge: Judge) -> Example | None:
    for wanted in one.requirements:
        for unwanted in other.requirements:
            if isinstance(wanted, Allowed) and isinstance(unwanted, Denied):
                both = (wanted.region, unwanted.region)
                if both[0].flows.ports.isdisjoint(both[1].flows.ports):
                    continue
                if example := judge.common(both):
                    return example
    return None


class _Judging:
    def __init__(self, judge: Judge, known: Known) -> None:
        self._judge = judge
        self._known = known

    def judged(self, assertion: Assertion) -> Judged:
        refutations: list[Refutation] = []
        empty: list[Remark] = []
        doubts: list[Remark] = []
        undecided = False
        for requirement in assertion.requirements:
            try:
                if example := self._judge.counterexample(requirement):
                    refutations.append(Refutation(requirement=requirement, example=example))
            except GaveUpError:
                undecided = True
            try:
                found = list(self._empty(requirement))
            except GaveUpError:
                undecided = True
                continue
            empty += found
            if not found:
                doubts += self._doubts(requirement)
        return Judged(
            assertion=assertion,
            outcome=_outcome(refuted=bool(refutations), vacuous=bool(empty), undecided=undecided),
            refutations=tuple(refutations),
            empty=tuple(dict.fromkeys(empty)),
            doubts=tuple(dict.fromkeys([*doubts, *self._known.unknown_namespaces(assertion)])),
            not_judged=self._known.on_node_networks(assertion),
        )

    def _empty(self, requirement: Requirement) -> Iterator[Remark]:
        """What is empty of a requirement; each of the endpoints that a side lists has to take part in some flow."""
        match requirement:
            case Isolated(side=side):
                for party in side:
                    if not self._judge.has(AllOf(parts=(ANY_POD, party.ends))):
                        yield self._known.nothing(party, "matches no pod")
            case Denied(region=region) | Allowed(region=region):
                for part, whose in _parts(region):
                    if self._judge.common([part]) is None:
                        yield from self._why(part, whose)
            case _:
                assert_never(requirement)

    def _why(self, part: Region, party: Party | None) -> Iterator[Remark]:
        """Why there is no flow in a region, which is all of a sentence or, with a party, what that takes part in."""
        flows = part.flows
        missing = [one for one in (*flows.src, *flows.dst) if not self._judge.has(one.ends)]
        if missing:
            yield from (self._known.nothing(empty, "matches nothing") for empty in missing)
            return
        whose = f" with `{party.text}`" if party else ""
        span = party.span if party else flows.span
        if part.excepts and self._judge.common([Region(flows=flows)]) is not None:
            yield Remark(message=f"the exceptions leave no flow of `{flows.text}`{whose}", span=span)
            return
        yield Remark(
            message=f"there is no flow `{flows.text}`{whose}",
            span=span,
            help="a flow has two different ends, one of them a pod, and addresses of one family",
        )

    def _doubts(self, requirement: Requirement) -> Iterator[Remark]:
        """Exceptions that take nothing away."""
        if isinstance(requirement, Isolated):
            return
        region = requirement.region
        for taken in region.excepts:
            if self._is_empty(Region(flows=region.flows), Region(flows=taken)):
                message = f"the exception `{taken.text}` takes no flow out of `{region.flows.text}`"
                yield Remark(message=message, span=taken.span, help=self._known.advice((*taken.src, *taken.dst)))

    def _is_empty(self, *regions: Region) -> bool:
        """Whether no flow is in all of some regions; False where that was not decided."""
        try:
            return self._judge.common(regions) is None
        except GaveUpError:
            return False


def _outcome(*, refuted: bool, vacuous: bool, undecided: bool) -> Outcome:
    if refuted:
        return Outcome.REFUTED
    if vacuous:
        return Outcome.VACUOUS
    return Outcome.UNKNOWN if undecided else Outcome.PROVED


def _parts(region: Region) -> Iterator[tuple[Region, Party | None]]:
    """The region of every endpoint that one of several is; the whole region where no side has several."""
    flows = region.flows
    if len(flows.src) == len(flows.dst) == 1:
        yield region, None
        return
    for party in flows.src if len(flows.src) > 1 else ():
        yield replace(region, flows=replace(flows, src=(party,))), party
    for party in flows.dst if len(flows.dst) > 1 else ():
        yield replace(region, flows=replace(flows, dst=(party,))), party
