"""Sentences of an assertion file, judged for the pods of the inventory and every address outside: exactly.

Identities and ports are split wherever policies or sentences could tell them apart.  So a region is a few boxes of
sources × destinations × ports, and so are the flows of a box that policies allow, or deny: one piece for every two
profiles.  Single pods matter only at the end, when the least flow of some boxes is looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple, assert_never

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
    Region,
    Requirement,
    Side,
    Word,
    all_mentions,
    as_policy,
    flows_of,
    together,
)
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import BlockPeer, Direction, PodPeer
from npcompile.ir.program import Program
from npcompile.netset.ports import EVERY_PORT
from npcompile.passes.assign_identities import HostIdentity, OutsideIdentity
from npcompile.questions import Example
from npcompile.relation.bits import members
from npcompile.relation.boxes import Box, Effort, OutOfEffortError, subtract
from npcompile.relation.relation import Relation, relate
from npcompile.relation.sides import Profile, Row


class _Group(NamedTuple):
    """Ends to which a direction's rules allow the same: peers with ports."""

    members: int
    rows: tuple[Row, ...]


class _Place(NamedTuple):
    """An end, and the number of its identity."""

    end: Endpoint
    number: int


class InventoryJudge:
    """Answers about the sentences that it is made for.  `pieces` bounds the boxes that each question may take.

    The boxes here have sources for subjects and destinations for peers, whatever the direction.
    """

    def __init__(self, program: Program, assertions: Sequence[Assertion], *, pieces: int) -> None:
        ports = {flows.ports for assertion in assertions for flows in flows_of(assertion)}
        spoken_of = as_policy(all_mentions(assertions), namespace="")
        self._relation = relate(program, beside=[spoken_of], ports=ports)
        self._pieces = pieces

    def has(self, ends: Ends) -> bool:
        """Whether some end is one of these."""
        return bool(self._bits(ends))

    def common(self, regions: Sequence[Region]) -> Example | None:
        """The least flow that is in all of some regions (one at least)."""
        effort = Effort(self._pieces)
        first, *rest = regions
        try:
            boxes = self._boxes(first, effort)
            for region in rest:
                others = self._boxes(region, effort)
                effort.spend(len(boxes) * len(others))
                boxes = [both for one in boxes for other in others if not (both := _meet(one, other)).empty]
        except OutOfEffortError:
            raise GaveUpError from None
        return self._least(boxes)

    def counterexample(self, requirement: Requirement) -> Example | None:
        """The least flow that refutes a requirement."""
        try:
            match requirement:
                case Denied(region=region):
                    effort = Effort(self._pieces)
                    return self._least_passing(self._boxes(region, effort), effort)
                case Allowed(region=region):
                    effort = Effort(self._pieces)
                    boxes = self._boxes(region, effort)
                    return self._least([piece for box in boxes for piece in self._stopped(box, effort)])
                case Isolated(side=side, direction=direction):
                    return self._open(side, direction)
                case _:
                    assert_never(requirement)
        except OutOfEffortError:
            raise GaveUpError from None

    # Sets

    def _bits(self, ends: Ends) -> int:
        relation = self._relation
        match ends:
            case Word.EVERYONE:
                return relation.pods | relation.plain
            case Word.WORLD:
                return relation.plain
            case Word.NODES:
                return relation.hosts | relation.nodes
            case PodPeer() | BlockPeer():
                return relation.selection.peers("", ends)
            case AllOf(parts=parts):
                bits = self._everything
                for part in parts:
                    bits &= self._bits(part)
                return bits
            case AnyOf(parts=parts):
                bits = 0
                for part in parts:
                    bits |= self._bits(part)
                return bits
            case Complement(of=of):
                return self._everything & ~self._bits(of)
            case _:
                assert_never(ends)

    @cached_property
    def _everything(self) -> int:
        return (1 << len(self._relation.order)) - 1

    def _boxes(self, region: Region, effort: Effort) -> list[Box]:
        """The flows of a region as disjoint boxes.  Ends of different families, and ends that are never the two ends
        of a flow, may still be in one box.
        """
        box = self._box(region.flows)
        pods = self._relation.pods
        halves = [box._replace(subjects=box.subjects & pods)]
        halves.append(box._replace(subjects=box.subjects & ~pods, peers=box.peers & pods))
        boxes = [half for half in halves if not half.empty]
        return subtract(boxes, [self._box(flows) for flows in region.excepts], effort)

    def _box(self, flows: Flows) -> Box:
        ports = self._relation.space.bits(flows.ports)
        return Box(self._bits(together(flows.src)), self._bits(together(flows.dst)), ports)

    # What policies say

    def _least_passing(self, boxes: Sequence[Box], effort: Effort) -> Example | None:
        """The least flow of some boxes that both ends allow; found without looking at what later sources may send."""
        left = 0
        for box in boxes:
            left |= box.subjects
        receiving = [(box, self._among(Direction.INGRESS, box.peers)) for box in boxes]
        passing: dict[int, list[Box]] = {}  # of each group of sources
        for src in self._places if left else ():
            if not left >> src.number & 1:
                continue
            group = self._senders[src.number]
            if group.members not in passing:
                passing[group.members] = [
                    piece for box, targets in receiving for piece in _passing(box, group, targets, effort)
                ]
            pieces = [piece for piece in passing[group.members] if piece.subjects >> src.number & 1]
            if pieces and (flow := self._least_from(src, pieces)):
                return Example(flow=flow)
        return None

    def _stopped(self, box: Box, effort: Effort) -> Iterator[Box]:
        """The flows of a box that one end denies."""
        for sources, rows in self._among(Direction.EGRESS, box.subjects):
            own = [Box(sources, row.peers, row.ports) for row in rows]
            yield from subtract([box._replace(subjects=sources)], own, effort)
        for targets, rows in self._among(Direction.INGRESS, box.peers):
            own = [Box(row.peers, targets, row.ports) for row in rows]
            yield from subtract([box._replace(peers=targets)], own, effort)

    def _among(self, direction: Direction, ends: int) -> list[_Group]:
        """The groups of some ends."""
        groups = self._groups[direction]
        return [_Group(group.members & ends, group.rows) for group in groups if group.members & ends]

    @cached_property
    def _groups(self) -> dict[Direction, list[_Group]]:
        return {direction: list(self._grouped(direction)) for direction in Direction}

    @cached_property
    def _senders(self) -> dict[int, _Group]:
        """The group of every source, by the number of its identity."""
        return {number: group for group in self._groups[Direction.EGRESS] for number in members(group.members)}

    def _grouped(self, direction: Direction) -> Iterator[_Group]:
        """All ends by what a direction's rules allow them; those that no policy judges come first."""
        side = self._relation.sides[direction]
        everything = (Row(self._everything, self._relation.space.every),)
        yield _Group(self._everything & ~side.isolated, everything)
        profiles: dict[int, Profile] = {id(profile): profile for profile in side.profiles.values()}
        for profile in profiles.values():
            yield _Group(profile.members, profile.rows)

    # Single flows

    def _least(self, boxes: Sequence[Box]) -> Example | None:
        """The least flow of some boxes: by its source, then its destination, then its port."""
        sources = 0
        for box in boxes:
            sources |= box.subjects
        for src in self._places:
            if not sources >> src.number & 1:
                continue
            own = [box for box in boxes if box.subjects >> src.number & 1]
            if flow := self._least_from(src, own):
                return Example(flow=flow)
        return None

    def _least_from(self, src: _Place, boxes: Sequence[Box]) -> Flow | None:
        peers = 0
        for box in boxes:
            peers |= box.peers
        peers &= self._relation.companions(src.number)
        for dst in self._places if peers else ():
            if peers >> dst.number & 1 and self._judged(src.end, dst.end):
                bits = 0
                for box in boxes:
                    bits |= box.ports if box.peers >> dst.number & 1 else 0
                protocol, port = self._relation.space.first(bits)
                return Flow(src=src.end, dst=_twin(src.end, dst.end), protocol=protocol, port=port)
        return None

    def _judged(self, src: Endpoint, dst: Endpoint) -> bool:
        """Whether policies judge the flows between two ends."""
        relation = self._relation
        return (_is_pod(src) or _is_pod(dst)) and not (
            relation.exempt(Direction.EGRESS, src, dst) or relation.exempt(Direction.INGRESS, src, dst)
        )

    @cached_property
    def _places(self) -> tuple[_Place, ...]:
        """All ends in the order of examples: pods by name, pods on their node's network, the world, nodes.

        One address stands for all that are alike.
        """
        return tuple(_ordered(self._relation))

    def _open(self, side: Side, direction: Direction) -> Example | None:
        """A flow of the first pod of a side that no policy isolates in a direction."""
        relation = self._relation
        bits = self._bits(together(side)) & relation.pods & ~relation.sides[direction].isolated
        pod = next((place for place in self._places if bits >> place.number & 1), None)
        if pod is None:
            return None
        peers = relation.companions(pod.number) & relation.plain
        others = (place for place in self._places if peers >> place.number & 1)
        src, dst = pod.end, next(others).end
        if direction is Direction.INGRESS:
            src, dst = dst, src
        protocol, port = relation.space.first(relation.space.bits(EVERY_PORT))
        return Example(flow=Flow(src=src, dst=dst, protocol=protocol, port=port))


def _passing(box: Box, group: _Group, targets: Sequence[_Group], effort: Effort) -> Iterator[Box]:
    """The flows of a box from a group of sources to `targets`, which are its destinations, that both ends allow."""
    sources = box.subjects & group.members
    for peers, ports in group.rows if sources else ():
        if not peers & box.peers or not ports & box.ports:
            continue
        effort.spend(len(targets))
        for some, back in targets:
            for row in back:
                piece = Box(sources & row.peers, some & peers, ports & box.ports & row.ports)
                if not piece.empty:
                    yield piece


def _meet(one: Box, other: Box) -> Box:
    return Box(one.subjects & other.subjects, one.peers & other.peers, one.ports & other.ports)


def _is_pod(end: Endpoint) -> bool:
    return end.pod is not None and not end.pod.host_network


def _twin(src: Endpoint, dst: Endpoint) -> Endpoint:
    """The destination; of a template that sends to itself, another one of its pods."""
    if src.pod is None or dst.pod is None or src.pod.key != dst.pod.key or not src.pod.template:
        return dst
    return replace(dst, pod=replace(dst.pod, name=f"{dst.pod.name}-other"))


def _ordered(relation: Relation) -> Iterable[_Place]:
    pods = sorted((pod for pod in relation.program.cluster.pods if not pod.host_network), key=lambda pod: pod.key)
    for pod in pods:
        for address, number in relation.identities.of_pod(pod):
            yield _Place(Endpoint(pod=pod, address=address), number)
    numbered = list(enumerate(relation.order))
    hosts = (
        _Place(Endpoint(pod=pod, address=address), number)
        for number, identity in numbered
        if isinstance(identity, HostIdentity)
        for pod, address in identity.members
    )
    yield from sorted(hosts, key=lambda place: (place.end.pod.key if place.end.pod else ("", ""), place.number))
    for bits in (relation.plain, relation.nodes):
        for number in members(bits):
            identity = relation.order[number]
            assert isinstance(identity, OutsideIdentity)
            yield _Place(Endpoint(address=identity.representative), number)
