"""`npcompile observe`."""

from __future__ import annotations

import json
from contextlib import suppress

import click

from npcompile.driver.observe import observe
from npcompile.ir.flow import Verdict


@click.command("observe", short_help="Print what the loaded BPF datapath decides, as it decides.")
@click.option("--verdict", type=click.Choice([str(one) for one in Verdict]), help="Only these.")
@click.option("--output-format", type=click.Choice(["text", "jsonl"]), default="text", show_default=True)
@click.option("--seconds", type=float, help="End after so long.  [until interrupted]")
def command(*, verdict: str | None, output_format: str, seconds: float | None) -> int:
    """Print each verdict on a packet that belongs to no known flow, until interrupted.

    Lost events are counted and said.  One observer at a time.  Needs root.
    """
    with suppress(KeyboardInterrupt):
        for event in observe(Verdict(verdict) if verdict else None, seconds):
            if "lost" in event:
                click.echo(f"{event['lost']} events lost", err=True)
            click.echo(json.dumps(event) if output_format == "jsonl" else _line(event))
    return 0


def _line(event: dict[str, object]) -> str:
    if "lost" in event:
        return f"LOST {event['lost']}"
    rule = f"  {event['rule']}" if event["rule"] else ""
    return (
        f"{event['verdict']:5}  {event['src'] or '?'}:{event['source_port']} -> {event['dst'] or '?'}  "
        f"{event['protocol']}/{event['destination_port']}  {event['direction']}  {event['reason']}{rule}"
    )
