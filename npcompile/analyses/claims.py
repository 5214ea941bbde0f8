"""What a check says, before anyone believes it.

A check yields `Claim`s.  Only the driver makes a `Diagnostic` of one, after the reference evaluator confirmed its
evidence; so no check can skip the replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from npcompile.analyses.checks.pods import Pods
from npcompile.diagnostics.model import Fix, Note, RuleCode, Scope, Severity
from npcompile.ir.cluster import Namespace, Service, ServicePort
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import NamedPort, Peer, Policy, PortItem, Rule
from npcompile.ir.printer import rule_text
from npcompile.ir.program import Program
from npcompile.questions import Engine, Example, HalfOpen, NotDecided, RuleOf, Universal, WayIn
from npcompile.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowWitness:
    """A concrete flow, and what is claimed of each of its sides (None: nothing).

    `invented` are the namespaces that the flow's pods live in and that the input does not have (symbolic findings).
    `matched_by`: a rule that matches the flow; `even_without` that very rule, its side's claim is claimed to hold;
    or, `even_without_item`, without one of the rule's peers or port items, by which it matches the flow.
    """

    flow: Flow
    egress_allowed: bool | None = None
    ingress_allowed: bool | None = None
    invented: tuple[Namespace, ...] = ()
    matched_by: RuleOf | None = None
    even_without: bool = False
    even_without_item: Peer | PortItem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """Flows of which each has a subject of `policy` at one end, and of which both sides are claimed to stay as they are
    without that policy.  The first is the one to show.

    `verdict_only`: that only their verdicts stay is claimed, and that a side of each changes.
    """

    policy: Policy
    examples: tuple[Example, ...]
    verdict_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedBackends:
    """Two flows of one pod to two others that are behind a Service's port: one is allowed, and one, the one to show, is
    denied.
    """

    service: Service
    port: ServicePort
    allowed: Example
    denied: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingSelected:
    """No pod of the inventory is a subject of `policy` or, with a rule, no endpoint of it is a peer of that rule."""

    policy: Policy
    rule: Rule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsatisfiable:
    """z3 showed that no pod whatever can match; there is nothing to replay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Textual:
    """A fact about the input's text, which every reader can see at the places named; there is nothing to replay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """`endpoint` is matched by `peer`, an item of `policy`, or, without one, is a subject of it: yes or no, as `holds`
    says.
    """

    policy: Policy
    endpoint: Endpoint
    peer: Peer | None = None
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PortUndeclared:
    """`rule` has destinations among the pods, and none of them declares a port that its item `port` matches."""

    rule: RuleOf
    port: NamedPort


Evidence = (
    FlowWitness | Unchanged | MixedBackends | NothingSelected | Unsatisfiable | Textual | Matching | PortUndeclared
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A finding and its evidence.  The texts and `every_pod` follow the rules of `Diagnostic`."""

    rule: RuleCode
    message: str
    span: Span | None
    evidence: Evidence
    scope: Scope
    every_pod: bool | None = None
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


class Cni(Enum):
    """A network plugin that may have to enforce the policies (`--cni`)."""

    AWS = "aws"
    CALICO = "calico"
    CILIUM = "cilium"
    FLANNEL = "flannel"
    KUBE_ROUTER = "kube-router"

    def __str__(self) -> str:
        return _CNI_NAMES[self]


_CNI_NAMES = {
    Cni.AWS: "the Amazon VPC CNI",
    Cni.CALICO: "Calico",
    Cni.CILIUM: "Cilium",
    Cni.FLANNEL: "Flannel",
    Cni.KUBE_ROUTER: "kube-router",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a check looks at: the program, and the engine to ask.

    `scope` tells for whom that engine speaks.  `any_pod` gives the engine that speaks for every pod that could exist of
    some of the policies; it loads z3, so it is asked only where its answer is worth that.  So does `everywhere`, which
    tells whether an answer about the inventory is shown to hold for every such pod, too (None: it is about every such
    pod).  `half_open` and `ways_in` have the engine's answers to questions that two checks ask, found once.  `cni` is
    the network plugin that the user asks about; no answer depends on it.  `pods` finds the pods of the input that
    policies and rules speak of.
    """

    program: Program
    scope: Scope
    engine: Engine
    any_pod: Callable[[Sequence[Policy]], Engine]
    everywhere: Callable[[Universal], bool | None]
    half_open: Callable[[], Sequence[HalfOpen | NotDecided]]
    ways_in: Callable[[], Sequence[WayIn | NotDecided]]
    pods: Callable[[], Pods]
    cni: Cni | None = None


class Check(Protocol):
    """A module of `checks`: its docstring is the rule's documentation."""

    RULE: RuleCode

    def check(self, case: Case) -> Iterator[Claim | Undecided]:
        """Everything that the rule finds, in the order of the engine's answers."""
        ...


def undecided(rule: RuleCode, answer: NotDecided) -> Undecided:
    """An engine's missing answer, in the name of a rule."""
    place = answer.rule.span if answer.rule else answer.policy.span
    name = rule_text(answer.policy, answer.rule) if answer.rule else str(answer.policy)
    question = _IN_WORDS[answer.question].format(name=name, namespace=answer.policy.namespace)
    return Undecided(rule=rule, question=question, span=place)


_IN_WORDS = {
    "shadowed": "whether other rules cover `{name}`",
    "shadowed-items": "whether all peers and ports of `{name}` are needed",
    "redundant": "whether `{name}` is needed",
    "unfelt": "whether any verdict depends on `{name}`",
    "vacuous": "whether `{name}` can match anything",
    "half-open": "whether the other end denies what `{name}` allows",
    "wide-open": "whether pods of `{namespace}` are open to everyone",
    "defeated-denies": "whether other policies open all that `{name}` closes",
    "defeated-excepts": "whether other rules allow what `{name}` excepts",
    "mixed-services": "whether `{name}` and other policies treat all pods behind each Service alike",
    "uncovered": "whether some pod of `{namespace}` is not isolated",
    "ways-in": "whether `{name}` lets anything in",
    "dns-blocked": "whether the pods of `{name}` can resolve names",
    "split-peers": "whether two peers of `{name}` were meant as one",
}
