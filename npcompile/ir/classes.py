"""Classes of ends that could exist, told by conditions: pods by namespace, labels and address, or plain addresses.

The conditions of one class all hold together.
"""

from __future__ import annotations

from dataclasses import dataclass

from npcompile.ir.versions import Version
from npcompile.netset.cidrs import EVERY_ADDRESS
from npcompile.netset.intervals import IntervalSet
from npcompile.netset.ports import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCondition:
    """What a label may be: one of `values` (sorted) or, `excluded`, any but those; and whether it may be `absent`."""

    key: str
    values: tuple[str, ...]
    excluded: bool
    absent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PodClass:
    """Pods in the namespaces `names` (sorted) or, `excluded`, in any but those.

    `namespace_labels` are conditions on the namespace's labels, in the version `labels_in` if one is set: the other
    version lists the namespace, and so settles them there.  A pod has one of `addresses`, or none yet if it may be
    `unaddressed`.
    """

    names: tuple[str, ...]
    excluded: bool
    namespace_labels: tuple[LabelCondition, ...] = ()
    labels_in: Version | None = None
    labels: tuple[LabelCondition, ...] = ()
    addresses: IntervalSet = EVERY_ADDRESS
    unaddressed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressClass:
    """Addresses that are no pod's."""

    addresses: IntervalSet


EndClass = PodClass | AddressClass


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredPort:
    """Whether the destination declares the flow's port, under a name and for a protocol: it does, or it does not."""

    protocol: Protocol
    name: str
    declared: bool
