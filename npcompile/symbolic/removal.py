"""What changes without a policy, as boxes.

A side of its subjects opens where nothing else isolates them and no rule of the policy matches, and closes where
another policy isolates them and no rule but the policy's matches.  A verdict changes where a side closes and the other
end allows, with the policy; or a side opens and the other end allows, without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from npcompile.ir.policy import Direction, Policy
from npcompile.symbolic.covers import Box, Steps
from npcompile.symbolic.flows import Flows
from npcompile.symbolic.policy_index import PolicyIndex
from npcompile.symbolic.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changing:
    """Boxes of which something opens or closes, how to find out what, and the policy without which the other end is to
    be judged.
    """

    direction: Direction
    boxes: Sequence[Box]
    parts: Callable[[Iterable[Box], Steps], Iterator[Box]]
    without: Policy | None


class Removal:
    """A policy that is taken away."""

    def __init__(self, setting: Setting, policy: Policy) -> None:
        self._setting, self._policy = setting, policy
        self._index: PolicyIndex = setting.policy_index(policy.namespace)
        self._number = self._index.numbers[policy.key]

    def unfelt(self, steps: Steps) -> bool:
        """Whether sides of flows change, and no verdict."""
        changing = list(self._changing(steps))
        return any(one.boxes for one in changing) and not self._passes(changing, steps)

    def changes_verdicts(self, steps: Steps) -> bool:
        """Whether some verdict changes."""
        return self._passes(self._changing(steps), steps)

    def opens(self, steps: Steps) -> bool:
        """Whether a side opens."""
        index, number = self._index, self._number
        opened = (index.opened(number, one, index.subjects(number), steps) for one in index.directions(number))
        return next(chain.from_iterable(opened), None) is not None

    def flows(self, direction: Direction) -> Iterator[Flows]:
        """All flows whose side changes in a direction."""
        for box, without in self._index.changing(self._number, direction):
            yield Flows(box=box, without=tuple(without))

    def _changing(self, steps: Steps) -> Iterator[_Changing]:
        index, number = self._index, self._number
        for direction in index.directions(number):
            for parts, boxes, without in (
                (partial(index.opened, number, direction), index.subjects(number), self._policy),
                (partial(index.closed, number, direction), index.matched(number, direction), None),
            ):
                some = [box for box in boxes if next(parts((box,), steps), None) is not None]
                yield _Changing(direction=direction, boxes=some, parts=parts, without=without)

    def _passes(self, changing: Iterable[_Changing], steps: Steps) -> bool:
        """Whether the other end lets something pass that changes."""
        for one in changing:
            for there in self._setting.far.allowed(one.direction, one.boxes, without=one.without):
                flows = (Flows(box=part, without=there.without) for part in one.parts((there.box,), steps))
                if self._setting.chooser.some(flows, steps, distinct=True):
                    return True
        return False
