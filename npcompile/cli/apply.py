"""`npcompile apply`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from npcompile.backends.iptables.target import IPTABLES
from npcompile.cli.output import show
from npcompile.driver.apply import Applied, run_apply, run_detach
from npcompile.runtime.iptables.loader import VARIANTS
from npcompile.runtime.registry import loaders


@click.command("apply", short_help="Load an artifact on this node, or remove what was loaded.")
@click.argument("directory", required=False, metavar="[DIR]")
@click.option("--dry-run", is_flag=True, help="Print the steps and do none of them.")
@click.option("--detach", is_flag=True, help="Remove everything of ours from the kernel, and nothing else.")
@click.option("--target", type=click.Choice(list(loaders())), help="With --detach: only what this target loaded.")
@click.option(
    "--variant", type=click.Choice(VARIANTS), help="The back end of iptables (target iptables).  [the machine's own]"
)
@click.option("--bindings", metavar="FILE", help="Where each pod's interface is: `ns/pod=ifname` lines (target bpf).")
@click.option("--node", metavar="NAME", help="This machine's name as a Node.  [its host name]")
def command(
    *,
    directory: str | None,
    dry_run: bool,
    detach: bool,
    target: str | None,
    variant: str | None,
    bindings: str | None,
    node: str | None,
) -> int:
    """Load the artifact in DIR, which `npcompile emit` wrote, into this machine's kernel.

    Only what differs from what is loaded is changed.  At every moment each flow that both the old and the new state
    allow passes, and none does that neither allows.  Needs root.

    Exit codes: 0 loaded, removed, or nothing to do; 1 a step failed, and what was loaded before is loaded again; 2 bad
    artifact or machine, nothing was touched; 3 a step failed, and so did the way back, or connections could not be
    rechecked.
    """
    if (directory is None) != detach:
        raise click.UsageError("give either DIR or --detach")
    if refused := [*_refused(detach=detach, target=target, variant=variant, bindings=bindings, node=node)]:
        raise click.UsageError("; ".join(refused))
    if detach:
        applied = run_detach(target=target, variant=variant, dry_run=dry_run)
    else:
        applied = run_apply(str(directory), variant=variant, node=node, dry_run=dry_run, bindings=bindings)
    if dry_run:
        click.echo("".join(f"# {' '.join(step.command)}\n{step.text}" for step in applied.steps), nl=False)
    show(applied.diagnostics, "concise")
    if not applied.exit:
        click.echo(_summary(applied, dry_run=dry_run), err=True)
    return applied.exit


def _refused(
    *, detach: bool, target: str | None, variant: str | None, bindings: str | None, node: str | None
) -> Iterator[str]:
    """Options that mean nothing beside `--detach`, or without it."""
    if target is not None and not detach:
        yield "--target goes with --detach: the artifact tells its own"
    if detach and variant is not None and target not in (None, IPTABLES):
        yield f"--variant means nothing to the target {target}"
    if detach and bindings is not None:
        yield "--detach leaves every interface: --bindings means nothing to it"
    if detach and node is not None:
        yield "--detach removes what is loaded here, whichever node it is for: --node means nothing to it"


def _summary(applied: Applied, *, dry_run: bool) -> str:
    """`apply: 2 steps, 4 lines; 1 connection cut`."""
    cut = f"; {_counted(applied.cut, 'connection')} cut" if applied.cut else ""
    if not applied.steps:
        return f"apply: nothing to do{cut}"
    lines = sum(step.text.count("\n") for step in applied.steps)
    done = " (none done)" if dry_run else ""
    return f"apply: {_counted(len(applied.steps), 'step')}, {_counted(lines, 'line')}{done}{cut}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
