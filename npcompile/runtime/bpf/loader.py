"""Loads artifacts of the target `bpf`: what is wanted, what is there, and what would have to be done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from npcompile.backends.bpf.target import BPF, MAPS_FILE, OBJECT_FILE, SOURCE_FILE
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, RuleCode, Severity, diagnose
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Address
from npcompile.readers.bpf_maps import Maps
from npcompile.runtime.bpf import attach, transition
from npcompile.runtime.bpf.capacity import capacity, too_small
from npcompile.runtime.bpf.compile import compile_object
from npcompile.runtime.bpf.layout import NAMES, Image, pack
from npcompile.runtime.bpf.loaded import Bound, Here, read_once
from npcompile.runtime.bpf.transition import Datapath, Loaded, opened, told
from npcompile.runtime.loader import MACHINE, Delta, LoadError, Step, Stored
from npcompile.runtime.programs import locked, need
from npcompile.runtime.stored import ARTIFACT

_CACHE = Path("/var/cache/npcompile/bpf")

UNBOUND_INTERFACE = RuleCode(code="NPC732", slug="unbound-interface", severity=Severity.WARNING)
"""A pod of the artifact has no interface in the bindings file, so that nothing is enforced for it.  Add a line
`ns/pod=ifname`, where ifname is the host's end of the pod's veth pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """An artifact, read, the interfaces of its bound pods, and what the maps are to hold."""

    stored: Stored
    maps: Maps
    interfaces: Mapping[str, int]
    image: Image

    def digest(self) -> str:
        """What tells the programs apart: of the object where the artifact has one, or of the source."""
        return hashlib.sha256(self.stored.files.get(OBJECT_FILE) or self.source().encode()).hexdigest()

    def object(self) -> bytes:
        return self.stored.files.get(OBJECT_FILE) or compile_object(self.source(), _CACHE)

    def source(self) -> str:
        if SOURCE_FILE not in self.stored.files:
            message = f"the artifact holds neither `{OBJECT_FILE}` nor `{SOURCE_FILE}`"
            raise InputError([diagnose(ARTIFACT, None, message, help="write it again with `npcompile emit`")])
        return self.stored.files[SOURCE_FILE].decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class BpfLoader:
    """`bindings`: by pod (`ns/name`), the interface that leads to it."""

    bindings: Mapping[str, str] = field(default_factory=dict)
    target: str = BPF

    def usable(self) -> bool:
        """Whether anything can be loaded here at all."""
        return os.geteuid() == 0

    def is_loaded(self) -> bool:
        """Whether there are maps, or interfaces with programs of ours.

        Interfaces, which take long to ask, get programs from the pins here, which go after the last of them.
        """
        here = Here.of_thread()
        return (here.files.exists() or here.pins.exists()) and any(_removal(here))

    def delta(self, artifact: Stored | None) -> Delta:
        """What `apply` or `detach` would do; entries are told by map, as bytes."""
        wanted = None if artifact is None else self._read(artifact)
        diagnostics = () if wanted is None else tuple(self._unbound(wanted.maps))
        here = Here.of_thread()
        steps = _removal(here) if wanted is None else _steps(here, _look(here), wanted)
        return Delta(steps=tuple(steps), diagnostics=diagnostics)

    def apply(self, artifact: Stored) -> Delta:
        """Load; raises InputError with nothing touched, LoadError when a step failed."""
        need(())
        wanted = self._read(artifact)
        unbound = tuple(self._unbound(wanted.maps))
        with locked():
            here = Here.of_thread()
            now = _look(here)
            steps, bound = tuple(_steps(here, now, wanted)), _bound(wanted, self.bindings)
            if steps:
                datapath = _datapath(here, now, wanted)
                chosen = transition.Wanted(image=wanted.image, maps=wanted.maps, bound=bound, datapath=datapath)
                behind = transition.load(here, now, chosen)
            else:
                behind = _rename(here, now, bound)
        return Delta(steps=steps, diagnostics=(*unbound, *behind))

    def detach(self) -> Delta:
        """Everything is as if we had never been there."""
        need(())
        with locked():
            here = Here.of_thread()
            steps = tuple(_removal(here))
            behind = transition.remove(here)
        return Delta(steps=steps, diagnostics=behind)

    def _read(self, artifact: Stored) -> _Wanted:
        maps = read_once(artifact.files[MAPS_FILE])
        present = attach.interfaces()
        chosen = {pod: name for pod, name in self.bindings.items() if pod in maps.endpoints}
        missing = sorted({name for name in chosen.values() if name not in present})
        if missing:
            listed = ", ".join(f"`{name}`" for name in missing)
            message = f"the bindings name interfaces that are not here: {listed}"
            raise InputError([diagnose(MACHINE, None, message, help="name the host's end of each pod's veth pair")])
        shared = sorted({name for name in chosen.values() if list(chosen.values()).count(name) > 1})
        if shared:
            raise InputError(
                [diagnose(MACHINE, None, f"the bindings give `{name}` to several pods") for name in shared]
            )
        interfaces = {pod: present[name] for pod, name in sorted(chosen.items())}
        image = pack(maps, interfaces, _own_addresses(maps))
        return _Wanted(stored=artifact, maps=maps, interfaces=interfaces, image=image)

    def _unbound(self, maps: Maps) -> Iterator[Diagnostic]:
        for pod in sorted(set(maps.endpoints) - set(self.bindings)):
            message = f"`{pod}` has no interface in the bindings: nothing is enforced for it"
            yield diagnose(UNBOUND_INTERFACE, None, message, help=f"add the line `{pod}=IFNAME`")


def _own_addresses(maps: Maps) -> frozenset[Address]:
    """Every address of the node's interfaces, but those that the artifact knows as a pod's."""
    pods = {address for one in maps.endpoints.values() for address in one.addresses}
    return attach.own_addresses() - pods


def _look(here: Here) -> Loaded:
    """What is loaded; raises InputError where that cannot be told."""
    try:
        return transition.look(here)
    except OSError as error:
        message = f"what is loaded cannot be read: {told(error)}"
        help_ = "remove it with `npcompile apply --detach --target bpf`"
        raise InputError([diagnose(MACHINE, None, message, help=help_)]) from None


def _datapath(here: Here, now: Loaded, wanted: _Wanted) -> Datapath | None:
    """Other programs and maps, where those that are loaded have other features or too little room."""
    digest = wanted.digest()
    with opened(here, now.current) as held:
        same = now.current is not None and now.current.digest == digest
        if same and not too_small(held.maps, wanted.image, wanted.maps):
            return None
    return Datapath(object=wanted.object(), digest=digest, room=capacity(now.image, wanted.image, wanted.maps))


def _rename(here: Here, now: Loaded, bound: Bound) -> tuple[Diagnostic, ...]:
    """No entry changes, but perhaps the lines that they are of."""
    try:
        here.keep_artifact(now.generation, bound)
    except OSError as error:
        raise LoadError(told(error), restored=True) from None
    return ()


def _bound(wanted: _Wanted, bindings: Mapping[str, str]) -> Bound:
    return Bound(
        maps=wanted.stored.files[MAPS_FILE].decode(),
        manifest=json.dumps(wanted.stored.manifest),
        interfaces={pod: bindings[pod] for pod in wanted.interfaces},
    )


# --- what would be done ---


def _removal(here: Here) -> Iterator[Step]:
    there = attach.attached()
    if there or not here.is_empty():
        yield Step(command=("tc", "filter", "delete"), text="".join(f"ifindex {index}\n" for index in sorted(there)))


def _steps(here: Here, now: Loaded, wanted: _Wanted) -> Iterator[Step]:
    """In words and bytes, for people; nothing where nothing would change."""
    current = now.current
    if current is not None and (list(here.others(current.pins)) or here.stale()):
        yield Step(command=("bpf", "tidy"), text="what a run that was cut short has left\n", last=True)
    loaded = current is not None and current.digest == wanted.digest()
    if not loaded:
        yield Step(command=("bpf", "load"), text=f"the datapath {wanted.digest()[:12]}\n")
    for name in now.image if loaded else NAMES:  # programs without IPv6 have no maps for it
        lines = list(_entry_changes(now.image.get(name, {}), wanted.image[name]))
        if lines:
            yield Step(command=("bpf", "map", name), text="".join(lines))
    if found := transition.strangers(now, wanted.image, wanted.maps):
        yield Step(command=("bpf", "flows"), text="".join(f"forget ifindex {index}\n" for index in sorted(found)))
    enforced = set(wanted.interfaces.values())
    whole = {index for index, hooks in now.attached.items() if hooks == frozenset(Direction)}
    lines = [f"attach ifindex {index}\n" for index in sorted(enforced - whole)]
    lines += [f"detach ifindex {index}\n" for index in sorted(now.attached.keys() - enforced)]
    if lines:
        yield Step(command=("tc", "filter"), text="".join(lines))


def _entry_changes(old: Mapping[bytes, bytes], new: Mapping[bytes, bytes]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        if key not in new:
            yield f"delete {key.hex()}\n"
        elif old.get(key) != new[key]:
            yield f"{'update' if key in old else 'add'} {key.hex()} {new[key].hex()}\n"
