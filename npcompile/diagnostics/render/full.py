"""The format for people: the lines concerned, underlined, with notes, witness and help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from npcompile.diagnostics.model import Diagnostic, Scope
from npcompile.diagnostics.render.concise import headline
from npcompile.source import Span

_NEAR = 2  # lines between two marked ones that are shown rather than skipped
_SCOPES = {
    Scope.INVENTORY: "for the pods in this inventory",
    Scope.ANY_POD: "for every pod that could exist, in the namespaces of the input as they are, and in any others",
}


def render_full(diagnostics: Sequence[Diagnostic], summary: Mapping[str, object]) -> str:
    """All diagnostics, a blank line after each."""
    return "".join("\n".join(_block(one)) + "\n\n" for one in diagnostics)


def _block(diagnostic: Diagnostic) -> Iterator[str]:
    yield headline(diagnostic)
    span = diagnostic.span
    here = [note for note in diagnostic.notes if span and note.span and note.span.file == span.file]
    elsewhere = [note for note in diagnostic.notes if note not in here]
    if span is not None and span.file.text:
        yield from _excerpt([(span, diagnostic.label, "^"), *((n.span, n.text, "-") for n in here if n.span)])
    for note in elsewhere:
        yield f"   = note: {note.text}" + (f" ({note.span})" if note.span else "")
    if diagnostic.witness is not None:
        yield f"   = witness: {diagnostic.witness}  [proved]"
    if diagnostic.scope is not None:
        yield f"   = scope: {_SCOPES[diagnostic.scope]}"
    if diagnostic.help:
        yield f"   = help: {diagnostic.help}"


def _excerpt(marks: Sequence[tuple[Span, str, str]]) -> Iterator[str]:
    """The marked lines of one file in order, each with its underlines."""
    ordered = sorted(marks, key=lambda mark: (mark[0].line, mark[0].column))
    lines = sorted({span.line for span, _, _ in ordered})
    width = len(str(lines[-1]))
    file = ordered[0][0].file
    yield f"{' ' * width} |"
    previous = lines[0]
    for line in lines:
        if line - previous > _NEAR:
            yield f"{'.' * min(width, 3)}"
        else:
            yield from (f"{between:>{width}} | {file.line(between)}" for between in range(previous + 1, line))
        yield f"{line:>{width}} | {file.line(line)}"
        for span, text, sign in ordered:
            if span.line == line:
                yield f"{' ' * width} | {_underline(span, sign)} {text}".rstrip()
        previous = line


def _underline(span: Span, sign: str) -> str:
    text = span.file.line(span.line)
    end = span.end_column if span.end_line == span.line else len(text.rstrip()) + 1
    lead = "".join("\t" if character == "\t" else " " for character in text[: span.column - 1])
    return lead + sign * max(1, end - span.column)
