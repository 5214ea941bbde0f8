"""Running the kernel's programs, in the network namespace of the calling thread, one apply at a time."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import diagnose
from npcompile.runtime.loader import MACHINE, Step

LOCK_SECONDS = 30.0
_LIMIT = 120.0  # seconds that a program may take; the xtables lock has its own limit
_PATIENCE = 1.0  # seconds for the kernel to let go of sets whose rules are gone
_ENVIRONMENT = {"LC_ALL": "C"}
_LINE_NUMBER = re.compile(r"\bline (\d+)\b")


class ProgramError(Exception):
    """A program failed; the message is what it said."""


def need(programs: Iterable[str]) -> None:
    """Raise InputError unless we are root and have the programs."""
    problems = []
    if os.geteuid() != 0:
        problems.append(diagnose(MACHINE, None, "only root may load packet filters", help="run it with sudo"))
    problems += [
        diagnose(MACHINE, None, f"the program `{program}` is not installed", help="install it, or see `--variant`")
        for program in sorted(set(programs))
        if shutil.which(program) is None
    ]
    if problems:
        raise InputError(problems)


@contextmanager
def started(commands: Sequence[Sequence[str]]) -> Iterator[Callable[[], list[str]]]:
    """Programs that only read, at work side by side.  Calling what is yielded waits for them, and tells what they
    printed; raises ProgramError.
    """
    with ExitStack() as stack:
        running = [stack.enter_context(_Running.of(command)) for command in commands]
        yield lambda: [one.printed() for one in running]


def outputs(commands: Sequence[Sequence[str]]) -> list[str]:
    """What programs print that only read, run side by side; raises ProgramError."""
    with started(commands) as printed:
        return printed()


@contextmanager
def at_work(step: Step, lock: int) -> Iterator[None]:
    """A step is being done, and has been after that; raises ProgramError then.

    The program keeps the lock should we be killed, so that the next apply waits for its end, and it is in a session of
    its own, so that Ctrl-C ends us and not it.  What a last step cannot do at once it is given time for.
    """
    if step.last:
        yield
        if errors := _tidy(step, lock):
            raise ProgramError(errors)
        return
    with _Running.of(step.command, step.text, pass_fds=(lock,), start_new_session=True) as program:
        yield
        program.printed()


def run(step: Step, lock: int) -> None:
    """Do a step; raises ProgramError."""
    with at_work(step, lock):
        pass


def _tidy(step: Step, lock: int) -> str:
    """Do every line that can be done; what was complained of the others, each complaint once.

    A program stops at the first line that fails, and tells its number.
    """
    deadline = time.monotonic() + _PATIENCE
    left = step.text.splitlines(keepends=True)
    failed: list[str] = []
    while left and (errors := _failure(replace(step, text="".join(left), last=False), lock)):
        number = _LINE_NUMBER.search(errors)
        left = left[int(number[1]) - 1 if number else 0 :]
        if time.monotonic() > deadline:
            failed.append(errors)
            left = left[1:]
        else:
            time.sleep(0.005)
    return "; ".join(dict.fromkeys(failed))


def _failure(step: Step, lock: int) -> str:
    """What a program complained of, if it failed."""
    try:
        run(step, lock)
    except ProgramError as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class _Running:
    """A program at work.  It reads from memory, and prints to memory: nft writes many small pieces, and would wake us
    for each of a pipe's.
    """

    command: Sequence[str]
    process: subprocess.Popen[bytes]
    output: BinaryIO

    @classmethod
    @contextmanager
    def of(cls, command: Sequence[str], text: str = "", **options: Any) -> Iterator[_Running]:
        """It runs; it is ended, should it hang or we be interrupted."""
        environment = os.environ | _ENVIRONMENT
        with (
            _in_memory(text) as given,
            _in_memory("") as output,
            subprocess.Popen(
                command, stdin=given, stdout=output, stderr=subprocess.PIPE, env=environment, **options
            ) as process,
        ):
            try:
                yield cls(command, process, output)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()  # a transaction goes on; after Ctrl-C, Popen's own end has little patience

    def printed(self) -> str:
        """What it prints until it ends; raises ProgramError."""
        complaints = self._complaints()
        if self.process.wait() != 0:
            said = " ".join(complaints.split()) or f"exit code {self.process.returncode}"
            raise ProgramError(f"`{' '.join(self.command)}` failed: {said}")
        self.output.seek(0)
        return self.output.read().decode(errors="surrogateescape")

    def _complaints(self) -> str:
        """What it says of errors, until it says no more: it ends then.

        `Popen.communicate` with a limit asks again and again whether it has ended, at longer and longer intervals.
        """
        errors = self.process.stderr
        assert errors is not None
        ready, deadline, said = select.poll(), time.monotonic() + _LIMIT, b""
        ready.register(errors, select.POLLIN)
        while ready.poll(1000 * max(deadline - time.monotonic(), 0)):
            piece = os.read(errors.fileno(), select.PIPE_BUF)
            if not piece:
                return said.decode(errors="replace")
            said += piece
        raise ProgramError(f"`{' '.join(self.command)}` took longer than {_LIMIT:.0f} s")


def _in_memory(text: str) -> BinaryIO:
    file = os.fdopen(os.memfd_create("npcompile"), "w+b")
    file.write(text.encode(errors="surrogateescape"))
    file.seek(0)
    return file


@contextmanager
def locked() -> Iterator[int]:
    """The lock of this network namespace, which is the namespace's own file, so that none is left behind.  Gives its
    file descriptor; raises InputError when another process keeps it for long.
    """
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise InputError([diagnose(MACHINE, None, "another `npcompile apply` is at work", help="wait for it")])
            time.sleep(0.01)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
