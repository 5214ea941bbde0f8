"""Reads an artifact back from the directory that `emit` wrote, and trusts none of it before the digests are right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, RuleCode, Severity, diagnose
from npcompile.runtime.loader import Stored

MANIFEST = "manifest.json"
VERSION = 1

ARTIFACT = RuleCode(code="NPC710", slug="artifact", severity=Severity.ERROR)
"""A directory does not hold the artifact that its manifest tells of: a file is missing or was changed, or the manifest
cannot be read.  Nothing of it is loaded; emit it again."""

_AGAIN = "write it again with `npcompile emit`"


def read_stored(directory: Path) -> Stored:
    """The artifact in a directory; raises InputError with all that is wrong with it."""
    manifest = _manifest(directory)
    digests = manifest["files"]
    assert isinstance(digests, Mapping)
    files: dict[str, bytes] = {}
    problems: list[Diagnostic] = []
    for name, digest in sorted(digests.items()):
        path = directory / name
        try:
            files[name] = path.read_bytes()
        except OSError as error:
            problems.append(_problem(f"cannot read `{path}`: {_reason(error)}"))
            continue
        if f"sha256:{hashlib.sha256(files[name]).hexdigest()}" != digest:
            problems.append(_problem(f"`{path}` is not what was emitted: its digest differs from the manifest's"))
    if problems:
        raise InputError(problems)
    return Stored(target=str(manifest["target"]), files=files, manifest=manifest)


def _manifest(directory: Path) -> Mapping[str, object]:
    path = directory / MANIFEST
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError([_problem(f"cannot read `{path}`: {_reason(error)}")]) from None
    except (ValueError, RecursionError):
        raise InputError([_problem(f"`{path}` is no JSON text")]) from None
    if problems := [_problem(f"`{path}` {wrong}") for wrong in _wrong_fields(document)]:
        raise InputError(problems)
    return document  # type: ignore[no-any-return]


def _wrong_fields(document: object) -> Iterator[str]:
    if not isinstance(document, dict) or document.get("version") != VERSION:
        yield f"is no manifest of version {VERSION}"
        return
    if not isinstance(document.get("target"), str):
        yield "names no target"
    files = document.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        yield "lists no files"
        return
    for name in files:
        if Path(name).name != name or name in {"", ".", ".."} or "\0" in name:
            yield f"names a file outside of its directory: `{name}`"


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown error").lower()


def _problem(message: str) -> Diagnostic:
    return diagnose(ARTIFACT, None, message, help=_AGAIN)
