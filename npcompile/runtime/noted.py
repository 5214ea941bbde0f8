"""What an apply leaves for the next one: what nf_tables held, and at which generation.

The kernel counts every transaction, whoever makes it, so that a note stays true for ever: as long as the generation is
the same, so is what it tells.  Whatever is uncertain about a note makes it one that is not there, and the kernel is
asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from npcompile import __version__
from npcompile.runtime.place import PLACE, namespace_number

Held = TypeVar("Held")

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MODULE = Path("/sys/module/nf_tables")
_MOST = 64  # notes: of namespaces that are gone nobody tells


@dataclass(frozen=True, slots=True)
class Note:
    """One loader's note of a network namespace; `counting`: what else it takes for generations to be the same count."""

    path: Path
    counting: tuple[str, ...]

    @classmethod
    def of_thread(cls, name: str) -> Note | None:
        """That of the namespace that this thread is in; None where the kernel has no number for it (before 5.14), or
        does not tell how long it has counted.
        """
        try:
            number = namespace_number()
            boot = _BOOT.read_text(encoding="ascii").strip()
        except OSError:
            return None
        module = _module()
        return cls(PLACE / f"{number}.{name}", (__version__, boot, module)) if module is not None else None

    def read(self, generation: int, of: Callable[[Any], Held]) -> Held | None:
        """What was held at that generation, which `of` makes of the JSON value that was noted; None where the note does
        not tell.
        """
        try:
            found = json.loads(self.path.read_bytes())
            return of(found["holds"]) if found["counting"] == [*self.counting, generation] else None
        except (OSError, AttributeError, LookupError, RecursionError, TypeError, ValueError):  # none, or no such value
            return None

    def write(self, generation: int, holds: object) -> None:
        """Replace the note.  Where it cannot be written, the older one stays, which is as true as ever."""
        text = json.dumps({"counting": [*self.counting, generation], "holds": holds}, separators=(",", ":"))
        fresh = self.path.with_name(f".{self.path.name}")
        with suppress(OSError):
            PLACE.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.exists():
                self._make_room()
            fresh.touch(mode=0o600)
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self.path)

    def remove(self) -> None:
        """There is nothing to tell any more."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _make_room(self) -> None:
        """Remove the oldest of all namespaces' notes of this name."""
        others = sorted(PLACE.glob(f"*{self.path.suffix}"), key=lambda path: path.stat().st_mtime_ns)
        for path in others[: 1 - _MOST]:
            path.unlink()


def _module() -> str | None:
    """Loaded again, nf_tables counts from the start; the kernel gives no two directories of /sys the same number.
    None: there is no /sys to see it in.
    """
    try:
        return str(_MODULE.stat().st_ino)
    except OSError:
        return "built in" if _MODULE.parent.is_dir() else None
