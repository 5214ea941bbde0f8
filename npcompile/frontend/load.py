"""From texts to a program: read every document, give each object to its reader, and assemble what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, Severity, diagnose
from npcompile.frontend import codes, kinds
from npcompile.frontend.assemble import Objects, assemble
from npcompile.frontend.fields import Problems
from npcompile.frontend.inventory import READERS
from npcompile.frontend.json_reader import looks_like_json, read_json
from npcompile.frontend.network_policy import read_network_policy
from npcompile.frontend.nodes import Document, Mapping, Node, Scalar, Sequence, get, span_of
from npcompile.frontend.resolve import resolve
from npcompile.frontend.yaml_reader import read_yaml
from npcompile.ir.program import Program
from npcompile.source import SourceFile, Span, whole_file

_POLICY_FIELDS = ("podSelector", "policyTypes", "ingress", "egress")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A program, and what there is to say about the text that it came from (no errors)."""

    program: Program
    diagnostics: tuple[Diagnostic, ...]


def decode(path: str, data: bytes) -> SourceFile:
    """A file's text; raises InputError when it is not UTF-8.  A byte order mark is dropped."""
    try:
        return SourceFile(path=path, text=data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        span = whole_file(SourceFile(path=path, text=""))
        message = f"not UTF-8 text: byte {data[error.start]:#04x} at offset {error.start}"
        raise InputError([diagnose(codes.ENCODING, span, message, help="save the file as UTF-8")]) from None


def load(files: Iterable[SourceFile]) -> Loaded:
    """Read a program from the texts of its files; raises InputError with everything that is wrong in any of them."""
    reading = _Reading()
    for file in files:
        reading.read_file(file)
    program, problems = assemble(reading.objects)
    diagnostics = sorted([*reading.diagnostics, *problems, *reading.skipped()], key=lambda d: d.order)
    if any(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics):
        raise InputError(diagnostics)
    return Loaded(program=program, diagnostics=tuple(diagnostics))


class _Reading:
    """What has been read so far."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.diagnostics: list[Diagnostic] = []
        self.skipped_kinds: Counter[str] = Counter()

    def read_file(self, file: SourceFile) -> None:
        documents, problems = _read_text(file)
        if problems and "apiVersion" not in file.text:
            # No Kubernetes object is without that word: the file is another tool's.
            self.skipped_kinds["text that is no manifest"] += 1
            return
        self.diagnostics += problems
        for document in documents:
            self.read_document(document)

    def read_document(self, document: Document) -> None:
        problems = Problems(document.file)
        if isinstance(document.root, Sequence):
            self.skipped_kinds["a document that is no object"] += 1
        else:
            self.read_object(problems, document.root)
        self.diagnostics += problems.found

    def read_object(self, problems: Problems, node: Node) -> None:
        api_version, kind = _word(node, "apiVersion"), _word(node, "kind")
        spec = get(node, "spec")
        like = isinstance(spec, Mapping) and sum(get(spec, name) is not None for name in _POLICY_FIELDS) >= 2
        match kinds.fate_of(api_version, kind, looks_like_policy=like):
            case kinds.Fate.POLICY:
                raw = read_network_policy(problems, node)
                if raw is not None:
                    self.objects.policies.append(resolve(raw))
            case kinds.Fate.INVENTORY:
                group, _ = kinds.split_api_version(api_version)
                self.objects.inventory.append(READERS[group, kind](problems, node))
            case kinds.Fate.LIST:
                self.read_list(problems, node, api_version, kind)
            case kinds.Fate.FOREIGN:
                name = _word(get(node, "metadata"), "name")
                message = f"`{kind}` of `{api_version}` (`{name}`) is not judged, although it may change what passes"
                self.diagnostics.append(diagnose(codes.FOREIGN_POLICY, _where(problems.file, node, "kind"), message))
            case kinds.Fate.ALMOST:
                self.diagnostics.append(_almost(problems.file, node, api_version, kind))
            case kinds.Fate.SKIPPED:
                self.skipped_kinds[kind or "a document that is no object"] += 1

    def read_list(self, problems: Problems, node: Node, api_version: str, kind: str) -> None:
        items = get(node, "items")
        if not isinstance(items, Sequence):
            if items is None or isinstance(items, Mapping):
                self.skipped_kinds[kind] += 1
            return
        for item in items.items:
            self.read_object(problems, _with_kind(item, api_version, kind))

    def skipped(self) -> Iterator[Diagnostic]:
        if self.skipped_kinds:
            words = ", ".join(f"{kind} ({count})" for kind, count in sorted(self.skipped_kinds.items()))
            yield diagnose(codes.SKIPPED, None, f"skipped what no NetworkPolicy concerns: {words}")


def _read_text(file: SourceFile) -> tuple[list[Document], list[Diagnostic]]:
    if looks_like_json(file.text):
        documents, problems = read_json(file)
        if not problems or file.path.endswith(".json"):
            return documents, problems
    return read_yaml(file)


def _word(node: Node | None, name: str) -> str:
    value = get(node, name)
    return value.text if isinstance(value, Scalar) else ""


def _with_kind(item: Node, api_version: str, kind: str) -> Node:
    """An item of a typed list (`PodList`) may leave its kind and apiVersion to the list."""
    if not isinstance(item, Mapping) or kind == "List" or get(item, "kind") is not None:
        return item
    words = {"apiVersion": api_version, "kind": kind.removesuffix("List")}
    missing = [
        (Scalar(key, False, None, item.start, item.start), Scalar(word, False, None, item.start, item.start))
        for key, word in words.items()
        if get(item, key) is None
    ]
    return item._replace(entries=[*missing, *item.entries])


def _almost(file: SourceFile, node: Node, api_version: str, kind: str) -> Diagnostic:
    at = "apiVersion" if kind == "NetworkPolicy" else "kind"
    found = f"`kind: {kind}`" if kind else "no `kind`"
    version = f"`apiVersion: {api_version}`" if api_version else "no `apiVersion`"
    return diagnose(
        codes.ALMOST_KNOWN_KIND, _where(file, node, at),
        f"an object with {version} and {found} would be ignored", help=f"write {kinds.expected(kind)}",
    )  # fmt: skip


def _where(file: SourceFile, node: Node, name: str) -> Span:
    return span_of(file, get(node, name) or node)
