"""Sentences of an assertion file, judged for every pod and namespace that could exist.

`assumptions.ASSUMPTIONS` says what is taken for granted.  Beside it: the nodes are those of the input; where it has
none, any address may be a node's.  The world are the addresses that no pod and no node of the input has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import assert_never

import z3

from npcompile.ir.assertion import (
    AllOf,
    Allowed,
    AnyOf,
    Assertion,
    Complement,
    Denied,
    Ends,
    Flows,
    GaveUpError,
    Isolated,
    Mention,
    Region,
    Requirement,
    Side,
    Word,
    all_mentions,
    as_policy,
    together,
)
from npcompile.ir.cluster import Pod
from npcompile.ir.policy import BlockPeer, Direction, PodPeer, Policy
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Address, point
from npcompile.questions import Example, RuleOf
from npcompile.symbolic import ends
from npcompile.symbolic.assume import different_addresses, possible
from npcompile.symbolic.boxes import Boxes, PodBox
from npcompile.symbolic.decode import Candidates, Decoder
from npcompile.symbolic.encode import Encoding
from npcompile.symbolic.ends import End
from npcompile.symbolic.solve import OutOfEffortError, Query
from npcompile.symbolic.stand_ins import stand_ins
from npcompile.symbolic.vocabulary import Vocabulary


class SymbolicJudge:
    """Answers about the sentences that it is made for.  `effort` bounds each solver check, in z3's resource units."""

    def __init__(self, program: Program, assertions: Sequence[Assertion], effort: int, *, seed: int = 0) -> None:
        self._program = program
        mentioned, namespace = all_mentions(assertions), _some_namespace(program)
        self._nodes = _node_stand_ins(program, _with(program, as_policy(mentioned, namespace=namespace)))
        blocks = (BlockPeer(cidr=ip_network(address)) for address in self._nodes)
        self._spoken_of = as_policy(dict.fromkeys((*mentioned, *blocks)), namespace=namespace)
        self._vocabulary = _with(program, self._spoken_of)
        self._boxes = Boxes(self._vocabulary, program.cluster)
        self._ctx = z3.Context()
        self._effort, self._seed = effort, seed
        flow = ends.variables(self._vocabulary, self._ctx)
        self._encoding = Encoding(self._vocabulary, self._boxes, flow, self._ctx)
        self._decoder = Decoder(program, self._vocabulary, self._encoding, stand_ins(self._vocabulary, program.cluster))
        self._pods = tuple(pod for pod in program.cluster.pods if not pod.host_network)
        self._rules = {rule.match.peers[0]: RuleOf(policy=self._spoken_of, rule=rule) for rule in self._spoken_of.rules}

    def has(self, ends: Ends) -> bool:
        """Whether some end that could exist is one of these."""
        return self._asked(self._query(self._in(self._encoding.flow.src, ends)))

    def common(self, regions: Sequence[Region]) -> Example | None:
        """The least flow that is in all of some regions (one at least)."""
        query = self._query(*(self._region(region) for region in regions))
        flows = [region.flows for region in regions]
        return self._example(query, [one.src for one in flows], [one.dst for one in flows])

    def counterexample(self, requirement: Requirement) -> Example | None:
        """The least flow that refutes a requirement."""
        match requirement:
            case Denied(region=region):
                return self._judged(region, z3.And(*self._both_sides(region)))
            case Allowed(region=region):
                return self._judged(region, z3.Not(z3.And(*self._both_sides(region))))
            case Isolated(side=side, direction=direction):
                return self._open(side, direction)
            case _:
                assert_never(requirement)

    # Questions

    def _judged(self, region: Region, verdict: z3.BoolRef) -> Example | None:
        """Unsatisfiable iff no possible flow of a region has a verdict."""
        return self._example(self._query(self._region(region), verdict), [region.flows.src], [region.flows.dst])

    def _open(self, side: Side, direction: Direction) -> Example | None:
        """Unsatisfiable iff every possible pod of a side is isolated in a direction."""
        subject, peer = self._encoding.subject(direction), self._encoding.peer(direction)
        whose = together(side)
        isolated = self._encoding.isolated(direction, self._policies(whose))
        query = self._query(self._in(subject, whose), subject.is_pod, z3.Not(isolated), self._in(peer, Word.WORLD))
        return self._example(query, [side], [], direction=direction)

    def _query(self, *constraints: z3.BoolRef) -> Query:
        """For the possible flows, of which one end at least is a pod, and whose ends are pods, world or nodes."""
        flow = self._encoding.flow
        exists = (self._in(end, AnyOf(parts=(Word.EVERYONE, Word.NODES))) for end in (flow.src, flow.dst))
        return Query(
            (
                *possible(self._encoding, self._vocabulary),
                different_addresses(self._encoding),
                z3.Or(flow.src.is_pod, flow.dst.is_pod),
                *exists,
                *constraints,
            ),
            ctx=self._ctx,
            effort=self._effort,
            seed=self._seed,
        )

    def _asked(self, query: Query) -> bool:
        try:
            return query.satisfiable()
        except OutOfEffortError:
            raise GaveUpError from None

    def _example(
        self,
        query: Query,
        subjects: Sequence[Side],
        peers: Sequence[Side],
        direction: Direction = Direction.EGRESS,
    ) -> Example | None:
        """The least flow of a query; its real pods are among all of the sides given."""
        candidates = Candidates(subjects=self._candidates(subjects), peers=self._candidates(peers) if peers else ())
        try:
            return self._decoder.example(query, direction, candidates) if query.satisfiable() else None
        except OutOfEffortError:
            raise GaveUpError from None

    # Terms

    def _region(self, region: Region) -> z3.BoolRef:
        excepts = (z3.Not(self._flows(flows)) for flows in region.excepts)
        return self._encoding.every((self._flows(region.flows), *excepts))

    def _flows(self, flows: Flows) -> z3.BoolRef:
        flow = self._encoding.flow
        return self._encoding.every(
            (
                self._in(flow.src, together(flows.src)),
                self._in(flow.dst, together(flows.dst)),
                self._encoding.on(flows.ports),
            )
        )

    def _in(self, end: End, ends: Ends) -> z3.BoolRef:
        encoding = self._encoding
        match ends:
            case Word.EVERYONE:
                return z3.Or(end.is_pod, self._decoder.outside(end))
            case Word.WORLD:
                return self._decoder.outside(end)
            case Word.NODES:
                return self._is_node(end)
            case PodPeer() | BlockPeer():
                return encoding.one_peer(self._spoken_of, ends, end)
            case AllOf(parts=parts):
                return encoding.every(self._in(end, part) for part in parts)
            case AnyOf(parts=parts):
                return encoding.some(self._in(end, part) for part in parts)
            case Complement(of=of):
                return z3.Not(self._in(end, of))
            case _:
                assert_never(ends)

    def _is_node(self, end: End) -> z3.BoolRef:
        if not self._nodes:
            return self._decoder.outside(end)
        addresses = self._encoding.some(self._encoding.at(end, address) for address in self._nodes)
        return z3.And(z3.Not(end.is_pod), addresses)

    def _both_sides(self, region: Region) -> tuple[z3.BoolRef, z3.BoolRef]:
        """Whether the source allows a flow of a region, and whether the destination does."""
        return (
            self._encoding.allowed(Direction.EGRESS, self._policies(together(region.flows.src))),
            self._encoding.allowed(Direction.INGRESS, self._policies(together(region.flows.dst))),
        )

    # What is left out, because it cannot matter

    def _policies(self, whose: Ends) -> list[Policy]:
        """The policies that may select one of some ends."""
        names = self._names(whose)
        return [one for one in self._program.policies if self._vocabulary.names.index(one.namespace) in names]

    def _names(self, ends: Ends) -> frozenset[int]:
        """At least the names of the namespaces that pods among some ends may be in."""
        match ends:
            case Word.EVERYONE | BlockPeer() | Complement():
                return self._vocabulary.names.every
            case Word():
                return frozenset()
            case PodPeer():
                box = self._boxes.peer(self._spoken_of, ends)
                assert isinstance(box, PodBox)
                return box.places.names
            case AllOf(parts=parts):
                return self._vocabulary.names.every.intersection(*map(self._names, parts))
            case AnyOf(parts=parts):
                return frozenset[int]().union(*map(self._names, parts))
            case _:
                assert_never(ends)

    def _candidates(self, sides: Sequence[Side]) -> list[Pod]:
        """The real pods that may be in all of some sides."""
        return [pod for pod in self._pods if all(self._may_be(pod, together(side)) for side in sides)]

    def _may_be(self, pod: Pod, ends: Ends) -> bool:
        match ends:
            case Word():
                return ends is Word.EVERYONE
            case PodPeer() | BlockPeer():
                return self._boxes.may_be_peer(self._rule(ends), pod)
            case AllOf(parts=parts):
                return all(self._may_be(pod, part) for part in parts)
            case AnyOf(parts=parts):
                return any(self._may_be(pod, part) for part in parts)
            case Complement():
                return True
            case _:
                assert_never(ends)

    def _rule(self, mention: Mention) -> RuleOf:
        return self._rules[mention]


def _some_namespace(program: Program) -> str:
    """A namespace that the program speaks of anyhow, so that sentences are about no other one for it."""
    known = {policy.namespace for policy in program.policies} | program.cluster.namespaces.keys()
    return min(known, default="default")


def _with(program: Program, policy: Policy) -> Vocabulary:
    """What a program's policies mention, and another one."""
    return Vocabulary.of(replace(program, policies=(*program.policies, policy)))


def _node_stand_ins(program: Program, vocabulary: Vocabulary) -> tuple[Address, ...]:
    """Addresses of nodes that stand for all of them.

    Policies do not tell those apart that no ipBlock separates; but a pod's own node is left out.  So there are as many
    of each interval as it takes for every node to find one that is not its own, if there is one.
    """
    shared: dict[int, frozenset[str]] = {}  # the nodes that have all of the addresses chosen for an interval
    chosen: list[Address] = []
    for address, nodes in _node_addresses(program):
        cell = vocabulary.cell(address)
        if cell not in shared or shared[cell] - nodes:
            shared[cell] = shared.get(cell, nodes) & nodes
            chosen.append(address)
    return tuple(chosen)


def _node_addresses(program: Program) -> Iterator[tuple[Address, frozenset[str]]]:
    """The addresses of nodes, in order, each with the nodes that have it; those too that only pods on their network
    show, and not those of ordinary pods.
    """
    cluster = program.cluster
    found: dict[Address, set[str]] = {}
    for node in cluster.nodes.values():
        for address in node.addresses:
            found.setdefault(address, set()).add(node.name)
    for pod in cluster.pods:
        for address in pod.addresses if pod.host_network else ():
            found.setdefault(address, set()).update({pod.node} if pod.node else ())
    for pod in cluster.pods:
        for address in () if pod.host_network else pod.addresses:
            found.pop(address, None)
    for address in sorted(found, key=point):
        yield address, frozenset(found[address])
