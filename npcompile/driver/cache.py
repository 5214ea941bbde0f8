"""What earlier runs found out, on disk, for runs that ask the same again.

A cache is foreign input: a pull request can plant one, and a disk can spoil one.  So an entry counts only if its digest
is right under a key that does not lie in the cache (docs/adr/0008-the-cache-is-keyed.md); whatever is wrong with one,
it is ignored, and overwritten by the next run that has the answer.  A cache that cannot be used is none, without a
word: no result depends on it.
"""

from __future__ import annotations

import functools
import hmac
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from npcompile.analyses.addressing import usage_error

DIRECTORY, KEY = "NPCOMPILE_CACHE_DIR", "NPCOMPILE_CACHE_KEY"
MAX_ENTRY = 64 << 20  # bytes of an entry, and of all of them
MAX_TOTAL = 256 << 20

_TEMPORARY = "tmp-"
_KEY_FILE = "cache.key"
_KEY_BYTES = 32
_DIGEST_BYTES = sha256().digest_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Entries by what was asked; each is a file of a digest and the answer."""

    folder: Path
    key: bytes

    def name(self, question: Iterable[bytes]) -> str:
        """The name of a question's answer: a digest of its parts and of npcompile itself."""
        digest = hmac.new(self.key, digestmod=sha256)
        for part in (_own_digest(), *question):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.hexdigest()

    def get(self, name: str) -> bytes | None:
        """The answer of that name, if this key's holder put it there."""
        path = self.folder / name
        content = _read(path, MAX_ENTRY) or b""
        seal, answer = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if not hmac.compare_digest(seal, self._seal(name, answer)):
            return None
        with suppress(OSError):
            os.utime(path)  # what is used goes last
        return answer

    def put(self, name: str, answer: bytes) -> None:
        """Keep an answer, at once or not at all; what was used longest ago makes room."""
        if len(answer) + _DIGEST_BYTES > MAX_ENTRY:
            return
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self.folder / name, self._seal(name, answer) + answer)
            _prune(self.folder)

    def _seal(self, name: str, answer: bytes) -> bytes:
        """The name is part of it: an answer to something else is none."""
        return hmac.digest(self.key, name.encode() + b"\n" + answer, "sha256")


def open_cache() -> Cache | None:
    """The user's cache; None where there is none, or no key that nobody else has.

    Raises InputError for a key in the environment that could be guessed.
    """
    chosen = os.environ.get(DIRECTORY)
    if chosen == "":
        return None
    place = Path(chosen) if chosen else _home("XDG_CACHE_HOME", ".cache")
    key = _key()
    return None if place is None or key is None else Cache(folder=place, key=key)


def _key() -> bytes | None:
    words = os.environ.get(KEY)
    if words:
        if len(words) < _KEY_BYTES:
            message = f"`{KEY}` can be guessed: it has {len(words)} characters"
            raise usage_error(message, f"take {_KEY_BYTES} or more, as of `openssl rand -hex {_KEY_BYTES}`")
        return sha256(words.encode("utf-8", "surrogateescape")).digest()
    state = _home("XDG_STATE_HOME", ".local/state")
    if state is None:
        return None
    path = state / _KEY_FILE
    return _own_key(path) or _make_key(path)


def _home(variable: str, folder: str) -> Path | None:
    """npcompile's own folder, as the XDG base directory specification has it: relative paths do not count."""
    given = Path(os.environ.get(variable, ""))
    try:
        base = given if given.is_absolute() else Path.home() / folder
    except RuntimeError:  # no home
        return None
    return base / "npcompile"


def _own_key(path: Path) -> bytes | None:
    """The key in a file that nobody else can read or could have written."""
    key = _read(path, _KEY_BYTES, private=True)
    return key if key is not None and len(key) == _KEY_BYTES else None


def _make_key(path: Path) -> bytes | None:
    """A new key, unless another process makes one at the same time: then that one's."""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, secrets.token_bytes(_KEY_BYTES), replace=False)
    return _own_key(path)


def _read(path: Path, most: int, *, private: bool = False) -> bytes | None:
    """A regular file's bytes, at most so many; with `private`, only if it is the user's own and closed to others."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            return None
        if private and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Write a file so that nobody ever sees part of it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)


def _prune(folder: Path) -> None:
    """Remove what was used longest ago, until the rest is small enough; nothing that is none of the cache's files."""
    entries = []
    for path in folder.iterdir():
        status = path.lstat()
        if _is_entry(path.name) and stat.S_ISREG(status.st_mode):
            entries.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= MAX_TOTAL:
            return
        path.unlink(missing_ok=True)
        total -= size


def _is_entry(name: str) -> bool:
    return name.startswith(_TEMPORARY) or (len(name) == 2 * _DIGEST_BYTES and set(name) <= set("0123456789abcdef"))


@functools.cache
def _own_digest() -> bytes:
    """A digest of everything that answers depend on beside the question: this code, and what it runs on."""
    digest = sha256(f"{sys.version}\n{sys.platform}\n".encode())
    for name in _distributions():
        digest.update(name.encode("utf-8", "surrogateescape") + b"\n")
    package = Path(__file__).resolve().parent.parent
    for path in sorted(package.rglob("*.py")):
        digest.update(sha256(path.read_bytes()).digest())
    return digest.digest()


def _distributions() -> list[str]:
    """The names and versions of what is installed: importlib.metadata takes longer to import than all else here."""
    found: set[str] = set()
    for place in sys.path:
        with suppress(OSError):
            found.update(one.name for one in Path(place).iterdir() if one.suffix in (".dist-info", ".egg-info"))
    return sorted(found)
