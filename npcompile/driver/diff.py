"""`npcompile diff`: two versions of the input, and the flows that open and close between them.

Nothing is said of a difference before the reference evaluator gave both verdicts of its witness, and named causes that
are among those that are reported.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import assert_never

from npcompile import semantics
from npcompile.analyses.diff import Changed, Comparison, compare, in_general
from npcompile.analyses.diff_causes import Surprise
from npcompile.diagnostics.errors import InputError, InternalError
from npcompile.diagnostics.model import Diagnostic, Kind, RuleCode, Scope, Severity, diagnose
from npcompile.driver.check import DEFAULT_EFFORT
from npcompile.driver.exit_codes import Exit
from npcompile.driver.inputs import STDIN, read_sources
from npcompile.driver.revisions import is_absent, is_revision, read_revision
from npcompile.frontend import Loaded, codes, load
from npcompile.ir.cluster import Cluster, Namespace, Pod
from npcompile.ir.flow import Flow, Verdict
from npcompile.ir.policy import Direction, Policy, Rule
from npcompile.ir.printer import class_text
from npcompile.ir.program import PolicyIndex, Program
from npcompile.ir.versions import Both, Change, Version
from npcompile.questions import Blocker, Passing, PossibleChange, PossibleChanges, RuleOf, SurpriseExample, Unsettled
from npcompile.semantics import Decision, Reason, Side
from npcompile.source import SourceFile

SURPRISE = RuleCode(code="NPC206", slug="isolation-surprise", severity=Severity.WARNING, kind=Kind.PROVED)
"""A policy of the new version isolates a pod that none isolated before, and so closes a flow that a rule at the other
end of it allows explicitly.  Someone wrote that the flow should pass; whoever added the policy may not have known that
a policy denies everything that no rule allows.  `npcompile diff` says so at the flows that close.  Add a rule for the
flow beside the new policy, or remove the one at the other end, if the flow is not wanted any more."""


_SHOWN = 5  # pairs of ends of which more is not known


class FailOn(Enum):
    """Which differences exit with 1."""

    WIDENED = "widened"
    NARROWED = "narrowed"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions:
    """What the user chose.  `old` and `new` are paths or `git:REF[:path]`; `inventory` is added to both.

    `absent_is_empty`: one of `old` and `new` may be a path that does not exist, and is empty then.  `symbolic`: for
    every pod that could exist, whatever pods there are; `effort` bounds each solver check, in z3's resource units.
    """

    old: str
    new: str
    inventory: tuple[str, ...] = ()
    fail_on: FailOn = FailOn.ANY
    absent_is_empty: bool = False
    symbolic: bool = False
    effort: int = DEFAULT_EFFORT


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

    changed: Changed | PossibleChange
    witness: Both[Flow]
    decisions: Both[Decision]
    surprise: ConfirmedSurprise | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffReport:
    """Everything that differs.  `undecided` tells what is not known, `idle` which of the policies that differ select no
    pod of the input, in either version: of those an inventory's answer says nothing.
    """

    scope: Scope
    options: DiffOptions
    comparison: Comparison
    changes: tuple[Confirmed, ...]
    diagnostics: tuple[Diagnostic, ...]
    undecided: str | None
    idle: tuple[str, ...]
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
    scope = _scope(programs, options)
    comparison = compare(*programs) if scope is Scope.INVENTORY else _compare_in_general(programs, options.effort)
    judge = Judge(programs)
    changes = tuple(judge.confirm(changed) for changed in comparison.changes)
    undecided = _undecided(programs, comparison, scope)
    return DiffReport(
        scope=scope,
        options=options,
        comparison=comparison,
        changes=changes,
        diagnostics=tuple(dict.fromkeys((*loaded.old.diagnostics, *loaded.new.diagnostics))),
        undecided=undecided,
        idle=_idle(programs, comparison) if scope is Scope.INVENTORY else (),
        exit_code=_exit(comparison, undecided, options.fail_on),
        seconds=time.perf_counter() - started,
    )


def _scope(programs: Both[Program], options: DiffOptions) -> Scope:
    pods = any(program.cluster.pods for program in programs)
    return Scope.INVENTORY if pods and not options.symbolic else Scope.ANY_POD


def _compare_in_general(programs: Both[Program], effort: int) -> Comparison:
    def find() -> PossibleChanges:
        # Loading z3 takes longer than comparing small inputs without it.
        from npcompile.symbolic.changes import possible_changes

        return possible_changes(*programs, effort)

    return in_general(*programs, find)


def _load(options: DiffOptions) -> Both[Loaded]:
    """Both sides; raises InputError with all that is wrong in any of the inputs."""
    problems: list[Diagnostic] = []
    inventory = _read(options.inventory, problems)
    absent = [path for path in (options.old, options.new) if options.absent_is_empty and _is_absent(path)]
    if len(absent) == len(Both._fields):
        problems.append(diagnose(codes.NO_INPUT, None, f"neither `{options.old}` nor `{options.new}` exists"))
    loaded = []
    for path in (options.old, options.new):
        sources = _read([path], problems) if path not in absent else []
        try:
            loaded.append(load(_with(sources, inventory)))
        except InputError as error:
            problems += error.diagnostics
    if problems:
        raise InputError(dict.fromkeys(problems))
    return Both(*loaded)


def _is_absent(path: str) -> bool:
    return is_absent(path) if is_revision(path) else path != STDIN and not os.path.lexists(path)


def _read(paths: Sequence[str], problems: list[Diagnostic]) -> list[SourceFile]:
    sources: list[SourceFile] = []
    for path in paths:
        try:
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


def _undecided(programs: Both[Program], comparison: Comparison, scope: Scope) -> str | None:
    """What is not known; None where everything is, or where no pod could make a difference."""
    if scope is Scope.ANY_POD:
        return _unsettled(comparison.unsettled) if comparison.unsettled else None
    if comparison.pods or (comparison.alike and not comparison.one_sided):
        return None
    return (
        "no pod is in both OLD and NEW, so no flow was compared; pods are told by namespace and name: give the same "
        "pods or workloads to both with `--inventory PATH`, or compare for every pod that could exist with `--symbolic`"
    )


def _idle(programs: Both[Program], comparison: Comparison) -> tuple[str, ...]:
    changes = comparison.policies
    names = dict.fromkeys((*changes.added, *changes.removed, *changes.changed))
    felt: set[str] = set()
    for program in programs:
        pods: dict[str, list[Pod]] = {}
        for pod in program.cluster.pods:
            pods.setdefault(pod.namespace, []).append(pod)
        for policy in program.policies:
            if str(policy) in names and any(semantics.selects(policy, pod) for pod in pods.get(policy.namespace, ())):
                felt.add(str(policy))
    return tuple(name for name in names if name not in felt)


def _unsettled(questions: Iterable[Unsettled]) -> str:
    words = dict.fromkeys(
        f"what else is {one.change} from {class_text(one.source)} to {class_text(one.target)}" for one in questions
    )
    shown = list(words)[:_SHOWN]
    others = [f"and the same of {len(words) - len(shown)} other pairs"] if len(words) > len(shown) else []
    return f"{'; '.join((*shown, *others))}: try again with a larger `--effort`"


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


class Judge:
    """Replays what a comparison of two versions says."""

    def __init__(self, programs: Both[Program]) -> None:
        self.programs = programs
        self.policies = Both(*(PolicyIndex(program.policies) for program in programs))
        self.known = {policy.key for policy in programs.old.policies}

    def decide(self, flows: Both[Flow], invented: Sequence[Namespace] = ()) -> Both[Decision]:
        """Each version's judgement of its own form of a flow; `invented` are namespaces that it may not list."""
        return Both(
            *(
                semantics.decide(self.policies[v].judging(flows[v]), self._cluster(v, invented), flows[v])
                for v in Version
            )
        )

    def _cluster(self, version: Version, invented: Sequence[Namespace]) -> Cluster:
        cluster = self.programs[version].cluster
        unknown = {
            one.name: one
            for one in invented
            if one.name not in cluster.namespaces or not cluster.namespaces[one.name].listed
        }
        return replace(cluster, namespaces={**cluster.namespaces, **unknown}) if unknown else cluster

    def confirm(self, changed: Changed | PossibleChange) -> Confirmed:
        """Raises InternalError unless the evaluator sees the change, for causes that are named."""
        if isinstance(changed, Changed):
            witness = changed.witness
            decisions = self.decide(witness)
        else:
            witness = Both(changed.example.flow, changed.example.flow)
            decisions = self.decide(witness, changed.example.invented)
        passing, denying = decisions[changed.change.passing], decisions[changed.change.passing.other]
        if (passing.verdict, denying.verdict) != (Verdict.ALLOW, Verdict.DENY):
            raise _contradiction(changed, witness.new)
        if not (_explains(changed.why, passing) and _blocks(changed.blockers, denying)):
            raise _contradiction(changed, witness.new)
        surprise = self._surprise(changed)
        return Confirmed(changed=changed, witness=witness, decisions=decisions, surprise=surprise)

    def _surprise(self, changed: Changed | PossibleChange) -> ConfirmedSurprise | None:
        match changed.surprise:
            case None:
                return None
            case Surprise(direction=direction, witness=witness):
                invented: Sequence[Namespace] = ()
            case SurpriseExample(direction=direction, example=example):
                witness, invented = Both(example.flow, example.flow), example.invented
            case _:
                assert_never(changed.surprise)
        old, new = self.decide(witness, invented)
        near, before, far = new.egress, old.egress, new.ingress
        if direction is Direction.INGRESS:
            near, before, far = new.ingress, old.ingress, new.egress
        if before.reason is not Reason.NOT_ISOLATED or near.allowed or near.policy is None:
            raise _contradiction(changed, witness.new)
        if old.verdict is not Verdict.ALLOW or far.policy is None or far.rule is None:
            raise _contradiction(changed, witness.new)
        return ConfirmedSurprise(
            direction=direction,
            policy=near.policy,
            added=near.policy.key not in self.known,
            rule=RuleOf(policy=far.policy, rule=far.rule),
            witness=witness.new,
        )


def _sides(decision: Decision) -> tuple[tuple[Direction, Side], ...]:
    return (Direction.EGRESS, decision.egress), (Direction.INGRESS, decision.ingress)


def _explains(why: Passing, decision: Decision) -> bool:
    """Whether what lets the witness pass is among what is said to."""
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


def _blocks(blockers: Iterable[Blocker], decision: Decision) -> bool:
    named = {(one.direction, one.policy.key) for one in blockers}
    return all(
        side.allowed or (side.policy is not None and (direction, side.policy.key) in named)
        for direction, side in _sides(decision)
    )


def _contradiction(changed: Changed | PossibleChange, flow: Flow) -> InternalError:
    return InternalError(
        f"the reference evaluator does not confirm that {flow.src} -> {flow.dst} {flow.port_text} is {changed.change}"
    )
