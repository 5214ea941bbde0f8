"""The relation engine's questions answered by definition: over all pairs of endpoints and all classes of ports.

Nothing here is shared with the engine.  The endpoints are the pods at their addresses, and one address for every
combination of networks, pods and nodes that `tests.strategies` can put an address in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from itertools import pairwise

from npcompile import semantics
from npcompile.ir.cluster import Pod
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.policy import Direction, PodPeer, Policy, Rule
from npcompile.ir.program import Program
from npcompile.netset import ports
from npcompile.netset.cidrs import EVERY_ADDRESS, EVERY_V4, Address, at, block, point
from npcompile.netset.ports import Protocol
from npcompile.questions import (
    DnsBlocked,
    Example,
    HalfOpen,
    NotDecided,
    RuleOf,
    Shadowed,
    SplitPeer,
    Uncovered,
    Vacuous,
    WayIn,
)
from tests.strategies import BLOCKS, NODE_ADDRESSES, PORTS, paired

Pair = tuple[Endpoint, Endpoint]  # source, destination
Triple = tuple[int, int, int]  # source and destination as places in `endpoints`, point of the port

_GAPS = (2, 60, 100, 200, 1000, 9999)  # a port between any two neighbours of PORTS
_POINTS = frozenset(
    ports.point(protocol, port)
    for protocol in Protocol
    for port in ((*PORTS, *_GAPS) if protocol.has_ports else (None,))
)
_AT = {at_point: ports.at(at_point) for at_point in _POINTS}
_BLOCKS = tuple(block(network) for network in BLOCKS)
_EDGES = frozenset(  # beyond each edge more addresses than pods have: theirs lie side by side
    edge + step
    for addresses in (EVERY_ADDRESS, *_BLOCKS)
    for edge in addresses.bounds
    for step in range(12)
    if edge + step in EVERY_ADDRESS
)


def _outside(program: Program) -> list[Address]:
    """An address for every class, none of them a pod's: where something begins, and after where it ends."""
    taken = {point(address) for pod in program.cluster.pods for address in pod.addresses}
    nodes = {point(address): name for name, addresses in NODE_ADDRESSES.items() for address in addresses}
    classes: dict[object, int] = {}
    for edge in sorted({*_EDGES, *nodes} - taken):
        classes.setdefault((_inside(edge), nodes.get(edge)), edge)
    return [at(edge) for edge in classes.values()]


@cache
def _inside(edge: int) -> tuple[bool, ...]:
    return tuple(edge in addresses for addresses in (EVERY_V4, *_BLOCKS))


class Oracle:
    """A program, and the answers about it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.policies, self.cluster = program.policies, program.cluster
        self.points = _POINTS
        inside = [
            Endpoint(pod=pod, address=address) for pod in program.cluster.pods for address in pod.addresses or (None,)
        ]
        self.endpoints = inside + [Endpoint(address=address) for address in _outside(program)]
        self.rules = sorted(
            (RuleOf(policy=policy, rule=rule) for policy in self.policies for rule in policy.rules),
            key=lambda rule: rule.order,
        )

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every possible pair of endpoints."""
        return [(src, dst) for src in self.endpoints for dst in self.endpoints if paired(src, dst)]

    def exempt(self, direction: Direction, src: Endpoint, dst: Endpoint) -> bool:
        """Section 4.13, for the side of `direction`."""
        subject, peer = (src, dst) if direction is Direction.EGRESS else (dst, src)
        if subject.pod is None:
            return False
        own = peer.pod is not None and peer.pod.key == subject.pod.key and not subject.pod.template
        return own or (direction is Direction.INGRESS and semantics.is_own_node(self.cluster, subject.pod, peer))

    def side(self, direction: Direction, src: Endpoint, dst: Endpoint) -> set[int]:
        """The points that one side allows, one flow at a time."""
        return {one for one in self.points if self._side_allows(direction, _flow(src, dst, one))}

    def _side_allows(self, direction: Direction, flow: Flow) -> bool:
        decision = semantics.decide(self.policies, self.cluster, flow)
        return (decision.egress if direction is Direction.EGRESS else decision.ingress).allowed

    def item_flows(self, of: RuleOf, rule: Rule | None = None, *, peers: Sequence[int] | None = None) -> set[Triple]:
        """The flows that a rule matches, or that `rule` would in its place."""
        rule = rule or of.rule
        found = set()
        for place, subject in enumerate(self.endpoints):
            if subject.pod is None or not semantics.selects(of.policy, subject.pod):
                continue
            for other, peer in enumerate(self.endpoints):
                if not paired(subject, peer) or (peers is not None and other not in peers):
                    continue
                src, dst = (subject, peer) if rule.direction is Direction.EGRESS else (peer, subject)
                ends = (place, other) if rule.direction is Direction.EGRESS else (other, place)
                a_flow = _flow(src, dst, ports.point(Protocol.ICMP, None))
                portless = Rule(
                    direction=rule.direction, index=0, match=type(rule.match)(peers=rule.match.peers, ports=())
                )
                if semantics.rule_matches(self.cluster, of.policy, portless, peer, a_flow):
                    found |= {(*ends, one) for one in self._port_points(rule, dst)}
        return found

    def _port_points(self, rule: Rule, dst: Endpoint) -> Iterable[int]:
        src = Endpoint(address=None, pod=self.cluster.pods[0])
        for at_point in self.points:
            flow = _flow(src, dst, at_point)
            if not rule.match.ports or any(semantics.port_matches(item, flow) for item in rule.match.ports):
                yield at_point

    def replay(self, example: Example, *, egress: bool | None = None, ingress: bool | None = None) -> None:
        """The example's flow, and what is claimed of it, as the evaluator sees it."""
        assert not example.invented
        decision = semantics.decide(self.policies, self.cluster, example.flow)
        assert egress is None or decision.egress.allowed == egress
        assert ingress is None or decision.ingress.allowed == ingress
        for end in (example.flow.src, example.flow.dst):
            if end.pod is not None:
                assert end.address in (end.pod.addresses or (None,))

    def check_matched(self, of: RuleOf, example: Example, rule: Rule | None = None) -> None:
        """The example is a flow that the rule matches."""
        flow, rule = example.flow, rule or of.rule
        subject, peer = (flow.src, flow.dst) if rule.direction is Direction.EGRESS else (flow.dst, flow.src)
        assert subject.pod is not None
        assert semantics.selects(of.policy, subject.pod)
        assert semantics.rule_matches(self.cluster, of.policy, rule, peer, flow)

    def check_canonical(self, direction: Direction, example: Example, flows: Iterable[Triple]) -> None:
        """Of the flows none that is not exempt has a lesser pair of pods, subject first."""
        ranks = [self._rank(direction, self.endpoints[src], self.endpoints[dst]) for src, dst, _ in flows]
        assert self._rank(direction, example.flow.src, example.flow.dst) == min(ranks)

    def _rank(self, direction: Direction, src: Endpoint, dst: Endpoint) -> tuple[object, ...]:
        subject, peer = (src, dst) if direction is Direction.EGRESS else (dst, src)
        assert subject.pod is not None
        exempt = self.exempt(direction, src, dst)
        if peer.pod is None:
            of_node = any(peer.address in node.addresses for node in self.cluster.nodes.values())
            return exempt, subject.pod.key, 3 if of_node else 2, ("", "")
        return exempt, subject.pod.key, int(peer.pod.host_network), peer.pod.key

    # Shadowing

    def check_shadowed(self, answers: Sequence[Shadowed | NotDecided]) -> None:
        """Ordered irredundant: going backwards, what the rules that are left cover is dropped."""
        flows = {rule.order: self.item_flows(rule) for rule in self.rules}
        left = {rule.order: rule for rule in self.rules}
        expected = []
        for rule in reversed(self.rules):
            others = [
                other
                for other in left.values()
                if other.order != rule.order
                and other.rule.direction is rule.rule.direction
                and other.policy.namespace == rule.policy.namespace
            ]
            if flows[rule.order] and flows[rule.order] <= _union(flows[other.order] for other in others):
                del left[rule.order]
                expected.append((rule, others))
        decided = [answer for answer in answers if isinstance(answer, Shadowed)]
        assert len(decided) == len(answers)
        assert [answer.subject.order for answer in decided] == [rule.order for rule, _ in reversed(expected)]
        for answer, (rule, others) in zip(decided, reversed(expected), strict=True):
            self._check_cover(answer, flows[rule.order], [(other.order, flows[other.order]) for other in others])
            self.check_matched(rule, answer.example)
            self.check_canonical(rule.rule.direction, answer.example, flows[rule.order])
            self.replay(answer.example, **{rule.rule.direction.value: True})

    def _check_cover(self, answer: Shadowed, own: set[Triple], others: Sequence[tuple[object, set[Triple]]]) -> None:
        by_order = dict(others)
        cover = [rule.order for rule in answer.cover]
        assert own <= _union(by_order[order] for order in cover)
        alone = [order for order, flows in others if own <= flows]
        assert cover == (alone[:1] or cover)
        assert cover == sorted(cover)
        for order in cover if len(cover) > 1 else ():
            assert not own <= _union(by_order[other] for other in cover if other != order)

    # Half-open

    def check_half_open(self, answers: Sequence[HalfOpen | NotDecided]) -> None:
        """One answer per rule and port item with denied flows, or one for a rule that is fully dead by one blocker."""
        expected = []
        found: dict[object, set[Triple]] = {}
        for rule in self.rules:
            direction = rule.rule.direction
            far = Direction.INGRESS if direction is Direction.EGRESS else Direction.EGRESS
            own = []
            for item in rule.rule.match.ports or (None,):
                match = type(rule.rule.match)(peers=rule.rule.match.peers, ports=(item,) if item else ())
                flows = {
                    (src, dst, at_point)
                    for src, dst, at_point in self.item_flows(
                        rule, Rule(direction=direction, index=rule.rule.index, match=match)
                    )
                    if not self.exempt(direction, self.endpoints[src], self.endpoints[dst])
                }
                denied = {flow for flow in flows if flow[2] not in self.sides(far)[flow[:2]]}
                if denied:
                    own.append((rule, item, denied == flows))
                    found[rule.order, item] = denied
            expected += own
        merged = []
        for answer in answers:
            assert isinstance(answer, HalfOpen)
            self.check_matched(answer.opener, answer.example)
            asked = answer.opener.rule.match.ports if answer.port is None else ()
            self.check_canonical(
                answer.opener.rule.direction,
                answer.example,
                _union(found[answer.opener.order, item] for item in asked or (answer.port,)),
            )
            egress = answer.opener.rule.direction is Direction.EGRESS
            self.replay(answer.example, egress=egress, ingress=not egress)
            far_end = answer.example.flow.dst if egress else answer.example.flow.src
            assert far_end.pod is not None
            far = Direction.INGRESS if egress else Direction.EGRESS
            isolating = [p for p in self.policies if far in p.directions and semantics.selects(p, far_end.pod)]
            assert answer.blocker is isolating[0]
            items = answer.opener.rule.match.ports
            if items and answer.port is None:
                assert answer.fully
                merged += [(answer.opener, item, True) for item in items]
            else:
                whole = [one for one in expected if one[0] == answer.opener]
                assert not items or not all(one[2] for one in whole) or len(whole) < len(items) or len(items) > 1
                merged.append((answer.opener, answer.port, answer.fully))
        assert [(r.order, i, f) for r, i, f in merged] == [(r.order, i, f) for r, i, f in expected]

    def sides(self, direction: Direction) -> dict[tuple[int, int], set[int]]:
        """`side` of every pair, by places."""
        return self._ingress if direction is Direction.INGRESS else self._egress

    @cached_property
    def _ingress(self) -> dict[tuple[int, int], set[int]]:
        return self._all_sides(Direction.INGRESS)

    @cached_property
    def _egress(self) -> dict[tuple[int, int], set[int]]:
        return self._all_sides(Direction.EGRESS)

    def _all_sides(self, direction: Direction) -> dict[tuple[int, int], set[int]]:
        everything = set(self.points)
        found: dict[tuple[int, int], set[int]] = {}
        for src, source in enumerate(self.endpoints):
            for dst, destination in enumerate(self.endpoints):
                if not paired(source, destination):
                    continue
                subject = source if direction is Direction.EGRESS else destination
                free = not self._isolated(subject, direction) or self.exempt(direction, source, destination)
                found[src, dst] = everything if free else set()
        for rule in self.rules:
            if rule.rule.direction is direction:
                for src, dst, at_point in self.item_flows(rule):
                    if found[src, dst] is not everything:
                        found[src, dst].add(at_point)
        return found

    def _isolated(self, endpoint: Endpoint, direction: Direction) -> bool:
        pod = endpoint.pod
        return pod is not None and any(direction in p.directions and semantics.selects(p, pod) for p in self.policies)

    # The others

    def check_vacuous(self, answers: Sequence[Vacuous | NotDecided]) -> None:
        """Policies without subjects; rules of others that match no pair, families aside."""
        expected: list[tuple[Policy, Rule | None]] = []
        for policy in self.policies:
            subjects = [pod for pod in self.cluster.pods if semantics.selects(policy, pod)]
            if not subjects:
                expected.append((policy, None))
            else:
                expected += [(policy, rule) for rule in policy.rules if not self._fits(policy, rule, subjects)]
        assert [(a.policy, a.rule) for a in answers if isinstance(a, Vacuous) and not a.impossible] == expected

    def _fits(self, policy: Policy, rule: Rule, subjects: Sequence[Pod]) -> bool:
        for peer in self.endpoints:
            portless = Rule(direction=rule.direction, index=0, match=type(rule.match)(peers=rule.match.peers))
            some_pod = Endpoint(pod=self.cluster.pods[0])
            icmp = Flow(src=some_pod, dst=some_pod, protocol=Protocol.ICMP)
            if semantics.rule_matches(self.cluster, policy, portless, peer, icmp):
                ends = [peer] if rule.direction is Direction.EGRESS else [Endpoint(pod=pod) for pod in subjects]
                if any(True for end in ends for _ in self._port_points(rule, end)):
                    return True
        return False

    def check_uncovered(self, answers: Sequence[Uncovered | NotDecided]) -> None:
        """Every pod that is not isolated, once."""
        expected = []
        for namespace in sorted({pod.namespace for pod in self.cluster.pods}):
            for direction in (Direction.INGRESS, Direction.EGRESS):
                pods = [
                    pod
                    for pod in self.cluster.pods
                    if pod.namespace == namespace
                    and not pod.host_network
                    and not self._isolated(Endpoint(pod=pod), direction)
                ]
                if pods:
                    expected.append((namespace, direction, tuple(pods)))
        decided = [answer for answer in answers if isinstance(answer, Uncovered)]
        assert [(a.namespace.name, a.direction, a.pods) for a in decided] == expected
        for answer in decided:
            flow = answer.example.flow
            self.replay(answer.example, egress=True, ingress=True)
            pod, other = (flow.dst, flow.src) if answer.direction is Direction.INGRESS else (flow.src, flow.dst)
            assert pod.pod == answer.pods[0]
            self.check_plain(other)

    def check_plain(self, endpoint: Endpoint) -> None:
        """An address outside the cluster."""
        assert endpoint.pod is None
        assert all(endpoint.address not in node.addresses for node in self.cluster.nodes.values())
        assert all(endpoint.address not in pod.addresses for pod in self.cluster.pods)

    def check_ways_in(self, answers: Sequence[WayIn | NotDecided]) -> None:
        """Every ingress rule with a flow that is not exempt and passes, and whether one comes from outside."""
        expected = []
        flows: dict[object, list[Triple]] = {}
        for rule in self.rules:
            if rule.rule.direction is Direction.EGRESS:
                continue
            passing = [
                (src, dst, at_point)
                for src, dst, at_point in self.item_flows(rule)
                if at_point in self.sides(Direction.EGRESS)[src, dst]
                and not self.exempt(Direction.INGRESS, self.endpoints[src], self.endpoints[dst])
            ]
            if passing:
                flows[rule.order] = passing
                nodes = [address for node in self.cluster.nodes.values() for address in node.addresses]
                ends = [self.endpoints[src] for src, _, _ in passing]
                expected.append((rule.order, any(e.pod is None and e.address not in nodes for e in ends)))
        decided = [answer for answer in answers if isinstance(answer, WayIn)]
        assert [(answer.opener.order, answer.internet is not None) for answer in decided] == expected
        for answer in decided:
            self.check_canonical(Direction.INGRESS, answer.example, flows[answer.opener.order])
            for example in (answer.example, answer.internet):
                if example is not None:
                    self.check_matched(answer.opener, example)
                    self.replay(example, egress=True, ingress=True)
            if answer.internet is not None:
                self.check_plain(answer.internet.flow.src)

    def check_dns_blocked(self, answers: Sequence[DnsBlocked | NotDecided]) -> None:
        """Pods with some egress, to others, but not to port 53 over both protocols."""
        expected: dict[tuple[tuple[str, str], bool], list[Pod]] = {}
        for pod in self.cluster.pods:
            if pod.host_network or not self._isolated(Endpoint(pod=pod), Direction.EGRESS):
                continue
            allowed: set[int] = set()
            for (src, dst), points in self.sides(Direction.EGRESS).items():
                other = self.endpoints[dst].pod
                if self.endpoints[src].pod is pod and (other is None or other.key != pod.key or pod.template):
                    allowed |= points
            udp, tcp = (ports.point(protocol, 53) in allowed for protocol in (Protocol.UDP, Protocol.TCP))
            if allowed and not (udp and tcp):
                policy = next(
                    p for p in self.policies if Direction.EGRESS in p.directions and semantics.selects(p, pod)
                )
                expected.setdefault((policy.key, udp), []).append(pod)
        decided = [answer for answer in answers if isinstance(answer, DnsBlocked)]
        found = [((a.policy.key, a.udp_allowed), list(a.pods)) for a in decided]
        assert found == sorted(expected.items(), key=lambda one: one[0])
        for answer in decided:
            flow = answer.example.flow
            assert flow.src.pod == answer.pods[0]
            assert flow.port == 53
            assert flow.protocol is (Protocol.TCP if answer.udp_allowed else Protocol.UDP)
            self.replay(answer.example, egress=False)

    def check_split_peers(self, answers: Sequence[SplitPeer | NotDecided]) -> None:
        """Adjacent pairs of such peers for which both selectors match a pod, and the two peers open more flows."""
        expected = []
        for rule in self.rules:
            peers = rule.rule.match.peers
            for one, two in pairwise(peers):
                for spaces, pods in ((one, two), (two, one)):
                    if (
                        isinstance(spaces, PodPeer)
                        and isinstance(pods, PodPeer)
                        and spaces.namespaces is not None
                        and spaces.namespaces.requirements
                        and not spaces.pods.requirements
                        and pods.namespaces is None
                        and pods.pods.requirements
                    ):
                        expected += self._split(rule, spaces, pods)
        decided = [answer for answer in answers if isinstance(answer, SplitPeer)]
        assert [(a.subject.order, a.namespaces, a.pods, a.closes) for a in decided] == expected
        for answer in decided:
            rule, ends = answer.subject, (answer.namespaces, answer.pods)
            both = PodPeer(namespaces=answer.namespaces.namespaces, pods=answer.pods.pods)
            self.replay(answer.example, **{rule.rule.direction.value: True})
            for peers, matched in (*(((end,), None) for end in ends), (ends, True), ((both,), False)):
                if matched is not None:
                    other = Rule(
                        direction=rule.rule.direction,
                        index=0,
                        match=type(rule.rule.match)(peers=peers, ports=rule.rule.match.ports),
                    )
                    flow = answer.example.flow
                    peer = flow.dst if rule.rule.direction is Direction.EGRESS else flow.src
                    assert semantics.rule_matches(self.cluster, rule.policy, other, peer, flow) == matched

    def _split(self, of: RuleOf, spaces: PodPeer, pods: PodPeer) -> list[tuple[object, PodPeer, PodPeer, int]]:
        both = PodPeer(namespaces=spaces.namespaces, pods=pods.pods)

        def hits(peer: PodPeer, pod: Pod) -> bool:
            return semantics.peer_matches(self.cluster, of.policy, peer, Endpoint(pod=pod))

        lost = [p for p in self.cluster.pods if (hits(spaces, p) or hits(pods, p)) and not hits(both, p)]
        places = {place for place, end in enumerate(self.endpoints) if end.pod in lost}
        flows = {
            (src, dst)
            for src, dst, _ in self.item_flows(of, peers=sorted(places))
            if not self.exempt(of.rule.direction, self.endpoints[src], self.endpoints[dst])
        }
        if not flows or not any(hits(both, pod) for pod in self.cluster.pods):
            return []
        ends = [end for end in self.endpoints if end.pod is not None]
        pairs = {
            (one.pod.key, two.pod.key)
            for one in ends
            for two in ends
            if one.pod is not None
            and two.pod is not None
            and two.pod in lost
            and (one.pod.key != two.pod.key or one.pod.template)
            and semantics.selects(of.policy, one.pod)
            and paired(one, two)
        }
        return [(of.order, spaces, pods, len(pairs))]


def _flow(src: Endpoint, dst: Endpoint, at_point: int) -> Flow:
    protocol, port = _AT[at_point]
    return Flow(src=src, dst=dst, protocol=protocol, port=port)


def _union(sets: Iterable[set[Triple]]) -> set[Triple]:
    found: set[Triple] = set()
    for one in sets:
        found |= one
    return found
