"""`npcompile check`: every rule over every program."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from npcompile.analyses.checks.pods import Pods
from npcompile.analyses.checks.registry import CHECKS
from npcompile.analyses.claims import Case, Claim, Cni, Undecided
from npcompile.collection import no_cycle_collection
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, Kind, RuleCode, Scope, Severity, diagnose
from npcompile.driver.cache import Cache
from npcompile.driver.checked import Checked, question, recall, remember
from npcompile.driver.config import ProgramPaths
from npcompile.driver.exit_codes import Exit, worst
from npcompile.driver.inputs import read_sources
from npcompile.driver.progress import Progress, reading, silent
from npcompile.driver.replay import Replayer
from npcompile.frontend import codes, load
from npcompile.ir.policy import Policy
from npcompile.ir.program import Program
from npcompile.questions import Confirmer, Engine, NoWayIn
from npcompile.source import SourceFile

UNDECIDED = RuleCode(code="NPC901", slug="undecided", severity=Severity.ERROR, kind=Kind.PROVED)
"""A question was not answered, and nothing is known about it.  Either its effort did not suffice, and a larger
`--effort` may; or npcompile cannot decide it, and the message says why."""

DEFAULT_EFFORT = 2_000_000
_CONFIRMING = 40  # all that is asked about an inventory's findings together takes this part of a question's effort
_UNITS_A_PIECE = 10  # a piece that the relation engine looks at counts as so many of z3's resource units


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What the user chose.  `fail_on` None: findings never fail."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: Severity | None = Severity.WARNING
    effort: int = DEFAULT_EFFORT
    symbolic: bool = False
    cni: Cni | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that `check` found, in output order."""

    diagnostics: tuple[Diagnostic, ...]
    exit_code: Exit
    policies: int
    pods: int
    seconds: float


def run_check(
    programs: Sequence[ProgramPaths], options: CheckOptions, known: Cache | None = None, progress: Progress = silent
) -> Report:
    """Check each program; what is wrong with one does not keep the others from being checked.

    A program that the cache knows, in these very texts and for these options, is not checked again.
    """
    started = time.perf_counter()
    diagnostics: list[Diagnostic] = []
    exits: list[Exit] = []
    policies = pods = 0
    for paths in programs:
        try:
            checked = _checked(_sources(paths), options, known, progress)
        except InputError as error:
            diagnostics += error.diagnostics
            exits.append(Exit.BAD_INPUT)
            continue
        policies += checked.policies
        pods += checked.pods
        diagnostics += checked.diagnostics
    exits += [_exit_of(one, options) for one in diagnostics]
    return Report(
        diagnostics=tuple(sorted(diagnostics, key=lambda one: one.order)),
        exit_code=worst(exits),
        policies=policies,
        pods=pods,
        seconds=time.perf_counter() - started,
    )


def _sources(paths: ProgramPaths) -> Sequence[SourceFile]:
    found = read_sources(paths.paths, paths.exclude)
    if not found:
        raise InputError([_nothing(f"no YAML or JSON file in {' or '.join(f'`{one}`' for one in paths.paths)}")])
    return found


def _checked(sources: Sequence[SourceFile], options: CheckOptions, known: Cache | None, progress: Progress) -> Checked:
    if known is None:
        return _check(sources, options, progress)
    name = known.name(question(sources, repr(options)))
    found = recall(known, name, sources)
    if found is None:
        found = _check(sources, options, progress)
        if not any(one.rule is UNDECIDED for one in found.diagnostics):
            remember(known, name, found, sources)
    return found


def _check(sources: Sequence[SourceFile], options: CheckOptions, progress: Progress) -> Checked:
    loaded = load(reading(sources, progress))
    found = [one for one in loaded.diagnostics if _wanted(one.rule, options)]
    if loaded.program.is_empty:
        files = f"`{sources[0].path}`" if len(sources) == 1 else f"{len(sources)} files"
        raise InputError([*found, _nothing(f"no NetworkPolicy in {files}, and nothing that one could be about")])
    with no_cycle_collection():
        found += check_program(loaded.program, options, progress)
    program = loaded.program
    return Checked(diagnostics=tuple(found), policies=len(program.policies), pods=len(program.cluster.pods))


def _nothing(why: str) -> Diagnostic:
    """What checks nothing must not look as if all was well."""
    advice = "name the files or directories that hold the policies"
    return diagnose(codes.NO_INPUT, None, f"nothing to check: {why}", help=advice)


def check_program(program: Program, options: CheckOptions, progress: Progress = silent) -> Iterator[Diagnostic]:
    """Every confirmed finding about one program."""
    symbolic = options.symbolic or not program.cluster.pods
    engine = (_symbolic_engine if symbolic else _relation_engine)(program, options.effort)
    confirmer = cache(partial(_confirmer, program, options.effort))
    case = Case(
        program=program,
        scope=Scope.ANY_POD if symbolic else Scope.INVENTORY,
        engine=engine,
        any_pod=lambda some: _symbolic_engine(_only(program, some), options.effort),
        # That of no rules none lets anything in needs no confirming
        everywhere=lambda answer: None if symbolic else answer == NoWayIn(rules=()) or confirmer().holds(answer),
        half_open=cache(lambda: tuple(engine.half_open())),
        ways_in=cache(lambda: tuple(engine.ways_in())),
        pods=cache(lambda: Pods(program.cluster)),
        cni=options.cni,
    )
    replayer = Replayer(program)
    for number, check in enumerate(CHECKS):
        if not _wanted(check.RULE, options):
            continue
        progress(f"checking {check.RULE.slug}", number, len(CHECKS))
        for said in check.check(case):
            match said:
                case Claim():
                    yield replayer.confirm(said)
                case Undecided():
                    question = f"undecided ({said.rule.code}): {said.question}"
                    yield diagnose(UNDECIDED, said.span, question, help="try again with a larger `--effort`")


# Engines are imported where they are asked: loading z3 takes longer than checking a small program without it.


def _relation_engine(program: Program, effort: int) -> Engine:
    from npcompile.relation.engine import RelationEngine

    return RelationEngine(program, pieces=max(1, effort // _UNITS_A_PIECE))


def _symbolic_engine(program: Program, effort: int) -> Engine:
    from npcompile.symbolic.engine import SymbolicEngine

    return SymbolicEngine(program, effort)


def _confirmer(program: Program, effort: int) -> Confirmer:
    from npcompile.symbolic.confirm import Confirmation

    return Confirmation(program, max(1, effort // _CONFIRMING))


def _only(program: Program, policies: Sequence[Policy]) -> Program:
    """A program with some policies of it, or parts of them, and without what matters to no answer about them alone."""
    some = {policy.key: policy for policy in policies}
    ordered = tuple(some[key] for key in sorted(some))
    return Program(policies=ordered, cluster=replace(program.cluster, pods=(), services=()))


def _wanted(rule: RuleCode, options: CheckOptions) -> bool:
    """Selected by code prefix or slug; errors of the input cannot be ignored."""
    if rule.severity is Severity.ERROR and rule.kind is Kind.INPUT:
        return True
    chosen = not options.select or any(names(word, rule) for word in options.select)
    return chosen and not any(names(word, rule) for word in options.ignore)


def names(word: str, rule: RuleCode) -> bool:
    """Whether a word of `--select` or `--ignore` means a rule."""
    return rule.code.startswith(word.upper()) or rule.slug == word


def _exit_of(diagnostic: Diagnostic, options: CheckOptions) -> Exit:
    if diagnostic.rule is UNDECIDED:
        return Exit.UNDECIDED
    if options.fail_on is not None and diagnostic.severity >= options.fail_on:
        return Exit.FINDINGS
    return Exit.CLEAN
