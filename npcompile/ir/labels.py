"""Labels and label selectors (`metav1.LabelSelector`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from npcompile.source import Span

NAMESPACE_NAME = "kubernetes.io/metadata.name"  # the label that every namespace carries, with its own name

Labels = Mapping[str, str]


class Operator(Enum):
    """The operators of a label selector requirement, in the API's words."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"

    __hash__ = object.__hash__  # members are singletons, and selectors much used as keys: Enum's own hashes the name


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One condition on one label key.  `values` is sorted and has no duplicates; it is empty for Exists and
    DoesNotExist, and never empty for In and NotIn.  An entry of matchLabels is an In with one value.
    """

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """The conjunction of its requirements, sorted by meaning; without any it selects everything."""

    requirements: tuple[Requirement, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


EVERYTHING = Selector()
