"""Rules as boxes: sets of label values, of namespaces, of addresses and of ports.

A selector is a conjunction of conditions on single keys, so its box is exact.  A rule's box is exact but for its ports,
where a named port counts as every port of its protocol.  Boxes say cheaply which rules can meet, so that z3 is only
asked about those; and the encoding makes its terms from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from npcompile.ir.cluster import Cluster, Pod
from npcompile.ir.labels import NAMESPACE_NAME, Requirement, Selector
from npcompile.ir.policy import BlockPeer, Match, PodPeer, Policy, PortItem, PortRange
from npcompile.netset import cidrs, ports
from npcompile.netset.intervals import EMPTY, IntervalSet, union
from npcompile.questions import RuleOf
from npcompile.symbolic.vocabulary import ABSENT, Layout, Vocabulary

LabelBox = Mapping[str, frozenset[int]]  # the indices allowed for each key that is restricted


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Namespaces: some of the listed ones, and those unlisted ones of `unlisted` whose labels are in `labels`."""

    listed: frozenset[int]
    unlisted: frozenset[int]
    labels: LabelBox

    @property
    def names(self) -> frozenset[int]:
        """The indices of every name that a namespace of these may have."""
        return self.listed | self.unlisted


@dataclass(frozen=True, slots=True, kw_only=True)
class PodBox:
    """The pods of `places` whose labels are in `labels`."""

    places: Places
    labels: LabelBox


PeerBox = PodBox | IntervalSet


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleBox:
    """A rule of a policy: its subjects' labels, its peers (None: any endpoint) and its ports."""

    subjects: LabelBox
    peers: tuple[PeerBox, ...] | None
    ports: IntervalSet


class Boxes:
    """The boxes of a program's rules and peers."""

    def __init__(self, vocabulary: Vocabulary, cluster: Cluster) -> None:
        self._vocabulary = vocabulary
        self._listed = {
            vocabulary.names.index(name): vocabulary.namespace_labels.unpack(
                vocabulary.namespace_labels.pack(namespace.labels)
            )
            for name, namespace in cluster.namespaces.items()
            if namespace.listed
        }
        self._places: dict[Selector, Places] = {}
        self._subjects: dict[tuple[str, str], PodBox] = {}
        self._rules: dict[tuple[str, str, str, int], tuple[Match, RuleBox]] = {}

    def subjects(self, policy: Policy) -> LabelBox:
        """The labels of a policy's subjects."""
        return self._subject_box(policy).labels

    def rule(self, of: RuleOf) -> RuleBox:
        """The box of a rule."""
        match, box = self._rules.get(of.order, (None, None))
        if box is None or match is not of.rule.match:  # some questions are about a part of a rule
            box = self.match(of.policy, of.rule.match)
            self._rules[of.order] = (of.rule.match, box)
        return box

    def match(self, policy: Policy, match: Match) -> RuleBox:
        """The box of a rule of a policy that would match this."""
        return RuleBox(
            subjects=self.subjects(policy),
            peers=tuple(self.peer(policy, peer) for peer in match.peers) or None,
            ports=union(map(port_box, match.ports)) if match.ports else ports.EVERY_PORT,
        )

    def peer(self, policy: Policy, peer: PodPeer | BlockPeer) -> PeerBox:
        """The box of one peer of a policy's rule."""
        if isinstance(peer, BlockPeer):
            return cidrs.block_except(peer.cidr, peer.excepts)
        places = self._own(policy) if peer.namespaces is None else self._selected(peer.namespaces)
        return PodBox(places=places, labels=label_box(peer.pods.requirements, self._vocabulary.pod_labels))

    def names(self, of: RuleOf) -> frozenset[int]:
        """The names that the namespace of a pod that is a peer of a rule may have."""
        box = self.rule(of)
        if box.peers is None or any(isinstance(peer, IntervalSet) and peer for peer in box.peers):
            return self._vocabulary.possible
        pods = (peer for peer in box.peers if isinstance(peer, PodBox) and not void(peer.labels))
        return frozenset[int]().union(*(peer.places.names for peer in pods))

    def may_be_subject(self, of: RuleOf, policy: Policy) -> bool:
        """Whether a subject of a policy may be a peer of a rule."""
        return _peer_among(self._subject_box(policy), self.rule(of).peers)

    def may_meet_across(self, of: RuleOf, far: RuleOf) -> bool:
        """Whether a flow between pods may be matched by two rules of different directions, each at its own end."""
        return (
            not self.rule(of).ports.isdisjoint(self.rule(far).ports)
            and self.may_be_subject(of, far.policy)
            and self.may_be_subject(far, of.policy)
        )

    def selects(self, policy: Policy, pod: Pod) -> bool:
        """Whether a pod is a subject of a policy."""
        return (
            not pod.host_network
            and pod.namespace == policy.namespace
            and _inside(self._vocabulary.pod_labels, self.subjects(policy), pod)
        )

    def may_be_peer(self, of: RuleOf, pod: Pod) -> bool:
        """Whether a pod could be a peer of a rule, whatever an unlisted namespace's labels are."""
        peers = self.rule(of).peers
        if pod.host_network:
            return False
        if peers is None:
            return True
        name = self._vocabulary.names.index(pod.namespace)
        for peer in peers:
            if isinstance(peer, IntervalSet):
                if any(cidrs.point(address) in peer for address in pod.addresses):
                    return True
            elif name in peer.places.names and _inside(self._vocabulary.pod_labels, peer.labels, pod):
                return True
        return False

    def _subject_box(self, policy: Policy) -> PodBox:
        if policy.key not in self._subjects:
            labels = label_box(policy.subjects.requirements, self._vocabulary.pod_labels)
            self._subjects[policy.key] = PodBox(places=self._own(policy), labels=labels)
        return self._subjects[policy.key]

    def _own(self, policy: Policy) -> Places:
        own = frozenset({self._vocabulary.names.index(policy.namespace)})
        listed = own & self._vocabulary.listed
        return Places(listed=listed, unlisted=own - listed, labels={})

    def _selected(self, selector: Selector) -> Places:
        if selector not in self._places:
            self._places[selector] = self._find_places(selector)
        return self._places[selector]

    def _find_places(self, selector: Selector) -> Places:
        vocabulary = self._vocabulary
        named = [one for one in selector.requirements if one.key == NAMESPACE_NAME]
        labels = label_box(
            (one for one in selector.requirements if one.key != NAMESPACE_NAME), vocabulary.namespace_labels
        )
        names = vocabulary.possible.intersection(*map(vocabulary.names.admitted, named))
        listed = frozenset(
            index
            for index in names & vocabulary.listed
            if all(self._listed[index].get(key, ABSENT) in allowed for key, allowed in labels.items())
        )
        unlisted = frozenset() if void(labels) else names - vocabulary.listed
        return Places(listed=listed, unlisted=unlisted, labels=labels if unlisted else {})


def label_box(requirements: Iterable[Requirement], layout: Layout) -> LabelBox:
    """The box of a conjunction of requirements."""
    box: dict[str, frozenset[int]] = {}
    for requirement in requirements:
        admitted = layout.domains[requirement.key].admitted(requirement)
        box[requirement.key] = box.get(requirement.key, admitted) & admitted
    return box


def port_box(item: PortItem) -> IntervalSet:
    """The ports that an item may match; a name may stand for any number."""
    if isinstance(item, PortRange):
        return ports.port_range(item.protocol, item.first, item.last)
    return ports.all_ports(item.protocol)


def void(box: LabelBox) -> bool:
    """Whether no labels are in the box."""
    return not all(box.values())


def meet(one: RuleBox, other: RuleBox) -> bool:
    """Whether two rules of one direction, whose policies are in one namespace, may match a common flow."""
    return (
        not one.ports.isdisjoint(other.ports)
        and labels_meet(one.subjects, other.subjects)
        and (one.peers is None or any(_peer_among(peer, other.peers) for peer in one.peers))
    )


def may_cover(one: RuleBox, others: Iterable[RuleBox]) -> bool:
    """Whether others may match all that a rule matches.  False is certain, if the rule matches anything."""
    boxes = tuple(others)
    return one.ports <= union(box.ports for box in boxes) and bare(one) <= union(map(bare, boxes))


def bare(box: RuleBox) -> IntervalSet:
    """The addresses that a rule allows without their being a pod's."""
    if box.peers is None:
        return cidrs.EVERY_ADDRESS
    return union(peer for peer in box.peers if isinstance(peer, IntervalSet))


def labels_meet(one: LabelBox, other: LabelBox) -> bool:
    """Whether some labels are in both boxes."""
    return not void(one) and not void(other) and all(one[key] & other[key] for key in one.keys() & other.keys())


def _places_meet(one: Places, other: Places) -> bool:
    if one.listed & other.listed:
        return True
    return bool(one.unlisted & other.unlisted) and labels_meet(one.labels, other.labels)


def _peer_among(peer: PeerBox, peers: tuple[PeerBox, ...] | None) -> bool:
    return peers is None or any(_peers_meet(peer, one) for one in peers)


def _peers_meet(one: PeerBox, other: PeerBox) -> bool:
    match one, other:
        case PodBox(), PodBox():
            return labels_meet(one.labels, other.labels) and _places_meet(one.places, other.places)
        case IntervalSet(), IntervalSet():
            return not one.isdisjoint(other)
        case (PodBox() as pods, IntervalSet() as block) | (IntervalSet() as block, PodBox() as pods):
            return block != EMPTY and not void(pods.labels)  # a pod may have any address
        case _:
            return True


def _inside(layout: Layout, box: LabelBox, pod: Pod) -> bool:
    return all(layout.domains[key].index(pod.labels.get(key)) in allowed for key, allowed in box.items())
