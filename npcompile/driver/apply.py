"""`npcompile apply`: an artifact on disk into this machine's kernel, and out of it again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from npcompile.backends.bpf.target import BPF
from npcompile.backends.filters.limits import BAD_OPTION
from npcompile.backends.iptables.target import IPTABLES
from npcompile.collection import no_cycle_collection
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.driver.exit_codes import Exit
from npcompile.driver.interfaces import read_interfaces
from npcompile.runtime.loader import ELSEWHERE, MACHINE, STEP_FAILED, Delta, Loader, LoadError, Step, Stored
from npcompile.runtime.programs import ProgramError
from npcompile.runtime.registry import loaders
from npcompile.runtime.stored import ARTIFACT, read_stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was done, or would be: the steps, how many established connections were cut, what there is to say about it,
    and how it ended.
    """

    steps: tuple[Step, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    cut: int = 0
    exit: Exit = Exit.CLEAN


@no_cycle_collection()
def run_apply(
    directory: str, *, variant: str | None, node: str | None, dry_run: bool, bindings: str | None = None
) -> Applied:
    """Load an artifact; raises InputError, and then has touched nothing.

    `node`: this machine's name as a Node; None: its host name.  `bindings`: a file that tells pods' interfaces.
    """
    artifact = read_stored(Path(directory))
    here = node or os.uname().nodename
    if refused := [*_refused(artifact.target, variant, bindings), *_wrong_node(artifact, here)]:
        raise InputError(refused)
    known = loaders(variant, read_interfaces(bindings) if bindings is not None else {})
    if artifact.target not in known:
        message = f"`{directory}` is an artifact of the target `{artifact.target}`, which has no loader"
        raise InputError([diagnose(ARTIFACT, None, message, help=f"there are loaders for {', '.join(sorted(known))}")])
    loader = known[artifact.target]
    applied = _attempt(lambda: loader.delta(artifact) if dry_run else loader.apply(artifact))
    others = tuple(_loaded_by_others(known, artifact.target)) if applied.exit is Exit.CLEAN else ()
    return replace(applied, diagnostics=(*applied.diagnostics, *others))


def run_detach(*, target: str | None, variant: str | None, dry_run: bool) -> Applied:
    """Remove what one target loaded, or all of them; raises InputError, and then has touched nothing."""
    known = loaders(variant)
    chosen = [known[target]] if target is not None else [one for one in known.values() if one.usable()]
    done: list[Applied] = []
    for loader in chosen:
        done.append(_attempt(lambda one=loader: one.delta(None) if dry_run else one.detach()))  # type: ignore[misc]
        if done[-1].exit is not Exit.CLEAN:
            break
    return Applied(
        steps=tuple(step for one in done for step in one.steps),
        diagnostics=tuple(problem for one in done for problem in one.diagnostics),
        exit=done[-1].exit if done else Exit.CLEAN,
    )


def _refused(target: str, variant: str | None, bindings: str | None) -> Iterator[Diagnostic]:
    """Options that mean nothing to the artifact's target, and those that it cannot do without."""
    if target != IPTABLES and variant is not None:
        yield diagnose(
            BAD_OPTION,
            None,
            f"the target `{target}` has no back ends that `--variant` could choose",
            help="leave it out",
        )
    if target != BPF and bindings is not None:
        message = f"the target `{target}` finds pods by their addresses, so `--bindings` means nothing to it"
        yield diagnose(BAD_OPTION, None, message, help="leave it out")
    if target == BPF and bindings is None:
        message = f"the target `{BPF}` is attached to pods' interfaces, and `--bindings` does not say which those are"
        yield diagnose(BAD_OPTION, None, message, help="give a file of lines `ns/pod=ifname`")


def _attempt(act: Callable[[], Delta]) -> Applied:
    """What came of it.  A failure that was rolled back is a difference; one that was not leaves nothing known."""
    try:
        delta = act()
    except LoadError as error:
        if error.restored:
            message = f"{error}; rolled back: what was loaded before, if anything, is loaded again"
            told = diagnose(STEP_FAILED, None, message)
            return Applied(diagnostics=(told,), exit=Exit.FINDINGS)
        told = diagnose(STEP_FAILED, None, str(error), help="run `npcompile apply` again")
        return Applied(diagnostics=(told,), exit=Exit.UNDECIDED)
    return Applied(steps=delta.steps, diagnostics=delta.diagnostics, cut=delta.cut)


def _wrong_node(artifact: Stored, here: str) -> Iterator[Diagnostic]:
    node = artifact.manifest.get("node")
    if node is not None and node != here:
        message = f"the artifact is for the node `{node}`, and this is `{here}`"
        yield diagnose(MACHINE, None, message, help=f"if this is that node, say `--node {node}`")


def _loaded_by_others(known: Mapping[str, Loader], target: str) -> Iterator[Diagnostic]:
    for name, loader in known.items():
        if name == target or not loader.usable():
            continue
        try:
            loaded = loader.is_loaded()
        except ProgramError as error:
            message = f"it is not known whether an artifact of the target `{name}` is loaded, too: {error}"
            yield diagnose(ELSEWHERE, None, message)
            continue
        if loaded:
            message = f"an artifact of the target `{name}` is loaded, too: both must allow"
            help_ = f"remove it with `npcompile apply --detach --target {name}`"
            yield diagnose(ELSEWHERE, None, message, help=help_)
