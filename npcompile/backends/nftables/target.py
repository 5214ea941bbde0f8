"""The target `nftables`: one table `inet npcompile`, replaced as a whole by `nft -f`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from npcompile.backends.filters.inventory import take_inventory
from npcompile.backends.filters.limits import BAD_OPTION, refuse_input
from npcompile.backends.filters.names import Names
from npcompile.backends.filters.plan import Plan, make_plan
from npcompile.backends.filters.sets import SetBook
from npcompile.backends.nftables.emit import emit_table
from npcompile.backends.nftables.lower import lower
from npcompile.backends.nftables.names import STYLE
from npcompile.backends.nftables.structure import Table
from npcompile.backends.target import Artifact, Options
from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.ir.program import Program

FILE = "nftables.nft"


@dataclass(frozen=True, slots=True, kw_only=True)
class NftablesTarget:
    """Chains over sets and verdict maps that hold all that changes with pods."""

    name: str = "nftables"
    whole_services: bool = False

    def refused(self, options: Options) -> Iterable[Diagnostic]:
        """Accepting, and marks."""
        return _wrong_options(options)

    def emit(self, program: Program, options: Options) -> Artifact:
        """Lower a program for every node at once, or for one; raises InputError for what it cannot express."""
        refuse_input(program, options, self.refused(options))
        plan, table = lower_program(program, options)
        return Artifact(
            target=self.name,
            files={FILE: emit_table(table)},
            rules=plan.origins,
            isolating=plan.isolating(
                (plan.profile_chains[one.direction, one.key], one) for found in plan.profiles.values() for one in found
            ),
            unbound=plan.unbound,
            load=(f"nft -f {FILE}",),
            summary=_summary(program, plan, table),
        )


def lower_program(program: Program, options: Options) -> tuple[Plan, Table]:
    """The plan and the structure, before any text."""
    names = Names(STYLE)
    plan = make_plan(program, take_inventory(program, options.node), names)
    return plan, lower(plan, [SetBook(family, plan.inventory, names) for family in plan.families], names)


def _wrong_options(options: Options) -> Iterator[Diagnostic]:
    """What the target cannot do of what is asked for."""
    if options.accept:
        message = "`--accept` means nothing to the target `nftables`: what another table drops, no table can accept"
        hint = "leave it out, and let the rules that drop by default accept instead; or use `--target iptables`"
        yield diagnose(BAD_OPTION, None, message, help=hint)
    if options.mark is not None:
        message = f"the target `nftables` uses no packet mark, so `{options.mark:#x}` cannot be it"
        yield diagnose(BAD_OPTION, None, message, help="leave `--mark` out")


def _summary(program: Program, plan: Plan, table: Table) -> dict[str, int]:
    """`idle_policies` select no pod of the input, or of the node: nothing of them is in the artifact."""
    return {
        "chains": len(table.chains),
        "idle_policies": len(program.policies) - plan.enforced,
        "lines": sum(len(chain.lines) for chain in table.chains),
        "members": (
            sum(len(one.members) for one in table.sets)
            + sum(len(one.members) for one in table.pairs)
            + sum(len(one.chains) for one in table.maps)
        ),
        "policies": plan.enforced,
        "profiles": sum(len(found) for found in plan.profiles.values()),
        "sets": len(table.sets) + len(table.pairs) + len(table.maps),
        "unbound": len(plan.unbound),
    }
