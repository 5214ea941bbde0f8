"""`npcompile lab`."""

from __future__ import annotations

import time

import click

from npcompile.analyses.addressing import parse_port
from npcompile.backends.registry import TARGETS
from npcompile.cli.output import show
from npcompile.driver.lab import LabOptions, exit_code, prepare, running, try_everything
from npcompile.driver.lab_shell import commands, run_shell
from npcompile.driver.lab_text import RENDERERS, summary
from npcompile.driver.trace import read_flows
from npcompile.runtime.lab.probes import Number


@click.command("lab", short_help="Try every flow with real packets, in network namespaces.")
@click.argument("paths", nargs=-1)
@click.option("-f", "--file", "files", multiple=True, metavar="PATH", help="Another path; may be repeated.")
@click.option("--target", type=click.Choice(list(TARGETS)), required=True)
@click.option("--probe", metavar="PORTS", help="Try these only, such as `tcp/80,udp/53,icmp`.")
@click.option("--flows", metavar="FILE", help='These flows only, one `{"src": …, "dst": …, "port": …}` a line.')
@click.option("--output-format", type=click.Choice([*RENDERERS, "full"]), help="[text; jsonl with --flows]")
@click.option("--shell", is_flag=True, help="Then start a shell, and keep the lab up until it exits.")
def command(
    *,
    paths: tuple[str, ...],
    files: tuple[str, ...],
    target: str,
    probe: str | None,
    flows: str | None,
    output_format: str | None,
    shell: bool,
) -> int:
    """Try the policies in PATHS with real packets: files, directories, or `-` for standard input (default: the current
    directory).

    Every pod and node becomes a network namespace.  Each node loads what `emit` writes for it, everyone sends to
    everyone, and what is seen stands beside what the policies say.  Exits with 1 for a difference, and with 3 where a
    flow could not be tried.  Needs root on Linux; touches nothing but its namespaces, and leaves nothing behind.
    """
    if probe is not None and flows is not None:
        raise click.UsageError("give either --probe or --flows, not both")
    inputs = (*paths, *files) or (".",)
    if flows == "-" and "-" in inputs:
        raise click.UsageError("`-` can be read once: for --flows or as a path, not both")
    started = time.perf_counter()
    questions = tuple(read_flows(flows)) if flows is not None else None
    options = LabOptions(target=TARGETS[target], numbers=_numbers(probe), questions=questions)
    prepared = prepare(inputs, options)
    show((one for one in prepared.diagnostics if one.severity), "concise")
    chosen = output_format or ("jsonl" if flows is not None else "text")
    with running(prepared, shell=shell) as lab:
        rows = try_everything(prepared, lab)
        for text in RENDERERS["text" if chosen == "full" else chosen](prepared, rows):
            click.echo(text, nl=False)
        click.echo(f"{summary(prepared, rows)}; {time.perf_counter() - started:.2f} s", err=True)
        if shell:
            for line in commands(prepared, lab):
                click.echo(line, err=chosen in ("json", "jsonl"))
            run_shell(lab)
    return exit_code(rows)


def _numbers(words: str | None) -> tuple[Number, ...]:
    """The protocols and ports of a list; raises InputError."""
    ports = [parse_port(word.strip()) for word in words.split(",")] if words is not None else []
    if named := next((one for one in ports if one.name is not None), None):
        raise click.UsageError(f"--probe: `{named.protocol}/{named.name}` is no number")
    return tuple(dict.fromkeys((one.protocol, one.number) for one in ports))
