"""A NetworkPolicy as written: every field typed, absent (None) and empty still apart, no default decided."""

from __future__ import annotations

from dataclasses import dataclass

from npcompile.netset.cidrs import Network
from npcompile.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequirement:
    """One entry of matchExpressions, or of matchLabels as an `In` with one value."""

    key: str
    operator: str
    values: tuple[str, ...]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSelector:
    """A metav1.LabelSelector."""

    requirements: tuple[RawRequirement, ...]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBlock:
    """An ipBlock."""

    cidr: Network
    excepts: tuple[Network, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPeer:
    """A NetworkPolicyPeer: a block, or at least one selector."""

    pod_selector: RawSelector | None
    namespace_selector: RawSelector | None
    block: RawBlock | None
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPort:
    """A NetworkPolicyPort."""

    protocol: str | None
    port: int | str | None
    end_port: int | None
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRule:
    """A NetworkPolicyIngressRule or NetworkPolicyEgressRule; `peers` is its `from` or `to`."""

    peers: tuple[RawPeer, ...]
    ports: tuple[RawPort, ...]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPolicy:
    """A NetworkPolicy."""

    namespace: str | None
    name: str
    pod_selector: RawSelector | None
    policy_types: tuple[str, ...] | None
    ingress: tuple[RawRule, ...] | None
    egress: tuple[RawRule, ...] | None
    span: Span
