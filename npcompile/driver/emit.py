"""`npcompile emit`: a program to a directory that holds an artifact and its manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from npcompile import __version__
from npcompile.backends.bpf.target import BPF, OBJECT_FILE, SOURCE_FILE
from npcompile.backends.filters.limits import BAD_OPTION
from npcompile.backends.registry import TARGETS
from npcompile.backends.target import Artifact, Options, RuleOrigin
from npcompile.collection import no_cycle_collection
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, RuleCode, Severity, diagnose
from npcompile.driver.bindings import bind
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
from npcompile.frontend.load import Loaded
from npcompile.ir.program import Program
from npcompile.runtime.loader import Stored
from npcompile.runtime.stored import ARTIFACT, read_stored
from npcompile.source import SourceFile

MANIFEST = "manifest.json"
NOT_ATTEMPTED = "NOT_ATTEMPTED"

UNBOUND = RuleCode(code="NPC702", slug="unbound", severity=Severity.INFO)
"""An endpoint has no address yet, so the artifact cannot name it: its rules are complete, and nothing enforces them for
it.  Bind it with `--bindings FILE`, one `ns/pod=address[,ifname]` a line, or emit again when it runs."""

NO_NODE = RuleCode(code="NPC709", slug="no-node", severity=Severity.INFO)
"""With `--node`, pods of which the input does not say where they run are filtered by every node's artifact.  That is
safe, since each node sees its own traffic only and all give the same verdict, and larger than it needs to be: pods of a
live cluster have `spec.nodeName`."""

OUTPUT = RuleCode(code="NPC708", slug="output", severity=Severity.ERROR)
"""The output directory cannot be written, or holds something that npcompile did not write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """What was written, and what there is to say about it.

    `delta`: the commands that lead from the older artifact, in order; None: none was asked for.
    """

    artifact: Artifact
    directory: Path
    diagnostics: tuple[Diagnostic, ...]
    delta: tuple[str, ...] | None = None


def run_emit(
    paths: Sequence[str],
    target: str,
    output: str,
    options: Options,
    *,
    bindings: str | None = None,
    against: str | None = None,
    lock: str | None = None,
    compiled: bool = False,
) -> Emitted:
    """Compile and write; raises InputError, and then has written nothing.

    `against`: the directory of an older artifact; the steps from there are written, too.  `lock`: that of one whose
    numbers are kept.  `compiled`: with the object, where the target has programs.
    """
    if refused := [*_refused(target, against, lock, compiled), *TARGETS[target].refused(options)]:
        raise InputError(refused)
    if lock is not None:
        options = replace(options, earlier=read_stored(Path(lock)).files)
    sources = read_sources(paths)
    loaded = load(sources)
    if bindings is not None:
        loaded = replace(loaded, program=bind(loaded.program, bindings))
    return emit_loaded(loaded, sources, target, output, options, against=against, compiled=compiled)


@no_cycle_collection()
def emit_loaded(
    loaded: Loaded,
    sources: Sequence[SourceFile],
    target: str,
    output: str,
    options: Options,
    *,
    against: str | None = None,
    compiled: bool = False,
) -> Emitted:
    """Everything past reading: `loaded` is what `sources` say.  As `run_emit`."""
    artifact = TARGETS[target].emit(loaded.program, options)
    if compiled:
        from npcompile.runtime.bpf.compile import compile_object

        built = compile_object(artifact.files[SOURCE_FILE].decode())
        artifact = replace(artifact, files={**artifact.files, OBJECT_FILE: built})
    unbound = [
        diagnose(UNBOUND, pod.span, f"`{pod}` has no address yet: nothing is enforced for it",
                 help="bind it with `--bindings FILE`, or emit again when it runs")
        for pod in artifact.unbound
    ]  # fmt: skip
    document = manifest(artifact, options, sources)
    delta = _delta(against, artifact) if against is not None else None
    if delta is not None:
        document["delta"] = [
            {"command": list(one.command), "file": one.name, "digest": _digest(one.data)} for one in delta
        ]
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    directory = Path(output)
    _write(directory, {**artifact.files, **{one.name: one.data for one in delta or ()}, MANIFEST: text.encode()})
    return Emitted(
        artifact=artifact,
        directory=directory,
        diagnostics=(
            *loaded.diagnostics,
            *artifact.diagnostics,
            *unbound,
            *_without_node(loaded.program, options),
        ),
        delta=tuple(str(one) for one in delta) if delta is not None else None,
    )


def _refused(target: str, against: str | None, lock: str | None, compiled: bool) -> Iterator[Diagnostic]:
    """What means nothing to a target of the options that are no backend's."""
    if target == BPF and against is not None:
        message = f"the target `{BPF}` has no steps as files, so `--against` means nothing to it"
        yield diagnose(BAD_OPTION, None, message, help="leave it out: `apply` asks the kernel what differs")
    if target != BPF and lock is not None:
        message = f"the target `{target}` has no numbers that `--lock` could keep"
        yield diagnose(BAD_OPTION, None, message, help=f"leave it out, or emit the target `{BPF}`")
    if target != BPF and compiled:
        message = f"the target `{target}` has no programs that `--compile` could compile"
        yield diagnose(BAD_OPTION, None, message, help=f"leave it out, or emit the target `{BPF}`")


@dataclass(frozen=True, slots=True, kw_only=True)
class _DeltaFile:
    """A step: a command, and the file that is its standard input."""

    command: tuple[str, ...]
    name: str
    data: bytes

    def __str__(self) -> str:
        return f"{' '.join(self.command)} < {self.name}"


def _delta(against: str, artifact: Artifact) -> tuple[_DeltaFile, ...]:
    """The steps from an older artifact to this one; raises InputError."""
    # Every loader comes with it, which takes as long as emitting for a node.
    from npcompile.runtime.registry import planners

    old, known = read_stored(Path(against)), planners()
    if old.target != artifact.target or artifact.target not in known:
        message = f"there is no way from the target `{old.target}` in `{against}` to `{artifact.target}`"
        raise InputError([diagnose(ARTIFACT, None, message, help="name an artifact of the same target")])
    new = Stored(target=artifact.target, files=artifact.files, manifest={})
    steps = known[artifact.target](old, new).steps
    return tuple(
        _DeltaFile(command=one.command, name=f"delta-{number:02}.txt", data=one.text.encode())
        for number, one in enumerate(steps, 1)
    )


def _without_node(program: Program, options: Options) -> Iterator[Diagnostic]:
    """One for all running pods that have no node, when the artifact is for one."""
    pods = [pod for pod in program.cluster.pods if pod.node is None and pod.addresses and not pod.host_network]
    if options.node is None or not pods:
        return
    has = f"and {len(pods) - 1} more pods have" if len(pods) > 1 else "has"
    message = f"`{pods[0]}` {has} no node: what runs anywhere is filtered by every node's artifact"
    yield diagnose(NO_NODE, pods[0].span, message, help="give them `spec.nodeName`, as pods of a live cluster have")


def manifest(artifact: Artifact, options: Options, sources: Iterable[SourceFile] = ()) -> dict[str, object]:
    """What the manifest says of an artifact that was made of these sources."""
    return {
        "version": 1,
        "npcompile": __version__,
        "target": artifact.target,
        "node": options.node,
        "established": options.established.value,
        # Until the artifact is read back and compared with the policies, nothing is proved of it.
        "outcome": NOT_ATTEMPTED,
        "files": {name: _digest(data) for name, data in sorted(artifact.files.items())},
        "inputs": {source.path: _digest(source.text.encode()) for source in sources},
        "load": list(artifact.load),
        "rules": {origin.id: _origin(origin) for origin in artifact.rules},
        "isolating": {name: list(ids) for name, ids in sorted(artifact.isolating.items())},
        "unbound": [str(pod) for pod in artifact.unbound],
        "summary": dict(sorted(artifact.summary.items())),
    }


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _origin(origin: RuleOrigin) -> dict[str, object]:
    span = (origin.rule.span if origin.rule is not None else None) or origin.policy.span
    return {
        "policy": str(origin.policy),
        "direction": str(origin.direction),
        "rule": origin.rule.index if origin.rule is not None else None,
        "file": span.file.path if span else None,
        "line": span.line if span else None,
    }


def _write(directory: Path, files: dict[str, bytes]) -> None:
    """All files or none: they are written beside the directory, which is then exchanged for the new one."""
    try:
        if directory.exists() and not _is_ours(directory):
            message = f"`{directory}` is not empty and holds no npcompile artifact"
            raise InputError([diagnose(OUTPUT, None, message, help="name another directory, or remove it")])
        directory.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            fresh.chmod(0o755)
            for name, data in files.items():
                (fresh / name).write_bytes(data)
            _exchange(fresh, directory)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        message = f"cannot write `{directory}`: {(error.strerror or 'unknown error').lower()}"
        raise InputError([diagnose(OUTPUT, None, message)]) from None


def _is_ours(directory: Path) -> bool:
    return directory.is_dir() and ((directory / MANIFEST).is_file() or not any(directory.iterdir()))


def _exchange(fresh: Path, directory: Path) -> None:
    if not directory.exists():
        fresh.rename(directory)
        return
    old = fresh.with_name(fresh.name + ".old")
    directory.rename(old)
    try:
        fresh.rename(directory)
    except OSError:
        old.rename(directory)
        raise
    shutil.rmtree(old)
