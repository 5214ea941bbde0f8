"""What all loaders that drive programs share: plan, run, roll back, and read again what the kernel holds.

A rollback is a plan, too: from whatever the kernel holds now to what it held in the beginning.  So it keeps the same
bounds, and needs no step to be invertible.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.runtime.established import check_machine, cut, is_rechecked
from npcompile.runtime.loader import LEFT_BEHIND, MACHINE, Delta, LoadError, Step, Stored
from npcompile.runtime.programs import ProgramError, locked, run

_ROUNDS = 3  # others may change what we look at, between reading and writing

State = TypeVar("State")
Wanted = TypeVar("Wanted")


class Kernel(Protocol[State, Wanted]):
    """One target's part of the kernel."""

    def read(self) -> State:
        """What is loaded; raises ProgramError."""
        ...

    def reread(self, before: State, steps: Sequence[Step]) -> State:
        """What is loaded after steps that were done to `before`: as `read`, but for what is known not to have changed.

        Raises ProgramError.
        """
        ...

    def wanted(self, state: State) -> Wanted:
        """What would have to be wanted to stay where we are."""
        ...

    def steps(self, state: State, wanted: Wanted) -> Sequence[Step]:
        """From one to the other; those that only tidy up are marked as last."""
        ...

    def warnings(self, state: State) -> Sequence[Diagnostic]:
        """What the user should know of the state."""
        ...


def read(kernel: Kernel[State, Wanted]) -> State:
    """What is loaded; raises InputError when its programs do not tell."""
    try:
        return kernel.read()
    except ProgramError as error:
        raise InputError([diagnose(MACHINE, None, str(error))]) from None


def load(kernel: Kernel[State, Wanted], wanted: Wanted, artifact: Stored) -> Delta:
    """Bring the kernel to an artifact, which is `wanted`, and then cut the connections that it asks to recheck."""
    if not is_rechecked(artifact):
        return converge(kernel, wanted)
    check_machine()
    delta = converge(kernel, wanted)
    try:
        return replace(delta, cut=cut(artifact))
    except ProgramError as error:
        raise LoadError(f"the artifact is loaded, but connections that it denies may go on: {error}") from None


def preview(kernel: Kernel[State, Wanted], wanted: Wanted) -> Delta:
    """What `converge` would do now."""
    state = read(kernel)
    return Delta(steps=tuple(kernel.steps(state, wanted)), diagnostics=tuple(kernel.warnings(state)))


def converge(kernel: Kernel[State, Wanted], wanted: Wanted) -> Delta:
    """Bring the kernel to `wanted`; raises InputError before anything is touched, and LoadError after a rollback."""
    with locked() as lock:
        before = read(kernel)
        work = _Work(lock=lock)
        try:
            _reach(kernel, before, wanted, work)
        except (ProgramError, KeyboardInterrupt) as error:
            if work.done:
                _restore(kernel, kernel.wanted(before), lock, error)
            if isinstance(error, ProgramError):
                raise LoadError(str(error), restored=True) from None
            raise
        return Delta(steps=tuple(work.done), diagnostics=(*kernel.warnings(before), *work.behind))


@dataclass(slots=True, kw_only=True)
class _Work:
    """What has been done so far, the last of it perhaps in part, and what could not be tidied up."""

    lock: int
    done: list[Step] = field(default_factory=list)
    behind: list[Diagnostic] = field(default_factory=list)

    def do(self, steps: Iterable[Step]) -> None:
        """One step after the other; raises ProgramError at the first that fails and matters."""
        for step in steps:
            self.done.append(step)
            try:
                run(step, self.lock)
            except ProgramError as error:
                if not step.last:
                    raise
                self.behind.append(diagnose(LEFT_BEHIND, None, str(error)))


def _reach(kernel: Kernel[State, Wanted], state: State, wanted: Wanted, work: _Work) -> None:
    """Plan and run until nothing but tidying up is left to do: only then does the kernel hold what was wanted."""
    for _ in range(_ROUNDS):
        steps = kernel.steps(state, wanted)
        work.do(steps)
        if all(step.last for step in steps):
            return
        state = kernel.reread(state, steps)
        if all(step.last for step in kernel.steps(state, wanted)):
            return
    raise ProgramError("the kernel holds something else than what was loaded: others change it at the same time")


def _restore(kernel: Kernel[State, Wanted], wanted: Wanted, lock: int, cause: BaseException) -> None:
    try:
        _reach(kernel, kernel.read(), wanted, _Work(lock=lock))
    except ProgramError as error:
        raise LoadError(f"{cause}; and what was loaded before could not be restored: {error}") from None
