"""The space of possible flows, as axes, and what policies say of it, as boxes over them (`covers.Box`).

A rule is a union of boxes, exactly: a selector is a conjunction of conditions on single keys, an ipBlock a set of
addresses that no other block cuts, a port item a set of ports, or with a port's name the condition that the destination
declares the flow's port under it.  Seen from a rule, the *near* end is its subject and the *far* end its peer.  Every
end has an axis that says where it is (an address that is no pod's, a pod without an address, a pod at an address), one
of the name of its namespace, and one for each label key; a flow has one of its protocol and port, and one for each
port name.

Every point of the space is a flow that could exist, but for what ties its ends together (`assume.possible`): that their
addresses are of one family, and that one namespace has one set of labels.  A question about policies of one end can
leave that out, since it says nothing of the near end's address and namespace labels, which can follow the far end's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from npcompile.ir.policy import Direction, Match, NamedPort, Policy, PortItem, PortRange
from npcompile.netset import cidrs, ports
from npcompile.netset.intervals import IntervalSet, union
from npcompile.netset.ports import Protocol
from npcompile.questions import RuleOf
from npcompile.symbolic.boxes import Boxes, LabelBox, Places, PodBox, port_box, void
from npcompile.symbolic.covers import Box, absorbed, intersection
from npcompile.symbolic.vocabulary import Vocabulary

DNS = 53


class Space:
    """The axes of a vocabulary, and the boxes of policies and rules."""

    def __init__(self, vocabulary: Vocabulary, boxes: Boxes, policies: Iterable[Policy]) -> None:
        self._vocabulary = vocabulary
        self._boxes = boxes
        self._namespace_keys = tuple(vocabulary.namespace_labels.domains)
        self._pod_keys = tuple(vocabulary.pod_labels.domains)
        self._end = 2 + len(self._namespace_keys) + len(self._pod_keys)
        self.port = 2 * self._end
        self.declares = {name: self.port + 1 + number for number, name in enumerate(vocabulary.port_names)}
        self.port_cuts = _port_cuts(policies)
        # Of each interval of addresses first that an end is one of them, then that it is a pod at one of them; so a
        # block is one run of values.
        self.no_address = 1 << 2 * len(vocabulary.cuts)
        self.bare = self._address_bits(cidrs.EVERY_ADDRESS) & (self.no_address - 1) // 3
        self.pods = self.bare << 1 | self.no_address
        domains = (vocabulary.namespace_labels.domains, vocabulary.pod_labels.domains)
        keys = [(1 << domain.other + 1) - 1 for domain in chain(*(one.values() for one in domains))]
        end = [self.bare | self.pods, _bits(vocabulary.possible), *keys]
        every_port = self._port_bits(ports.EVERY_PORT)
        self.universe = (*end, *end, every_port, *(0b11 for _ in self.declares))
        self._subjects: dict[tuple[str, str], Box | None] = {}
        self._rules: dict[tuple[str, str, str, int], tuple[Match, tuple[Box, ...]]] = {}

    # Axes

    def where(self, *, far: bool) -> int:
        """The axis of where an end is: `bare`, or in `pods`."""
        return self._end if far else 0

    def name(self, *, far: bool) -> int:
        """The axis of the name of an end's namespace."""
        return self.where(far=far) + 1

    def namespace_labels(self, *, far: bool) -> range:
        """The axes of the labels of an end's namespace, by key."""
        first = self.name(far=far) + 1
        return range(first, first + len(self._namespace_keys))

    def labels(self, *, far: bool) -> range:
        """The axes of an end's labels, by key."""
        first = self.namespace_labels(far=far).stop
        return range(first, first + len(self._pod_keys))

    # Boxes

    def subject(self, policy: Policy) -> Box | None:
        """The subjects of a policy, as near end; None where there can be none."""
        if policy.key not in self._subjects:
            labels = self._boxes.subjects(policy)
            own = {self.where(far=False): self.pods, self.name(far=False): 1 << self._index(policy.namespace)}
            self._subjects[policy.key] = None if void(labels) else own | self._label_bits(labels, far=False)
        return self._subjects[policy.key]

    def rule(self, of: RuleOf) -> tuple[Box, ...]:
        """What a rule matches, for the subjects of its policy."""
        match, boxes = self._rules.get(of.order, (None, ()))
        if match is not of.rule.match:  # some questions are about a part of a rule
            boxes = self.match(of.policy, of.rule.direction, of.rule.match)
            self._rules[of.order] = (of.rule.match, boxes)
        return boxes

    def match(self, policy: Policy, direction: Direction, match: Match) -> tuple[Box, ...]:
        """What a rule of a policy with this match would match, for its subjects."""
        subject = self.subject(policy)
        if subject is None:
            return ()
        found = self.join((subject,), self.peers(policy, match), self.ports(direction, match.ports))
        return self.absorbed(found)

    def peers(self, policy: Policy, match: Match) -> list[Box]:
        """The far ends that the peers of a rule match; everything without any."""
        if not match.peers:
            return [{}]
        blocks: list[IntervalSet] = []
        found: list[Box] = []
        for peer in match.peers:
            box = self._boxes.peer(policy, peer)
            if isinstance(box, IntervalSet):
                blocks.append(box)
            else:
                found += self._pod_boxes(box)
        if addresses := union(blocks):
            found.append(self._normal({self.where(far=True): self._address_bits(addresses)}))
        return found

    def ports(self, direction: Direction, items: Iterable[PortItem]) -> list[Box]:
        """The ports that items match; everything without any.  Only a pod declares a name."""
        listed = tuple(items)
        if not listed:
            return [{}]
        found: list[Box] = []
        numbers = union(port_box(item) for item in listed if isinstance(item, PortRange))
        if numbers:
            found.append(self._normal({self.port: self._port_bits(numbers)}))
        for item in listed:
            if isinstance(item, NamedPort):
                carried = self._port_bits(ports.all_ports(item.protocol))
                far = direction is Direction.EGRESS
                declared = {
                    self.where(far=far): self.pods,
                    self.port: carried,
                    self.declares[item.name, item.protocol]: 0b10,
                }
                found.append(self._normal(declared))
        return found

    def asked(self, protocol: Protocol) -> Box:
        """Port 53 over a protocol."""
        point = ports.point(protocol, DNS)
        return {self.port: self._port_bits(IntervalSet.of(point, point))}

    def transposed(self, box: Box) -> Box:
        """A box as the other end's rules see it."""
        end = self._end
        return {
            axis + end if axis < end else axis - end if axis < self.port else axis: values
            for axis, values in box.items()
        }

    def join(self, *unions: Iterable[Box]) -> list[Box]:
        """The intersection of unions of boxes."""
        found: list[Box] = [{}]
        for boxes in unions:
            listed = list(boxes)
            found = [both for one in found for other in listed if (both := intersection(one, other)) is not None]
        return found

    def absorbed(self, boxes: Iterable[Box]) -> tuple[Box, ...]:
        """Without those that are part of another one; of equal ones the first is left."""
        return tuple(absorbed(boxes, self.universe))

    def _pod_boxes(self, box: PodBox) -> Iterable[Box]:
        if void(box.labels):
            return
        labels = self._label_bits(box.labels, far=True) | {self.where(far=True): self.pods}
        for places in self._place_boxes(box.places):
            yield self._normal(labels | places)

    def _place_boxes(self, places: Places) -> Iterable[dict[int, int]]:
        name = self.name(far=True)
        if places.labels:
            if places.listed:
                yield {name: _bits(places.listed)}
            if places.unlisted and not void(places.labels):
                yield {name: _bits(places.unlisted)} | self._place_label_bits(places.labels)
        elif places.names:
            yield {name: _bits(places.names)}

    def _label_bits(self, labels: LabelBox, *, far: bool) -> dict[int, int]:
        axes = dict(zip(self._pod_keys, self.labels(far=far), strict=True))
        return dict(self._normal({axes[key]: _bits(allowed) for key, allowed in labels.items()}))

    def _place_label_bits(self, labels: LabelBox) -> dict[int, int]:
        axes = dict(zip(self._namespace_keys, self.namespace_labels(far=True), strict=True))
        return {axes[key]: _bits(allowed) for key, allowed in labels.items()}

    def _index(self, namespace: str) -> int:
        return self._vocabulary.names.index(namespace)

    def _normal(self, box: Mapping[int, int]) -> Box:
        return {axis: values for axis, values in box.items() if values != self.universe[axis]}

    def at(self, cell: int) -> int:
        """Where an end is at an address of an interval, be it a pod's or not."""
        return 0b11 << 2 * cell

    def _address_bits(self, addresses: IntervalSet) -> int:
        return _between(2 * bisect_left(self._vocabulary.cuts, bound) for bound in addresses.bounds)

    def _port_bits(self, members: IntervalSet) -> int:
        return _between(bisect_left(self.port_cuts, bound) for bound in members.bounds)


def _between(bounds: Iterator[int]) -> int:
    """The numbers from each first bound to before the second one of a pair."""
    return sum((1 << after) - (1 << first) for first, after in zip(bounds, bounds, strict=True))


def _bits(indices: Iterable[int]) -> int:
    return sum(1 << index for index in indices)


def _port_cuts(policies: Iterable[Policy]) -> tuple[int, ...]:
    """Where port items begin and end, on the axis of `ports`."""
    items = (item for policy in policies for rule in policy.rules for item in rule.match.ports)
    asked = (IntervalSet.of(one, one) for one in (ports.point(p, DNS) for p in (Protocol.UDP, Protocol.TCP)))
    sets = chain((ports.all_ports(protocol) for protocol in Protocol), asked, map(port_box, items))
    return tuple(sorted({bound for one in sets for bound in one.bounds}))
