"""What every command prints alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from npcompile.diagnostics.model import Diagnostic, Severity
from npcompile.diagnostics.render import FORMATS
from npcompile.driver.exit_codes import Exit


def fail(diagnostics: Sequence[Diagnostic]) -> Exit:
    """Say why the input or the usage is bad, on stderr."""
    show(diagnostics)
    return Exit.BAD_INPUT


def show(diagnostics: Iterable[Diagnostic], output_format: str = "full") -> None:
    """Diagnostics on stderr, of a command whose data goes to stdout."""
    text = FORMATS[output_format](sorted(diagnostics, key=lambda one: one.order), {})
    click.echo(text, nl=False, err=True)


def counted(diagnostics: Iterable[Diagnostic]) -> dict[str, int]:
    """How many diagnostics of each severity there are, the worst first."""
    found = list(diagnostics)
    return {f"{level}s": sum(one.severity is level for one in found) for level in sorted(Severity, reverse=True)}


def in_words(counts: dict[str, int]) -> str:
    """`2 warnings, 1 info`; severities without any are left out."""
    words = [f"{n} {name.removesuffix('s') if n == 1 or name == 'infos' else name}" for name, n in counts.items() if n]
    return ", ".join(words)
