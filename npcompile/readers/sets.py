"""Loaded ipsets: what the ipset reader gives, and what a set says of a packet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from npcompile.netset.cidrs import Family
from npcompile.netset.intervals import IntervalSet


class End(Enum):
    """An end of a packet; the values are the words of `--match-set`."""

    SRC = "src"
    DST = "dst"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressSet:
    """`hash:ip`, `hash:net`: addresses, on the axis of `netset.cidrs`.

    Without `nomatch` entries, which the reader refuses, a set of networks is their union: no longest prefix wins.
    """

    family: Family
    addresses: IntervalSet

    dimension = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPortSet:
    """`hash:ip,port`: (address on the axis of `netset.cidrs`, protocol number, port)."""

    family: Family
    members: frozenset[tuple[int, int, int]]

    dimension = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NetPairSet:
    """`hash:net,net`: the union of products of two networks, each as (first, last) on the axis of `netset.cidrs`."""

    family: Family
    pairs: frozenset[tuple[tuple[int, int], tuple[int, int]]]

    dimension = 2


IpSet = AddressSet | AddressPortSet | NetPairSet
