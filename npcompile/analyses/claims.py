"""What a check says, before anyone believes it.

A check yields `Claim`s.  Only the driver makes a `Diagnostic` of one, after the reference evaluator confirmed its
evidence; so no check can skip the replay.
"""

from __future__ import annotations

from dataclasses import dataclass

from npcompile.diagnostics.model import Fix, Note, RuleCode, Scope, Severity
from npcompile.ir.cluster import Namespace, Pod
from npcompile.ir.flow import Flow
from npcompile.ir.policy import Policy, Rule
from npcompile.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowWitness:
    """A concrete flow, and what is claimed of each of its sides.

    `invented` are the namespaces that the flow's pods live in and that the input does not have (symbolic findings).
    """

    flow: Flow
    egress_allowed: bool
    ingress_allowed: bool
    invented: tuple[Namespace, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A pod exists (here or, invented, in principle) and `policy` selects it or does not."""

    policy: Policy
    pod: Pod
    selected: bool
    invented: tuple[Namespace, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingSelected:
    """No pod of the inventory is a subject of `policy` or, with a rule, no endpoint of it is a peer of that rule."""

    policy: Policy
    rule: Rule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsatisfiable:
    """z3 showed that no pod whatever can match; there is nothing to replay."""


Evidence = FlowWitness | Selection | NothingSelected | Unsatisfiable


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A finding and its evidence.  The texts follow the rules of `Diagnostic`."""

    rule: RuleCode
    message: str
    span: Span | None
    evidence: Evidence
    scope: Scope
    severity: Severity | None = None  # None: the rule's own
    label: str = ""
    notes: tuple[Note, ...] = ()
    help: str = ""
    fix: Fix | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """A question that the engines could not answer within the effort: never success, exit code 3."""

    rule: RuleCode
    question: str
    span: Span | None
