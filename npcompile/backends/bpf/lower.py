"""From the IR to tables.

Identities are those of `passes.assign_identities`, as far as some ruleset of the artifact tells them apart: those that
none does are one.  A Service's address is an identity of its own where some ruleset opens its ports otherwise than
those of an address like others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from npcompile.backends.bpf.addresses import AddressTables, address_tables
from npcompile.backends.bpf.classes import Classes, classify
from npcompile.backends.bpf.numbers import NO_NUMBERS, Keys, Numbers, renumber
from npcompile.backends.bpf.prefixes import port_prefixes
from npcompile.backends.bpf.rulesets import Openings, RuleKey, Ruleset, Rulesets, make_rulesets
from npcompile.backends.bpf.services import fronts
from npcompile.backends.bpf.structure import NOT_ISOLATED, SERVICE_MIXED, Endpoint, PolicyEntry, RulesetEntry, Tables
from npcompile.backends.filters.inventory import is_subject
from npcompile.backends.filters.names import RuleIds, digest
from npcompile.backends.target import Options, RuleOrigin
from npcompile.ir.cluster import Pod
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.netset.cidrs import point
from npcompile.netset.ports import LAST_PORT, Protocol
from npcompile.netset.ports import point as port_point
from npcompile.passes.assign_identities import Identities, assign_identities, vocabulary
from npcompile.questions import RuleOf

_KEY_DIGITS = 26  # of base32: 130 bits
_BASES = tuple((protocol, port_point(protocol, 0)) for protocol in Protocol if protocol.has_ports)
_MIXED = -1  # SERVICE_MIXED among the numbers of rules


def lower(program: Program, options: Options, earlier: Numbers = NO_NUMBERS) -> tuple[Tables, Numbers]:
    """Lower a program for a node, or for every node at once, with the numbers of an `earlier` artifact."""
    cluster = program.cluster
    identities = assign_identities(cluster, vocabulary(program.policies))
    pods = sorted((pod for pod in cluster.pods if not pod.host_network), key=lambda pod: pod.key)
    subjects = tuple(pod for pod in pods if is_subject(pod, options.node))
    node = cluster.nodes.get(options.node) if options.node is not None else None
    node_addresses = tuple(sorted(node.addresses, key=point)) if node is not None else ()
    rulesets = make_rulesets(program.policies, cluster, identities, subjects)
    classes = classify(rulesets.all, len(identities.order), fronts(cluster, identities))
    named = {address for pod in subjects for address in pod.addresses} | set(node_addresses)
    known: AddressTables = address_tables(identities, classes, named)
    rules = _Rules.of(rulesets.all)
    isolating = [
        tuple(
            RuleOrigin(id=rules.ids.isolation(policy, one.direction), policy=policy, direction=one.direction, rule=None)
            for policy in one.policies
        )
        for one in rulesets.all
    ]
    tables = Tables(
        endpoints=tuple(_endpoints(subjects, identities, rulesets)),
        addresses=known.addresses,
        networks=known.networks,
        rulesets=tuple(
            RulesetEntry(number=number, direction=own[0].direction, isolating=tuple(one.id for one in own))
            for number, own in enumerate(isolating, 1)
        ),
        classes=classes.entries,
        policy=tuple(_policy(classes, rules)),
        rules=tuple(enumerate(rules.origins, 1)),
        node_addresses=node_addresses,
        mixed=classes.mixed,
        unbound=tuple(pod for pod in subjects if not pod.addresses),
        origins=tuple(
            origin for _, origin in sorted({one.id: one for one in (*rules.origins, *chain(*isolating))}.items())
        ),
    )
    return renumber(tables, _keys(tables, rulesets, classes, rules), earlier)


def _keys(tables: Tables, rulesets: Rulesets, classes: Classes, rules: _Rules) -> Keys:
    """What the dense numbers stand for."""
    of_rulesets = [digest(one.meaning)[:_KEY_DIGITS] for one in rulesets.all]
    of_classes = [[_class_key(openings, rules) for openings in own] for own in classes.openings]
    signatures = (
        tuple((of_rulesets[place], of_classes[place][number]) for place, number in signature)
        for signature in classes.signatures
    )
    return Keys(
        endpoints=tuple(str(one.pod) for one in tables.endpoints),
        identities=tuple(digest(signature)[:_KEY_DIGITS] for signature in signatures),
        rulesets=tuple(of_rulesets),
        classes=tuple(tuple(own[1:]) for own in of_classes),
        rules=tuple(origin.id for origin in rules.origins),
    )


def _class_key(openings: Openings, rules: _Rules) -> str:
    parts = ((o.first, o.last, "" if o.rule is None else rules.origin_of(o.rule).id) for o in openings)
    return digest(tuple(parts))[:_KEY_DIGITS]


def _endpoints(subjects: Iterable[Pod], identities: Identities, rulesets: Rulesets) -> Iterator[Endpoint]:
    bound = (pod for pod in subjects if pod.addresses)
    for number, pod in enumerate(bound, 1):
        _, identity = identities.of_pod(pod)[0]  # a pod's addresses are alike to the policies that select it
        places = {direction: rulesets.of_identity.get((identity, direction)) for direction in Direction}
        numbers = {direction: NOT_ISOLATED if at is None else at + 1 for direction, at in places.items()}
        yield Endpoint(
            number=number,
            pod=pod,
            addresses=tuple(sorted(pod.addresses, key=point)),
            egress=numbers[Direction.EGRESS],
            ingress=numbers[Direction.INGRESS],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """The rules of an artifact: their numbers are their places in `origins`, from 1."""

    origins: tuple[RuleOrigin, ...]
    numbers: Mapping[RuleKey, int]
    ids: RuleIds

    def origin_of(self, rule: RuleKey) -> RuleOrigin:
        """What a rule's number stands for."""
        return self.origins[self.numbers[rule] - 1]

    @staticmethod
    def of(rulesets: Iterable[Ruleset]) -> _Rules:
        """Number the rules in the order in which they decide."""
        found: dict[RuleKey, RuleOf] = {}
        for ruleset in rulesets:
            for policy in ruleset.policies:
                for rule in policy.rules_of(ruleset.direction):
                    of = RuleOf(policy=policy, rule=rule)
                    found[of.order] = of
        ids = RuleIds()
        ordered = [of for _, of in sorted(found.items())]
        origins = (
            RuleOrigin(id=ids.rule(of.policy, of.rule), policy=of.policy, direction=of.rule.direction, rule=of.rule)
            for of in ordered
        )
        return _Rules(
            origins=tuple(origins), numbers={of.order: number for number, of in enumerate(ordered, 1)}, ids=ids
        )


def _policy(classes: Classes, rules: _Rules) -> Iterator[PolicyEntry]:
    """What every class is open to, sorted by key."""
    for place, openings_of in enumerate(classes.openings):
        for number, openings in enumerate(openings_of):
            for protocol, port, bits, rule in _entries(openings, rules):
                yield PolicyEntry(
                    ruleset=place + 1, peer_class=number, protocol=protocol, port=port, bits=bits, rule=rule
                )


def _entries(openings: Openings, rules: _Rules) -> Iterator[tuple[Protocol | None, int, int, int | None]]:
    """(protocol, port, bits, rule) of each entry: the widest first, then by protocol and port."""
    spans = [
        (one.first, one.last, _MIXED if one.rule is None else rules.numbers[one.rule]) for one in openings
    ]  # fmt: skip
    portless = port_point(Protocol.ICMP, None)  # allowed by rules without ports only, which allow every protocol
    any_protocol = next((rule for first, last, rule in spans if first <= portless <= last), None)
    if any_protocol is not None:
        yield None, 0, 0, any_protocol
    for protocol, base in _BASES:
        own = [
            (max(first - base, 0), min(last - base, LAST_PORT), rule)
            for first, last, rule in spans
            if first - base <= LAST_PORT and last >= base
        ]
        for prefix in port_prefixes(_with_port_0(own), any_protocol):
            rule = SERVICE_MIXED if prefix.rule == _MIXED else prefix.rule
            yield protocol, prefix.port, prefix.bits, rule


def _with_port_0(spans: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Port 0, where it is allowed at all, goes with port 1: the API does not know it, and no entry is for it alone."""
    match spans:
        case [(0, 0, _), (1, last, rule), *rest]:
            return [(0, last, rule), *rest]
        case _:
            return spans
