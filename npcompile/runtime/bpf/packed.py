"""The tables of exact matches, as `bpf_templates/table.h` reads them: hash tables of ours in the kernel's arrays.

A packed table holds numbers of 32 bits, none of them 0, at keys of a few words.  It has two halves, one for each slot
of a generation; a half is an array of buckets, a cache line each, and a few more behind the last.  A key lies in
the bucket that its hash says, or in one of the next few where that one, and all between, are full.

A spread table has so many buckets once, each of which holds one entry or none.  An entry comes and goes by itself: it
lies in one of the few buckets from where its key's hash says, whatever is in the others.
"""

from __future__ import annotations

import secrets
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

WORD = 4  # bytes
STEPS = 4  # buckets in which a key may lie
_WORDS = 16  # of a bucket
BUCKET = WORD * _WORDS  # bytes
_BITS = 64
_LEAST = 64  # buckets
_GROWTH = 8  # one in so many buckets is added where keys have no place
_SMALL = 3  # places in a bucket
_SPARE = 8  # buckets of a spread table for each entry
_ATTEMPTS = 4

Slots = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed(ABC):
    """A table: the name of its map, and how many words a key has."""

    name: str
    words: int

    @abstractmethod
    def size(self, count: int) -> int:
        """In how many buckets so many keys may belong, at least."""

    @abstractmethod
    def has_room(self, entries: Slots, hashing: Hashing) -> bool:
        """Whether all of them lie where they are looked for, in a table that holds nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed(Hashed):
    """A table of numbers, written a half at a time."""

    @property
    def places(self) -> int:
        """How many keys a bucket has room for."""
        return _WORDS // (self.words + 1)

    def size(self, count: int) -> int:
        """Of a half: they take every other place, so that others come and go before one finds none; or every third,
        where buckets are so small that they crowd sooner.
        """
        room = 2 if self.places > _SMALL else 3
        return max(_LEAST, -(-room * count // self.places))

    def has_room(self, entries: Slots, hashing: Hashing) -> bool:
        """Whether no key would have to lie farther from where it belongs than is looked for."""
        return self.fill(entries, hashing) is not None

    def fill(self, entries: Slots, hashing: Hashing) -> bytes | None:
        """The bytes of a half; None: there is no room."""
        buckets: list[list[bytes]] = [[] for _ in range(hashing.buckets(self))]
        # From the first bucket to the last, so that a crowd pushes on who belongs farthest on, and no key goes far.
        for first, key in sorted((hashing.bucket(self, key), key) for key in entries):
            chain = range(first, first + STEPS)
            at = next((at for at in chain if len(buckets[at]) < self.places), None)
            if at is None:
                return None
            buckets[at].append(key)
        return b"".join(self._bucket(keys, entries) for keys in buckets)

    def _bucket(self, keys: Sequence[bytes], entries: Slots) -> bytes:
        """Places for all keys, and behind them places for their numbers."""
        return (b"".join(keys).ljust(self._numbers, b"\0") + b"".join(entries[key] for key in keys)).ljust(
            BUCKET, b"\0"
        )

    def read(self, half: bytes) -> Slots:
        """The inverse."""
        found = {}
        width = WORD * self.words
        for start in range(0, len(half), BUCKET):
            bucket = half[start : start + BUCKET]
            for place in range(self.places):
                number = bucket[self._numbers + WORD * place : self._numbers + WORD * (place + 1)]
                if not any(number):
                    break  # what is taken comes first
                found[bucket[width * place : width * (place + 1)]] = number
        return found

    @property
    def _numbers(self) -> int:
        """Where in a bucket the numbers start, in bytes."""
        return WORD * self.words * self.places


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread(Hashed):
    """A table of values of any size, written an entry at a time."""

    def size(self, count: int) -> int:
        """So much room that hardly ever all buckets of a key are taken by others."""
        return max(_LEAST, _SPARE * count)

    def has_room(self, entries: Slots, hashing: Hashing) -> bool:
        """Whether each finds a free bucket, one after the other: in another order some may not."""
        return self.placed(entries, hashing, {}) is not None

    def placed(self, keys: Iterable[bytes], hashing: Hashing, held: Mapping[bytes, int]) -> Mapping[bytes, int] | None:
        """The buckets of keys, and of those that have one; None: there is no free one for some key."""
        found = dict(held)
        taken = set(held.values())
        for key in keys:
            if key in found:
                continue
            first = hashing.bucket(self, key)
            at = next((at for at in range(first, first + STEPS) if at not in taken), None)
            if at is None:
                return None
            found[key] = at
            taken.add(at)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashing:
    """Where the keys of the tables of one set of maps belong.  `sizes`: by the name of the table's map."""

    multiplier: int
    sizes: Mapping[str, int]

    def buckets(self, table: Hashed) -> int:
        """How many a table has, or a half of one."""
        return self.sizes[table.name] + STEPS

    def bucket(self, table: Hashed, key: bytes) -> int:
        """The first one for a key, from the start of the table or of the half."""
        number = 0
        for word in struct.unpack(f"={table.words}I", key):
            number = (number ^ word) * self.multiplier % (1 << _BITS)
        return (number >> _BITS // 2) * self.sizes[table.name] >> _BITS // 2


def arrange(held: Mapping[Hashed, Sequence[Slots]], most: int) -> Hashing | Hashed:
    """A hashing with which all that each table is to hold, one at a time, has a place; else a table that would need
    more than `most` buckets.

    The multiplier is a random one, so that who may choose addresses cannot arrange collisions.
    """
    sizes = {table.name: table.size(max(map(len, images), default=0)) for table, images in held.items()}
    while True:
        for table in held:
            if sizes[table.name] > most:
                return table
        for _ in range(_ATTEMPTS):
            hashing = Hashing(multiplier=secrets.randbits(_BITS) | 1, sizes=sizes)
            crowded = [
                table.name
                for table, images in held.items()
                if not all(table.has_room(entries, hashing) for entries in images)
            ]
            if not crowded:
                return hashing
        sizes = sizes | {name: sizes[name] + sizes[name] // _GROWTH for name in crowded}
