"""One program as boxes: its axes, and which policies and rules have to do with one another.  All of it without z3."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from npcompile.ir.policy import Direction, Policy, PortItem
from npcompile.ir.program import Program
from npcompile.questions import RuleOf
from npcompile.symbolic.boxes import Boxes
from npcompile.symbolic.covers import Box
from npcompile.symbolic.far import FarEnds
from npcompile.symbolic.flows import Chooser, Flows
from npcompile.symbolic.policy_index import PolicyIndex
from npcompile.symbolic.space import Space
from npcompile.symbolic.stand_ins import stand_ins
from npcompile.symbolic.vocabulary import Vocabulary

EFFORT_OF_STEP = 200  # what a look at a box costs of the effort that bounds a check: about as long as z3 takes for that


class Setting:
    """What can be said of a program's policies without asking a solver."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.vocabulary = Vocabulary.of(program)
        self.boxes = Boxes(self.vocabulary, program.cluster)
        self.space = Space(self.vocabulary, self.boxes, program.policies)
        self.addresses = stand_ins(self.vocabulary, program.cluster)
        self.chooser = Chooser(self.space, self.vocabulary, *self.addresses)
        self._isolating: dict[Direction, dict[int, list[Policy]]] = {direction: {} for direction in Direction}
        self._policies_of: dict[str, list[Policy]] = {}
        for policy in sorted(program.policies, key=lambda policy: policy.key):
            self._policies_of.setdefault(policy.namespace, []).append(policy)
            for direction in policy.directions:
                name = self.vocabulary.names.index(policy.namespace)
                self._isolating[direction].setdefault(name, []).append(policy)
        self._indices: dict[str, PolicyIndex] = {}
        self.far = FarEnds(self.space, self._isolating)
        rules = (RuleOf(policy=policy, rule=rule) for policy in program.policies for rule in policy.rules)
        self.rules = tuple(sorted(rules, key=lambda of: of.order))
        self._rules_of: dict[tuple[str, Direction], list[RuleOf]] = {}
        for of in self.rules:
            self._rules_of.setdefault((of.policy.namespace, of.rule.direction), []).append(of)

    @property
    def namespaces(self) -> list[str]:
        """The names of the namespaces that have policies, in order."""
        return sorted(self._policies_of)

    def policies_of(self, namespace: str) -> Sequence[Policy]:
        """The policies of a namespace, in order."""
        return self._policies_of[namespace]

    def policy_index(self, namespace: str) -> PolicyIndex:
        """The index of a namespace's policies."""
        if namespace not in self._indices:
            self._indices[namespace] = PolicyIndex(self.space, self._policies_of[namespace])
        return self._indices[namespace]

    def rules_of(self, namespace: str, direction: Direction) -> list[RuleOf]:
        """The active rules of one direction in a namespace, in order."""
        return self._rules_of.get((namespace, direction), [])

    def far_policies(self, of: RuleOf) -> list[Policy]:
        """The policies that may isolate the other end of a rule's flows, in order."""
        return [policy for policy in self.far_isolating(of) if self.boxes.may_be_subject(of, policy)]

    def far_isolating(self, of: RuleOf) -> Iterator[Policy]:
        """The policies that isolate where the other end of a rule's flows may be, in order, one after the other."""
        isolating, names = self._isolating[of.rule.direction.opposite], self.boxes.names(of)
        return chain.from_iterable(policies for name, policies in isolating.items() if name in names)

    def open_names(self, of: RuleOf) -> frozenset[int]:
        """The namespaces of the other end of a rule's flows in which no policy isolates it."""
        return self.boxes.names(of) - self._isolating[of.rule.direction.opposite].keys()

    def far_rules(self, of: RuleOf, policies: Sequence[Policy]) -> list[RuleOf]:
        """The rules of the other end's policies by which it may allow a flow that a rule matches."""
        direction = of.rule.direction.opposite
        rules = (RuleOf(policy=policy, rule=rule) for policy in policies for rule in policy.rules_of(direction))
        return [far for far in rules if self.boxes.may_meet_across(of, far)]

    def is_easily_alive(self, of: RuleOf, item: PortItem | None) -> bool:
        """Whether the other end may be a pod in a namespace where nothing isolates it, or one for whom a rule may meet
        this one, on the ports of an item (None: on any).  Otherwise only a pod that nothing selects could let it live.
        """
        if self.open_names(of):
            return True
        if item is not None:
            match = replace(of.rule.match, ports=(item,))
            of = RuleOf(policy=of.policy, rule=replace(of.rule, match=match))
        return bool(self.far_rules(of, self.far_policies(of)))

    def from_outside(self, subjects: Iterable[Box], without: Iterable[Policy] = ()) -> Iterator[Flows]:
        """The flows between near ends in boxes, those that some policies select left out, and addresses that no pod or
        node of the input has.
        """
        outside = ({self.space.where(far=True): self.chooser.outside()},)
        none = self.subject_boxes(without)
        return (Flows(box=box, without=none) for box in self.space.join(subjects, outside))

    def pods_of(self, namespace: str) -> Box:
        """The pods of a namespace, as near end."""
        name = 1 << self.vocabulary.names.index(namespace)
        return {self.space.where(far=False): self.space.pods, self.space.name(far=False): name}

    def subject_boxes(self, policies: Iterable[Policy]) -> tuple[Box, ...]:
        """The subjects of policies."""
        return tuple(subject for policy in policies if (subject := self.space.subject(policy)) is not None)
