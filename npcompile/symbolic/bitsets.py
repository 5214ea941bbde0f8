"""Sets of small numbers, as ints: bit n says whether n is in the set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_SPARSE = 32  # members that are taken out one by one


def bits(numbers: Iterable[int]) -> int:
    """The bitset of some numbers."""
    listed = list(numbers)
    made = bytearray(max(listed, default=0) // 8 + 1)
    for number in listed:
        made[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(made, "little")


def members(bitset: int) -> Iterator[int]:
    """The numbers in a bitset, in order."""
    if bitset.bit_count() > _SPARSE:  # each step below copies the whole set
        digits = bin(bitset)[:1:-1]
        found = digits.find("1")
        while found >= 0:
            yield found
            found = digits.find("1", found + 1)
        return
    while bitset:
        lowest = bitset & -bitset
        yield lowest.bit_length() - 1
        bitset ^= lowest


def runs(values: int) -> Iterator[tuple[int, int]]:
    """The maximal runs of neighbouring values, as (first, last)."""
    passed = 0
    while values:
        gap = (values & -values).bit_length() - 1
        values >>= gap
        length = (~values & values + 1).bit_length() - 1
        yield passed + gap, passed + gap + length - 1
        values >>= length
        passed += gap + length
