"""`lab --shell`: a lab that stays up for a person, and goes with the shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from npcompile.driver.lab import Prepared
from npcompile.runtime.namespaces import end_processes_in

if TYPE_CHECKING:
    from npcompile.runtime.lab.session import Lab


def commands(prepared: Prepared, lab: Lab) -> Iterator[str]:
    """How to run something in each place."""
    for place in prepared.plan.places:
        addresses = " ".join(str(address) for address in place.addresses)
        yield f"nsenter --net={lab.namespaces[place.name].path} COMMAND  # {place.name}  {addresses}"


def run_shell(lab: Lab) -> None:
    """Run the user's shell until it exits, everything in the lab answering meanwhile.

    What still runs in the lab afterwards is ended.  SIGTERM ends the shell; should this process be killed, the kernel
    hangs up the shell, and a shell its jobs.
    """
    over = threading.Event()
    server = threading.Thread(target=lab.prober.serve, args=(over.is_set,), daemon=True)
    server.start()
    shell = os.environ.get("SHELL") or "/bin/sh"
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with subprocess.Popen(["setpriv", "--pdeathsig", "HUP", shell]) as process:
            try:
                _wait(process)
            finally:
                process.send_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGTERM, before)
        over.set()
        server.join()
        end_processes_in(lab.namespaces.values())


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C is for what runs in the shell."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _terminate(number: int, _: object) -> None:
    sys.exit(128 + number)
