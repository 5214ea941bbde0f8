"""What is left when each thing in turn is dropped if the rest suffice, against doing just that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from npcompile.symbolic.irredundant import Listed, irredundant

Things = list[frozenset[int]]


def greedily(things: Things) -> list[int]:
    """By definition."""
    kept, wanted = list(range(len(things))), frozenset[int]().union(*things)
    for place in range(len(things)):
        rest = [one for one in kept if one != place]
        if frozenset[int]().union(*(things[one] for one in rest)) == wanted:
            kept = rest
    return kept


@given(st.lists(st.frozensets(st.integers(0, 9)), max_size=12), st.integers(1, 3))
def test_as_one_by_one(things: Things, bits: int) -> None:
    every = (1 << bits) - 1
    own = [every << bits * place for place in range(len(things))]
    wanted = frozenset[int]().union(*things)

    def missed(among: int) -> int | None:
        """Which things have the first point that none among some has."""
        left = wanted.difference(*(one for bit, one in zip(own, things, strict=True) if bit & among))
        return sum(bit for bit, one in zip(own, things, strict=True) if min(left) in one) if left else None

    assert irredundant(Listed(own), missed) == greedily(things)
