"""One line a diagnostic: `file:line:column: severity[CODE] slug: message`.

What a finding about the inventory says may hold for every pod that could exist, too: then ` (every pod)` follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from npcompile.diagnostics.model import Diagnostic
from npcompile.source import visible


def headline(diagnostic: Diagnostic) -> str:
    """The line that every text format starts with."""
    span = diagnostic.span
    place = f"{span.file.path}:{span.line}:{span.column}: " if span else ""
    rule = diagnostic.rule
    return visible(f"{place}{diagnostic.severity}[{rule.code}] {rule.slug}: {diagnostic.message}")


def render_concise(diagnostics: Sequence[Diagnostic], summary: Mapping[str, object]) -> str:
    """All diagnostics, a line each."""
    return "".join(f"{headline(one)}{' (every pod)' if one.every_pod else ''}\n" for one in diagnostics)
