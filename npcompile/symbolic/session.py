"""One program under the symbolic engine: its encoding, its boxes, and the queries over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import z3

from npcompile.ir.cluster import Pod
from npcompile.ir.policy import Direction, Match, Policy
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import Example, RuleOf
from npcompile.symbolic import boxes, ends, properties
from npcompile.symbolic.assume import different_addresses, neighbours, possible
from npcompile.symbolic.covers import OutOfStepsError, Steps
from npcompile.symbolic.decode import Candidates, Decoder
from npcompile.symbolic.encode import Encoding
from npcompile.symbolic.flows import Flows
from npcompile.symbolic.setting import EFFORT_OF_STEP, Setting
from npcompile.symbolic.solve import Query

Answer = TypeVar("Answer")
Terms = Callable[[], Iterable[z3.BoolRef]]  # made when they are needed: making them takes longer than most answers


class Session(Setting):
    """What all questions about a program share: its setting, and a solver's view of it.  Terms live in a context of its
    own, so that sessions are alike.
    """

    def __init__(self, program: Program, *, effort: int, seed: int, with_boxes: bool = True) -> None:
        """`with_boxes` False: z3 decides everything."""
        super().__init__(program)
        self._ctx = z3.Context()
        self._effort, self._seed = effort, seed
        self._steps = effort // EFFORT_OF_STEP if with_boxes else 0
        self._last: Query | None = None
        self.encoding = Encoding(self.vocabulary, self.boxes, ends.variables(self.vocabulary, self._ctx), self._ctx)
        self.decoder = Decoder(program, self.vocabulary, self.encoding, self.addresses)
        self._possible = self.encoding.every(possible(self.encoding, self.vocabulary))
        self._pods = tuple(pod for pod in program.cluster.pods if not pod.host_network)

    def query(self, *constraints: z3.BoolRef) -> Query:
        """A query for the flows that are possible and satisfy these constraints, about policies of one end."""
        self._last = Query((self._possible, *constraints), ctx=self._ctx, effort=self._effort, seed=self._seed)
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

    def decided(self, by_boxes: Callable[[Steps], Answer], by_solver: Callable[[], Answer]) -> Answer:
        """What boxes say, or, where that takes more steps than the effort is worth, what z3 does."""
        try:
            return by_boxes(Steps(self._steps))
        except OutOfStepsError:
            return by_solver()

    def some(self, flows: Iterable[Flows], terms: Terms, *, two_sided: bool = False) -> bool:
        """Whether a possible flow is among some; `terms` say the same.  `two_sided`: about policies of both ends."""
        return self.decided(
            lambda steps: self.chooser.some(flows, steps, distinct=two_sided),
            lambda: (self.two_sided if two_sided else self.query)(*terms()).satisfiable(),
        )

    def matches_something(self, of: RuleOf) -> bool:
        """Whether a rule matches any flow of a subject of its policy: T_p and M_r is not empty."""
        return self.some(map(Flows.of, self.space.rule(of)), lambda: (self.encoding.explicit(of),))

    def term(self, of: RuleOf, match: Match) -> z3.BoolRef:
        """Whether a rule would allow the flow explicitly, if this was its match."""
        if match is of.rule.match:
            return self.encoding.explicit(of)
        reduced = RuleOf(policy=of.policy, rule=replace(of.rule, match=match))
        selected = self.encoding.selects(of.policy, self.encoding.subject(of.rule.direction))
        return self.encoding.every((selected, self.encoding.matches(reduced)))

    def far_end_allows(self, of: RuleOf) -> z3.BoolRef:
        """Whether the other end allows a flow that a rule matches."""
        policies = self.far_policies(of)
        return properties.far_end_allows(self.encoding, of, policies, self.far_rules(of, policies))

    def far_end_denies(self, of: RuleOf, isolating: Policy) -> z3.BoolRef:
        """Whether the other end is a subject of a policy that isolates it, and denies a flow that a rule matches."""
        peer = self.encoding.peer(of.rule.direction)
        return self.encoding.every((self.encoding.selects(isolating, peer), z3.Not(self.far_end_allows(of))))

    def another(self) -> tuple[Encoding, tuple[z3.BoolRef, ...]]:
        """The encoding of a second flow with the same source, and what holds of it if it is possible."""
        flow = ends.beside(self.encoding.flow, self.vocabulary, self._ctx)
        encoding = Encoding(self.vocabulary, self.boxes, flow, self._ctx)
        beside = neighbours(self.encoding.flow.dst, flow.dst)
        return encoding, (*possible(encoding, self.vocabulary), different_addresses(encoding), beside)

    # Examples

    def example(self, query: Query, of: RuleOf) -> Example:
        """The canonical flow of a query whose flows are all matched by a rule."""
        return self.decoder.example(query, of.rule.direction, self.candidates(of))

    def candidates(self, of: RuleOf) -> Candidates:
        """What an example of a rule may use."""
        return Candidates(
            subjects=self.subjects(of.policy),
            peers=list(self._peers(of)),
            addresses=boxes.bare(self.boxes.rule(of)),
        )

    def matched(self, of: RuleOf, match: Match) -> Example:
        """The canonical flow that a rule would match, if this was its match; it must match something."""
        flows = map(Flows.of, self.space.match(of.policy, of.rule.direction, match))
        found = self.least(flows, lambda: (self.term(of, match),), of.rule.direction, lambda: self.candidates(of))
        assert found is not None, "the rule matches something"
        return found

    def least(
        self,
        flows: Iterable[Flows],
        terms: Terms,
        direction: Direction,
        candidates: Callable[[], Candidates],
        *,
        outside: bool = False,
        two_sided: bool = False,
    ) -> Example | None:
        """The canonical one of some flows, if there is any; `terms` say the same.  `direction` is that of the near end.

        `outside`: the far end is an address that no pod or node of the input has.  `two_sided`: the flows are about
        policies of both ends.
        """

        def by_solver() -> Example | None:
            query = self.two_sided(*terms()) if two_sided else self.query(*terms())
            return self.decoder.example(query, direction, candidates()) if query.satisfiable() else None

        def by_boxes(steps: Steps) -> Example | None:
            point = self.chooser.least(
                flows,
                steps,
                near_is_destination=direction is Direction.INGRESS,
                outside=outside,
                distinct=two_sided,
            )
            return None if point is None else self.decoder.flow(point, direction)

        return by_solver() if self._pods else self.decided(by_boxes, by_solver)

    def let_in(self, of: RuleOf) -> Example | None:
        """The canonical flow that a rule matches and the other end allows, if there is one."""
        parts: Iterable[Iterable[Flows]] = ((),)  # with real pods, all at once
        if not self._pods:
            own = self.vocabulary.names.index(of.policy.namespace)
            parts = self.far.by_preference(of, self.space.rule(of), own)
        for part in parts:
            example = self.least(
                part,
                lambda: (self.encoding.explicit(of), self.far_end_allows(of)),
                of.rule.direction,
                lambda: self.candidates(of),
                two_sided=True,
            )
            if example is not None:
                return example
        return None

    def subjects(self, policy: Policy) -> list[Pod]:
        """The real subjects of a policy."""
        return [pod for pod in self._pods if self.boxes.selects(policy, pod)]

    def inhabitants(self, namespace: str) -> list[Pod]:
        """The real pods of a namespace."""
        return [pod for pod in self._pods if pod.namespace == namespace]

    def neighbours(self, policy: Policy) -> list[Pod]:
        """The real pods, those of a policy's namespace first."""
        return sorted(self._pods, key=lambda pod: (pod.namespace != policy.namespace, pod.key))

    def name_servers(self) -> list[Pod]:
        """The real pods that say that they listen on port 53."""
        return [
            pod
            for pod in self._pods
            if any(port.number == 53 and port.protocol in (Protocol.UDP, Protocol.TCP) for port in pod.ports)
        ]

    def _peers(self, of: RuleOf) -> Iterator[Pod]:
        return (pod for pod in self.neighbours(of.policy) if self.boxes.may_be_peer(of, pod))
