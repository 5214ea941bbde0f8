"""A whole input: the policies and the cluster they are judged in."""

from __future__ import annotations

from dataclasses import dataclass

from npcompile.ir.cluster import Cluster
from npcompile.ir.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Policies, sorted by (namespace, name) and without duplicates, and their cluster."""

    policies: tuple[Policy, ...]
    cluster: Cluster
