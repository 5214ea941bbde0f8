"""IR to z3: the one place where terms are built.  Section 4 of the design, over the variables of `ends`.

Only booleans and bit-vectors (QF_FD).  Terms are cached, as most questions speak of the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import assert_never

import z3

from npcompile.ir.labels import Labels
from npcompile.ir.policy import BlockPeer, Direction, NamedPort, Peer, Policy, PortItem, PortRange
from npcompile.netset import cidrs, ports
from npcompile.netset.cidrs import Address, Family, Network, family_of
from npcompile.netset.intervals import IntervalSet, union
from npcompile.netset.ports import EVERY_PORT, Protocol, all_ports, at
from npcompile.questions import RuleOf
from npcompile.symbolic.boxes import Boxes, LabelBox, Places, PodBox
from npcompile.symbolic.ends import PROTOCOLS, End, FlowTerms
from npcompile.symbolic.vocabulary import Domain, Layout, Vocabulary


class Encoding:
    """The meaning of a program's policies for one flow, free or fixed."""

    def __init__(self, vocabulary: Vocabulary, boxes: Boxes, flow: FlowTerms, ctx: z3.Context) -> None:
        self.flow = flow
        self._vocabulary = vocabulary
        self._boxes = boxes
        self._ctx = ctx
        self._selects: dict[tuple[str, str, bool], z3.BoolRef] = {}
        self._at: dict[tuple[Address, bool], z3.BoolRef] = {}
        self._explicit: dict[tuple[str, str, str, int], z3.BoolRef] = {}

    # The two ends

    def subject(self, direction: Direction) -> End:
        """The end that a policy of a direction selects."""
        return self.flow.dst if direction is Direction.INGRESS else self.flow.src

    def peer(self, direction: Direction) -> End:
        """The end that a rule of a direction matches."""
        return self.flow.src if direction is Direction.INGRESS else self.flow.dst

    # Connectives, which z3's own do not offer for empty lists

    def constant(self, value: bool) -> z3.BoolRef:
        """True or False."""
        return z3.BoolVal(val=value, ctx=self._ctx)

    def every(self, terms: Iterable[z3.BoolRef]) -> z3.BoolRef:
        """The conjunction of terms."""
        listed = list(terms)
        return self._joined(z3.Z3_mk_and, listed) if listed else self.constant(True)

    def some(self, terms: Iterable[z3.BoolRef]) -> z3.BoolRef:
        """The disjunction of terms."""
        listed = list(terms)
        return self._joined(z3.Z3_mk_or, listed) if listed else self.constant(False)

    def _joined(self, connective: Callable[..., z3.Ast], terms: Sequence[z3.BoolRef]) -> z3.BoolRef:
        """What `z3.And` and `z3.Or` make, which spend most of their time on finding out of what kind the terms are."""
        if len(terms) == 1:
            return terms[0]
        array = (z3.Ast * len(terms))(*(term.as_ast() for term in terms))
        return z3.BoolRef(connective(self._ctx.ref(), len(terms), array), self._ctx)

    # Sides

    def allowed(
        self, direction: Direction, policies: Sequence[Policy], rules: Iterable[RuleOf] | None = None
    ) -> z3.BoolRef:
        """Whether one side of the flow allows it: A_D.

        `policies` are all that may select its subject, `rules` all that may match it (by default, all of theirs).
        """
        subject = self.subject(direction)
        exempt = [z3.Not(subject.is_pod), self.flow.same_pod]
        if direction is Direction.INGRESS:
            exempt.append(self.flow.own_node)
        if rules is None:
            rules = (RuleOf(policy=policy, rule=rule) for policy in policies for rule in policy.rules_of(direction))
        return self.some([*exempt, z3.Not(self.isolated(direction, policies)), *map(self.explicit, rules)])

    def isolated(self, direction: Direction, policies: Iterable[Policy]) -> z3.BoolRef:
        """Whether some policy isolates the subject of the flow in a direction: iso_D."""
        subject = self.subject(direction)
        return self.some(self.selects(policy, subject) for policy in policies if direction in policy.directions)

    def explicit(self, of: RuleOf) -> z3.BoolRef:
        """Whether a rule allows the flow, explicitly: T_p and M_r."""
        if of.order not in self._explicit:
            self._explicit[of.order] = self.every(
                (self.selects(of.policy, self.subject(of.rule.direction)), self.matches(of))
            )
        return self._explicit[of.order]

    # Policies and rules

    def selects(self, policy: Policy, end: End) -> z3.BoolRef:
        """Whether a policy selects an end: T_p."""
        key = (*policy.key, end is self.flow.src)
        if key not in self._selects:
            self._selects[key] = self.every(
                (end.is_pod, self.inhabits(end, policy.namespace), *self._labels(end, self._boxes.subjects(policy)))
            )
        return self._selects[key]

    def carries(self, end: End, namespace: str, labels: Labels) -> z3.BoolRef:
        """Whether an end is a pod of a namespace that carries some labels, as far as policies tell values apart."""
        domains = self._vocabulary.pod_labels.domains
        box = {key: frozenset({domains[key].index(labels[key])}) for key in domains.keys() & labels.keys()}
        return self.every((end.is_pod, self.inhabits(end, namespace), *self._labels(end, box)))

    def matches(self, of: RuleOf) -> z3.BoolRef:
        """Whether a rule's peers and ports match the flow: M_r."""
        return self.every((self.peers(of), self.ports(of.rule.match.ports)))

    def peers(self, of: RuleOf) -> z3.BoolRef:
        """Whether a rule's peers match the flow; without peers they match every end."""
        end, peers = self.peer(of.rule.direction), of.rule.match.peers
        return self.some(self.one_peer(of.policy, peer, end) for peer in peers) if peers else self.constant(True)

    def ports(self, items: Sequence[PortItem]) -> z3.BoolRef:
        """Whether a rule's ports match the flow; without ports they match everything, port-less protocols too."""
        return self.some(map(self.one_port, items)) if items else self.constant(True)

    def one_peer(self, policy: Policy, peer: Peer, end: End) -> z3.BoolRef:
        """Whether one peer matches an end."""
        if isinstance(peer, BlockPeer):
            outside = (z3.Not(self._within(end, network)) for network in peer.excepts)
            return self.every((end.has_address, self._within(end, peer.cidr), *outside))
        box = self._boxes.peer(policy, peer)
        assert isinstance(box, PodBox)
        return self.every((end.is_pod, self._in_places(end, box.places), *self._labels(end, box.labels)))

    def one_port(self, item: PortItem) -> z3.BoolRef:
        """Whether one port item matches the flow; a name by what the destination pod declares."""
        flow, carried = self.flow, self.carried_by(item.protocol)
        match item:
            case NamedPort():
                return self.every((carried, flow.dst.is_pod, flow.declares[item.name, item.protocol]))
            case PortRange(first=ports.FIRST_PORT, last=ports.LAST_PORT):
                return carried
            case PortRange():
                return self.every((carried, _between(flow.port, item.first, item.last)))
            case _:
                assert_never(item)

    # Sets, as `Boxes` and `netset` have them

    def on(self, ports: IntervalSet) -> z3.BoolRef:
        """Whether the flow's protocol and port are among these."""
        return self.constant(True) if ports == EVERY_PORT else self.some(self._port_spans(ports))

    def addressed(self, end: End, addresses: IntervalSet) -> z3.BoolRef:
        """Whether the end has one of these addresses."""
        return self.every((end.has_address, self.some(self._address_spans(end, addresses))))

    def labelled(self, end: End, box: LabelBox) -> z3.BoolRef:
        """Whether the end's labels are in a box."""
        return self.every(self._labels(end, box))

    def in_labelled(self, end: End, box: LabelBox) -> z3.BoolRef:
        """Whether the labels of the end's namespace are in a box, if it is one that may have any."""
        return self.every(self._packed(end.namespace_labels, box, self._vocabulary.namespace_labels))

    def _port_spans(self, ports: IntervalSet) -> Iterator[z3.BoolRef]:
        for protocol in Protocol:
            for first, last in ports & all_ports(protocol):
                low, high = at(first)[1], at(last)[1]
                if low is None or high is None:
                    yield self.carried_by(protocol)
                else:
                    yield self.one_port(PortRange(protocol=protocol, first=low, last=high))

    def _address_spans(self, end: End, addresses: IntervalSet) -> Iterator[z3.BoolRef]:
        for family, is_family, value in (
            (Family.V4, z3.Not(end.is_v6), end.v4),
            (Family.V6, end.is_v6, end.v6),
        ):
            for first, last in addresses & cidrs.every_address(family):
                yield self.every((is_family, _between(value, int(cidrs.at(first)), int(cidrs.at(last)))))

    # Leaves

    def carried_by(self, protocol: Protocol) -> z3.BoolRef:
        """Whether the flow is one of this protocol."""
        return self.flow.protocol == PROTOCOLS[protocol]

    def inhabits(self, end: End, namespace: str) -> z3.BoolRef:
        """Whether the end's namespace is the one of this name."""
        return end.namespace == self._vocabulary.names.index(namespace)

    def in_names(self, end: End, names: frozenset[int]) -> z3.BoolRef:
        """Whether the name of the end's namespace has one of these indices."""
        return self._member(end.namespace, names, self._vocabulary.names)

    def at(self, end: End, address: Address) -> z3.BoolRef:
        """Whether the end has this address."""
        key = (address, end is self.flow.src)
        if key not in self._at:
            v6 = family_of(address) is Family.V6
            value = end.v6 == int(address) if v6 else end.v4 == int(address)
            self._at[key] = self.every((end.has_address, end.is_v6 if v6 else z3.Not(end.is_v6), value))
        return self._at[key]

    def _within(self, end: End, network: Network) -> z3.BoolRef:
        v6 = family_of(network) is Family.V6
        family, value = (end.is_v6, end.v6) if v6 else (z3.Not(end.is_v6), end.v4)
        if network.prefixlen == 0:
            return family
        host_bits = network.max_prefixlen - network.prefixlen
        prefix = z3.Extract(network.max_prefixlen - 1, host_bits, value)
        return self.every((family, prefix == int(network.network_address) >> host_bits))

    def _in_places(self, end: End, places: Places) -> z3.BoolRef:
        unlisted = self._packed(end.namespace_labels, places.labels, self._vocabulary.namespace_labels)
        if not unlisted:
            return self.in_names(end, places.names)
        return self.some(
            (self.in_names(end, places.listed), self.every((self.in_names(end, places.unlisted), *unlisted)))
        )

    def _labels(self, end: End, box: LabelBox) -> list[z3.BoolRef]:
        return self._packed(end.labels, box, self._vocabulary.pod_labels)

    def _packed(self, packed: z3.BitVecRef, box: LabelBox, layout: Layout) -> list[z3.BoolRef]:
        terms = []
        for key, allowed in sorted(box.items()):
            domain, low = layout.domains[key], layout.offsets[key]
            terms.append(self._member(z3.Extract(low + domain.bits - 1, low, packed), allowed, domain))
        return terms

    def _member(self, index: z3.BitVecRef, allowed: frozenset[int], domain: Domain) -> z3.BoolRef:
        """Whether an index is allowed; a pattern above `domain.other` counts as `other`."""
        top = (1 << domain.bits) - 1
        runs = union(IntervalSet.of(one, top if one == domain.other else one) for one in allowed)
        return self.some(_between(index, first, last) for first, last in runs)


def _between(value: z3.BitVecRef, first: int, last: int) -> z3.BoolRef:
    ctx, top = value.ctx, (1 << value.size()) - 1
    if first == last:
        return value == first
    lower = [z3.UGE(value, first)] if first > 0 else []
    upper = [z3.ULE(value, last)] if last < top else []
    bounds = [*lower, *upper]
    return z3.And(*bounds, ctx) if len(bounds) == 2 else bounds[0] if bounds else z3.BoolVal(val=True, ctx=ctx)
