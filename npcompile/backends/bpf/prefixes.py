"""Ports as prefixes: the fewest entries that, the longest matching one first, say which rule allows a port.

An entry allows, and none denies, so entries may overrule each other (a port within a range that a lesser rule allows),
but what is not allowed lies under no entry at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

PORT_BITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPrefix:
    """The ports that agree with `port` in the first `bits` bits, and the number of the rule that allows them."""

    port: int
    bits: int
    rule: int


def port_prefixes(allowed: Iterable[tuple[int, int, int]], inherited: int | None = None) -> tuple[PortPrefix, ...]:
    """The fewest prefixes for disjoint (first, last, rule), shorter ones before those inside them.

    `inherited`: the rule that allows what no prefix holds; then every port from 0 to 65535 must be in `allowed`.
    """
    spans = sorted(allowed)

    @cache
    def fewest(port: int, bits: int, above: int | None) -> tuple[PortPrefix, ...]:
        last = port + (1 << (PORT_BITS - bits)) - 1
        rules = _rules_within(spans, port, last)
        if len(rules) == 1:
            (rule,) = rules
            return () if rule is None or rule == above else (PortPrefix(port=port, bits=bits, rule=rule),)
        middle = port + (1 << (PORT_BITS - bits - 1))

        def halves(under: int | None) -> tuple[PortPrefix, ...]:
            return (*fewest(port, bits + 1, under), *fewest(middle, bits + 1, under))

        options = [halves(above)]
        if None not in rules:
            options += [(PortPrefix(port=port, bits=bits, rule=rule), *halves(rule)) for rule in rules if rule]
        return min(options, key=len)

    return fewest(0, 0, inherited)


def _rules_within(spans: Sequence[tuple[int, int, int]], first: int, last: int) -> Mapping[int | None, None]:
    """The rules of ports from first to last, in order; None among them where no rule allows one."""
    found: dict[int | None, None] = {}
    reached = first
    for start, end, rule in spans:
        if end < first or start > last:
            continue
        if start > reached:
            found[None] = None
        found[rule] = None
        reached = end + 1
    if reached <= last:
        found[None] = None
    return found
