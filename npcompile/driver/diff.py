"""`npcompile diff`: two versions of the input, and the flows that open and close between them.

Nothing is said of a difference before the reference evaluator gave both verdicts of its witness, and named causes that
are among those that are reported.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from npcompile import semantics
from npcompile.analyses.diff import Changed, Comparison, compare
from npcompile.diagnostics.errors import InputError, InternalError
from npcompile.diagnostics.model import Diagnostic
from npcompile.driver.exit_codes import Exit
from npcompile.driver.inputs import STDIN, read_sources
from npcompile.driver.revisions import is_revision, read_revision
from npcompile.frontend import Loaded, load
from npcompile.ir.flow import Flow, Verdict
from npcompile.ir.policy import Direction, Policy, Rule
from npcompile.ir.program import PolicyIndex, Program
from npcompile.ir.versions import Both, Change, Version
from npcompile.questions import RuleOf
from npcompile.semantics import Decision, Reason, Side
from npcompile.source import SourceFile


class FailOn(Enum):
    """Which differences exit with 1."""

    WIDENED = "widened"
    NARROWED = "narrowed"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions:
    """What the user chose.  `old` and `new` are paths or `git:REF[:path]`; `inventory` is added to both."""

    old: str
    new: str
    inventory: tuple[str, ...] = ()
    fail_on: FailOn = FailOn.ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedSurprise:
    """Why a closed flow is a surprise: `policy` newly isolates one end in `direction`, and `rule` still allows it."""

    direction: Direction
    policy: Policy
    added: bool  # the policy is new
    rule: RuleOf
    witness: Flow


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """A change whose witness was replayed in both versions."""

    changed: Changed
    decisions: Both[Decision]
    surprise: ConfirmedSurprise | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffReport:
    """Everything that differs.  `undecided` tells why nothing is known, where no pod was compared."""

    options: DiffOptions
    comparison: Comparison
    changes: tuple[Confirmed, ...]
    diagnostics: tuple[Diagnostic, ...]
    undecided: str | None
    exit_code: Exit
    seconds: float

    def of(self, change: Change) -> tuple[Confirmed, ...]:
        """The changes of one kind."""
        return tuple(one for one in self.changes if one.changed.change is change)

    @property
    def surprises(self) -> int:
        """How many of the closed boxes are surprises."""
        return sum(one.surprise is not None for one in self.changes)


def run_diff(options: DiffOptions) -> DiffReport:
    """Compare two versions of the input; raises InputError with everything that is wrong with either."""
    started = time.perf_counter()
    loaded = _load(options)
    programs = Both(loaded.old.program, loaded.new.program)
    comparison = compare(*programs)
    judge = _Judge(programs)
    changes = tuple(judge.confirm(changed) for changed in comparison.changes)
    undecided = _undecided(programs, comparison)
    return DiffReport(
        options=options,
        comparison=comparison,
        changes=changes,
        diagnostics=tuple(dict.fromkeys((*loaded.old.diagnostics, *loaded.new.diagnostics))),
        undecided=undecided,
        exit_code=_exit(comparison, undecided, options.fail_on),
        seconds=time.perf_counter() - started,
    )


def _load(options: DiffOptions) -> Both[Loaded]:
    problems: list[Diagnostic] = []
    inventory = _read(options.inventory, problems)
    sides = [_with(_read([path], problems), inventory) for path in (options.old, options.new)]
    loaded = []
    for side in sides if not problems else ():
        try:
            loaded.append(load(side))
        except InputError as error:
            problems += error.diagnostics
    if problems:
        raise InputError(dict.fromkeys(problems))
    return Both(*loaded)


def _read(paths: Sequence[str], problems: list[Diagnostic]) -> list[SourceFile]:
    sources: list[SourceFile] = []
    try:
        for path in paths:
            sources = _with(sources, read_revision(path) if is_revision(path) else read_sources([path]))
    except InputError as error:
        problems += error.diagnostics
    return sources


def _with(sources: Sequence[SourceFile], more: Iterable[SourceFile]) -> list[SourceFile]:
    """Both, a file that is in both once."""
    known = {_place(one.path) for one in sources}
    return [*sources, *(one for one in more if _place(one.path) not in known)]


def _place(path: str) -> str:
    return path if path == STDIN or is_revision(path) else os.path.realpath(path)


def _undecided(programs: Both[Program], comparison: Comparison) -> str | None:
    """Why nothing is known of any flow; None where some were compared, or where no pod could make a difference."""
    if comparison.pods or (comparison.alike and not comparison.one_sided):
        return None
    if any(program.cluster.pods for program in programs):
        return (
            "no pod is in both OLD and NEW, so no flow was compared; pods are told by namespace and name: give the "
            "same pods or workloads to both with `--inventory PATH`"
        )
    return (
        "the policies differ, and there are no pods or workloads to compare their flows for: name some with "
        "`--inventory PATH` (a comparison for every pod that could exist is not supported)"
    )


def _exit(comparison: Comparison, undecided: str | None, fail_on: FailOn) -> Exit:
    opened, closed = (bool(comparison.of(change)) for change in Change)
    failing = {
        FailOn.WIDENED: opened,
        FailOn.NARROWED: closed,
        FailOn.ANY: opened or closed or bool(comparison.one_sided),
    }
    if failing[fail_on]:
        return Exit.FINDINGS
    return Exit.UNDECIDED if undecided else Exit.CLEAN


class _Judge:
    """Replays what the comparison says."""

    def __init__(self, programs: Both[Program]) -> None:
        self.programs = programs
        self.policies = Both(*(PolicyIndex(program.policies) for program in programs))
        self.known = {policy.key for policy in programs.old.policies}

    def decide(self, flows: Both[Flow]) -> Both[Decision]:
        """Each version's judgement of its own form of a flow."""
        return Both(
            *(semantics.decide(self.policies[v].judging(flows[v]), self.programs[v].cluster, flows[v]) for v in Version)
        )

    def confirm(self, changed: Changed) -> Confirmed:
        """Raises InternalError unless the evaluator sees the change, for causes that are named."""
        decisions = self.decide(changed.witness)
        passing, denying = decisions[changed.change.passing], decisions[changed.change.passing.other]
        if (passing.verdict, denying.verdict) != (Verdict.ALLOW, Verdict.DENY):
            raise _contradiction(changed)
        if not (_explains(changed, passing) and _blocks(changed, denying)):
            raise _contradiction(changed)
        return Confirmed(changed=changed, decisions=decisions, surprise=self.surprise(changed))

    def surprise(self, changed: Changed) -> ConfirmedSurprise | None:
        said = changed.surprise
        if said is None:
            return None
        old, new = self.decide(said.witness)
        near = new.ingress if said.direction is Direction.INGRESS else new.egress
        before = old.ingress if said.direction is Direction.INGRESS else old.egress
        far = new.egress if said.direction is Direction.INGRESS else new.ingress
        if before.reason is not Reason.NOT_ISOLATED or near.allowed or near.policy is None:
            raise _contradiction(changed)
        if old.verdict is not Verdict.ALLOW or far.policy is None or far.rule is None:
            raise _contradiction(changed)
        return ConfirmedSurprise(
            direction=said.direction,
            policy=near.policy,
            added=near.policy.key not in self.known,
            rule=RuleOf(policy=far.policy, rule=far.rule),
            witness=said.witness.new,
        )


def _sides(decision: Decision) -> tuple[tuple[Direction, Side], ...]:
    return (Direction.EGRESS, decision.egress), (Direction.INGRESS, decision.ingress)


def _explains(changed: Changed, decision: Decision) -> bool:
    """Whether what lets the witness pass is among what is said to."""
    why = changed.why
    named: set[tuple[Policy, Rule]] = {(one.policy, one.rule) for one in why.rules}
    for direction, side in _sides(decision):
        match side.reason:
            case Reason.RULE if side.policy is None or side.rule is None or (side.policy, side.rule) not in named:
                return False
            case Reason.NOT_ISOLATED if direction not in why.not_isolated:
                return False
            case Reason.OWN_NODE if not why.own_node:
                return False
    return True


def _blocks(changed: Changed, decision: Decision) -> bool:
    named = {(one.direction, one.policy.key) for one in changed.blockers}
    return all(
        side.allowed or (side.policy is not None and (direction, side.policy.key) in named)
        for direction, side in _sides(decision)
    )


def _contradiction(changed: Changed) -> InternalError:
    flow = changed.witness.new
    return InternalError(
        f"the reference evaluator does not confirm that {flow.src} -> {flow.dst} {flow.port_text} is {changed.change}"
    )
