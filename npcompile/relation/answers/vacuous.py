"""Policies and rules that match nothing in the inventory."""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.questions import Vacuous
from npcompile.relation.inventory import Inventory
from npcompile.relation.rules import BoxedRule


def vacuous(inventory: Inventory) -> Iterator[Vacuous]:
    """Policies without subjects, and rules, of policies with subjects, whose peers and ports nothing fits.

    Addresses always exist: a rule with an ipBlock is vacuous only where its ports are names, which no address
    declares, and no pod in the block does either.  Whether subjects and peers have a family in common does not matter.
    """
    relation = inventory.relation
    rules: dict[tuple[str, str], list[BoxedRule]] = {}
    for rule in relation.rules:
        rules.setdefault(rule.of.policy.key, []).append(rule)
    for policy in sorted(relation.program.policies, key=lambda policy: policy.key):
        if not relation.subjects[policy.key]:
            yield Vacuous(policy=policy, rule=None, impossible=False)
            continue
        for rule in rules.get(policy.key, ()):
            if not rule.boxes:
                yield Vacuous(policy=policy, rule=rule.of.rule, impossible=False)
