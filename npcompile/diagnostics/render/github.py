"""GitHub's workflow commands, which annotate the lines of a pull request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from npcompile.diagnostics.model import Diagnostic, Severity

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render_github(diagnostics: Sequence[Diagnostic], summary: Mapping[str, object]) -> str:
    """All diagnostics, a command each."""
    return "".join(f"{_command(one)}\n" for one in diagnostics)


def _command(diagnostic: Diagnostic) -> str:
    span = diagnostic.span
    fields = {"title": f"{diagnostic.rule.code} {diagnostic.rule.slug}"}
    if span is not None:
        fields = {"file": span.file.path, "line": str(span.line), "col": str(span.column), **fields}
    properties = ",".join(f"{key}={_escape_property(value)}" for key, value in fields.items())
    text = diagnostic.message if not diagnostic.help else f"{diagnostic.message}\n{diagnostic.help}"
    return f"::{_COMMANDS[diagnostic.severity]} {properties}::{_escape(text)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
