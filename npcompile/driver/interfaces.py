"""`apply --bindings FILE`: the interface that leads to each pod, one `ns/pod=ifname` a line.

A line of `emit --bindings`, `ns/pod=address,ifname`, says it, too.
"""

from __future__ import annotations

from collections.abc import Mapping

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.driver.bindings import BINDINGS, lines
from npcompile.driver.inputs import read_sources

_LONGEST = 15  # characters of an interface's name (IFNAMSIZ, linux/if.h)


def read_interfaces(path: str) -> Mapping[str, str]:
    """Interfaces' names by pod; raises InputError with every bad line."""
    (source,) = read_sources([path])
    found: dict[str, str] = {}
    problems: list[Diagnostic] = []
    for span, line in lines(source):
        pod, _, value = (part.strip() for part in line.partition("="))
        name = value.rpartition(",")[2].strip()
        if pod.count("/") != 1 or not all(pod.split("/")) or not _is_name(name):
            problems.append(diagnose(BINDINGS, span, f"`{line}` is not `ns/pod=ifname`"))
        elif found.setdefault(pod, name) != name:
            problems.append(diagnose(BINDINGS, span, f"`{pod}` has the interface `{found[pod]}` already"))
    if problems:
        raise InputError(problems)
    return found


def _is_name(text: str) -> bool:
    """What the kernel takes for one (dev_valid_name in net/core/dev.c)."""
    return (
        0 < len(text.encode()) <= _LONGEST
        and text not in {".", ".."}
        and not any(c in "/:" or c.isspace() for c in text)
    )
