"""Golden files: what a test is to produce, beside its input; `make accept` rewrites them.

    def test_emitted_rules(golden):
        golden.check(rules, source.with_suffix(".rules"))

Read the change of the golden files before committing it: accepting says that the new text is right.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Compares texts with golden files.  `properties` is where a test's rewritten files are reported."""

    accept: bool = False
    properties: list[tuple[str, object]] = field(default_factory=list)

    def check(self, actual: str, file: Path) -> None:
        """Fail with a diff unless `file` holds exactly `actual`; under `--accept`, write it."""
        expected = file.read_text(encoding="utf-8") if file.exists() else None
        if actual == expected:
            return
        if self.accept:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(actual, encoding="utf-8")
            self.properties.append((ACCEPTED, str(file)))
            return
        pytest.fail(_difference(actual, expected, file), pytrace=False)


def _difference(actual: str, expected: str | None, file: Path) -> str:
    if expected is None:
        return f"no golden file {file}; `make accept` would write:\n{actual}"
    lines = difflib.unified_diff(
        expected.splitlines(keepends=True), actual.splitlines(keepends=True), f"{file} (golden)", "this run"
    )
    text = "".join(line if line.endswith("\n") else f"{line}\n\\ no newline at the end\n" for line in lines)
    return f"{text}`make accept` takes the new text"
