"""From texts to a program: read every document, give each object to its reader, and assemble what they say."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from npcompile.collection import no_cycle_collection
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, Severity, diagnose
from npcompile.frontend import codes, kinds
from npcompile.frontend.assemble import Objects, assemble
from npcompile.frontend.fields import Problems, fields_of
from npcompile.frontend.inventory import READERS, PodObject
from npcompile.frontend.json_reader import looks_like_json, read_json
from npcompile.frontend.network_policy import read_network_policy
from npcompile.frontend.nodes import Document, Mapping, Node, Scalar, Sequence, get, is_plain, span_of
from npcompile.frontend.placeless import UnforeseenError
from npcompile.frontend.pods_alike import read_yaml_with_pods
from npcompile.frontend.resolve import resolve
from npcompile.frontend.scalars import NULLS
from npcompile.ir.program import Program
from npcompile.source import SourceFile, Span, whole_file

_POLICY_FIELDS = ("podSelector", "policyTypes", "ingress", "egress")
_MANIFEST = re.compile("apiVersion|networkpolicy", re.IGNORECASE)
_NO_OBJECT = "a document that is no object"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A program, and what there is to say about the text that it came from (no errors)."""

    program: Program
    diagnostics: tuple[Diagnostic, ...]


def decode(path: str, data: bytes, *, named: bool = False) -> SourceFile:
    """A file's text; raises InputError when it is not UTF-8 (NUL bytes are UTF-16's).  A byte order mark is dropped."""
    offset = data.find(b"\0")
    if offset < 0:
        try:
            return SourceFile(path=path, text=data.removeprefix(codecs.BOM_UTF8).decode(), named=named)
        except UnicodeDecodeError as error:
            offset = error.start + len(data) - len(error.object)
    span = whole_file(SourceFile(path=path, text=""))
    message = f"not UTF-8 text: byte {data[offset]:#04x} at offset {offset}"
    raise InputError([diagnose(codes.ENCODING, span, message, help="save the file as UTF-8")])


def load(files: Iterable[SourceFile]) -> Loaded:
    """Read a program from the texts of its files; raises InputError with everything that is wrong in any of them."""
    reading = _Reading()
    with no_cycle_collection():
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
        try:
            self.add(_read_file(file, lean=True))
        except UnforeseenError:
            self.add(_read_file(file, lean=False))

    def add(self, other: _Reading) -> None:
        """What another one has read, after this."""
        self.objects.policies += other.objects.policies
        self.objects.inventory += other.objects.inventory
        self.diagnostics += other.diagnostics
        self.skipped_kinds += other.skipped_kinds

    def skipped(self) -> Iterator[Diagnostic]:
        if self.skipped_kinds:
            words = ", ".join(f"{kind} ({count})" for kind, count in sorted(self.skipped_kinds.items()))
            yield diagnose(codes.SKIPPED, None, f"skipped what no NetworkPolicy concerns: {words}")


def _read_file(file: SourceFile, *, lean: bool) -> _Reading:
    """What a file says; with `lean`, raises UnforeseenError where it has to be read without."""
    reading = _Reading()
    reader = _FileReading(reading, Problems(file))
    for one in _read_text(file, lean=lean):
        match one:
            case Diagnostic():
                reader.unreadable.append(one)
            case PodObject():
                reader.objects += 1
                reading.objects.inventory.append(one)
            case Document(root=root):
                reader.read_document(root)
    reader.finish()
    return reading


class _FileReading:
    """One file's documents.  kubectl takes only objects; other files of a folder are none of our business."""

    def __init__(self, reading: _Reading, problems: Problems) -> None:
        self.reading, self.problems = reading, problems
        self.unreadable: list[Diagnostic] = []
        self.strays: list[Node] = []  # documents without kind or apiVersion
        self.objects = 0

    def finish(self) -> None:
        """Decide what documents that are no objects mean: nothing in another tool's file, an error beside objects."""
        skipped, file = self.reading.skipped_kinds, self.problems.file
        if self.unreadable and not (self.objects or file.named or _MANIFEST.search(file.text)):
            skipped["text that is no manifest"] += 1
            self.unreadable.clear()
        if self.objects:
            for node in self.strays:
                message = "a document without `apiVersion` and `kind` among Kubernetes objects"
                advice = "complete it or remove it: `kubectl apply` refuses it, and it is not judged"
                self.problems.add(node, message, rule=codes.ALMOST_KNOWN_KIND, help=advice)
        elif self.strays:
            skipped[_NO_OBJECT] += len(self.strays)
        self.reading.diagnostics += self.unreadable
        self.reading.diagnostics += self.problems.found

    def read_document(self, root: Node) -> None:
        if isinstance(root, Sequence) and any(_word(item, "apiVersion") and _word(item, "kind") for item in root.items):
            message = "a plain list of objects, which Kubernetes does not read"
            advice = "separate them with `---`, or wrap them in `apiVersion: v1`, `kind: List`, `items:`"
            self.problems.add(root, message, rule=codes.ALMOST_KNOWN_KIND, help=advice)
        elif isinstance(root, Mapping):
            self.read_object(root, "", "")
        elif not _is_null(root):
            self.strays.append(root)

    def read_object(self, node: Mapping, api_version: str, kind: str) -> None:
        """Give an object to its reader; `api_version` and `kind` are a list's, for items that do not say theirs."""
        if not (api_version or _claims_to_be_object(node)):
            self.strays += [node] if node.keys else []
            return
        top = fields_of(self.problems, node)
        api_version, kind = _text(top.get("apiVersion")) or api_version, _text(top.get("kind")) or kind
        incomplete = not (api_version and kind)
        fate = kinds.fate_of(api_version, kind, looks_like_policy=incomplete and _looks_like_policy(node))
        self.objects += not incomplete
        match fate:
            case kinds.Fate.POLICY:
                raw = read_network_policy(self.problems, node)
                if raw is not None:
                    self.reading.objects.policies.append(resolve(raw))
            case kinds.Fate.INVENTORY:
                self.reading.objects.inventory.append(READERS[api_version, kind](self.problems, node, top))
            case kinds.Fate.LIST:
                self.read_list(node, api_version, kind)
            case kinds.Fate.FOREIGN:
                name = _word(get(node, "metadata"), "name")
                message = f"`{kind}` of `{api_version}` (`{name}`) is not judged, although it may change what passes"
                self.problems.found.append(diagnose(codes.FOREIGN_POLICY, self.where(node, "kind"), message))
            case kinds.Fate.ALMOST:
                self.problems.found.append(self.almost(node, api_version, kind))
            case kinds.Fate.SKIPPED if not incomplete:
                self.reading.skipped_kinds[kind] += 1
            case kinds.Fate.SKIPPED:
                self.strays.append(node)

    def read_list(self, node: Mapping, api_version: str, kind: str) -> None:
        items = get(node, "items")
        if not isinstance(items, Sequence):
            if not kinds.is_known_list(kind):
                self.reading.skipped_kinds[kind] += 1
            elif items is None or not _is_null(items):
                self.problems.add(items or node, f"a `{kind}` needs `items`, a list of objects")
            return
        item_version, item_kind = kinds.item_kind(api_version, kind)
        for item in items.items:
            if not isinstance(item, Mapping):
                self.problems.add(item, f"an item of a `{kind}` must be an object")
                continue
            own_version, own_kind = _word(item, "apiVersion") or item_version, _word(item, "kind") or item_kind
            if kinds.fate_of(own_version, own_kind, looks_like_policy=False) is kinds.Fate.LIST:
                self.problems.add(item, f"a `{own_kind}` within a `{kind}`, which `kubectl apply` does not read",
                                  help="put its items into the outer list")  # fmt: skip
            else:
                self.read_object(item, item_version, item_kind)

    def almost(self, node: Node, api_version: str, kind: str) -> Diagnostic:
        at = "apiVersion" if kind == "NetworkPolicy" else "kind"
        found = f"`kind: {kind}`" if kind else "no `kind`"
        version = f"`apiVersion: {api_version}`" if api_version else "no `apiVersion`"
        return diagnose(codes.ALMOST_KNOWN_KIND, self.where(node, at),
                        f"an object with {version} and {found} would be ignored",
                        help=f"write {kinds.expected(kind)}")  # fmt: skip

    def where(self, node: Node, name: str) -> Span:
        return span_of(self.problems.file, get(node, name) or node)


def _read_text(file: SourceFile, *, lean: bool) -> Iterable[Document | PodObject | Diagnostic]:
    """JSON is read as JSON, and, as in kubectl, as YAML where it is not quite JSON; not if the file says it is JSON."""
    if looks_like_json(file.text):
        documents, problem = read_json(file, lean=lean)
        if problem is None:
            return documents
        if file.path.endswith(".json"):
            return [*documents, problem]
    return read_yaml_with_pods(file)


def _claims_to_be_object(node: Mapping) -> bool:
    """Whether a document is meant for Kubernetes; the keys of others are none of our business."""
    return any(key.value in ("apiVersion", "kind") for key in node.keys) or _looks_like_policy(node)


def _looks_like_policy(node: Node) -> bool:
    return sum(get(node, "spec", name) is not None for name in _POLICY_FIELDS) >= 2


def _word(node: Node | None, name: str) -> str:
    return _text(get(node, name))


def _text(node: Node | None) -> str:
    return node.value if isinstance(node, Scalar) and not _is_null(node) else ""


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value in NULLS and is_plain(node)
