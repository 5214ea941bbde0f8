"""One program under the symbolic engine: its encoding, its boxes, and the queries over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import z3

from npcompile.ir.cluster import Pod
from npcompile.ir.policy import Direction, Match, Policy
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import Example, RuleOf
from npcompile.symbolic import boxes, ends, properties
from npcompile.symbolic.assume import different_addresses, neighbours, possible
from npcompile.symbolic.boxes import Boxes
from npcompile.symbolic.decode import Candidates, Decoder
from npcompile.symbolic.encode import Encoding
from npcompile.symbolic.solve import Query
from npcompile.symbolic.vocabulary import Vocabulary


class Session:
    """What all questions about a program share.  Terms live in a context of its own, so that sessions are alike."""

    def __init__(self, program: Program, *, effort: int, seed: int) -> None:
        self.program = program
        self.vocabulary = Vocabulary.of(program)
        self.boxes = Boxes(self.vocabulary, program.cluster)
        self._ctx = z3.Context()
        self._effort, self._seed = effort, seed
        self._last: Query | None = None
        self.encoding = Encoding(self.vocabulary, self.boxes, ends.variables(self.vocabulary, self._ctx), self._ctx)
        self.decoder = Decoder(program, self.vocabulary, self.encoding)
        self._possible = tuple(possible(self.encoding, self.vocabulary))
        self._pods = tuple(pod for pod in program.cluster.pods if not pod.host_network)
        self._isolating: dict[Direction, dict[int, list[Policy]]] = {direction: {} for direction in Direction}
        for policy in program.policies:
            for direction in policy.directions:
                name = self.vocabulary.names.index(policy.namespace)
                self._isolating[direction].setdefault(name, []).append(policy)
        self._matched: dict[tuple[str, str, str, int], bool] = {}
        rules = (RuleOf(policy=policy, rule=rule) for policy in program.policies for rule in policy.rules)
        self.rules = tuple(sorted(rules, key=lambda of: of.order))

    def query(self, *constraints: z3.BoolRef) -> Query:
        """A query for the flows that are possible and satisfy these constraints, about policies of one end."""
        self._last = Query((*self._possible, *constraints), ctx=self._ctx, effort=self._effort, seed=self._seed)
        return self._last

    @property
    def spent(self) -> int:
        """What the queries have cost until now, in z3's resource units."""
        return 0 if self._last is None else self._last.spent

    def two_sided(self, *constraints: z3.BoolRef) -> Query:
        """A query whose constraints are about policies of both ends."""
        return self.query(different_addresses(self.encoding), *constraints)

    def satisfiable(self, *constraints: z3.BoolRef) -> bool:
        """Whether a possible flow satisfies these constraints."""
        return self.query(*constraints).satisfiable()

    def matches_something(self, of: RuleOf) -> bool:
        """Whether a rule matches any flow of a subject of its policy: T_p and M_r is not empty."""
        if of.order not in self._matched:
            self._matched[of.order] = self.satisfiable(self.encoding.explicit(of))
        return self._matched[of.order]

    def term(self, of: RuleOf, match: Match) -> z3.BoolRef:
        """Whether a rule would allow the flow explicitly, if this was its match."""
        if match is of.rule.match:
            return self.encoding.explicit(of)
        reduced = RuleOf(policy=of.policy, rule=replace(of.rule, match=match))
        selected = self.encoding.selects(of.policy, self.encoding.subject(of.rule.direction))
        return self.encoding.every((selected, self.encoding.matches(reduced)))

    def rules_of(self, namespace: str, direction: Direction) -> list[RuleOf]:
        """The active rules of one direction in a namespace, in order."""
        return [of for of in self.rules if of.policy.namespace == namespace and of.rule.direction is direction]

    def far_policies(self, of: RuleOf) -> list[Policy]:
        """The policies that may isolate the other end of a rule's flows, in order."""
        isolating = self._isolating[properties.other_way(of.rule.direction)]
        policies = chain.from_iterable(isolating[name] for name in sorted(self.boxes.names(of) & isolating.keys()))
        return sorted((p for p in policies if self.boxes.may_be_subject(of, p)), key=lambda policy: policy.key)

    def open_names(self, of: RuleOf) -> frozenset[int]:
        """The namespaces of the other end of a rule's flows in which no policy isolates it."""
        return self.boxes.names(of) - self._isolating[properties.other_way(of.rule.direction)].keys()

    def far_rules(self, of: RuleOf, policies: Sequence[Policy]) -> list[RuleOf]:
        """The rules of the other end's policies by which it may allow a flow that a rule matches."""
        direction = properties.other_way(of.rule.direction)
        rules = (RuleOf(policy=policy, rule=rule) for policy in policies for rule in policy.rules_of(direction))
        return [far for far in rules if self.boxes.may_meet_across(of, far)]

    def far_end_allows(self, of: RuleOf) -> z3.BoolRef:
        """Whether the other end allows a flow that a rule matches."""
        policies = self.far_policies(of)
        return properties.far_end_allows(self.encoding, of, policies, self.far_rules(of, policies))

    def another(self) -> tuple[Encoding, tuple[z3.BoolRef, ...]]:
        """The encoding of a second flow with the same source, and what holds of it if it is possible."""
        flow = ends.beside(self.encoding.flow, self.vocabulary, self._ctx)
        encoding = Encoding(self.vocabulary, self.boxes, flow, self._ctx)
        beside = neighbours(self.encoding.flow.dst, flow.dst)
        return encoding, (*possible(encoding, self.vocabulary), different_addresses(encoding), beside)

    # Examples

    def example(self, query: Query, of: RuleOf) -> Example:
        """The canonical flow of a query whose flows are all matched by a rule."""
        candidates = Candidates(
            subjects=self.subjects(of.policy),
            peers=list(self._peers(of)),
            addresses=boxes.bare(self.boxes.rule(of)),
        )
        return self.decoder.example(query, of.rule.direction, candidates)

    def subjects(self, policy: Policy) -> list[Pod]:
        """The real subjects of a policy."""
        return [pod for pod in self._pods if self.boxes.selects(policy, pod)]

    def inhabitants(self, namespace: str) -> list[Pod]:
        """The real pods of a namespace."""
        return [pod for pod in self._pods if pod.namespace == namespace]

    def name_servers(self) -> list[Pod]:
        """The real pods that say that they listen on port 53."""
        return [
            pod
            for pod in self._pods
            if any(port.number == 53 and port.protocol in (Protocol.UDP, Protocol.TCP) for port in pod.ports)
        ]

    def _peers(self, of: RuleOf) -> Iterator[Pod]:
        own = of.policy.namespace
        by_nearness: Sequence[Pod] = sorted(self._pods, key=lambda pod: (pod.namespace != own, pod.key))
        return (pod for pod in by_nearness if self.boxes.may_be_peer(of, pod))
