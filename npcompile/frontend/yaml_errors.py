"""What is wrong with a text that is not YAML, in our words."""

from __future__ import annotations

import re

import yaml

from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.frontend import codes
from npcompile.source import SourceFile, Span, position

# The characters that YAML's readers refuse, wherever they stand.
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEMPLATE = "{{"
_NEAR = 3  # lines
_TEMPLATE_LINE = re.compile(r"\s*(?:- +)?(?:[\w./-]+:\s+)?\{\{")
_LIBYAML_DEPTH = "maximum nesting depth"  # newer libyaml has a limit of its own, which its look-ahead meets before ours
UNCLOSED = "no Kubernetes object nests so deeply; look for an unclosed bracket"


class RefusedError(Exception):
    """A reader met something that it does not take."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic


def template_diagnostic(span: Span) -> Diagnostic:
    """The file is a template, not a manifest."""
    return diagnose(codes.TEMPLATE, span, "an unrendered template (`{{`), not a manifest",
                    help="render it first: `helm template CHART | npcompile check -`")  # fmt: skip


def unreadable(file: SourceFile, text: str) -> Diagnostic:
    """A character that no YAML text may hold."""
    found = _UNREADABLE.search(text)
    line, column = position(text, found.start() if found else 0)
    name = f"U+{ord(found.group()):04X}" if found else "a character"
    return diagnose(codes.SYNTAX, Span(file, line, column, line, column + 1),
                    f"not YAML: the control character {name} is not allowed",
                    help="delete it; within double quotes it can be written as an escape")  # fmt: skip


def syntax_error(file: SourceFile, error: yaml.YAMLError, first_line: int) -> Diagnostic:
    """libyaml's complaint about the document that starts at a line (from 0), with its place."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    if template := _template_before(file, first_line, line):
        return template_diagnostic(template)
    problem = getattr(error, "problem", None) or "unreadable"
    context = getattr(error, "context", None)
    if _LIBYAML_DEPTH in problem:
        return diagnose(codes.LIMITS, Span(file, line, column, line, column + 1), "nested too deeply", help=UNCLOSED)
    return diagnose(codes.SYNTAX, Span(file, line, column, line, column + 1),
                    f"not YAML: {problem}" + (f" {context}" if context else ""),
                    help=_advice(file.line(line)))  # fmt: skip


def _advice(text: str) -> str:
    if "\t" in text[: len(text) - len(text.lstrip())]:
        return "indent with spaces: YAML takes no tabs there"
    if _TEMPLATE in text:
        return "if the file is a template, render it first: `helm template CHART | npcompile check -`"
    return ""


def _template_before(file: SourceFile, first_line: int, line: int) -> Span | None:
    """A template directive that starts a line or a value and that an error is likely to come from: on the same line, or
    shortly before in the same document.  Further up it may be part of a text, such as an alert's in a ConfigMap.
    """
    for number in range(line, max(first_line, line - _NEAR), -1):
        text = file.line(number)
        if _TEMPLATE_LINE.match(text):
            column = text.index(_TEMPLATE) + 1
            return Span(file, number, column, number, column + 2)
    return None
