"""`npcompile endpoints`: what is loaded of the datapath, by name."""

from __future__ import annotations

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import diagnose
from npcompile.driver.loaded_names import Names, loaded_maps
from npcompile.ir.policy import Direction
from npcompile.readers.bpf_maps import Maps
from npcompile.runtime.bpf import attach
from npcompile.runtime.bpf.counters import counted
from npcompile.runtime.bpf.maps import read_generation
from npcompile.runtime.loader import MACHINE


def endpoints() -> list[dict[str, object]]:
    """The endpoints that are loaded, whether the programs are at their interfaces, and what their rulesets' rules have
    let through.
    """
    with loaded_maps() as (here, maps):
        generation = read_generation(maps)
        bound = here.artifact(generation)
        if bound is None:
            message = f"the names of generation {generation} are not kept any more"
            raise InputError([diagnose(MACHINE, None, message, help="run `npcompile apply` again")])
        names, hits, there, present = Names.of(bound), counted(here), attach.attached(), attach.interfaces()
    whole = {index for index, hooks in there.items() if hooks == frozenset(Direction)}
    return [
        {
            "pod": one.pod,
            "id": one.id,
            "interface": names.interfaces.get(one.pod),
            "attached": present.get(names.interfaces.get(one.pod, "")) in whole,
            "addresses": [str(address) for address in one.addresses],
            "identities": [names.maps.addresses[address] for address in one.addresses],
            "egress": one.egress,
            "ingress": one.ingress,
            "rules": {
                names.place(origin): hits[origin]
                for origin in sorted(_rules_of(names.maps, one.egress) | _rules_of(names.maps, one.ingress))
                if hits.get(origin)
            },
        }
        for one in names.maps.endpoints.values()
    ]


def _rules_of(maps: Maps, ruleset: int) -> set[str]:
    return {
        maps.rules[entry.rule]
        for (number, _), entries in maps.policy.items()
        if number == ruleset
        for entry in entries
        if isinstance(entry.rule, int)
    }
