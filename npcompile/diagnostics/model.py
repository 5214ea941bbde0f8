"""What npcompile has to say about its input: one `Diagnostic` a finding, free of any output format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from npcompile.source import Span


class Severity(IntEnum):
    """How bad it is; the order is that of `--fail-on`."""

    INFO = 0
    WARNING = 1
    ERROR = 2

    def __str__(self) -> str:
        return self.name.lower()


class Kind(Enum):
    """What stands behind a finding."""

    INPUT = "input"  # a fact about the input's text
    PROVED = "proved"  # decided exactly, and its witness replayed
    HEURISTIC = "heuristic"  # a likely mistake; never an error

    def __str__(self) -> str:
        return self.value


class Scope(Enum):
    """For which pods a finding holds."""

    INVENTORY = "inventory"  # the pods of the input
    ANY_POD = "any-pod"  # every pod and namespace that could exist

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCode:
    """The stable identity of a kind of finding.  The module that reports it owns it."""

    code: str
    slug: str
    severity: Severity
    kind: Kind = Kind.INPUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something else to know; with a span, a place to look at."""

    text: str
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Replace the text of a span."""

    span: Span
    replacement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """A change of the input that removes the finding; a safe one leaves every verdict as it is."""

    title: str
    edits: tuple[Edit, ...]
    safe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessText:
    """A witness packet in words, after its replay: what renderers need to know of a flow."""

    src: str  # "web/cron-7c (app=cron) 10.0.0.9"
    dst: str
    port: str  # "tcp/8080"
    verdict: str  # "ALLOW" | "DENY"
    details: Mapping[str, object] = field(default_factory=dict)  # the machine formats' fields

    def __str__(self) -> str:
        return f"{self.src} -> {self.dst} {self.port}  {self.verdict}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding, with its place.

    `message` is lowercase, puts backticks round the user's words and has no full stop; `label` is said under the
    primary span's text; `help` tells what to do next.  `every_pod`, of a finding about the inventory: whether it was
    shown to hold for every pod that could exist, too; None where that was not asked, as of a finding that says that
    something exists.  `assumptions` are those about such pods that a finding rests on.
    """

    rule: RuleCode
    severity: Severity
    message: str
    span: Span | None
    label: str = ""
    notes: tuple[Note, ...] = ()
    help: str = ""
    scope: Scope | None = None
    every_pod: bool | None = None
    assumptions: tuple[str, ...] = ()
    witness: WitnessText | None = None
    fix: Fix | None = None

    @property
    def order(self) -> tuple[str, int, int, str, str]:
        """Sorts diagnostics by place, then code: the order of every output."""
        place = self.span.order if self.span else ("", 0, 0)
        return (*place, self.rule.code, self.message)


def diagnose(
    rule: RuleCode,
    span: Span | None,
    message: str,
    *,
    label: str = "",
    help: str = "",  # noqa: A002
    notes: tuple[Note, ...] = (),
) -> Diagnostic:
    """A diagnostic with its rule's own severity."""
    return Diagnostic(
        rule=rule, severity=rule.severity, message=message, span=span, label=label, help=help, notes=notes
    )
