"""Ports as prefixes: the fewest entries that, the longest matching one first, say which rule allows a port.

An entry allows, and none denies, so entries may overrule each other (a port within a range that a lesser rule allows),
but what is not allowed lies under no entry at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from npcompile.netset.intervals import covered

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
    blocks = covered([(first, last) for first, last, _ in spans]).aligned()  # no prefix may reach beyond one of them
    return tuple([prefix for port, size in blocks for prefix in _fewest(spans, port, size, inherited, {})])


def _fewest(
    spans: Sequence[tuple[int, int, int]],
    port: int,
    size: int,
    above: int | None,
    known: dict[tuple[int, int, int | None], tuple[PortPrefix, ...]],
) -> tuple[PortPrefix, ...]:
    """The fewest for the 2**size ports from `port`, every one of which is allowed; `above`: the rule of the narrowest
    prefix around them.  `known` remembers answers.
    """
    if (found := known.get((port, size, above))) is not None:
        return found
    end = port + (1 << size)
    rules = dict.fromkeys([rule for first, last, rule in spans if first < end and last >= port])
    if len(rules) == 1:
        (rule,) = rules
        found = () if rule == above else (PortPrefix(port=port, bits=PORT_BITS - size, rule=rule),)
    else:

        def halves(under: int | None) -> tuple[PortPrefix, ...]:
            lower = _fewest(spans, port, size - 1, under, known)
            return (*lower, *_fewest(spans, (port + end) // 2, size - 1, under, known))

        options = [
            halves(above),
            *((PortPrefix(port=port, bits=PORT_BITS - size, rule=rule), *halves(rule)) for rule in rules),
        ]
        found = min(options, key=len)
    known[port, size, above] = found
    return found
