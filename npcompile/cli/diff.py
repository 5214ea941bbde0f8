"""`npcompile diff`."""

from __future__ import annotations

import sys

import click

from npcompile.cli.output import show
from npcompile.diagnostics.model import Scope, diagnose
from npcompile.driver.check import DEFAULT_EFFORT, UNDECIDED
from npcompile.driver.diff import DiffOptions, DiffReport, FailOn, run_diff
from npcompile.driver.diff_formats import FORMATS, IN_GENERAL
from npcompile.driver.inputs import STDIN
from npcompile.ir.versions import Change

_FAIL_ON = {one.value: one for one in FailOn}


@click.command("diff", short_help="Show the flows that a change opens and closes.")
@click.argument("old")
@click.argument("new")
@click.option(
    "--inventory", multiple=True, metavar="PATH", help="Pods, workloads, namespaces for both; may be repeated."
)
@click.option(
    "-N", "--new-file", is_flag=True, help="Take OLD or NEW, if it does not exist, for empty: it was added or removed."
)
@click.option(
    "--fail-on", type=click.Choice(list(_FAIL_ON)), default="any", show_default=True, help="What exits with 1."
)
@click.option("--symbolic", is_flag=True, help="For every pod that could exist, whatever pods the input has.")
@click.option(
    "--effort",
    type=click.IntRange(min=1),
    default=DEFAULT_EFFORT,
    show_default=True,
    help="Work that the solver may spend on a question, without pods.",
)
@click.option("--output-format", type=click.Choice(list(FORMATS)), default="text", show_default=True)
def command(
    *,
    old: str,
    new: str,
    inventory: tuple[str, ...],
    new_file: bool,
    fail_on: str,
    symbolic: bool,
    effort: int,
    output_format: str,
) -> int:
    """Show the flows that open and close from OLD to NEW, each with the rules to blame and a packet that shows it.

    OLD and NEW: a file, a directory, `-` for standard input, or `git:REF[:path]`, a commit of this repository.  Where
    they have pods, the flows are those of the pods that are in both; else those of every pod that could exist.  Exits
    like diff(1): 0 the same, 1 different, 2 trouble; and 3 where something is undecided.
    """
    if [old, new, *inventory].count(STDIN) > 1:
        raise click.UsageError("`-` can be read once: for OLD, for NEW or for --inventory")
    options = DiffOptions(
        old=old,
        new=new,
        inventory=inventory,
        absent_is_empty=new_file,
        fail_on=_FAIL_ON[fail_on],
        symbolic=symbolic,
        effort=effort,
    )
    report = run_diff(options)
    show((one for one in report.diagnostics if one.severity), "concise")
    click.echo(FORMATS[output_format](report), nl=False)
    sys.stdout.flush()
    if report.undecided:
        show([diagnose(UNDECIDED, None, report.undecided)], "concise")
    click.echo(_closing(report), err=True)
    return int(report.exit_code)


def _closing(report: DiffReport) -> str:
    comparison = report.comparison
    opened, closed = len(report.of(Change.OPENED)), len(report.of(Change.CLOSED))
    surprises = f" ({report.surprises} a surprise)" if report.surprises else ""
    if report.changes:
        what = f"{opened} opened, {closed} closed{surprises}"
    elif report.undecided:
        what = "Nothing is known of some flows" if report.scope is Scope.ANY_POD else "Nothing was compared"
    elif comparison.pods or comparison.assumptions:
        what = "No flow opens or closes"
    else:
        what = "No difference: the policies and namespaces are equal"
    parts = [what, "for " + IN_GENERAL if report.scope is Scope.ANY_POD else f"{_pods(comparison.pods)} in both"]
    if comparison.one_sided:
        parts.append(f"{_pods(len({one.pod.key for one in comparison.one_sided}))} not compared")
    policies = comparison.policies
    counts = [(policies.added, "added"), (policies.removed, "removed"), (policies.changed, "changed")]
    words = ", ".join(f"{len(names)} {word}" for names, word in counts if names)
    idle = f" ({len(report.idle)} without a pod here: `--symbolic` says what that changes)" if report.idle else ""
    parts.append(f"policies: {words or 'all equal'}{idle}")
    if not comparison.complete:
        parts.append("the difference is intricate: some boxes could be larger")
    return "; ".join([*parts, f"{report.seconds:.2f} s"])


def _pods(number: int) -> str:
    return "1 pod" if number == 1 else f"{number} pods"
