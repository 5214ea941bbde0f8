"""`npcompile test`: every sentence of assertion files, with its outcome.

An example that an engine gives is replayed: the reference evaluator must give the verdict that refutes the sentence,
and the flow must be one that the sentence speaks of, by definition.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import assert_never

from npcompile import semantics
from npcompile.analyses.assertion_advice import Remark
from npcompile.analyses.assertion_meaning import Meaning
from npcompile.analyses.assertions import Contradiction, Judge, Judged, Outcome, Refutation, contradictions, judge_each
from npcompile.diagnostics.errors import InputError, InternalError
from npcompile.diagnostics.model import Diagnostic, Kind, Note, RuleCode, Scope, Severity, WitnessText, diagnose
from npcompile.driver.check import DEFAULT_EFFORT, UNDECIDED
from npcompile.driver.exit_codes import Exit, worst
from npcompile.driver.inputs import STDIN, read_sources
from npcompile.driver.replay import assumptions, witness_text
from npcompile.frontend import Loaded, codes, load
from npcompile.frontend.spec import load_assertions
from npcompile.ir.assertion import Allowed, Assertion, Denied, Isolated, Region, Requirement
from npcompile.ir.cluster import Cluster
from npcompile.ir.flow import Flow
from npcompile.ir.policy import Direction
from npcompile.ir.printer import rule_text
from npcompile.ir.program import PolicyIndex, Program
from npcompile.questions import Example
from npcompile.semantics import Decision, Reason, Side

REFUTED = RuleCode(code="NPC603", slug="assertion-refuted", severity=Severity.ERROR, kind=Kind.PROVED)
"""A sentence of an assertion file does not hold.  The flow shown refutes it, and the notes name what decides that flow:
the rule that lets it through, or the policy that isolates.  Change the policies, or the sentence."""

VACUOUS = RuleCode(code="NPC604", slug="assertion-vacuous", severity=Severity.ERROR, kind=Kind.PROVED)
"""A sentence speaks of nothing: no flow, or no pod, is one of those that it is about, so that it would hold whatever
the policies say.  Mostly a namespace or a label is misspelt."""

CONTRADICTION = RuleCode(code="NPC605", slug="assertions-contradict", severity=Severity.ERROR, kind=Kind.PROVED)
"""Two sentences cannot both hold: one allows a flow that the other one denies.  No policies can satisfy both; take the
flow out of one of them with `except`."""

IDLE = RuleCode(code="NPC606", slug="assertion-part-idle", severity=Severity.WARNING, kind=Kind.PROVED)
"""A part of a sentence changes nothing: an exception takes no flow out, or a namespace is not in the input.  The
sentence was judged all the same, and is not weaker for it; but its author meant something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestOptions:
    """What the user chose.  `fail_on` None: failures never fail.  `today` decides what has expired."""

    __test__ = False  # no test case, whatever its name says

    today: date
    fail_on: Severity | None = Severity.ERROR
    effort: int = DEFAULT_EFFORT
    symbolic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A sentence, what came of it, what its failure counts as, and what there is to say of it."""

    judged: Judged
    severity: Severity
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReport:
    """Every sentence in order, what concerns two of them, and what the input of policies gave cause to say."""

    __test__ = False

    scope: Scope
    tested: tuple[Tested, ...]
    contradictions: tuple[Diagnostic, ...]
    input_diagnostics: tuple[Diagnostic, ...]
    exit_code: Exit
    seconds: float

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All that there is to say of the sentences, in output order."""
        found = [one for tested in self.tested for one in tested.diagnostics]
        return tuple(sorted([*found, *self.contradictions], key=lambda one: one.order))


def run_test(specs: Sequence[str], paths: Sequence[str], options: TestOptions) -> TestReport:
    """Judge every sentence of some files; raises InputError with all that is wrong in the files of either kind."""
    started = time.perf_counter()
    assertions, loaded = _read(specs, paths)
    program = loaded.program
    scope = Scope.ANY_POD if options.symbolic or not program.cluster.pods else Scope.INVENTORY
    judge = _judge(program, scope, assertions, options.effort)
    judged = judge_each(program, scope, assertions, judge)
    telling = _Telling(program, scope, options)
    tested = tuple(telling.tested(one) for one in judged)
    conflicts = tuple(telling.contradiction(one) for one in contradictions(judged, judge))
    said = [*(one for each in tested for one in each.diagnostics), *conflicts]
    return TestReport(
        scope=scope,
        tested=tested,
        contradictions=conflicts,
        input_diagnostics=loaded.diagnostics,
        exit_code=worst(_exit_of(one, options) for one in said),
        seconds=time.perf_counter() - started,
    )


def _read(specs: Sequence[str], paths: Sequence[str]) -> tuple[tuple[Assertion, ...], Loaded]:
    problems: list[Diagnostic] = []
    assertions: tuple[Assertion, ...] = ()
    loaded: Loaded | None = None
    try:
        assertions = _assertions(specs)
    except InputError as error:
        problems += error.diagnostics
    try:
        loaded = load(read_sources(paths))
    except InputError as error:
        problems += error.diagnostics
    if problems or loaded is None:
        raise InputError(problems)
    return assertions, loaded


def _assertions(specs: Sequence[str]) -> tuple[Assertion, ...]:
    folders = [path for path in specs if path != STDIN and Path(path).is_dir()]
    if folders:
        advice = "name the files: `npcompile test DIR/*.npspec -f PATH`"
        raise InputError(diagnose(codes.NO_INPUT, None, f"`{one}` is a directory", help=advice) for one in folders)
    return load_assertions(read_sources(specs))


def _judge(program: Program, scope: Scope, assertions: Sequence[Assertion], effort: int) -> Judge:
    if scope is Scope.INVENTORY:
        from npcompile.relation.assertions import InventoryJudge

        return InventoryJudge(program, assertions, pieces=effort)
    # Loading z3 takes longer than judging a small program without it.
    from npcompile.symbolic.assertions import SymbolicJudge

    return SymbolicJudge(program, assertions, effort)


def _exit_of(diagnostic: Diagnostic, options: TestOptions) -> Exit:
    if diagnostic.rule is UNDECIDED:
        return Exit.UNDECIDED
    if options.fail_on is not None and diagnostic.severity >= options.fail_on:
        return Exit.FINDINGS
    return Exit.CLEAN


class _Telling:
    """Makes diagnostics of what was judged, after replaying it."""

    def __init__(self, program: Program, scope: Scope, options: TestOptions) -> None:
        self._cluster = program.cluster
        self._policies = PolicyIndex(program.policies)
        self._scope = scope
        self._today = options.today
        self._meaning = Meaning(program.cluster, scope)

    def tested(self, judged: Judged) -> Tested:
        """A sentence with all that there is to say of it."""
        assertion = judged.assertion
        severity = assertion.severity_on(self._today)
        found = [self._refuted(assertion, severity, one) for one in judged.refutations]
        found += [self._remarked(VACUOUS, severity, one) for one in judged.empty]
        found += [self._remarked(IDLE, IDLE.severity, one) for one in judged.doubts]
        if judged.outcome is Outcome.UNKNOWN:
            message = f"`{assertion.title}` was not decided"
            found.append(diagnose(UNDECIDED, assertion.span, message, help="try again with a larger `--effort`"))
        return Tested(judged=judged, severity=severity, diagnostics=tuple(found))

    def _refuted(self, assertion: Assertion, severity: Severity, refutation: Refutation) -> Diagnostic:
        example = refutation.example
        cluster, meaning = self._around(example)
        decision = semantics.decide(self._policies.judging(example.flow), cluster, example.flow)
        requirement = refutation.requirement
        if not meaning.refutes(requirement, example.flow, decision):
            raise InternalError(f"the reference evaluator does not confirm that {example} refutes `{assertion.title}`")
        trace = ""
        match requirement:
            case Denied(region=region):
                message = f"a flow of `{_whole(region)}` is allowed"
            case Allowed(region=region):
                message = f"a flow of `{_whole(region)}` is denied"
                if not example.invented and self._is_known(example.flow):
                    words = f"{example.flow.src} {example.flow.dst} {example.flow.port_text}"
                    trace = f"`npcompile trace {words}` says what each rule lacks"
            case Isolated(direction=direction):
                pod = example.flow.src.pod if direction is Direction.EGRESS else example.flow.dst.pod
                message = f"`{pod}` is not isolated for {direction}"
            case _:
                assert_never(requirement)
        return Diagnostic(
            rule=REFUTED,
            severity=severity,
            message=f"`{assertion.name}`: {message}" if assertion.name else message,
            span=assertion.span,
            notes=(*_reasons(requirement, example.flow, decision), *_expired(assertion, severity)),
            help=trace,
            scope=self._scope,
            assumptions=assumptions(self._scope),
            witness=witness_text(example.flow, decision, example.invented),
        )

    def _remarked(self, rule: RuleCode, severity: Severity, remark: Remark) -> Diagnostic:
        return replace(
            diagnose(rule, remark.span, remark.message, help=remark.help),
            severity=severity,
            scope=self._scope,
            assumptions=assumptions(self._scope),
        )

    def contradiction(self, found: Contradiction) -> Diagnostic:
        """Two sentences that cannot both hold."""
        one, other = found.allowing, found.denying
        if found.example is None:
            message = f"it was not decided whether `{one.title}` and `{other.title}` contradict each other"
            return diagnose(UNDECIDED, one.span, message, help="try again with a larger `--effort`")
        return Diagnostic(
            rule=CONTRADICTION,
            severity=min(one.severity_on(self._today), other.severity_on(self._today)),
            message=f"`{one.title}` and `{other.title}` cannot both hold",
            span=one.span,
            label="allows the flow",
            notes=(Note(text="denies the flow", span=other.span),),
            help="take the flow out of one of them with `except`",
            scope=self._scope,
            assumptions=assumptions(self._scope),
            witness=self._in_both(found, found.example),
        )

    def _in_both(self, found: Contradiction, example: Example) -> WitnessText:
        flow = example.flow
        cluster, meaning = self._around(example)
        decision = semantics.decide(self._policies.judging(flow), cluster, flow)
        allowed = (one.region for one in found.allowing.requirements if isinstance(one, Allowed))
        denied = (one.region for one in found.denying.requirements if isinstance(one, Denied))
        if not all(any(meaning.speaks_of(one, flow, decision) for one in regions) for regions in (allowed, denied)):
            raise InternalError(f"{example} is not what `{found.allowing.title}` and `{found.denying.title}` speak of")
        return witness_text(flow, decision, example.invented)

    def _around(self, example: Example) -> tuple[Cluster, Meaning]:
        if not example.invented:
            return self._cluster, self._meaning
        known = {**self._cluster.namespaces, **{one.name: one for one in example.invented}}
        cluster = replace(self._cluster, namespaces=known)
        return cluster, Meaning(cluster, self._scope)

    def _is_known(self, flow: Flow) -> bool:
        pods = {pod.key for pod in self._cluster.pods}
        return all(end.pod is None or end.pod.key in pods for end in (flow.src, flow.dst))


def _whole(region: Region) -> str:
    return " except ".join((region.flows.text, *(taken.text for taken in region.excepts)))


def _expired(assertion: Assertion, severity: Severity) -> Iterator[Note]:
    if severity is not assertion.severity:
        yield Note(text=f"`severity={assertion.severity}` held until {assertion.until}")


def _reasons(requirement: Requirement, flow: Flow, decision: Decision) -> Iterator[Note]:
    """Why each side of a flow does what refutes a requirement."""
    sides = ((Direction.EGRESS, decision.egress, flow.src), (Direction.INGRESS, decision.ingress, flow.dst))
    for direction, side, subject in sides:
        match requirement:
            case Allowed():
                tells = not side.allowed
            case Isolated():
                tells = direction is requirement.direction
            case Denied():
                tells = True
            case _:
                assert_never(requirement)
        if tells:
            yield _reason(direction, side, str(subject))


def _reason(direction: Direction, side: Side, subject: str) -> Note:
    match side.reason:
        case Reason.RULE if side.policy and side.rule:
            return Note(text=f"{direction}: allowed by {rule_text(side.policy, side.rule)}", span=side.rule.span)
        case Reason.NO_RULE if side.policy:
            return Note(text=f"{direction}: isolated by {side.policy}, and no rule matches", span=side.policy.span)
        case Reason.NOT_ISOLATED:
            return Note(text=f"{direction}: no policy isolates {subject}")
        case Reason.NOT_A_POD:
            return Note(text=f"{direction}: {subject} is no pod of the pod network, and policies apply to those only")
        case _:
            return Note(text=f"{direction}: allowed ({side.reason.value})")
