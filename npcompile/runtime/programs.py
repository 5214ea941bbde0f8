"""Running the kernel's programs, in the network namespace of the calling thread, one apply at a time."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

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


def outputs(commands: Sequence[Sequence[str]]) -> list[str]:
    """What programs print that only read, run side by side; raises ProgramError.

    They print to memory: nft writes many small pieces, and would wake us for each of a pipe's.
    """
    with ExitStack() as stack:
        printed = [stack.enter_context(os.fdopen(os.memfd_create("npcompile"), "w+b")) for _ in commands]
        running = [
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | _ENVIRONMENT,
            )
            for command, file in zip(commands, printed, strict=True)
        ]
        complaints = [_finish(command, one)[1] for command, one in zip(commands, running, strict=True)]
        for command, one, errors in zip(commands, running, complaints, strict=True):
            if one.returncode != 0:
                raise ProgramError(_failure(command, errors, one.returncode))
        for file in printed:
            file.seek(0)
        return [file.read().decode(errors="surrogateescape") for file in printed]


def run(step: Step, lock: int) -> None:
    """Do a step; raises ProgramError.

    The program keeps the lock should we be killed, so that the next apply waits for its end, and it is in a session of
    its own, so that Ctrl-C ends us and not it.  What a last step cannot do at once it is given time for.
    """
    errors = _tidy(step, lock) if step.last else _feed(step.command, step.text, lock)
    if errors:
        raise ProgramError(errors)


def _tidy(step: Step, lock: int) -> str:
    """Do every line that can be done; what was complained of the others.

    A program stops at the first line that fails, and tells its number.
    """
    deadline = time.monotonic() + _PATIENCE
    left = step.text.splitlines(keepends=True)
    failed: list[str] = []
    while left and (errors := _feed(step.command, "".join(left), lock)):
        number = _LINE_NUMBER.search(errors)
        left = left[int(number[1]) - 1 if number else 0 :]
        if time.monotonic() > deadline:
            failed.append(errors)
            left = left[1:]
        else:
            time.sleep(0.005)
    return "; ".join(failed)


def _feed(command: Sequence[str], text: str, lock: int) -> str:
    """What a program complained of, if it failed."""
    program = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | _ENVIRONMENT,
        pass_fds=(lock,),
        start_new_session=True,
    )
    try:
        _, errors = _finish(command, program, text)
    except ProgramError as error:
        return str(error)
    return _failure(command, errors, program.returncode) if program.returncode != 0 else ""


def _finish(command: Sequence[str], program: subprocess.Popen[str], text: str | None = None) -> tuple[str, str]:
    """What a program says on both of its outputs; ended, should it hang or we be interrupted."""
    try:
        return program.communicate(text, timeout=_LIMIT)
    except subprocess.TimeoutExpired:
        raise ProgramError(f"`{' '.join(command)}` took longer than {_LIMIT:.0f} s") from None
    finally:
        if program.poll() is None:
            program.kill()
            program.wait()


def _failure(command: Sequence[str], errors: str, code: int) -> str:
    said = " ".join(errors.split()) or f"exit code {code}"
    return f"`{' '.join(command)}` failed: {said}"


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
