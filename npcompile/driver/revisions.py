"""Files of a commit (`git:REF[:path]`), read with git and never checked out.

Which files of a directory count is what `driver.inputs` says of the file system: YAML and JSON, nothing hidden, links
to files followed.  Paths are the repository's; those that begin with `./` or `../` are relative to the working
directory, as in `git show REF:./path`.
"""

from __future__ import annotations

import os
import posixpath
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import diagnose
from npcompile.frontend import codes, decode
from npcompile.source import SourceFile

PREFIX = "git:"
_SUFFIXES = (".yaml", ".yml", ".json")
_LINK, _SUBMODULE = "120000", "160000"
_LINKS = 40  # followed in a row, as Linux does
_LARGE_FILE = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    mode: str
    name: str  # of the object


def is_revision(path: str) -> bool:
    """Whether a path of the command line names a commit.  A file of such a name is `./git:…`."""
    return path.startswith(PREFIX)


def is_absent(path: str) -> bool:
    """Whether the commit of `git:REF[:path]` lacks the path; raises InputError where there is no such commit."""
    ref, _, inside = path.removeprefix(PREFIX).partition(":")
    commit = _commit(ref, path)
    return _Tree(commit, _entries(commit)).find(_root_path(inside)) is None


def read_revision(path: str) -> list[SourceFile]:
    """The texts of `git:REF[:path]`; raises InputError where git has no such commit, path or file."""
    ref, _, inside = path.removeprefix(PREFIX).partition(":")
    commit = _commit(ref, path)
    tree = _Tree(commit, _entries(commit))
    files = dict(tree.files(_root_path(inside), path))
    texts = _contents([entry.name for entry in files.values()])
    sources = []
    for name, entry in files.items():
        shown = f"{PREFIX}{ref}:{name}"
        if texts[entry.name].startswith(_LARGE_FILE):
            raise _refusal(f"`{shown}` is kept by Git LFS: the commit has only a pointer to it")
        sources.append(decode(shown, texts[entry.name]))
    return sources


def _commit(ref: str, path: str) -> str:
    if not ref or ref.startswith("-"):
        raise _refusal(f"`{path}` names no commit", "write `git:REF` or `git:REF:path`")
    found = _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", check=False)
    if found.returncode:
        _git("rev-parse", "--git-dir")  # says why, where there is no repository at all
        advice = "`git branch --all` and `git tag` list names; a shallow clone has few commits: fetch the one you mean"
        raise _refusal(f"`{ref}` is no commit of this repository", advice)
    return found.stdout.decode().strip()


def _root_path(inside: str) -> str:
    """A path as the repository's tree has it; empty for all of it."""
    relative = inside in (".", "..") or inside.startswith(("./", "../"))
    prefix = os.fsdecode(_git("rev-parse", "--show-prefix").stdout).rstrip("\n") if relative else ""
    path = posixpath.normpath(posixpath.join(prefix, inside)).lstrip("/")
    if path == ".." or path.startswith("../"):
        raise _refusal(f"`{inside}` is outside the repository")
    return "" if path == "." else path


def _entries(commit: str) -> dict[str, _Entry]:
    """Everything in a commit's tree, by path."""
    found = {}
    for record in _git("ls-tree", "-r", "-z", "--full-tree", commit).stdout.split(b"\0")[:-1]:
        words, _, name = record.partition(b"\t")
        mode, _, blob = words.decode().split()
        found[os.fsdecode(name)] = _Entry(mode=mode, name=blob)
    return found


class _Tree:
    """A commit's tree."""

    def __init__(self, commit: str, entries: Mapping[str, _Entry]) -> None:
        self.commit, self.entries = commit, entries
        self.folders = {"", *(folder for path in entries for folder in _parents(path))}
        links = {path: entry for path, entry in entries.items() if entry.mode == _LINK}
        texts = _contents([entry.name for entry in links.values()])
        self.links = {path: os.fsdecode(texts[entry.name]) for path, entry in links.items()}

    def files(self, wanted: str, word: str) -> Iterator[tuple[str, _Entry]]:
        """A file, or the manifests in a directory, by the names that the user knows them by; none of them twice."""
        root = self.find(wanted)
        if root is None:
            raise _refusal(f"`{word}`: the commit has no `{wanted}`", "paths are the repository's; `./` is here")
        if root in self.entries:
            self.refuse_submodule(root)
            yield wanted, self.entries[root]
            return
        seen = set()
        for path in sorted(self.entries):
            below = path.removeprefix(f"{root}/" if root else "")
            if (root and not path.startswith(f"{root}/")) or any(part.startswith(".") for part in below.split("/")):
                continue
            self.refuse_submodule(path)
            real = self.resolve(path) if path.endswith(_SUFFIXES) else None
            if real is not None and real in self.entries and real not in seen:
                seen.add(real)
                yield posixpath.join(wanted, below), self.entries[real]

    def find(self, wanted: str) -> str | None:
        """The path, without links, of a file or a directory; None where there is none."""
        found = self.resolve(wanted)
        return found if found in self.entries or found in self.folders else None

    def refuse_submodule(self, path: str) -> None:
        if self.entries[path].mode == _SUBMODULE:
            message = f"`{path}` is a submodule: its files are not in this repository's commits"
            raise _refusal(message, "name the paths that you mean: `git:REF:path`")

    def resolve(self, path: str) -> str | None:
        """A path without links; None where one leads nowhere.  Raises InputError where one leads out of the tree."""
        left, done, followed = path.split("/") if path else [], "", 0
        while left:
            part = left.pop(0)
            here = posixpath.join(done, part)
            if part == "..":
                if not done:
                    raise _refusal(f"`{path}` is a link that leads out of the repository")
                done = posixpath.dirname(done)
            elif part in ("", "."):
                continue
            elif here in self.links:
                followed += 1
                if followed > _LINKS:
                    return None
                if self.links[here].startswith("/"):
                    raise _refusal(f"`{path}` is a link that leads out of the repository")
                left = self.links[here].split("/") + left
            elif here in self.entries or here in self.folders:
                done = here
            else:
                return None
        return done


def _parents(path: str) -> Iterator[str]:
    while path:
        path = posixpath.dirname(path)
        yield path


def _contents(blobs: Sequence[str]) -> dict[str, bytes]:
    """What objects hold."""
    wanted = list(dict.fromkeys(blobs))
    if not wanted:
        return {}
    output = _git("cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in wanted).encode()).stdout
    found, start = {}, 0
    for blob in wanted:
        end = output.index(b"\n", start)
        header = output[start:end].split()
        if len(header) != 3:
            raise _refusal(f"git has no object {blob}", "the clone may be partial: fetch what is missing")
        size = int(header[2])
        found[blob] = output[end + 1 : end + 1 + size]
        start = end + 1 + size + 1
    return found


def _git(*arguments: str, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(["git", *arguments], input=stdin, capture_output=True, check=False, env=environment)
    except OSError as error:
        raise _refusal(f"cannot run `git`: {(error.strerror or 'unknown error').lower()}") from None
    if check and done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise _refusal(f"git: {said[0].removeprefix('fatal: ')}")
    return done


def _refusal(message: str, help: str = "") -> InputError:  # noqa: A002
    return InputError([diagnose(codes.NO_INPUT, None, message, help=help)])
