"""The questions that both engines answer, and the shape of their answers.

The relation engine answers them for the pods of the input, the symbolic engine for every pod that could exist.  The
checks turn answers into claims without asking which engine gave them.  Answers come in the order of (policy, rule),
and the same program always gets the same answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from npcompile.ir.classes import DeclaredPort, EndClass
from npcompile.ir.cluster import Namespace, Pod, Service, ServicePort
from npcompile.ir.flow import Flow
from npcompile.ir.policy import BlockPeer, Direction, Match, Peer, PodPeer, Policy, PortItem, Rule
from npcompile.ir.versions import Change
from npcompile.netset.cidrs import Network
from npcompile.netset.intervals import IntervalSet


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOf:
    """A rule, with the policy that it stands in."""

    policy: Policy
    rule: Rule

    @property
    def order(self) -> tuple[str, str, str, int]:
        """The order of answers: namespace, policy, direction (ingress first), index."""
        return (*self.policy.key, "" if self.rule.direction is Direction.INGRESS else "e", self.rule.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A flow that shows an answer: canonical (real pods first, then the lowest port, then the lowest address).

    `invented` are the namespaces of its pods that the input does not have.
    """

    flow: Flow
    invented: tuple[Namespace, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadowed:
    """T_p and M_r is not empty and lies within the union of `cover`, other active rules of the same direction.

    `cover` is irredundant: none can be left out; one entry where a single rule suffices.  Of mutually shadowed rules
    one is never reported: removing every reported rule at once changes nothing.  `example` is matched by the rule.
    """

    subject: RuleOf
    cover: tuple[RuleOf, ...]
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Vacuous:
    """Nothing is a subject of `policy` or, where `rule` is set, nothing matches its peers (and ports) although the
    policy has subjects.  `impossible`: no pod could ever, whatever is in the cluster.
    """

    policy: Policy
    rule: Rule | None
    impossible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfOpen:
    """Flows that `opener` explicitly allows at its own end and that the other end denies.

    `port` is the port item that they use (None: the rule has none).  `blocker` is the least policy that isolates the
    other end of `example`.  `fully`: every flow of the rule (and port item) ends so; else some of its flows pass.
    """

    opener: RuleOf
    port: PortItem | None
    blocker: Policy
    fully: bool
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncovered:
    """Pods of `namespace` that no policy isolates in `direction`.

    `pods`: all of them (inventory) or one invented pod (symbolic); `example` is a flow with an external address that
    passes because of it.
    """

    namespace: Namespace
    direction: Direction
    pods: tuple[Pod, ...]
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class WayIn:
    """An ingress rule that lets something in: `example` passes both ends because of it.

    `internet` is such a flow from an address outside the cluster, if there is one.
    """

    opener: RuleOf
    example: Example
    internet: Example | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsBlocked:
    """Pods of `policy` are isolated for egress and allowed something there, but port 53 not over both UDP and TCP.

    `udp_allowed`: UDP 53 is allowed to something, only TCP 53 is not.  `pods` as in `Uncovered`; `example` is a flow
    to port 53 that is denied (udp/53, or tcp/53 where UDP is allowed).
    """

    policy: Policy
    pods: tuple[Pod, ...]
    udp_allowed: bool
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPeer:
    """Two adjacent peers, one of namespaces only and one of pods only; one peer with both selectors would match
    something, and less.

    `example` is a flow that the two match and the one would not; `closes` counts the (subject, peer) pairs that would
    be lost, None where pods are not counted.
    """

    subject: RuleOf
    namespaces: PodPeer
    pods: PodPeer
    example: Example
    closes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowedItem:
    """One of several peers, or of several port items, of a rule that is not `Shadowed`: what the rule allows by it is
    not empty and lies within the union of `cover`.

    Those are rules of the same direction, the rule itself where the rest of it is needed.  `cover` is irredundant, one
    entry where a single one suffices (the rest of the rule comes first).  Removing every reported rule and item at once
    changes nothing, as an item that was found superfluous before covers nothing.  So `own` is what the rule matches by
    means of the item, and `left` what each of `cover` matches, all without those.  `example` is one of `own`.
    """

    subject: RuleOf
    item: Peer | PortItem
    own: Match
    cover: tuple[RuleOf, ...]
    left: tuple[Match, ...]
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Redundant:
    """Without `policy`, which has subjects, every side of every flow is judged as with it: A_D(P) is A_D(P without p).

    For each subject and direction either other policies isolate it, and their rules match all that the policy's do; or
    no other policy isolates it, and the policy's rules match everything.  Of policies that make each other superfluous
    one is never reported: removing any of the reported ones, or all, changes nothing.

    `cover` are the policies that do its work: irredundant, one where one suffices, none where it only ever allows
    everything.  `examples` are one flow of each of its directions, and one of each of its rules that match any.
    """

    policy: Policy
    cover: tuple[Policy, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfelt:
    """Without `policy`, which has subjects, every flow has the same verdict, though not the same sides: Allow(P) is
    Allow(P without p), and A_D is not.  What the policy changes at one end, the other denies with it and without.

    Of several such policies each is judged alone: without two of them verdicts may change.  `closes`: it closes some
    side alone; else it only opens.  `examples` are one denied flow of each direction in which it changes some side.
    """

    policy: Policy
    closes: bool
    examples: tuple[Example, ...]


class Breadth(Enum):
    """Everyone, of one kind.  Addresses are those that are no pod's; pods are all other ones."""

    IPV4 = "all of IPv4"
    IPV6 = "all of IPv6"
    PODS = "every pod"


@dataclass(frozen=True, slots=True, kw_only=True)
class WideOpen:
    """An isolated pod of `namespace`, whose rules of `direction` together match everyone of a kind on some port.

    In an inventory, the kind must have members, and every pod is more than those of the namespace.  `every_port`: on
    all ports, port-less protocols included; else there is no such pod in the namespace.  `rules` suffice for the
    subject of `example` on its port, and are irredundant; the first of them matches the example.
    """

    namespace: str
    direction: Direction
    breadth: Breadth
    every_port: bool
    rules: tuple[RuleOf, ...]
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class DefeatedDeny:
    """`policy`, which has subjects and no rule, isolates them in `direction`, and `rules` of other policies match every
    flow of every one of them.  `rules` are irredundant; `example` is matched by the first of them.
    """

    policy: Policy
    direction: Direction
    rules: tuple[RuleOf, ...]
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class DefeatedExcept:
    """Flows with addresses in `excepted`, one of the excepts of `peer`, that `subject` would match without it and that
    `opener`, another rule, matches for some of the same subjects: the first such rule.  `example` is one.
    """

    subject: RuleOf
    peer: BlockPeer
    excepted: Network
    opener: RuleOf
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedService:
    """A pod that a Service's port lets reach some of the pods behind it, and not others.

    Behind a port are the pods that the Service selects, pods on their node's network among them, each at the number
    that the port's target has there.  A pod's flows to itself are left out, and all ends are of one address family.
    `sources`: all such pods (inventory) or one invented pod (symbolic); `allowed` and `denied` are flows from the
    first of them to two of those pods.
    """

    service: Service
    port: ServicePort
    sources: tuple[Pod, ...]
    allowed: Example
    denied: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWayIn:
    """Ingress rules that let nothing in: no `WayIn` is about any of them."""

    rules: tuple[RuleOf, ...]


Universal = Shadowed | ShadowedItem | Redundant | Unfelt | HalfOpen | DefeatedDeny | WideOpen | NoWayIn
"""Answers that may hold for every pod that could exist when they do for those of an inventory: each says what all flows
of some kind have in common.  Of half-open rules that is so of `fully` dead ones only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """Why flows pass: every rule that decides some of them, in the order of answers, the directions in which some need
    no rule because no policy isolates their pod, and whether some come from their destination's own node.
    """

    rules: tuple[RuleOf, ...]
    not_isolated: tuple[Direction, ...]
    own_node: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """The least policy that isolates some ends that deny flows in a direction."""

    direction: Direction
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class SurpriseExample:
    """A closed flow of which one end is newly isolated in `direction`, while the other end's rules still allow it."""

    direction: Direction
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class PossibleChange:
    """Flows between ends that could exist that one of two versions allows: every one from `sources` to `targets` on
    `ports` for which `declared` holds, as far as two such ends can have a flow at all.

    `why` tells why one version lets them pass, `blockers` what denies them in the other; `example` is one of them.
    """

    change: Change
    sources: tuple[EndClass, ...]
    targets: tuple[EndClass, ...]
    ports: IntervalSet
    declared: tuple[DeclaredPort, ...]
    why: Passing
    blockers: tuple[Blocker, ...]
    example: Example
    surprise: SurpriseExample | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """Ends between which more flows may have changed than were found: their effort did not suffice."""

    change: Change
    source: EndClass
    target: EndClass


@dataclass(frozen=True, slots=True, kw_only=True)
class PossibleChanges:
    """All flows that two versions judge differently, if nothing is `unsettled`: those of the union of the changes.

    `assumptions` are what is taken for granted of all that could exist.
    """

    changes: tuple[PossibleChange, ...]
    unsettled: tuple[Unsettled, ...]
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDecided:
    """A question about `policy` (and `rule`) that ran out of effort."""

    question: str
    policy: Policy
    rule: Rule | None = None


class Engine(Protocol):
    """What the checks ask.  Every iterator may yield `NotDecided` in place of an answer; a question that has no
    `NotDecided` among its answers was decided for the whole program.
    """

    def shadowed(self) -> Iterator[Shadowed | NotDecided]:
        """Rules that other rules make superfluous."""
        ...

    def shadowed_items(self) -> Iterator[ShadowedItem | NotDecided]:
        """Peers and port items that the rest of their rule and other rules make superfluous."""
        ...

    def redundant(self) -> Iterator[Redundant | NotDecided]:
        """Policies that can be removed."""
        ...

    def unfelt(self) -> Iterator[Unfelt | NotDecided]:
        """Policies that decide sides of flows, and no verdict."""
        ...

    def vacuous(self) -> Iterator[Vacuous | NotDecided]:
        """Policies and rules that match nothing."""
        ...

    def half_open(self) -> Iterator[HalfOpen | NotDecided]:
        """Rules whose flows the other end denies; an egress rule's other end is the destination's ingress."""
        ...

    def wide_open(self) -> Iterator[WideOpen | NotDecided]:
        """Isolated pods that are open to everyone of a kind: by namespace, direction (ingress first) and kind."""
        ...

    def defeated_denies(self) -> Iterator[DefeatedDeny | NotDecided]:
        """Policies without rules whose subjects other policies open to everyone, by direction (ingress first)."""
        ...

    def defeated_excepts(self) -> Iterator[DefeatedExcept | NotDecided]:
        """Excepts of ipBlocks that another rule allows again: by rule, peer and except."""
        ...

    def mixed_services(self) -> Iterator[MixedService | NotDecided]:
        """Services some of whose pods deny what others allow, by Service and port."""
        ...

    def uncovered(self) -> Iterator[Uncovered | NotDecided]:
        """Holes in default-deny, by namespace and direction."""
        ...

    def ways_in(self) -> Iterator[WayIn | NotDecided]:
        """What reaches pods that are isolated for ingress, and by which rule."""
        ...

    def dns_blocked(self) -> Iterator[DnsBlocked | NotDecided]:
        """Pods that may send something, and cannot resolve names."""
        ...

    def split_peers(self) -> Iterator[SplitPeer | NotDecided]:
        """Peers that were probably meant as one."""
        ...


class Confirmer(Protocol):
    """Who may know more of an inventory's answers."""

    def holds(self, answer: Universal) -> bool:
        """Whether what an answer says, with the rules and policies that it names, is shown to hold for every pod and
        namespace that could exist.  False where it does not, and where that was not found out.
        """
        ...
