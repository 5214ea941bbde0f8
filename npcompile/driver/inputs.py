"""From the paths that a user names to source texts."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.frontend import codes, decode
from npcompile.source import SourceFile

STDIN = "-"
_SUFFIXES = (".yaml", ".yml", ".json")


def read_sources(paths: Sequence[str], exclude: Sequence[str] = ()) -> list[SourceFile]:
    """The texts of files, of directories (recursively, YAML and JSON, hidden ones left out) and of `-`, stdin.

    `exclude`: patterns of paths to leave out of directories.  A file that is named twice is read once.  Raises
    InputError with everything that cannot be read.
    """
    sources: list[SourceFile] = []
    problems: list[Diagnostic] = []
    seen: set[str] = set()
    for path in paths:
        try:
            for name in _files(path, exclude):
                real = name if name == STDIN else os.path.realpath(name)
                if real not in seen:
                    seen.add(real)
                    sources.append(_read(name, named=name == path))
        except InputError as error:
            problems += error.diagnostics
    if problems:
        raise InputError(problems)
    return sources


def _files(path: str, exclude: Sequence[str]) -> Iterator[str]:
    if path == STDIN or Path(path).is_file():
        yield path
    elif Path(path).is_dir():
        yield from _walk(path, exclude)
    else:
        raise _no_input(f"`{path}` does not exist" if not Path(path).exists() else f"`{path}` is no file or directory")


def _walk(root: str, exclude: Sequence[str]) -> Iterator[str]:
    for folder, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not _excluded(Path(folder, name), exclude)
        )
        for name in sorted(names):
            path = Path(folder, name)
            if (
                not name.startswith(".")
                and name.endswith(_SUFFIXES)
                and path.is_file()
                and not _excluded(path, exclude)
            ):
                yield str(path)


def _excluded(path: Path, patterns: Iterable[str]) -> bool:
    text = path.as_posix()
    return any(fnmatch.fnmatch(text, pattern.rstrip("/")) for pattern in patterns)


def _refuse(error: OSError) -> None:
    raise _no_input(f"cannot read `{error.filename}`: {(error.strerror or 'unknown error').lower()}")


def _read(path: str, *, named: bool) -> SourceFile:
    if path == STDIN:
        data = sys.stdin.buffer.read()
        if not data.strip():
            raise _no_input("standard input is empty")
        return decode(STDIN, data, named=named)
    try:
        return decode(path, Path(path).read_bytes(), named=named)
    except OSError as error:
        raise _no_input(f"cannot read `{path}`: {(error.strerror or 'unknown error').lower()}") from None


def _no_input(message: str) -> InputError:
    return InputError([diagnose(codes.NO_INPUT, None, message)])
