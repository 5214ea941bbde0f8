"""The metadata of a NetworkPolicy: what the API server asks of it.

Source: `ValidateObjectMeta` in k8s.io/apimachinery/pkg/api/validation.
"""

from __future__ import annotations

from dataclasses import dataclass

from npcompile.frontend import names
from npcompile.frontend.fields import Fields, Problems, string, string_map
from npcompile.frontend.nodes import Node, Scalar

_ANNOTATIONS_BYTES = 256 * 1024
# Fields that servers write and that mean nothing to a compiler; they may stand in exported manifests.
_SERVER_STRINGS = ("selfLink", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
_SERVER_NUMBERS = ("generation", "deletionGracePeriodSeconds")

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
        _complain(problems, key_node, f"label key `{key}`", names.label_key(key))
        _complain(problems, value_node, f"label value `{value}`", names.label_value(value))
    _read_annotations(problems, fields)
    for field in _SERVER_STRINGS:
        fields.string(field)
    for field in _SERVER_NUMBERS:
        fields.integer(field)
    for item, path in fields.list("finalizers") or ():
        string(problems, item, path)
    for field in ("ownerReferences", "managedFields"):
        fields.list(field)
    fields.close()
    return Metadata(
        namespace=namespace[0] or None if namespace else None,
        name=name[0] if name and name[0] else f"{generated[0]}*" if generated else "",
    )


def _check_names(problems: Problems, top: Fields, fields: Fields, name: _Text, generated: _Text) -> None:
    if name and name[0]:
        _complain(problems, name[1], f"name `{name[0]}`", names.dns_subdomain(name[0]))
    elif generated and generated[0]:
        # The server adds five characters to a prefix, so that a trailing `-` or `.` is fine.
        _complain(
            problems, generated[1], f"generateName `{generated[0]}`", names.dns_subdomain(generated[0][:-1] + "a")
        )
    else:
        at = fields.node or top.node
        if at is not None:
            problems.add(fields.key_node("name") or at, "`metadata.name` is required")


def _read_annotations(problems: Problems, fields: Fields) -> None:
    size = 0
    for key, value, key_node, _ in string_map(problems, fields.take("annotations"), "metadata.annotations"):
        _complain(problems, key_node, f"annotation key `{key}`", names.label_key(key.lower()))
        size += len(key.encode()) + len(value.encode())
    at = fields.key_node("annotations")
    if size > _ANNOTATIONS_BYTES and at:
        problems.add(at, f"annotations may take {_ANNOTATIONS_BYTES} bytes in all, not {size}")


def _complain(problems: Problems, node: Node, what: str, wrong: str | None) -> None:
    if wrong:
        problems.add(node, f"{what}: {wrong}")
