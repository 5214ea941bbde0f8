"""The pairs of groups of ends whose flows two versions may judge differently, with what judges them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from npcompile.ir.policy import Direction, Policy
from npcompile.ir.program import PolicyIndex
from npcompile.ir.versions import Both, Version
from npcompile.questions import RuleOf
from npcompile.symbolic import boxes
from npcompile.symbolic.end_axes import Group
from npcompile.symbolic.versions import Versions


class Side(NamedTuple):
    """The policies of a version that may isolate one end, in order, and their rules that may match the other one."""

    policies: tuple[Policy, ...]
    rules: tuple[RuleOf, ...]

    @property
    def meaning(self) -> list[object]:
        """The same for sides that judge alike, whatever their policies are called."""
        found = []
        for policy in self.policies:
            matches = [of.rule.match for of in self.rules if of.policy is policy]
            found.append((policy.subjects, matches))
        return sorted(found, key=repr)


class Pair(NamedTuple):
    """The flows from one group of ends to another, with what may judge them in each version, by direction."""

    source: Group
    target: Group
    sides: Both[dict[Direction, Side]]


class Pairs:
    """Which pairs of groups may have flows that the versions judge differently."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._policies = Both(*(PolicyIndex(program.policies) for program in versions.programs))
        old, new = (set(program.policies) for program in versions.programs)
        self._changed = {
            direction: {
                versions.vocabulary.names.index(policy.namespace)
                for policy in old ^ new
                if direction in policy.directions
            }
            for direction in Direction
        }

    def different(self) -> Iterator[Pair]:
        sources, targets = (list(self._groups(direction)) for direction in (Direction.EGRESS, Direction.INGRESS))
        for target in targets:
            for source in sources:
                if not self._may_be_judged_anew(source, target):
                    continue
                pair = Pair(source, target, Both(*(self._sides(v, source, target) for v in Version)))
                if self._may_differ(pair):
                    yield pair

    def _may_be_judged_anew(self, source: Group, target: Group) -> bool:
        leaving, entering = (self._changed[direction] for direction in (Direction.EGRESS, Direction.INGRESS))
        relabelled = (source.names | target.names) & self._versions.relabelled
        between_pods = not (source.outside and target.outside)
        return between_pods and bool(source.names & leaving or target.names & entering or relabelled)

    def _groups(self, direction: Direction) -> Iterator[Group]:
        """The groups of an end that policies of a direction isolate."""
        versions = self._versions
        vocabulary, special = versions.vocabulary, versions.relabelled
        isolated = {
            vocabulary.names.index(policy.namespace)
            for program in versions.programs
            for policy in program.policies
            if direction in policy.directions
        }
        for name in sorted(isolated | special):
            yield self._group(frozenset({name}))
        rest = vocabulary.possible - isolated - special
        for names in (rest & vocabulary.listed, rest - vocabulary.listed):
            if names:
                yield self._group(names)
        yield Group(names=frozenset())

    def _group(self, names: frozenset[int]) -> Group:
        """A group of namespaces that are listed alike."""
        free = [version for version in Version if not names <= self._versions.listed[version]]
        return Group(names=names, labelled=bool(free), labels_in=free[0] if len(free) == 1 else None)

    def _sides(self, version: Version, source: Group, target: Group) -> dict[Direction, Side]:
        return {
            Direction.EGRESS: self._side(version, Direction.EGRESS, source, target),
            Direction.INGRESS: self._side(version, Direction.INGRESS, target, source),
        }

    def _side(self, version: Version, direction: Direction, subjects: Group, peers: Group) -> Side:
        if len(subjects.names) != 1 or self._versions.vocabulary.names.other in subjects.names:
            return Side((), ())  # several namespaces are one group because none has policies
        (name,) = subjects.names
        policies = tuple(
            policy
            for policy in self._policies[version].of(self._versions.name(name))
            if direction in policy.directions and not boxes.void(self._versions.boxes[version].subjects(policy))
        )
        rules = (RuleOf(policy=policy, rule=rule) for policy in policies for rule in policy.rules_of(direction))
        return Side(policies, tuple(of for of in rules if self._may_match(version, of, peers)))

    def _may_match(self, version: Version, of: RuleOf, peers: Group) -> bool:
        known = self._versions.boxes[version]
        return bool(boxes.bare(known.rule(of)) if peers.outside else known.names(of) & peers.names)

    def _may_differ(self, pair: Pair) -> bool:
        if (pair.source.names | pair.target.names) & self._versions.relabelled:
            return True
        old, new = pair.sides
        return any(old[direction].meaning != new[direction].meaning for direction in Direction)
