"""All checks, in the order of their codes."""

from __future__ import annotations

from npcompile.analyses.checks import (
    dns_blocked,
    exposed,
    half_open,
    inactive_rules,
    reachable,
    shadowed_rule,
    split_peer,
    uncovered,
    vacuous,
)
from npcompile.analyses.claims import Check

CHECKS: tuple[Check, ...] = (
    shadowed_rule,
    vacuous,
    half_open,
    uncovered,
    reachable,
    exposed,
    dns_blocked,
    inactive_rules,
    split_peer,
)
