"""`npcompile test`."""

from __future__ import annotations

import sys
from datetime import date, datetime

import click

from npcompile.cli.output import show
from npcompile.diagnostics.model import Severity
from npcompile.driver.assertion_text import RENDERERS, closing
from npcompile.driver.check import DEFAULT_EFFORT
from npcompile.driver.test import TestOptions, run_test

_SEVERITIES = {str(level): level for level in Severity}


@click.command("test", short_help="Prove what the policies are meant to achieve.")
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@click.option("-f", "--file", "files", multiple=True, required=True, metavar="PATH", help="Policies and inventory.")
@click.option("--symbolic", is_flag=True, help="For every pod that could exist, whatever pods the input has.")
@click.option(
    "--effort",
    type=click.IntRange(min=1),
    default=DEFAULT_EFFORT,
    show_default=True,
    help="Work that an engine may spend on a question.",
)
@click.option(
    "--fail-on",
    type=click.Choice([*_SEVERITIES, "never"]),
    default="error",
    show_default=True,
    help="Exit with 1 for failures of this severity on.",
)
@click.option(
    "--today",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="The day that `until` is compared with.  [the day it is]",
)
@click.option("--output-format", type=click.Choice(list(RENDERERS)), default="text", show_default=True)
def command(
    *,
    specs: tuple[str, ...],
    files: tuple[str, ...],
    symbolic: bool,
    effort: int,
    fail_on: str,
    today: datetime | None,
    output_format: str,
) -> int:
    """Prove every sentence of the assertion files SPEC for the policies in PATH, or show a flow that refutes it.

    Exit codes: 0 all proved; 1 a sentence is refuted, or speaks of nothing; 2 bad input; 3 undecided.
    """
    if "-" in specs and "-" in files:
        raise click.UsageError("`-` can be read once: for SPEC or for -f, not both")
    report = run_test(
        specs,
        files,
        TestOptions(
            today=date.today() if today is None else today.date(),
            fail_on=_SEVERITIES.get(fail_on),
            effort=effort,
            symbolic=symbolic,
        ),
    )
    show((one for one in report.input_diagnostics if one.severity), "concise")
    click.echo(RENDERERS[output_format](report), nl=False)
    sys.stdout.flush()
    click.echo(closing(report), err=True)
    return int(report.exit_code)
