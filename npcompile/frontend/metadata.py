"""The metadata of a NetworkPolicy: what the API server asks of it.

Source: `ValidateObjectMeta` in k8s.io/apimachinery/pkg/api/validation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from npcompile.frontend import names
from npcompile.frontend.fields import Fields, Problems, string, string_map
from npcompile.frontend.nodes import Mapping, Node, Scalar

_ANNOTATIONS_BYTES = 256 * 1024
# Fields that servers write and that mean nothing to a compiler; they may stand in exported manifests.
_SERVER_STRINGS = ("selfLink", "uid", "resourceVersion")
_SERVER_TIMES = ("creationTimestamp", "deletionTimestamp")
_SERVER_NUMBERS = ("generation", "deletionGracePeriodSeconds")
_MANAGED_FIELDS = ("manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource")
_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})")

_Text = tuple[str, Scalar] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The identity of an object; `namespace` None when it is not written."""

    namespace: str | None
    name: str


def read_metadata(problems: Problems, top: Fields) -> Metadata:
    """The metadata of an object; problems are added."""
    fields = top.object("metadata") or Fields(problems, None, "metadata")
    name, generated = fields.string("name"), fields.string("generateName")
    namespace = fields.string("namespace")
    _check_names(problems, top, fields, name, generated)
    if namespace and namespace[0]:
        _complain(problems, namespace[1], f"namespace `{namespace[0]}`", names.dns_label(namespace[0]))
    for key, value, key_node, value_node in string_map(problems, fields.take("labels"), "metadata.labels"):
        _complain(problems, key_node, f"label key `{key}` in `metadata.labels`", names.label_key(key))
        _complain(problems, value_node, f"label value `{value}` in `metadata.labels`", names.label_value(value))
    _read_annotations(problems, fields)
    _read_server_fields(problems, fields)
    fields.close()
    return Metadata(namespace=namespace[0] or None if namespace else None, name=name[0] if name else "")


def _check_names(problems: Problems, top: Fields, fields: Fields, name: _Text, generated: _Text) -> None:
    if generated and generated[0]:
        # The server adds five characters to a prefix, so that a trailing `-` or `.` is fine.
        wrong = names.dns_subdomain(generated[0][:-1] + "a")
        _complain(problems, generated[1], f"generateName `{generated[0]}`", wrong)
    if name and name[0]:
        _complain(problems, name[1], f"name `{name[0]}`", names.dns_subdomain(name[0]))
    elif fields.take("name") is not None and not name:
        return  # of a wrong type, which has been said
    elif generated and generated[0]:
        problems.add(generated[1], "a policy needs a `name`: `kubectl apply` refuses `generateName` alone",
                     help="each run would make another policy; give it a name")  # fmt: skip
    elif not fields.node or isinstance(fields.node, Mapping):
        at = fields.key_node("name") or fields.node or top.key_node("metadata") or top.node
        if at is not None:
            problems.add(at, "`metadata.name` is required")


def _read_annotations(problems: Problems, fields: Fields) -> None:
    size = 0
    annotations = string_map(problems, fields.take("annotations"), "metadata.annotations", nulls=True)
    for key, value, key_node, _ in annotations:
        _complain(problems, key_node, f"key `{key}` in `metadata.annotations`", names.label_key(key.lower()))
        size += len(key.encode()) + len(value.encode())
    at = fields.key_node("annotations")
    if size > _ANNOTATIONS_BYTES and at:
        problems.add(at, f"annotations may take {_ANNOTATIONS_BYTES} bytes in all, not {size}")


def _read_server_fields(problems: Problems, fields: Fields) -> None:
    """Exported manifests have them, and the server looks at them again."""
    for name in _SERVER_STRINGS:
        fields.string(name)
    for name in _SERVER_NUMBERS:
        fields.integer(name, bits=64)
    for name in _SERVER_TIMES:
        _check_time(problems, f"metadata.{name}", fields.string(name))
    _read_finalizers(problems, fields)
    _read_owners(problems, fields)
    for item, path in fields.list("managedFields") or ():
        entry = Fields(problems, item, path)
        for name in _MANAGED_FIELDS:
            entry.take(name)
        entry.close()


def _check_time(problems: Problems, path: str, found: _Text) -> None:
    if found is None:
        return
    text, node = found
    try:
        fits = _TIME.fullmatch(text) and datetime.fromisoformat(text[:19])
    except ValueError:
        fits = None
    if not fits:
        problems.add(node, f"`{path}` must be a time such as `2024-01-31T12:00:00Z`, not `{text}`")


def _read_finalizers(problems: Problems, fields: Fields) -> None:
    words: list[str] = []
    for item, path in fields.list("finalizers") or ():
        found = string(problems, item, path)
        if found is None:
            continue
        words.append(found[0])
        wrong = names.label_key(found[0])
        if not wrong and "/" not in found[0] and found[0] not in _FINALIZERS:
            wrong = "it needs a domain, as in `example.com/cleanup`"
        _complain(problems, item, f"finalizer `{found[0]}`", wrong)
        if {"orphan", "foregroundDeletion"} <= set(words) and found[0] in ("orphan", "foregroundDeletion"):
            problems.add(item, "finalizers `orphan` and `foregroundDeletion` exclude each other")


def _read_owners(problems: Problems, fields: Fields) -> None:
    controllers = 0
    for item, path in fields.list("ownerReferences") or ():
        owner = Fields(problems, item, path)
        words = {name: owner.string(name) for name in ("apiVersion", "kind", "name", "uid")}
        for name in ("controller", "blockOwnerDeletion"):
            flag = owner.boolean(name)
            controllers += bool(flag and name == "controller")
        owner.close()
        if isinstance(item, Mapping | Scalar):
            _check_owner(problems, item, path, words)
        if controllers > 1:
            problems.add(item, f"`{path}` is a second owner with `controller: true`")


def _check_owner(problems: Problems, item: Node, path: str, words: dict[str, _Text]) -> None:
    for name, found in words.items():
        if found is None or not found[0]:
            problems.add(found[1] if found else item, f"`{path}.{name}` is required")
    version, kind = words["apiVersion"], words["kind"]
    if version and (version[0].count("/") > 1 or version[0].endswith("/")):
        problems.add(version[1], f"`{path}.apiVersion` must be like `v1` or `apps/v1`, not `{version[0]}`")
    if version and kind and (version[0], kind[0]) == ("v1", "Event"):
        problems.add(item, f"`{path}`: an Event cannot own objects")


def _complain(problems: Problems, node: Node, what: str, wrong: str | None) -> None:
    if wrong:
        problems.add(node, f"{what}: {wrong}")
