"""`npcompile.toml`, or `[tool.npcompile]` of pyproject.toml: the nearest one, from the working directory upwards."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import RuleCode, Severity, diagnose
from npcompile.source import SourceFile, whole_file

CONFIG = RuleCode(code="NPC020", slug="config", severity=Severity.ERROR)
"""The configuration cannot be read, or has a key or value that it cannot have."""

_FILES = ("npcompile.toml", "pyproject.toml")
_KEYS = ("select", "ignore", "fail-on", "effort", "program")
_PROGRAM_KEYS = ("name", "paths", "exclude")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramPaths:
    """One cluster of a repository: the paths that make it.  All are relative to the working directory."""

    name: str
    paths: tuple[str, ...]
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the configuration says; None where it is silent."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: str | None = None
    effort: int | None = None
    programs: tuple[ProgramPaths, ...] = ()


def find_config(start: Path | None = None) -> Config:
    """The nearest configuration; an empty one where there is none.  Raises InputError with all that is wrong in it."""
    folder = (start or Path.cwd()).resolve()
    for directory in (folder, *folder.parents):
        for name in _FILES:
            path = directory / name
            if path.is_file():
                table = _read(path)
                if table is not None:
                    return _Checker(path).config(table)
        if (directory / ".git").exists():
            break
    return Config()


def _read(path: Path) -> Mapping[str, Any] | None:
    """The table of npcompile in a file; None when a pyproject.toml has none."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        if path.name == "pyproject.toml":
            return None
        raise InputError([diagnose(CONFIG, _whole(path), f"cannot read the configuration: {error}")]) from None
    if path.name == "pyproject.toml":
        table = document.get("tool", {}).get("npcompile")
        return table if isinstance(table, Mapping) else None
    return document


def _whole(path: Path) -> Any:
    return whole_file(SourceFile(path=os.path.relpath(path), text=""))


class _Checker:
    """Reads a table, collecting what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []

    def config(self, table: Mapping[str, Any]) -> Config:
        self.known(table, _KEYS, "")
        programs = table.get("program", [])
        if not isinstance(programs, list) or not all(isinstance(one, Mapping) for one in programs):
            self.problems.append("`program` must be a list of tables: write `[[program]]`")
            programs = []
        config = Config(
            select=self.strings(table, "select"),
            ignore=self.strings(table, "ignore"),
            fail_on=self.choice(table, "fail-on", ("info", "warning", "error", "never")),
            effort=self.positive(table, "effort"),
            programs=tuple(self.program(index, one) for index, one in enumerate(programs)),
        )
        if self.problems:
            raise InputError(diagnose(CONFIG, _whole(self.path), problem) for problem in self.problems)
        return config

    def program(self, index: int, table: Mapping[str, Any]) -> ProgramPaths:
        self.known(table, _PROGRAM_KEYS, f"program[{index}].")
        name = table.get("name", f"program {index + 1}")
        if not isinstance(name, str):
            self.problems.append(f"`program[{index}].name` must be a string")
        paths = self.strings(table, "paths")
        if not paths:
            self.problems.append(f"`program[{index}]` needs `paths`, a list of strings")
        return ProgramPaths(
            name=str(name),
            paths=tuple(self.relative(path) for path in paths),
            exclude=tuple(self.relative(path) for path in self.strings(table, "exclude")),
        )

    def relative(self, path: str) -> str:
        return os.path.relpath(self.path.parent / path)

    def known(self, table: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
        for key in table:
            if key not in keys:
                close = difflib.get_close_matches(key, keys, n=1)
                hint = f"did you mean `{close[0]}`?" if close else "known are " + ", ".join(f"`{k}`" for k in keys)
                self.problems.append(f"unknown key `{where}{key}`: {hint}")

    def strings(self, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.problems.append(f"`{key}` must be a list of strings")
            return ()
        return tuple(value)

    def choice(self, table: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str | None:
        value = table.get(key)
        if value is not None and value not in allowed:
            self.problems.append(f"`{key}` must be one of {', '.join(allowed)}, not `{value}`")
            return None
        return value

    def positive(self, table: Mapping[str, Any], key: str) -> int | None:
        value = table.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            self.problems.append(f"`{key}` must be a positive number, not `{value}`")
            return None
        return value
