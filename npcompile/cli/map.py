"""`npcompile map`."""

from __future__ import annotations

import time
from itertools import islice

import click

from npcompile.analyses.parties import GroupBy
from npcompile.cli.output import show
from npcompile.cli.progress import shown
from npcompile.driver.map import MapOptions, run_map
from npcompile.driver.map_text import RENDERERS, summary
from npcompile.driver.map_words import note

_LINES = 1000  # that are written at once: each write is flushed
_GROUPS = {str(one): one for one in GroupBy}


@click.command("map", short_help="Show who reaches whom, on which ports.")
@click.argument("paths", nargs=-1)
@click.option("-f", "--file", "files", multiple=True, metavar="PATH", help="Another path; may be repeated.")
@click.option("-o", "--output-format", type=click.Choice([*RENDERERS]), default="table", show_default=True)
@click.option("--group-by", type=click.Choice([*_GROUPS]), default=str(GroupBy.WORKLOAD), show_default=True)
@click.option(
    "--from", "src", metavar="NAME", help="Only from there, with the rules that open it and what stays closed."
)
@click.option("--to", "dst", metavar="NAME", help="Only to there; with what opens each way, and what stays closed.")
@click.option("--exposure", is_flag=True, help="Only what is reached from outside the cluster, or may reach out of it.")
def command(
    *,
    paths: tuple[str, ...],
    files: tuple[str, ...],
    output_format: str,
    group_by: str,
    src: str | None,
    dst: str | None,
    exposure: bool,
) -> int:
    """Show who reaches whom on which ports, for the policies and pods in PATHS: files, directories, or `-` for
    standard input (default: the current directory).

    NAME: a namespace, `namespace/pod`, `namespace/workload`, an address, or `internet`.
    """
    started = time.perf_counter()
    options = MapOptions(group_by=_GROUPS[group_by], src=src, dst=dst, exposure=exposure)
    with shown() as progress:
        found = run_map((*paths, *files) or (".",), options, progress)
    show((one for one in found.diagnostics if one.severity), "concise")
    lines = iter(RENDERERS[output_format](found))
    while text := "".join(islice(lines, _LINES)):
        click.echo(text, nl=False)
    click.echo(note(found), err=True, nl=False)
    click.echo(f"{summary(found)}; {time.perf_counter() - started:.2f} s", err=True)
    return 0
