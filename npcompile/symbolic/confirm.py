"""Whether what an inventory's answer says holds for every pod and namespace that could exist, too.

Boxes look for a flow that refutes it: most answers that hold for an inventory only are told so, and at once.  z3 judges
the others, and it alone confirms; so it is loaded when there is something to confirm, and not before.  What costs more
than it tells is not asked: that is never wrong, since a missing confirmation says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from npcompile.ir.policy import Match
from npcompile.ir.program import Program
from npcompile.questions import HalfOpen, NoWayIn, Redundant, RuleOf, Shadowed, ShadowedItem, Unfelt, Universal
from npcompile.symbolic.covers import Box, OutOfStepsError, Steps
from npcompile.symbolic.flows import Flows
from npcompile.symbolic.removal import Removal
from npcompile.symbolic.setting import EFFORT_OF_STEP, Setting

if TYPE_CHECKING:
    from npcompile.symbolic.prover import Prover


class Confirmation:
    """A `Confirmer` about one program.  `effort` bounds what is spent on all answers together, in z3's resource units:
    those that come when it is used up are not confirmed.
    """

    def __init__(self, program: Program, effort: int) -> None:
        # What could exist does not depend on what does, but for the namespaces of the input.
        cluster = replace(program.cluster, pods=(), nodes={}, services=())
        self._program = replace(program, cluster=cluster)
        self._effort = effort

    def holds(self, answer: Universal) -> bool:
        """Whether an answer holds for all that could exist, as far as could be shown."""
        return not self._is_refuted(answer) and self._prover.holds(answer)

    @cached_property
    def _setting(self) -> Setting:
        return Setting(self._program)

    @cached_property
    def _prover(self) -> Prover:
        from npcompile.symbolic.prover import Prover  # loading z3 takes longer than checking a small program

        return Prover(self._program, self._effort)

    def _is_refuted(self, answer: Universal) -> bool:
        """Whether a flow that refutes an answer was found.  Of what boxes are not asked, and where that takes too many
        steps, there may be one.
        """
        steps = Steps(self._effort // EFFORT_OF_STEP)
        try:
            match answer:
                case Shadowed(subject=of, cover=cover):
                    return self._leaves(of, of.rule.match, cover, [one.rule.match for one in cover], steps)
                case ShadowedItem(subject=of, own=own, cover=cover, left=left):
                    return self._leaves(of, own, cover, left, steps)
                case Redundant(policy=policy, cover=others):
                    index = self._setting.policy_index(policy.namespace)
                    return not index.suffice(policy, others, steps)
                case Unfelt(policy=policy):
                    return Removal(self._setting, policy).changes_verdicts(steps)
                case HalfOpen(opener=of, port=item):
                    return not answer.fully or self._setting.is_easily_alive(of, item)
                case NoWayIn(rules=rules):
                    return any(self._lets_in(of, steps) for of in rules)
                case _:
                    return False
        except OutOfStepsError:
            return False

    def _leaves(self, of: RuleOf, own: Match, cover: Iterable[RuleOf], left: Iterable[Match], steps: Steps) -> bool:
        """Whether a rule with one match matches anything that others, with a match each, do not."""
        without = [box for one, match in zip(cover, left, strict=True) for box in self._boxes(one, match)]
        flows = (Flows(box=box, without=tuple(without)) for box in self._boxes(of, own))
        return self._setting.chooser.some(flows, steps)

    def _boxes(self, of: RuleOf, match: Match) -> Sequence[Box]:
        return self._setting.space.match(of.policy, of.rule.direction, match)

    def _lets_in(self, of: RuleOf, steps: Steps) -> bool:
        setting = self._setting
        flows = setting.far.allowed(of.rule.direction, setting.space.rule(of))
        return setting.chooser.some(flows, steps, distinct=True)
