"""What the numbers in the loaded datapath's maps and events mean, from the artifacts that were kept beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import diagnose
from npcompile.ir.flow import Verdict
from npcompile.netset.cidrs import Address
from npcompile.readers.bpf_maps import Maps
from npcompile.runtime.bpf.events import Event
from npcompile.runtime.bpf.libbpf import Map
from npcompile.runtime.bpf.loaded import Bound, Here, close
from npcompile.runtime.bpf.maps import fits
from npcompile.runtime.loader import MACHINE
from npcompile.runtime.programs import need


@dataclass(frozen=True)  # without slots: some of it is made on demand
class Names:
    """What the numbers of one artifact mean."""

    maps: Maps
    rules: Mapping[str, Mapping[str, object]]  # of the manifest
    interfaces: Mapping[str, str]

    @classmethod
    def of(cls, bound: Bound) -> Names:
        """Those of an artifact as it was loaded."""
        return cls(bound.read(), json.loads(bound.manifest).get("rules", {}), bound.interfaces)

    @cached_property
    def pods(self) -> Mapping[int, str]:
        """By the number of the endpoint."""
        return {one.id: one.pod for one in self.maps.endpoints.values()}

    @cached_property
    def owners(self) -> Mapping[Address, str]:
        """The pods of this node by address."""
        return {address: one.pod for one in self.maps.endpoints.values() for address in one.addresses}

    def deciding(self, event: Event) -> str | None:
        """The rule that allowed, or the policy that isolates where none did."""
        origin = ""
        if event.rule:
            origin = self.maps.rules.get(event.rule, "")
        elif event.verdict is Verdict.DENY and event.ruleset in self.maps.rulesets:
            origin = self.maps.rulesets[event.ruleset].origin
        return self.place(origin) if origin else None

    def place(self, origin: str) -> str:
        """`shop/web ingress[0] (web.yaml:3)`, as far as the manifest says."""
        said = self.rules.get(origin)
        if said is None:
            return origin
        rule = "" if said.get("rule") is None else f"[{said['rule']}]"
        return f"{said['policy']} {said['direction']}{rule} ({said['file']}:{said['line']})"


class NamesByGeneration:
    """Those of every generation since this was made.

    A loader lets go of an artifact two changes later, while events of its generation may wait to be read.
    """

    def __init__(self, here: Here) -> None:
        self._here = here
        self._read: dict[int, tuple[int, Bound]] = {}  # when the file was written, and what it says
        self._names: dict[int, Names] = {}

    def refresh(self) -> None:
        """Read what has come; the same generation may come again with other lines."""
        for generation, written in self._here.artifacts().items():
            if self._read.get(generation, (0, None))[0] == written:
                continue
            if (bound := self._here.artifact(generation)) is not None:
                self._read[generation] = (written, bound)
                self._names.pop(generation, None)

    def of(self, generation: int) -> Names | None:
        """None where the artifact went before anybody looked."""
        if generation not in self._names:
            if generation not in self._read:
                return None
            self._names[generation] = Names.of(self._read[generation][1])
        return self._names[generation]


@contextmanager
def loaded_maps() -> Iterator[tuple[Here, dict[str, Map]]]:
    """The maps that count in this network namespace; raises InputError without any, or without the right to."""
    need(())
    here = Here.of_thread()
    current = here.current()
    if current is None:
        message = "no artifact of the target `bpf` is loaded here"
        raise InputError([diagnose(MACHINE, None, message, help="load one with `npcompile apply`")])
    maps = here.maps(current.pins)
    try:
        if not fits(maps):
            message = "what is loaded is of another version of npcompile"
            raise InputError([diagnose(MACHINE, None, message, help="load it with this one's `npcompile apply`")])
        yield here, maps
    finally:
        close(maps.values())
