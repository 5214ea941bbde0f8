"""`npcompile trace`."""

from __future__ import annotations

import click

from npcompile.cli.output import show
from npcompile.driver.exit_codes import Exit
from npcompile.driver.trace import Question, read_flows, render_json, render_jsonl, render_text, run_trace

_RENDERERS = {"text": render_text, "json": render_json, "jsonl": render_jsonl}


@click.command("trace", short_help="Say whether a flow passes, and why.")
@click.argument("src", required=False)
@click.argument("dst", required=False)
@click.argument("port", required=False)
@click.option("-f", "--file", "files", multiple=True, required=True, metavar="PATH", help="Policies and inventory.")
@click.option("--flows", metavar="FILE", help='Many flows, one `{"src": …, "dst": …, "port": …}` a line; `-` is stdin.')
@click.option("--artifact", metavar="DIR", help="Also show each flow's way through an artifact that `emit` wrote.")
@click.option("--output-format", type=click.Choice([*_RENDERERS, "full"]), help="[text; jsonl with --flows]")
def command(
    *,
    src: str | None,
    dst: str | None,
    port: str | None,
    files: tuple[str, ...],
    flows: str | None,
    artifact: str | None,
    output_format: str | None,
) -> int:
    """Say whether a flow from SRC to DST passes, in both directions, and which rules decide.

    SRC and DST: `namespace/pod`, `namespace/workload`, `namespace/service` (DST), or an address.  PORT: `tcp/8080`,
    `udp/53`, `sctp/99`, `tcp/http`, `icmp`.  Exits with 0 for ALLOW and for DENY, and with 1 where the artifact says
    otherwise than the policies.
    """
    if flows is not None:
        if src is not None:
            raise click.UsageError("give either SRC DST PORT or --flows, not both")
        if flows == "-" and "-" in files:
            raise click.UsageError("`-` can be read once: for --flows or for -f, not both")
        questions = read_flows(flows)
    elif src is None or dst is None or port is None:
        raise click.UsageError("give SRC, DST and PORT, or --flows FILE")
    else:
        questions = [Question(src=src, dst=dst, port=port)]
    chosen = output_format or ("jsonl" if flows is not None else "text")
    chosen = "text" if chosen == "full" else chosen
    answers, diagnostics = run_trace(questions, files, explain=chosen == "text", artifact=artifact)
    show((one for one in diagnostics if one.severity), "concise")
    click.echo(_RENDERERS[chosen](answers), nl=False)
    differs = any(walk.differs for answer in answers for walk in answer.walks)
    return Exit.FINDINGS if differs else Exit.CLEAN
