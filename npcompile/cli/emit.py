"""`npcompile emit`."""

from __future__ import annotations

import click

from npcompile.backends.iptables.limits import DEFAULT_MARK
from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Established, Options
from npcompile.cli.output import show
from npcompile.driver.emit import NOT_ATTEMPTED, run_emit


class _Mark(click.ParamType[int]):
    """A number in any of Python's notations."""

    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else int(str(value), 0)
        except ValueError:
            self.fail(f"`{value}` is no number", param, ctx)


@click.command("emit", short_help="Compile the policies to kernel packet filters.")
@click.argument("paths", nargs=-1)
@click.option("-f", "--file", "files", multiple=True, metavar="PATH", help="Another path; may be repeated.")
@click.option("--target", type=click.Choice(list(TARGETS)), required=True)
@click.option("-o", "--output", required=True, metavar="DIR", help="Where the artifact goes; an older one is replaced.")
@click.option("--bindings", metavar="FILE", help="Addresses of endpoints without one, `ns/pod=address` a line.")
@click.option("--node", metavar="NAME", help="What that node needs, and no more.")
@click.option(
    "--established",
    type=click.Choice([one.value for one in Established]),
    default=Established.KEEP.value,
    show_default=True,
    help="Whether connections that a new policy forbids go on when it is loaded.",
)
@click.option("--against", metavar="OLD_DIR", help="Write the steps from that artifact to this one, too (not bpf).")
@click.option("--lock", metavar="OLD_DIR", help="Keep the numbers of that artifact (bpf).")
@click.option("--compile", "compiled", is_flag=True, help="Write the object, too (bpf; needs clang).")
@click.option(
    "--accept", is_flag=True, help="Accept what is allowed, rather than leave it to the rules after ours (iptables)."
)
@click.option("--mark", type=_Mark(), help=f"The packet mark's bit (iptables).  [{DEFAULT_MARK:#x}]")
def command(
    *,
    paths: tuple[str, ...],
    files: tuple[str, ...],
    target: str,
    output: str,
    bindings: str | None,
    node: str | None,
    established: str,
    against: str | None,
    lock: str | None,
    compiled: bool,
    accept: bool,
    mark: int | None,
) -> int:
    """Compile the policies in PATHS: files, directories, or `-` for standard input (default: the current directory)."""
    options = Options(node=node, accept=accept, mark=mark, established=Established(established))
    emitted = run_emit(
        (*paths, *files) or (".",),
        target,
        output,
        options,
        bindings=bindings,
        against=against,
        lock=lock,
        compiled=compiled,
    )
    show(emitted.diagnostics, "concise")
    artifact = emitted.artifact
    amounts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in artifact.summary.items())
    click.echo(f"wrote {emitted.directory}: {amounts}; proof: {NOT_ATTEMPTED}", err=True)
    for line in artifact.load:
        click.echo(f"  {line}", err=True)
    if emitted.delta is not None:
        click.echo(f"or, where {against} is loaded, {'in this order:' if emitted.delta else 'nothing'}", err=True)
        for line in emitted.delta:
            click.echo(f"  {line}", err=True)
    return 0
