"""The format for people: the lines concerned, underlined, with notes, witness and help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from npcompile.diagnostics.model import Diagnostic, Scope
from npcompile.diagnostics.render.concise import headline
from npcompile.source import Span, visible

_NEAR = 2  # lines between two marked ones that are shown rather than skipped
_WIDEST = 200  # characters of a line that are shown: minified JSON is one line
_BEFORE = 40  # and those of them before the first mark, where the line is longer
_SCOPES = {
    Scope.INVENTORY: "for the pods in this inventory",
    Scope.ANY_POD: "for every pod that could exist",
}
_ASSUMED = (
    "the namespaces of the input are as they are, others have any labels; pods have any labels, ports and addresses"
)


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
        yield visible(f"   = note: {note.text}" + (f" ({note.span})" if note.span else ""))
    if diagnostic.witness is not None:
        yield visible(f"   = witness: {diagnostic.witness}  [proved]")
    if diagnostic.scope is not None:
        too = f", and {_SCOPES[Scope.ANY_POD]}" if diagnostic.every_pod else ""
        yield f"   = scope: {_SCOPES[diagnostic.scope]}{too}"
    if diagnostic.assumptions:
        yield f"   = assumed: {_ASSUMED}"
    if diagnostic.help:
        yield visible(f"   = help: {diagnostic.help}")


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
            yield from (
                f"{between:>{width}} | {_as_wide(file.line(between)[:_WIDEST])}"
                for between in range(previous + 1, line)
            )
        marked = [mark for mark in ordered if mark[0].line == line]
        first = _first_shown(marked[0][0])
        yield f"{line:>{width}} | {_as_wide(file.line(line)[first : first + _WIDEST])}"
        for span, text, sign in marked:
            yield f"{' ' * width} | {_underline(span, sign, first)} {visible(text)}".rstrip()
        previous = line


def _as_wide(line: str) -> str:
    """A line in as many columns, without what cannot be shown: the marks below have to stay below what they mark."""
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() or one == "\t" else "\N{REPLACEMENT CHARACTER}" for one in line)


def _first_shown(span: Span) -> int:
    """How much of a line's beginning is left out, so that its first mark is among what is shown."""
    long = len(span.file.line(span.line)) > _WIDEST
    return max(0, span.column - 1 - _BEFORE) if long else 0


def _underline(span: Span, sign: str, first: int) -> str:
    """The signs under a span, of a line that is shown from its character `first` on."""
    text = span.file.line(span.line)
    end = span.end_column if span.end_line == span.line else len(text.rstrip()) + 1
    start, end = (min(max(0, column - 1 - first), _WIDEST) for column in (span.column, end))
    lead = "".join("\t" if character == "\t" else " " for character in text[first : first + start])
    return lead + sign * max(1, end - start)
