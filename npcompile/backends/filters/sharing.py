"""Which policies get a chain of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sized
from itertools import chain

from npcompile.backends.filters.inventory import Profile
from npcompile.backends.filters.plan import PolicyKey


def shared(profiles: Iterable[Profile], lines: Mapping[PolicyKey, Sized]) -> frozenset[PolicyKey]:
    """The policies whose lines take less room in one chain that their profiles jump to than repeated in each."""
    uses = Counter(chain.from_iterable(one.key for one in profiles))
    return frozenset(key for key, number in uses.items() if len(lines[key]) * number > len(lines[key]) + number)
