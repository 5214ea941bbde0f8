"""`npcompile rule`."""

from __future__ import annotations

import difflib

import click

from npcompile.driver.rules import documented_rules


@click.command("rule", short_help="Explain a rule.")
@click.argument("code", required=False)
def command(code: str | None) -> int:
    """Explain the rule CODE (or slug); without it, list all rules."""
    rules = documented_rules()
    if code is None:
        for one in rules.values():
            rule = one.rule
            click.echo(f"{rule.code}  {rule.severity!s:<7}  {rule.kind!s:<9}  {rule.slug}")
        return 0
    names = {name: one for one in rules.values() for name in (one.rule.code, one.rule.slug)}
    found = names.get(code.upper()) or names.get(code.lower())
    if found is None:
        close = difflib.get_close_matches(code.upper(), names, n=1) or difflib.get_close_matches(
            code.lower(), names, n=1
        )
        hint = f"; did you mean `{close[0]}`?" if close else "; `npcompile rule` lists all"
        raise click.UsageError(f"there is no rule `{code}`{hint}")
    rule = found.rule
    click.echo(f"{rule.code} {rule.slug} ({rule.severity}, {rule.kind})\n\n{found.text}")
    return 0
