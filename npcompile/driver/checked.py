"""What `check` found in one program, kept in the cache and found there again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from npcompile.diagnostics.model import Diagnostic
from npcompile.driver.cache import Cache
from npcompile.driver.recorded import UnrecordableError, record, restored
from npcompile.source import SourceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Every diagnostic of a program, each finding among them replayed, and the size of the program."""

    diagnostics: tuple[Diagnostic, ...]
    policies: int
    pods: int


def question(sources: Sequence[SourceFile], options: str) -> Iterator[bytes]:
    """All that a program's diagnostics depend on: the options, and the files with the names that they show."""
    yield b"check"
    yield options.encode()
    for source in sources:
        yield f"{source.named} {source.path}".encode("utf-8", "surrogateescape")
        yield sha256(source.text.encode("utf-8", "surrogatepass")).digest()


def remember(cache: Cache, name: str, checked: Checked, sources: Sequence[SourceFile]) -> None:
    """Keep what was found."""
    try:
        diagnostics = record(checked.diagnostics, sources)
    except UnrecordableError:
        return
    answer = json.dumps([checked.policies, checked.pods, diagnostics], separators=(",", ":"), ensure_ascii=False)
    cache.put(name, answer.encode("utf-8", "surrogatepass"))


def recall(cache: Cache, name: str, sources: Sequence[SourceFile]) -> Checked | None:
    """What was found before, if that is known."""
    answer = cache.get(name)
    if answer is None:
        return None
    try:
        policies, pods, diagnostics = json.loads(answer.decode("utf-8", "surrogatepass"))
        found = restored(diagnostics, sources)
    except (LookupError, TypeError, ValueError):
        return None  # sealed, and no record all the same: another program uses the user's key
    if not (isinstance(found, tuple) and all(isinstance(one, Diagnostic) for one in found)):
        return None
    return Checked(diagnostics=found, policies=int(policies), pods=int(pods))
