"""What `npcompile test` prints: for people, and for machines (version 1, documented in docs/assertions.md)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from npcompile.analyses.assertions import Outcome
from npcompile.diagnostics.model import Scope
from npcompile.diagnostics.render import FORMATS
from npcompile.diagnostics.render.json import as_dict
from npcompile.driver.replay import assumptions
from npcompile.driver.test import Tested, TestReport
from npcompile.source import Span

_SCOPES = {
    Scope.INVENTORY: "for the pods in this inventory",
    Scope.ANY_POD: "for every pod and namespace that could exist",
}


def closing(report: TestReport) -> str:
    """The last line, for people: `12 sentences: 11 proved, 1 refuted, for the pods in this inventory; 0.12 s`."""
    number = len(report.tested)
    counts = _counts(report)
    words = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    sentences = f"{number} sentence{'' if number == 1 else 's'}"
    return f"{sentences}: {words}, {_SCOPES[report.scope]}; {report.seconds:.2f} s"


def _counts(report: TestReport) -> dict[str, int]:
    found = Counter(one.judged.outcome for one in report.tested)
    return {str(outcome).lower(): found[outcome] for outcome in Outcome}


def render_text(report: TestReport) -> str:
    """One line a sentence, then everything that there is to say."""
    lines = "".join(f"{line}\n" for line in map(_line, report.tested))
    details = FORMATS["full"](report.diagnostics, {})
    return f"{lines}\n{details}" if details else lines


def _line(tested: Tested) -> str:
    judged = tested.judged
    place = f"{judged.assertion.span}: " if judged.assertion.span else ""
    left_out = f"  (not judged, being on the node's network: {_pods(tested)})" if judged.not_judged else ""
    return f"{judged.outcome!s:<8} {place}{judged.assertion.title}{left_out}"


def _pods(tested: Tested) -> str:
    pods = [str(pod) for pod in tested.judged.not_judged]
    return ", ".join(pods[:3]) + (f" and {len(pods) - 3} more" if len(pods) > 3 else "")


def render_json(report: TestReport) -> str:
    """One document."""
    document = {
        "version": 1,
        "scope": str(report.scope),
        "assumptions": list(assumptions(report.scope)),
        "assertions": [_as_dict(one) for one in report.tested],
        "diagnostics": [as_dict(one) for one in report.contradictions],
        "summary": {**_counts(report), "exit_code": int(report.exit_code)},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def render_jsonl(report: TestReport) -> str:
    """A sentence a line, then a contradiction a line; `type` tells them apart."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in _lines(report))


def _lines(report: TestReport) -> Iterator[Mapping[str, object]]:
    for tested in report.tested:
        assumed = list(assumptions(report.scope))
        yield {"type": "assertion", "scope": str(report.scope), "assumptions": assumed, **_as_dict(tested)}
    for contradiction in report.contradictions:
        yield {"type": "diagnostic", **as_dict(contradiction)}


def _as_dict(tested: Tested) -> dict[str, object]:
    assertion = tested.judged.assertion
    return {
        "name": assertion.name,
        "text": assertion.text,
        "outcome": str(tested.judged.outcome),
        "severity": str(tested.severity),
        "until": assertion.until.isoformat() if assertion.until else None,
        **_place(assertion.span),
        "not_judged": [str(pod) for pod in tested.judged.not_judged],
        "diagnostics": [as_dict(one) for one in tested.diagnostics],
    }


def _place(span: Span | None) -> dict[str, object]:
    return {
        "file": span.file.path if span else None,
        "line": span.line if span else None,
        "column": span.column if span else None,
    }


def _findings(name: str) -> Callable[[TestReport], str]:
    def render(report: TestReport) -> str:
        return FORMATS[name](report.diagnostics, {**_counts(report), "exit_code": int(report.exit_code)})

    return render


RENDERERS: Mapping[str, Callable[[TestReport], str]] = {
    "text": render_text,
    "full": render_text,
    "json": render_json,
    "jsonl": render_jsonl,
    **{name: _findings(name) for name in FORMATS if name not in ("full", "json", "jsonl")},
}
"""By the names of `--output-format`: what `check` knows beside these shows the findings only."""
