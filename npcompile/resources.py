"""Where the data files are that lie outside the package in the repository: grammars and templates.

A wheel carries them in `npcompile/_data`; a checkout and an editable install have them beside the package.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "_data"


def directory(name: str) -> Path:
    """The folder `name` (`grammar`, `bpf_templates`); FileNotFoundError when the installation lacks it."""
    path = (_INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent) / name
    if not path.is_dir():
        raise FileNotFoundError(f"npcompile is not installed whole: {path} is missing")
    return path


def text(folder: str, name: str) -> str:
    """The text of a data file."""
    return (directory(folder) / name).read_text(encoding="utf-8")
