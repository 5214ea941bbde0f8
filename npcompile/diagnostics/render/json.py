"""The machine formats, a contract: version 1 of `json`, and `jsonl`, one diagnostic a line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from npcompile.diagnostics.model import Diagnostic, Note
from npcompile.source import Span

VERSION = 1


def render_json(diagnostics: Sequence[Diagnostic], summary: Mapping[str, object]) -> str:
    """One object with every diagnostic, each on a line of its own, and the summary."""
    # `json.dumps` with an indent leaves C for Python, and then takes longer than small checks do.
    lines = ",\n".join(_line(one) for one in diagnostics)
    return f'{{"version": {VERSION}, "diagnostics": [\n{lines}\n],\n"summary": {json.dumps(dict(summary))}}}\n'


def render_jsonl(diagnostics: Sequence[Diagnostic], summary: Mapping[str, object]) -> str:
    """One diagnostic a line."""
    return "".join(f"{_line(one)}\n" for one in diagnostics)


def _line(diagnostic: Diagnostic) -> str:
    return json.dumps(as_dict(diagnostic), ensure_ascii=False)


def as_dict(diagnostic: Diagnostic) -> dict[str, object]:
    """A diagnostic's fields; every key is always there."""
    return {
        "code": diagnostic.rule.code,
        "slug": diagnostic.rule.slug,
        "severity": str(diagnostic.severity),
        "kind": str(diagnostic.rule.kind),
        "message": diagnostic.message,
        **_place(diagnostic.span),
        "scope": str(diagnostic.scope) if diagnostic.scope else None,
        "every_pod": diagnostic.every_pod,
        "assumptions": list(diagnostic.assumptions),
        "witness": dict(diagnostic.witness.details) if diagnostic.witness else None,
        "notes": [_note(note) for note in diagnostic.notes],
        "help": diagnostic.help or None,
    }


def _place(span: Span | None) -> dict[str, object]:
    if span is None:
        return dict.fromkeys(("file", "line", "column", "end_line", "end_column"))
    return {
        "file": span.file.path,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }


def _note(note: Note) -> dict[str, object]:
    return {"text": note.text, **_place(note.span)}
