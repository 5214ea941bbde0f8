"""The target `bpf`: the entries of the datapath's maps, for one node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from npcompile.backends.bpf.emit import emit_maps
from npcompile.backends.bpf.limits import closed_services, refuse_size, wrong_cluster, wrong_options
from npcompile.backends.bpf.lower import lower
from npcompile.backends.bpf.numbers import NO_NUMBERS, read_numbers, write_numbers
from npcompile.backends.bpf.source import Features, render
from npcompile.backends.bpf.structure import Tables
from npcompile.backends.filters.limits import refuse_input
from npcompile.backends.target import Artifact, Established, Options
from npcompile.diagnostics.model import Diagnostic
from npcompile.ir.program import Program

MAPS_FILE = "maps.json"
NUMBERS_FILE = "numbers.json"
SOURCE_FILE = "datapath.c"
OBJECT_FILE = "datapath.o"  # where one was compiled
BPF = "bpf"


@dataclass(frozen=True, slots=True, kw_only=True)
class BpfTarget:
    """Policy as map entries; the programs that ask them are the same for every policy."""

    name: str = BPF
    whole_services: bool = True

    def refused(self, options: Options) -> Iterable[Diagnostic]:
        """Accepting, and marks."""
        return wrong_options(options)

    def emit(self, program: Program, options: Options) -> Artifact:
        """Lower a program; raises InputError for what the target cannot express."""
        refuse_input(program, options, (*self.refused(options), *wrong_cluster(program.cluster)))
        earlier = read_numbers(options.earlier.get(NUMBERS_FILE, b"")) if options.earlier else NO_NUMBERS
        tables, numbers = lower(program, options, earlier)
        refuse_size(tables)
        return Artifact(
            target=self.name,
            files={
                MAPS_FILE: emit_maps(tables, options),
                NUMBERS_FILE: write_numbers(numbers),
                SOURCE_FILE: render(Features(recheck=options.established is Established.RECHECK)).encode(),
            },
            rules=tables.origins,
            isolating={ruleset_name(one.number): one.isolating for one in tables.rulesets},
            unbound=tables.unbound,
            load=("npcompile apply . --bindings FILE",),
            diagnostics=tuple(closed_services(tables.mixed)),
            summary=_summary(tables),
        )


def ruleset_name(number: int) -> str:
    """What stands for a ruleset in the manifest."""
    return f"ruleset {number}"


def _summary(tables: Tables) -> dict[str, int]:
    return {
        "addresses": len(tables.addresses),
        "classes": len(tables.classes),
        "endpoints": len(tables.endpoints),
        "networks": len(tables.networks),
        "policy_entries": len(tables.policy),
        "rules": len(tables.rules),
        "rulesets": len(tables.rulesets),
        "unbound": len(tables.unbound),
    }
