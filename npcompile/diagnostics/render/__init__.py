"""Output formats: one file each, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from npcompile.diagnostics.model import Diagnostic
from npcompile.diagnostics.render.concise import render_concise
from npcompile.diagnostics.render.full import render_full
from npcompile.diagnostics.render.github import render_github
from npcompile.diagnostics.render.json import render_json, render_jsonl

Renderer = Callable[[Sequence[Diagnostic], Mapping[str, object]], str]

FORMATS: Mapping[str, Renderer] = {
    "full": render_full,
    "concise": render_concise,
    "json": render_json,
    "jsonl": render_jsonl,
    "github": render_github,
}
"""By the names of `--output-format`.  A renderer gets the sorted diagnostics and the summary's fields."""
