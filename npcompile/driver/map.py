"""`npcompile map`: who reaches whom on which ports.

Nothing is said before the reference evaluator has confirmed it: of every edge one flow, which must pass by rules that
the edge names.  In a map of everything one flow stands for all edges between the same two classes of endpoints on the
same port; in a map of what reaches something, or is reached by it, (`--to`, `--from`) each edge has its own, and each
class that is said not to reach it, or to be reached, has a flow that must be denied.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from npcompile import semantics
from npcompile.analyses.addressing import Directory, usage_error
from npcompile.analyses.parties import EVERYONE, Chosen, Group, GroupBy, groups
from npcompile.analyses.reach import Closing, Edge, Reach
from npcompile.collection import no_cycle_collection
from npcompile.diagnostics.errors import InputError, InternalError
from npcompile.diagnostics.model import Diagnostic
from npcompile.driver.inputs import read_sources
from npcompile.driver.progress import Progress, reading, silent
from npcompile.frontend import load
from npcompile.ir.cluster import Pod, Service
from npcompile.ir.flow import Flow, Verdict
from npcompile.ir.policy import BlockPeer, Direction, Policy
from npcompile.ir.printer import rule_text
from npcompile.ir.program import PolicyIndex, Program
from npcompile.relation.relation import Relation, relate

INTERNET = "internet"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """What the user asked for.  `src` and `dst`: the words after `--from` and `--to`."""

    group_by: GroupBy = GroupBy.WORKLOAD
    src: str | None = None
    dst: str | None = None
    exposure: bool = False

    @property
    def report(self) -> Direction | None:
        """Whose ways the map is a report on: into `dst` or, where only `src` was asked for, out of that."""
        if self.dst is not None:
            return Direction.INGRESS
        return Direction.EGRESS if self.src is not None and not self.exposure else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """Everything that is open, confirmed.

    `sources` and `targets` are the groups that it is about.  `closing` is what it leaves out, where it is a
    report; `diagnostics` are what the input gave cause to say.  `unbound` counts pods without an address, where some
    rule has an ipBlock that might match them once they have one.
    """

    options: MapOptions
    sources: tuple[Group, ...]
    targets: tuple[Group, ...]
    edges: tuple[Edge, ...]
    closing: Closing | None
    diagnostics: tuple[Diagnostic, ...]
    pods: int
    policies: int
    unbound: int


def run_map(paths: Sequence[str], options: MapOptions, progress: Progress = silent) -> Map:
    """The map of a program; raises InputError where a word names nothing in it."""
    loaded = load(reading(read_sources(paths), progress))
    progress("mapping")
    return map_program(loaded.program, options, loaded.diagnostics)


def map_program(program: Program, options: MapOptions, diagnostics: Iterable[Diagnostic] = ()) -> Map:
    """The map of a program; raises InputError where a word names nothing in it."""
    chosen = _choose_both(program, options)
    replay = _Replay(program, each=options.report is not None)
    with no_cycle_collection():
        relation = relate(program)
        sources, targets = (groups(relation, options.group_by, one) for one in chosen)
        if options.exposure:
            sources = _exposing(sources, targets, asked=options.dst is not None)
        edges = tuple(replay.confirm(edge) for edge in _edges(relation, sources, targets, exposure=options.exposure))
    closing = None
    if options.report is not None:
        closing = Reach(relation, sources, targets).closing(options.report)
        replay.deny(closing.denied)
    return Map(
        options=options,
        sources=sources,
        targets=targets,
        edges=edges,
        closing=closing,
        diagnostics=tuple(diagnostics),
        pods=len(program.cluster.pods),
        policies=len(program.policies),
        unbound=_unbound(program),
    )


def _unbound(program: Program) -> int:
    peers = (peer for policy in program.policies for rule in policy.rules for peer in rule.match.peers)
    if not any(isinstance(peer, BlockPeer) for peer in peers):
        return 0
    return sum(not pod.addresses for pod in program.cluster.pods)


def _edges(
    relation: Relation, sources: tuple[Group, ...], targets: tuple[Group, ...], *, exposure: bool
) -> Iterator[Edge]:
    if not exposure:
        yield from Reach(relation, sources, targets).edges()
        return
    yield from Reach(relation, [group for group in sources if group.external], targets).edges()
    yield from Reach(relation, sources, [group for group in targets if group.external]).edges()


def _exposing(sources: tuple[Group, ...], targets: tuple[Group, ...], *, asked: bool) -> tuple[Group, ...]:
    """The sources that matter to `--exposure`: of what reaches pods that were asked for, only the outside."""
    outside = tuple(group for group in sources if group.external)
    if any(group.external for group in targets):
        return sources
    if not outside:
        message = "`--exposure` is about what is outside the cluster, and here neither end is"
        raise usage_error(message, "leave out `--exposure`, `--from` or `--to`")
    return outside if asked else sources


def _choose_both(program: Program, options: MapOptions) -> tuple[Chosen, Chosen]:
    """Both ends; raises InputError with all that is wrong with either."""
    found: list[Chosen] = []
    problems: list[Diagnostic] = []
    for word in (options.src, options.dst):
        try:
            found.append(EVERYONE if word is None else _choose(program, word))
        except InputError as error:
            problems += error.diagnostics
    if problems:
        raise InputError(problems)
    src, dst = found
    return src, dst


def _choose(program: Program, word: str) -> Chosen:
    """A namespace, `ns/pod`, `ns/workload`, an address, or the internet."""
    namespaces = {*program.cluster.namespaces, *(pod.namespace for pod in program.cluster.pods)}
    if word in namespaces:
        return Chosen(namespace=word)
    if word == INTERNET:
        return Chosen(internet=True)
    close = difflib.get_close_matches(word, sorted(namespaces), n=1)
    try:
        found = Directory(program.cluster).find(word)
    except InputError:
        if "/" in word:
            raise
        forms = "write a namespace, `namespace/pod`, `namespace/workload`, an address, or `internet`"
        hint = f"did you mean the namespace `{close[0]}`?" if close else forms
        raise usage_error(f"`{word}` is not in the input", hint) from None
    match found:
        case Service():
            message = f"`{word}` is a Service, and policies judge the pods behind it"
            raise usage_error(message, "name a namespace, a workload or a pod")
        case tuple():
            one = len(found) == 1 and (word.rpartition("/")[2] == found[0].name or "/" not in word)
            return Chosen(pods=found, finest=GroupBy.POD if one else GroupBy.WORKLOAD)
        case _:
            return Chosen(address=found)


class _Replay:
    """Judges examples.  With `each`, every edge's own, and not one for all between the same classes."""

    def __init__(self, program: Program, *, each: bool) -> None:
        self._cluster = program.cluster
        self._each = each
        self._policies = PolicyIndex(program.policies)
        self._known_isolating: dict[tuple[str, str, Direction], list[Policy]] = {}
        self._known: dict[tuple[object, ...], semantics.Decision] = {}
        # What was found to agree, by the identity of each: edges share them, and comparing them takes longer
        self._agreeing: dict[tuple[int, ...], tuple[object, ...]] = {}

    def confirm(self, edge: Edge) -> Edge:
        """The edge; raises InternalError where its example is denied, or passes by rules that it does not name."""
        flow = edge.example
        key = (*edge.classes, flow.protocol, flow.port)
        decision = None if self._each else self._known.get(key)
        if decision is None:
            decision = self._known[key] = self._decide(flow)
        agreeing = (decision, edge.rules, edge.unisolated)
        same = (id(decision), id(edge.rules), id(edge.unisolated))
        if same in self._agreeing:
            return edge
        if decision.verdict is not Verdict.ALLOW or not _named(edge, decision):
            rules = ", ".join(rule_text(one.policy, one.rule) for one in edge.rules) or "no rule"
            raise InternalError(f"the reference evaluator does not confirm {flow} by {rules}; it says {decision}")
        self._agreeing[same] = agreeing
        return edge

    def deny(self, flows: Iterable[Flow]) -> None:
        """Raise InternalError where a flow passes."""
        for flow in flows:
            if self._decide(flow).verdict is not Verdict.DENY:
                raise InternalError(f"the map leaves out {flow}, which the reference evaluator allows")

    def _decide(self, flow: Flow) -> semantics.Decision:
        found: dict[tuple[str, str], Policy] = {}
        for end, direction in ((flow.src, Direction.EGRESS), (flow.dst, Direction.INGRESS)):
            if end.pod is not None:
                found.update((policy.key, policy) for policy in self._isolating(end.pod, direction))
        return semantics.decide(found.values(), self._cluster, flow)

    def _isolating(self, pod: Pod, direction: Direction) -> list[Policy]:
        """The policies that can have a say."""
        key = (*pod.key, direction)
        if key not in self._known_isolating:
            policies = self._policies.of(pod.namespace)
            self._known_isolating[key] = [
                policy for policy in policies if direction in policy.directions and semantics.selects(policy, pod)
            ]
        return self._known_isolating[key]


def _named(edge: Edge, decision: semantics.Decision) -> bool:
    """Whether an edge names what decides."""
    for direction, side in ((Direction.EGRESS, decision.egress), (Direction.INGRESS, decision.ingress)):
        match side.reason:
            case semantics.Reason.RULE:
                if not any(one.rule is side.rule and one.policy is side.policy for one in edge.rules):
                    return False
            case semantics.Reason.NOT_ISOLATED:
                if direction not in edge.unisolated:
                    return False
            case semantics.Reason.NOT_A_POD:
                pass
            case _:
                return False
    return True
