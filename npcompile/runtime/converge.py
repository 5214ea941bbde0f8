"""What all loaders that drive programs share: plan, run, roll back, and read again what the kernel holds.

A rollback is a plan, too: from whatever the kernel holds now to what it held in the beginning.  So it keeps the same
bounds, and needs no step to be invertible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.runtime.established import check_machine, cut, is_rechecked
from npcompile.runtime.loader import LEFT_BEHIND, MACHINE, Delta, LoadError, Step, Stored
from npcompile.runtime.programs import ProgramError, at_work, locked

_ROUNDS = 3  # others may change what we look at, between reading and writing

State = TypeVar("State")
Wanted = TypeVar("Wanted")


class Kernel(Protocol[State, Wanted]):
    """One target's part of the kernel."""

    def reading(self, *, noted: bool) -> AbstractContextManager[Callable[[], State]]:
        """What is loaded, once it is called; raises ProgramError.  Until then programs are at work that ask the kernel.

        `noted`: it may say what an earlier apply noted, where the kernel tells that nothing has changed since.
        """
        ...

    def expected(self, before: State, steps: Sequence[Step]) -> State | None:
        """What steps make of `before` if nobody else changes anything, where `reread` can know that nobody did.

        Asked while the program of the last step is at work, so that what takes no more than its transaction to be read
        is read then: programs that change nf_tables end long after it.
        """
        ...

    def reread(self, before: State, steps: Sequence[Step], expected: State | None) -> State:
        """What is loaded after steps that were done to `before`, but for what is known not to have changed; raises
        ProgramError.
        """
        ...

    def note(self, state: State) -> None:
        """Note what is loaded for the next apply."""
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
    """What is loaded; raises InputError."""
    try:
        return _read(kernel)
    except ProgramError as error:
        raise InputError([diagnose(MACHINE, None, str(error))]) from None


def load(kernel: Kernel[State, Wanted], wanted: Callable[[], Wanted], artifact: Stored) -> Delta:
    """Bring the kernel to an artifact, which is what is wanted, and cut the connections that it asks to recheck."""
    if not is_rechecked(artifact):
        return converge(kernel, wanted)
    check_machine()
    delta = converge(kernel, wanted)
    try:
        return replace(delta, cut=cut(artifact))
    except ProgramError as error:
        raise LoadError(f"the artifact is loaded, but connections that it denies may go on: {error}") from None


def preview(kernel: Kernel[State, Wanted], wanted: Callable[[], Wanted]) -> Delta:
    """What `converge` would do now, by what the kernel says, and no note."""
    state, goal = _start(kernel, wanted, noted=False)
    return Delta(steps=tuple(kernel.steps(state, goal)), diagnostics=tuple(kernel.warnings(state)))


def converge(kernel: Kernel[State, Wanted], wanted: Callable[[], Wanted]) -> Delta:
    """Bring the kernel to what is wanted; raises InputError before anything is touched, and LoadError after a
    rollback.
    """
    with locked() as lock:
        before, goal = _start(kernel, wanted, noted=True)
        work = _Work(lock=lock)
        try:
            after = _reach(kernel, before, goal, work)
        except (ProgramError, KeyboardInterrupt) as error:
            if work.done:
                _restore(kernel, kernel.wanted(before), lock, error)
            if isinstance(error, ProgramError):
                raise LoadError(str(error), restored=True) from None
            raise
        kernel.note(after)
        return Delta(steps=tuple(work.done), diagnostics=(*kernel.warnings(before), *work.behind))


def _start(kernel: Kernel[State, Wanted], wanted: Callable[[], Wanted], *, noted: bool) -> tuple[State, Wanted]:
    """What is loaded, and what is wanted, which is made out while programs ask the kernel; raises InputError."""
    try:
        with kernel.reading(noted=noted) as state:
            goal = wanted()
            return state(), goal
    except ProgramError as error:
        raise InputError([diagnose(MACHINE, None, str(error))]) from None


def _read(kernel: Kernel[State, Wanted]) -> State:
    with kernel.reading(noted=False) as state:
        return state()


@dataclass(slots=True, kw_only=True)
class _Work:
    """What has been done so far, the last of it perhaps in part, and what could not be tidied up."""

    lock: int
    done: list[Step] = field(default_factory=list)
    behind: list[Diagnostic] = field(default_factory=list)

    def do(self, steps: Sequence[Step], meanwhile: Callable[[], State | None]) -> State | None:
        """One step after the other; raises ProgramError at the first that fails and matters.

        Returns what `meanwhile` does, which is called while the program of the very last one is at work.
        """
        found = None
        for number, step in enumerate(steps, 1):
            self.done.append(step)
            try:
                with at_work(step, self.lock):
                    found = meanwhile() if number == len(steps) else None
            except ProgramError as error:
                if not step.last:
                    raise
                self.behind.append(diagnose(LEFT_BEHIND, None, str(error)))
        return found


def _reach(kernel: Kernel[State, Wanted], state: State, wanted: Wanted, work: _Work) -> State:
    """Plan and run until nothing but tidying up is left to do: only then does the kernel hold what was wanted.

    Returns what is loaded then, but for the tidying up.
    """
    for _ in range(_ROUNDS):
        steps = kernel.steps(state, wanted)
        expected = work.do(steps, lambda state=state, steps=steps: kernel.expected(state, steps))  # type: ignore[misc]
        if all(step.last for step in steps):
            return state
        state = kernel.reread(state, steps, expected)
        if all(step.last for step in kernel.steps(state, wanted)):
            return state
    raise ProgramError("the kernel holds something else than what was loaded: others change it at the same time")


def _restore(kernel: Kernel[State, Wanted], wanted: Wanted, lock: int, cause: BaseException) -> None:
    try:
        _reach(kernel, _read(kernel), wanted, _Work(lock=lock))
    except ProgramError as error:
        raise LoadError(f"{cause}; and what was loaded before could not be restored: {error}") from None
