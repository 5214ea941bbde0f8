"""From C to an object, by clang, once for each text."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import RuleCode, Severity, diagnose

CLANG = RuleCode(code="NPC730", slug="bpf-compile", severity=Severity.ERROR)
"""The datapath's C could not be compiled.  `clang`, the kernel's headers (`linux-libc-dev`) and libbpf's (`libbpf-dev`)
are needed where an artifact is loaded that holds no object."""

_FLAGS = ("-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-fdebug-compilation-dir=.")


def compile_object(source: str, cache: Path | None = None) -> bytes:
    """The object of a source text; raises InputError where it cannot be made.

    `cache`: a directory of this user's own, in which objects are kept under the digest of what they were made from.
    """
    flags = (*_FLAGS, *_headers())
    if cache is None:
        return _run_clang(source, flags)
    digest = hashlib.sha256("\0".join((*_compiler(), *flags, source)).encode()).hexdigest()
    place = cache / f"{digest}.o"
    if place.is_file():
        return place.read_bytes()
    made = _run_clang(source, flags)
    with suppress(OSError):  # it is compiled again, then
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
            file.write(made)
        Path(file.name).replace(place)  # whole or not at all, whoever else compiles
    return made


def _compiler() -> tuple[str, ...]:
    """What tells one clang from a later one, without a process that asks it."""
    found = shutil.which("clang")
    if found is None:
        return ()
    place = Path(found).resolve()
    about = place.stat()
    return (str(place), str(about.st_size), str(about.st_mtime_ns))


def _headers() -> tuple[str, ...]:
    """Debian keeps `asm/` apart for each architecture, where clang does not look for a foreign target."""
    folder = Path(f"/usr/include/{platform.machine()}-linux-gnu")
    return ("-idirafter", str(folder)) if folder.is_dir() else ()


def _run_clang(source: str, flags: tuple[str, ...]) -> bytes:
    command = ["clang", *flags, "-x", "c", "-c", "-", "-o", "-"]
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
    except FileNotFoundError:
        raise InputError([diagnose(CLANG, None, "`clang` is not installed", help="install clang")]) from None
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip()
        raise InputError([diagnose(CLANG, None, f"`clang` refuses the datapath: {text}")])
    return done.stdout
