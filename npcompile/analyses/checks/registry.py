"""All checks, in the order of their codes."""

from __future__ import annotations

from npcompile.analyses.checks import (
    ambiguous_port_name,
    block_covers_pods,
    dns_blocked,
    empty_block,
    exposed,
    half_open,
    host_network_peer,
    host_network_subject,
    inactive_rules,
    reachable,
    redundant_policy,
    service_address,
    service_port,
    shadowed_item,
    shadowed_rule,
    split_peer,
    spoofable_namespace,
    uncovered,
    undeclared_port,
    unknown_namespace,
    unknown_port_name,
    vacuous,
)
from npcompile.analyses.claims import Check

CHECKS: tuple[Check, ...] = (
    shadowed_rule,
    redundant_policy,
    shadowed_item,
    vacuous,
    half_open,
    uncovered,
    reachable,
    exposed,
    dns_blocked,
    inactive_rules,
    split_peer,
    unknown_port_name,
    ambiguous_port_name,
    undeclared_port,
    service_port,
    empty_block,
    spoofable_namespace,
    unknown_namespace,
    host_network_subject,
    host_network_peer,
    service_address,
    block_covers_pods,
)
