"""What a change of policies, or of the cluster, opens and closes: the flows that only one of two versions allows.

`compare` answers exactly for the pods that both versions have, among each other and with every address outside.  It
says nothing of the flows of a pod that only one version has.  What changes for every pod that could exist is the
symbolic engine's to say; `in_general` puts that in the same form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from npcompile.analyses.diff_boxes import PIECES, differences, partition
from npcompile.analyses.diff_causes import Causes, Surprise
from npcompile.analyses.diff_ends import Ends, OneSided, common_ends
from npcompile.analyses.diff_parties import Namer, Party
from npcompile.ir.flow import Flow
from npcompile.ir.program import Program
from npcompile.ir.versions import Both, Change
from npcompile.netset.intervals import IntervalSet
from npcompile.questions import Blocker, Passing, PossibleChange, PossibleChanges, Unsettled
from npcompile.relation.bits import lowest
from npcompile.relation.boxes import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Flows that only one version allows: every comparable one from `sources` to `targets` on `ports`.

    `why` tells why one version lets them pass, `blockers` what denies them in the other; `witness` is the canonical one
    of them, as each version has it.  A surprise is of closed flows only.  `box` says the same in the comparison's
    classes.
    """

    change: Change
    sources: tuple[Party, ...]
    targets: tuple[Party, ...]
    ports: IntervalSet
    why: Passing
    blockers: tuple[Blocker, ...]
    witness: Both[Flow]
    surprise: Surprise | None
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanges:
    """Policies by what became of them; whether flows change with them is another question."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that differs.

    For the pods of the input, the boxes of one kind are disjoint, and together all flows of the kind.  They are as
    large as can be, unless not `complete`: then the difference is so intricate that some could still grow.  `pods`
    counts those of both versions; where it is 0, nothing was compared.  For every pod that could exist, boxes may
    overlap, `pods` is 0, and more flows may differ where something is `unsettled`.

    `alike`: policies and namespaces are equal, so that no pod whatever could tell the versions apart.
    """

    changes: tuple[Changed | PossibleChange, ...]
    policies: PolicyChanges
    alike: bool
    pods: int = 0
    one_sided: tuple[OneSided, ...] = ()
    complete: bool = True
    unsettled: tuple[Unsettled, ...] = ()
    assumptions: tuple[str, ...] = ()

    def of(self, change: Change) -> tuple[Changed | PossibleChange, ...]:
        """The changes of one kind."""
        return tuple(one for one in self.changes if one.change is change)


def in_general(old: Program, new: Program, find: Callable[[], PossibleChanges]) -> Comparison:
    """Compare two versions for every pod that could exist.  `find` asks the symbolic engine; if there is a need to."""
    if alike(old, new):
        return Comparison(changes=(), policies=_policies(old, new), alike=True)
    found = find()
    return Comparison(
        changes=found.changes,
        policies=_policies(old, new),
        alike=False,
        unsettled=found.unsettled,
        assumptions=found.assumptions,
    )


def alike(old: Program, new: Program) -> bool:
    """Whether no pod whatever could tell two versions apart, because their policies and namespaces are equal."""
    return old.policies == new.policies and old.cluster.namespaces == new.cluster.namespaces


def compare(old: Program, new: Program, pieces: int = PIECES) -> Comparison:
    """Compare two versions of a program.  `pieces` bounds the work on a short description, not on the answer."""
    ends = common_ends(old, new)
    causes, namer = Causes(ends), Namer(ends)
    changes: list[Changed] = []
    complete = True
    different = differences(ends)
    for change in Change:
        divided = partition(ends, different[change.passing], pieces)
        complete = complete and divided.complete
        found = [_changed(ends, causes, namer, change, box) for box in divided.boxes]
        changes += sorted(found, key=lambda one: _order(one.box))
    return Comparison(
        changes=tuple(changes),
        pods=ends.pods,
        one_sided=ends.one_sided,
        policies=_policies(old, new),
        alike=alike(old, new),
        complete=complete,
    )


def _changed(ends: Ends, causes: Causes, namer: Namer, change: Change, box: Box) -> Changed:
    sources, targets = namer.name(box)
    return Changed(
        change=change,
        sources=sources,
        targets=targets,
        ports=ends.relations.old.space.ports(box.ports),
        why=causes.passing(change.passing, box),
        blockers=causes.blockers(change.passing.other, box),
        witness=causes.witness(box),
        surprise=causes.surprise(box) if change is Change.CLOSED else None,
        box=box,
    )


def _order(box: Box) -> tuple[tuple[int, ...], Box]:
    return tuple(lowest(part) for part in box), box


def _policies(old: Program, new: Program) -> PolicyChanges:
    before, after = ({policy.key: policy for policy in program.policies} for program in (old, new))
    return PolicyChanges(
        added=tuple(str(policy) for key, policy in after.items() if key not in before),
        removed=tuple(str(policy) for key, policy in before.items() if key not in after),
        changed=tuple(str(policy) for key, policy in after.items() if key in before and before[key] != policy),
    )
