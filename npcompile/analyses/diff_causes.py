"""Why the flows of a box pass in one version and not in the other, and the flow that shows it.

Only comparable flows count: what a rule does with a pod's flows to itself, say, is no cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import NamedTuple

from npcompile.analyses.deciders import Deciders, Flows
from npcompile.analyses.diff_ends import Ends, Kind, rank
from npcompile.diagnostics.errors import InternalError
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import Direction, Policy
from npcompile.ir.versions import Both, Version
from npcompile.netset.cidrs import Family
from npcompile.questions import Blocker, Passing
from npcompile.relation.bits import lowest, members, set_of
from npcompile.relation.boxes import Box
from npcompile.relation.sides import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprise:
    """A closed flow of which one end is newly isolated in `direction`, while the other end's rules still allow it."""

    direction: Direction
    witness: Both[Flow]


class _Product(NamedTuple):
    """Sources and destinations each two of which have a comparable flow."""

    sources: int
    targets: int


class Causes:
    """Answers about one comparison."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._deciders = Both(*(Deciders(relation) for relation in ends.relations))
        self._order = sorted(
            ((place, end) for place, one in enumerate(ends.classes) for end in one.ends),
            key=lambda one: rank(ends.classes[one[0]].kind, one[1]),
        )
        self._own_nodes: dict[int, Both[int]] = {}  # the destinations whose own node a source is in one version only
        for source, target, version in ends.moved:
            own = list(self._own_nodes.get(source, (0, 0)))
            own[version] |= 1 << target
            self._own_nodes[source] = Both(*own)

    def passing(self, version: Version, box: Box) -> Passing:
        """Why the flows of a box pass in a version."""
        flows, own_node = [], False
        for product in self._products(box, version):
            flows.append(
                Flows(
                    self._ends.identities_of(version, product.sources),
                    self._ends.identities_of(version, product.targets),
                    box.ports,
                )
            )
        for source in members(box.subjects):
            own_node = own_node or bool(self._own(source, version) & box.peers & self._ends.companions[source])
        rules, not_isolated = self._deciders[version].of(flows)
        return Passing(rules=rules, not_isolated=not_isolated, own_node=own_node)

    def _own(self, source: int, version: Version) -> int:
        return self._own_nodes.get(source, (0, 0))[version]

    def _products(self, box: Box, version: Version | None = None) -> Iterator[_Product]:
        """The comparable pairs of a box, without those that pass in a version because of a node."""
        kinds: dict[tuple[Kind, frozenset[Family]], dict[int, int]] = {}  # within which sources miss few targets each
        for source in members(box.subjects):
            targets = box.peers & self._ends.companions[source]
            if version is not None:
                targets &= ~self._own(source, version)
            one = self._ends.classes[source]
            if targets:
                kinds.setdefault((one.kind, one.families), {})[source] = targets
        for rows in kinds.values():
            yield from _products_of(rows)

    def blockers(self, version: Version, box: Box) -> tuple[Blocker, ...]:
        """Which policies keep the flows of a box from passing in a version."""
        found: dict[tuple[Direction, tuple[str, str]], Policy] = {}
        for product in self._products(box):
            for direction in Direction:
                ends = (product.sources, product.targets)
                subjects, peers = ends if direction is Direction.EGRESS else ends[::-1]
                peers = self._ends.identities_of(version, peers)
                for profile in self._profiles(version, direction, subjects):
                    key = (direction, profile.policies[0].key)
                    if key not in found and _denies(profile, peers, box.ports):
                        found[key] = profile.policies[0]
        order = list(Direction)
        return tuple(
            Blocker(direction=direction, policy=policy)
            for (direction, _), policy in sorted(found.items(), key=lambda one: (order.index(one[0][0]), one[0][1]))
        )

    def _profiles(self, version: Version, direction: Direction, subjects: int) -> Iterator[Profile]:
        """The different profiles of those of some classes that are isolated."""
        side = self._ends.relations[version].sides[direction]
        left = self._ends.identities_of(version, subjects) & side.isolated
        while left:
            profile = side.profiles[lowest(left)]
            left &= ~profile.members
            yield profile

    def witness(self, box: Box) -> Both[Flow]:
        """The canonical flow of a box: the first source that has one, its first destination, the lowest port.  Of two
        pods of one template only where there is no other.
        """
        alike = None
        for source, src in self._ranked(box.subjects):
            for target, dst in self._ranked(box.peers & self._ends.companions[source]):
                if source != target or not _same_pod(src, dst):
                    return self._flow(src, dst, box.ports)
                pod = src.new.pod
                if alike is None and pod is not None and pod.template:
                    alike = self._flow(src, dst, box.ports)
        if alike is not None:
            return alike
        raise InternalError("a difference without a flow")

    def _ranked(self, classes: int) -> Iterator[tuple[int, Both[Endpoint]]]:
        """The ends of some classes in the order of witnesses."""
        return (one for one in self._order if classes >> one[0] & 1)

    def _flow(self, src: Both[Endpoint], dst: Both[Endpoint], ports: int) -> Both[Flow]:
        protocol, port = self._ends.relations.old.space.first(ports)
        return Both(*(Flow(src=src[v], dst=dst[v], protocol=protocol, port=port) for v in Version))

    def surprise(self, box: Box) -> Surprise | None:
        """The first of a closed box' flows that an end, newly isolated, denies, and the other end explicitly allows."""
        isolated = [place for place in members(box.peers) if self._newly_isolated(Direction.INGRESS, place)]
        targets = set_of(isolated)
        for source in members(box.subjects):
            near = box.peers & self._ends.companions[source]
            for target in members(near if self._newly_isolated(Direction.EGRESS, source) else near & targets):
                for direction, subject, peer in (
                    (Direction.INGRESS, target, source),
                    (Direction.EGRESS, source, target),
                ):
                    ports = box.ports & self._denied_though_wanted(direction, subject, peer)
                    if ports:
                        cell = Box(1 << source, 1 << target, ports)
                        return Surprise(direction=direction, witness=self.witness(cell))
        return None

    def _newly_isolated(self, direction: Direction, place: int) -> bool:
        old, new = (relation.sides[direction].profiles for relation in self._ends.relations)
        subject = self._ends.classes[place]
        ordinary = all(end.pod is not None and not end.pod.host_network for end in subject.ends[0])
        return ordinary and subject.numbers.old not in old and subject.numbers.new in new

    def _denied_though_wanted(self, direction: Direction, subject: int, peer: int) -> int:
        """The ports that a newly isolated subject denies a peer, and that a rule of the peer's allows."""
        relation = self._ends.relations.new
        own, other = self._ends.classes[subject].numbers.new, self._ends.classes[peer].numbers.new
        far = relation.sides[Direction.EGRESS if direction is Direction.INGRESS else Direction.INGRESS]
        if other not in far.profiles or not self._newly_isolated(direction, subject):
            return 0
        return far.profiles[other].ports(1 << own) & ~relation.sides[direction].profiles[own].ports(1 << other)


def _products_of(rows: Mapping[int, int]) -> Iterator[_Product]:
    """Products that are together the pairs of some rows, which tell the targets of each source.

    Mostly each source misses itself, and few others do.  Two numbers differ in some bit; so the sources of which one
    bit of their row's number is alike, with all targets that these have in common, are most pairs in few products.
    """
    groups: dict[int, int] = {}
    for source, targets in rows.items():
        groups[targets] = groups.get(targets, 0) | 1 << source
    listed = list(groups)
    covered = [0] * len(listed)
    for bit in range((len(listed) - 1).bit_length()):
        for value in (0, 1):
            numbers = [number for number in range(len(listed)) if number >> bit & 1 == value]
            common = reduce(and_, (listed[number] for number in numbers))
            if common:
                yield _Product(reduce(or_, (groups[listed[number]] for number in numbers)), common)
            for number in numbers:
                covered[number] |= common
    rest: dict[int, int] = {}
    for targets, done in zip(listed, covered, strict=True):
        rest[targets & ~done] = rest.get(targets & ~done, 0) | groups[targets]
    for targets, sources in rest.items():
        if targets:
            yield _Product(sources, targets)


def _denies(profile: Profile, peers: int, ports: int) -> bool:
    """Whether a profile denies some of the peers some of the ports."""
    return any(ports & ~profile.ports(1 << peer) for peer in members(peers))


def _same_pod(src: Both[Endpoint], dst: Both[Endpoint]) -> bool:
    pod, other = src.new.pod, dst.new.pod
    return pod is not None and other is not None and pod.key == other.key
