"""A progress bar on a terminal, for work that lasts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import TYPE_CHECKING

from npcompile.driver.progress import Progress, silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

PATIENCE = 1.0  # seconds before there is a bar


@contextmanager
def shown() -> Iterator[Progress]:
    """What shows progress on standard error, if that is a terminal, after a second of work; gone at the end."""
    if not sys.stderr.isatty():
        yield silent
        return
    bar = _Bar()
    timer = Timer(PATIENCE, bar.show)
    timer.daemon = True
    timer.start()
    try:
        yield bar
    finally:
        timer.cancel()
        bar.close()


class _Bar:
    """A bar that is drawn from another thread, and takes notes until it is shown."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._now = ("", 0, 0)
        self._drawn: RichProgress | None = None
        self._closed = False

    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        with self._lock:
            self._now = (what, done, total)
            if self._drawn is not None:
                self._drawn.update(self._drawn.task_ids[0], description=what, completed=done, total=total or None)

    def show(self) -> None:
        """Draw it from now on."""
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        text = TextColumn("{task.description}", markup=False)
        columns = (SpinnerColumn(), BarColumn(), TimeElapsedColumn(), text)
        with self._lock:
            if self._closed:
                return
            what, done, total = self._now
            self._drawn = RichProgress(
                *columns, console=Console(stderr=True), transient=True, refresh_per_second=4, redirect_stdout=False
            )
            self._drawn.add_task(what, completed=done, total=total or None)
            self._drawn.start()

    def close(self) -> None:
        """Remove it, and keep it from being shown."""
        with self._lock:
            self._closed = True
            if self._drawn is not None:
                self._drawn.stop()
