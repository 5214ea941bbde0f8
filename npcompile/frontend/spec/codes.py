"""The codes of what can be wrong with an assertion file."""

from __future__ import annotations

from npcompile.diagnostics.model import RuleCode, Severity

SYNTAX = RuleCode(code="NPC601", slug="assertion-syntax", severity=Severity.ERROR)
"""A sentence of an assertion file is not one of the language.  docs/assertions.md has every form, with examples."""

VALUE = RuleCode(code="NPC602", slug="assertion-value", severity=Severity.ERROR)
"""A sentence is well formed, but a part of it cannot be: a namespace, label, address or port that does not exist, a
name that no `let` defines, something defined twice, an attribute that is not known."""
