"""The target `iptables`: text for `ipset restore`, `iptables-restore --noflush` and `ip6tables-restore --noflush`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from npcompile.backends.filters.inventory import take_inventory
from npcompile.backends.filters.limits import refuse_input
from npcompile.backends.filters.names import Names
from npcompile.backends.filters.plan import Plan, make_plan
from npcompile.backends.iptables.emit import emit_sets, emit_table
from npcompile.backends.iptables.limits import refuse_size, wrong_options
from npcompile.backends.iptables.lower import lower
from npcompile.backends.iptables.names import STYLE
from npcompile.backends.iptables.structure import Ruleset
from npcompile.backends.target import Artifact, Options
from npcompile.diagnostics.model import Diagnostic
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Family

IPTABLES = "iptables"
IPSET_FILE = "ipset.restore"
TABLE_FILES = {Family.V4: "iptables.restore", Family.V6: "ip6tables.restore"}
LOAD = (
    f"ipset restore -file {IPSET_FILE}",
    f"iptables-restore --noflush --wait=10 {TABLE_FILES[Family.V4]}",
    f"ip6tables-restore --noflush --wait=10 {TABLE_FILES[Family.V6]}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IptablesTarget:
    """Chains of the table `filter`, static, over sets that hold all that changes with pods."""

    name: str = IPTABLES
    whole_services: bool = False

    def refused(self, options: Options) -> Iterable[Diagnostic]:
        """Marks that are not one free bit."""
        return wrong_options(options)

    def emit(self, program: Program, options: Options) -> Artifact:
        """Lower a program for every node at once, or for one; raises InputError for what it cannot express."""
        refuse_input(program, options, self.refused(options))
        plan, ruleset = lower_program(program, options)
        refuse_size(ruleset)
        files = {IPSET_FILE: emit_sets(ruleset.sets)}
        files |= {TABLE_FILES[table.family]: emit_table(table, ruleset.mark) for table in ruleset.tables}
        return Artifact(
            target=self.name,
            files=files,
            rules=plan.origins,
            isolating=plan.isolating(ruleset.profiles),
            unbound=plan.unbound,
            load=LOAD,
            summary=_summary(program, plan, ruleset),
        )


def lower_program(program: Program, options: Options) -> tuple[Plan, Ruleset]:
    """The plan and the structure, before any text."""
    names = Names(STYLE)
    plan = make_plan(program, take_inventory(program, options.node), names)
    return plan, lower(plan, names, options)


def _summary(program: Program, plan: Plan, ruleset: Ruleset) -> dict[str, int]:
    """`idle_policies` select no pod of the input, or of the node: nothing of them is in the artifact."""
    return {
        "chains": sum(len(table.chains) for table in ruleset.tables),
        "idle_policies": len(program.policies) - plan.enforced,
        "lines": sum(len(chain.lines) for table in ruleset.tables for chain in table.chains),
        "members": sum(len(one.members) for one in ruleset.sets),
        "policies": plan.enforced,
        "profiles": sum(len(found) for found in plan.profiles.values()),
        "sets": len(ruleset.sets),
        "unbound": len(plan.unbound),
    }
