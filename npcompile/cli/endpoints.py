"""`npcompile endpoints`."""

from __future__ import annotations

import json

import click

from npcompile.driver.endpoints import endpoints


@click.command("endpoints", short_help="List the endpoints of the loaded BPF datapath.")
@click.option("--output-format", type=click.Choice(["text", "jsonl"]), default="text", show_default=True)
def command(*, output_format: str) -> int:
    """List endpoints, identities, rulesets (0: not isolated), and how many new flows each rule has let through."""
    for one in endpoints():
        if output_format == "jsonl":
            click.echo(json.dumps(one))
            continue
        addresses = ", ".join(one["addresses"])  # type: ignore[arg-type]
        identities = ", ".join(str(number) for number in one["identities"])  # type: ignore[attr-defined]
        where = one["interface"] or "no interface"
        loose = "" if one["attached"] else "  NOT ENFORCED: the programs are not at its interface"
        click.echo(
            f"{one['pod']}  {where}  {addresses}  identity {identities}  "
            f"egress {one['egress']}  ingress {one['ingress']}{loose}"
        )
        for rule, count in one["rules"].items():  # type: ignore[attr-defined]
            click.echo(f"  {count}  {rule}")
    return 0
