"""The sets and verdict maps of nftables: what their elements stand for, by the type of the set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never

from npcompile.netset.cidrs import Family, point
from npcompile.netset.intervals import IntervalSet, union
from npcompile.readers.ipset_entries import PORT_PROTOCOLS, address_of, number
from npcompile.readers.problems import RefusedError
from npcompile.readers.rules import Accept, Drop, Goto, Jump, Return, Target
from npcompile.readers.sets import AddressPortSet, AddressSet, IpSet, NetPairSet

ADDRESS_TYPES: Mapping[str, Family] = {"ipv4_addr": Family.V4, "ipv6_addr": Family.V6}


class Kind(Enum):
    """The forms of sets that are understood."""

    ADDRESSES = "addresses"
    INTERVALS = "intervals"
    PORTS = "ports"
    PAIRS = "pairs"
    VERDICTS = "verdicts"


Member = int | tuple[int, int] | tuple[int, int, int]


@dataclass(slots=True, kw_only=True)
class Live:
    """A set while the text is read.  `members`: points on the axis of `netset.cidrs`, (first, last) of intervals, pairs
    of points, or (point, protocol, port).  `verdicts`: of a map, by point.
    """

    kind: Kind
    family: Family
    members: set[Member] = field(default_factory=set)
    verdicts: dict[int, Target] = field(default_factory=dict)


def declared(body: str) -> Live:
    """The empty set of `{ type …; }`; Refused when its type is not understood."""
    types, _, flags = body.strip().strip("{}").partition(";")
    words = types.split()[1:]
    family = ADDRESS_TYPES.get(words[0])
    if family is None:
        raise RefusedError("a set whose elements do not begin with an address")
    interval = bool(flags.split())
    match words[1:]:
        case []:
            return Live(kind=Kind.INTERVALS if interval else Kind.ADDRESSES, family=family)
        case [":", "verdict"] if not interval:
            return Live(kind=Kind.VERDICTS, family=family)
        case [".", "inet_proto", ".", "inet_service"] if not interval:
            return Live(kind=Kind.PORTS, family=family)
        case [".", other] if other == words[0] and not interval:
            return Live(kind=Kind.PAIRS, family=family)
    raise RefusedError(f"sets of `{' '.join(words)}` are not understood" + (" as intervals" if interval else ""))


def add(one: Live, members: str) -> Iterable[str]:
    """Add the elements of `{ …, … }`; the chains that they lead to.

    The kernel forgives an element that is there already, and refuses one that overlaps another or has another verdict.
    """
    led: list[str] = []
    for text in members.strip().strip("{}").split(","):
        words = text.split()
        match one.kind:
            case Kind.ADDRESSES:
                one.members.add(_point(one, words, text))
            case Kind.INTERVALS:
                _add_interval(one, text.strip())
            case Kind.PORTS:
                one.members.add(_port(one, words, text))
            case Kind.PAIRS:
                if len(words) != 3 or words[1] != ".":
                    raise RefusedError(f"`{text.strip()}` is no pair of addresses")
                one.members.add((_address(one, words[0]), _address(one, words[2])))
            case Kind.VERDICTS:
                led += _add_verdict(one, words, text)
            case _:
                assert_never(one.kind)
    return led


def meaning(one: Live) -> IpSet:
    """A set, or the addresses of a map, as a value."""
    match one.kind:
        case Kind.ADDRESSES:
            points = (member for member in one.members if isinstance(member, int))
            return AddressSet(family=one.family, addresses=union(IntervalSet.of(p, p) for p in points))
        case Kind.INTERVALS:
            return AddressSet(family=one.family, addresses=union(IntervalSet.of(*span) for span in _spans(one)))
        case Kind.PORTS:
            found = (member for member in one.members if isinstance(member, tuple) and len(member) == 3)
            return AddressPortSet(family=one.family, members=frozenset(found))
        case Kind.PAIRS:
            pairs = (((a, a), (b, b)) for a, b in _spans(one))
            return NetPairSet(family=one.family, pairs=frozenset(pairs))
        case Kind.VERDICTS:
            return AddressSet(family=one.family, addresses=union(IntervalSet.of(p, p) for p in one.verdicts))
        case _:
            assert_never(one.kind)


def verdict(words: list[str]) -> Target:
    """`accept`, `drop`, `return`, `jump CHAIN` or `goto CHAIN`; Refused for anything else."""
    match words:
        case ["accept"]:
            return Accept()
        case ["drop"]:
            return Drop()
        case ["return"]:
            return Return()
        case ["jump", chain]:
            return Jump(chain=chain)
        case ["goto", chain]:
            return Goto(chain=chain)
    raise RefusedError(f"`{' '.join(words)}` is no verdict that is understood")


def _spans(one: Live) -> Iterable[tuple[int, int]]:
    return (member for member in one.members if isinstance(member, tuple) and len(member) == 2)


def _address(one: Live, text: str) -> int:
    return point(address_of(one.family, text))


def _point(one: Live, words: list[str], text: str) -> int:
    if len(words) != 1:
        raise RefusedError(f"`{text.strip()}` is no address")
    return _address(one, words[0])


def _add_interval(one: Live, text: str) -> None:
    first, dash, last = text.partition("-")
    span = (_address(one, first), _address(one, last if dash else first))
    if span[0] > span[1]:
        raise RefusedError(f"`{text}` ends before it begins")
    if span not in one.members and any(a <= span[1] and span[0] <= b for a, b in _spans(one)):
        raise RefusedError(f"`{text}` overlaps an interval of the set")
    one.members.add(span)


def _port(one: Live, words: list[str], text: str) -> tuple[int, int, int]:
    match words:
        case [address, ".", protocol, ".", port] if protocol in PORT_PROTOCOLS:
            return (_address(one, address), PORT_PROTOCOLS[protocol], number(port, 0, 65535))
    raise RefusedError(f"`{text.strip()}` is no address, protocol and port")


def _add_verdict(one: Live, words: list[str], text: str) -> Iterable[str]:
    if len(words) < 3 or words[1] != ":":
        raise RefusedError(f"`{text.strip()}` is no address and verdict")
    target = verdict(words[2:])
    if one.verdicts.setdefault(_address(one, words[0]), target) != target:
        raise RefusedError(f"`{words[0]}` has another verdict already")
    return [target.chain] if isinstance(target, Jump | Goto) else []
