"""The target `iptables`: text for `ipset restore`, `iptables-restore --noflush` and `ip6tables-restore --noflush`."""

from __future__ import annotations

from dataclasses import dataclass

from npcompile.backends.iptables.emit import emit_sets, emit_table
from npcompile.backends.iptables.limits import refuse_input, refuse_size
from npcompile.backends.iptables.lower import lower
from npcompile.backends.iptables.structure import Ruleset
from npcompile.backends.target import Artifact, Options
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Family

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

    name: str = "iptables"

    def emit(self, program: Program, options: Options) -> Artifact:
        """Lower a program for every node at once; raises InputError for what `limits` refuses."""
        refuse_input(program, options)
        ruleset = lower(program, options)
        refuse_size(ruleset)
        files = {IPSET_FILE: emit_sets(ruleset.sets)}
        files |= {TABLE_FILES[table.family]: emit_table(table, ruleset.mark) for table in ruleset.tables}
        return Artifact(
            target=self.name,
            files=files,
            rules=ruleset.origins,
            unbound=ruleset.unbound,
            load=LOAD,
            summary=_summary(program, ruleset),
        )


def _summary(program: Program, ruleset: Ruleset) -> dict[str, int]:
    """`idle_policies` select no pod of the input: nothing of them is in the artifact."""
    return {
        "chains": sum(len(table.chains) for table in ruleset.tables),
        "idle_policies": len(program.policies) - ruleset.policies,
        "lines": sum(len(chain.lines) for table in ruleset.tables for chain in table.chains),
        "members": sum(len(one.members) for one in ruleset.sets),
        "policies": ruleset.policies,
        "profiles": ruleset.profiles,
        "sets": len(ruleset.sets),
        "unbound": len(ruleset.unbound),
    }
