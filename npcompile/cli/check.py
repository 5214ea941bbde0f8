"""`npcompile check`."""

from __future__ import annotations

import sys

import click

from npcompile.analyses.claims import Cni
from npcompile.cli.output import counted, in_words
from npcompile.cli.progress import shown
from npcompile.diagnostics.model import Severity
from npcompile.diagnostics.render import FORMATS
from npcompile.driver.cache import open_cache
from npcompile.driver.check import DEFAULT_EFFORT, CheckOptions, Report, run_check
from npcompile.driver.config import Config, ProgramPaths, find_config

_CNIS = {one.value: one for one in Cni}
_SEVERITIES = {str(level): level for level in Severity}


@click.command("check", short_help="Find what is wrong with the policies.")
@click.argument("paths", nargs=-1)
@click.option("-f", "--file", "files", multiple=True, metavar="PATH", help="Another path; may be repeated.")
@click.option("--select", multiple=True, metavar="CODE", help="Only these rules: a code, its beginning, or a slug.")
@click.option("--ignore", multiple=True, metavar="CODE", help="Not these rules.")
@click.option(
    "--fail-on", type=click.Choice([*_SEVERITIES, "never"]), help="Exit with 1 from this severity on.  [warning]"
)
@click.option("--effort", type=click.IntRange(min=1), help=f"Work that may be spent on a question.  [{DEFAULT_EFFORT}]")
@click.option("--symbolic", is_flag=True, help="For every pod that could exist, whatever pods the input has.")
@click.option(
    "--cni", type=click.Choice(list(_CNIS)), help="Tell, too, where this network plugin differs from the API."
)
@click.option("--no-cache", is_flag=True, help="Check again what was checked before, and keep nothing.")
@click.option("--output-format", type=click.Choice(list(FORMATS)), default="full", show_default=True)
def command(
    *,
    paths: tuple[str, ...],
    files: tuple[str, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str | None,
    effort: int | None,
    symbolic: bool,
    cni: str | None,
    no_cache: bool,
    output_format: str,
) -> int:
    """Find what is wrong with the policies in PATHS: files, directories, or `-` for standard input.

    Without PATHS: each `[[program]]` of the nearest npcompile.toml, or else the current directory.
    """
    config = find_config()
    level = fail_on or config.fail_on or "warning"
    selected, ignored = _words(select) or config.select, (*_words(ignore), *config.ignore)
    if selected or ignored:
        from npcompile.driver.rules import refuse_unknown

        refuse_unknown((*selected, *ignored))
    chosen = CheckOptions(
        select=selected,
        ignore=ignored,
        fail_on=_SEVERITIES.get(level),
        effort=effort or config.effort or DEFAULT_EFFORT,
        symbolic=symbolic,
        cni=_CNIS[cni] if cni else None,
    )
    cache = None if no_cache else open_cache()
    with shown() as progress:
        report = run_check(_programs((*paths, *files), config), chosen, cache, progress)
    counts = counted(report.diagnostics)
    summary: dict[str, object] = {"policies": report.policies, "pods": report.pods, **counts}
    click.echo(FORMATS[output_format](report.diagnostics, {**summary, "exit_code": int(report.exit_code)}), nl=False)
    sys.stdout.flush()
    click.echo(_closing(report, counts), err=True)
    return int(report.exit_code)


def _words(values: tuple[str, ...]) -> tuple[str, ...]:
    """Options may be repeated, and may hold lists with commas."""
    return tuple(word.strip() for value in values for word in value.split(",") if word.strip())


def _programs(paths: tuple[str, ...], config: Config) -> tuple[ProgramPaths, ...]:
    if paths:
        return (ProgramPaths(name="", paths=paths),)
    return config.programs or (ProgramPaths(name="", paths=(".",)),)


def _closing(report: Report, counts: dict[str, int]) -> str:
    number = len(report.diagnostics)
    found = f"Found {number} finding{'' if number == 1 else 's'} ({in_words(counts)})" if number else "No findings"
    policies = f"{report.policies} polic{'y' if report.policies == 1 else 'ies'}"
    pods = f"{report.pods} pod{'' if report.pods == 1 else 's'}"
    return f"{found} in {policies}, {pods}; {report.seconds:.2f} s"
