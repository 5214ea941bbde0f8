"""The rule of one line of nftables text, as rules of the two families.

A rule of an `inet` table is two: what it is for IPv4 and what it is for IPv6.  Where it names one of several protocols
or types it becomes one rule for each, and a lookup in a verdict map becomes one for each verdict of the map: no packet
matches two of them, so their order says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from npcompile.netset.cidrs import Family
from npcompile.netset.intervals import IntervalSet, union
from npcompile.readers.ipset_entries import number
from npcompile.readers.nftables_sets import Kind, Live, verdict
from npcompile.readers.problems import RefusedError
from npcompile.readers.rules import (
    IcmpMatch,
    Match,
    PortMatch,
    ProtocolMatch,
    Rule,
    SetMatch,
    State,
    StateMatch,
    Target,
)
from npcompile.readers.sets import End

if TYPE_CHECKING:
    from lark import Token

PROTOCOLS: Mapping[str, int] = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "sctp": 132}
_PORTED = {"tcp", "udp", "sctp"}
_STATES = {state.value.lower(): state for state in State}
_ENDS = {"saddr": End.SRC, "daddr": End.DST}
_FAMILIES = {"ip": Family.V4, "ip6": Family.V6}
LONGEST_COMMENT = 128  # NFTNL_UDATA_COMMENT_MAXLEN of libnftnl


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one expression asks: all of `matches`, and, unless `family` is None, a packet of that family."""

    matches: tuple[Match, ...]
    family: Family | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The verdict that a map has for the packet's address at one end; without one the rule does nothing."""

    map: str
    end: End


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A rule as it stands: for each of its expressions the alternatives, and what it does."""

    pieces: tuple[tuple[Piece, ...], ...]
    action: Target | Lookup
    comment: str
    line: int

    def rules(self, family: Family, maps: Mapping[str, Live]) -> Iterator[Rule]:
        """The rules that it comes to for packets of a family."""
        for chosen in product(*self.pieces):
            if all(piece.family in {None, family} for piece in chosen):
                matches = tuple(match for piece in chosen for match in piece.matches)
                if isinstance(self.action, Lookup):
                    end = self.action.end
                    for target in verdicts(maps[self.action.map]):
                        asked = SetMatch(name=part_name(self.action.map, target), ends=(end,))
                        yield Rule(matches=(*matches, asked), target=target, comment=self.comment, line=self.line)
                else:
                    yield Rule(matches=matches, target=self.action, comment=self.comment, line=self.line)


def verdicts(one: Live) -> tuple[Target, ...]:
    """The verdicts of a map, each once, in the order of their first addresses."""
    ordered = (target for _, target in sorted(one.verdicts.items(), key=lambda item: item[0]))
    return tuple(dict.fromkeys(ordered))


def part_name(name: str, target: Target) -> str:
    """A name, which no set of nft's can have, for the addresses to which a map gives one verdict."""
    return f"{name}:{type(target).__name__.lower()}:{getattr(target, 'chain', '')}"


class RuleReader:
    """Gathers the rule of one line.  Every method raises Refused for a piece that is not understood."""

    def __init__(self, sets: Mapping[str, Live]) -> None:
        self._sets = sets
        self._pieces: list[tuple[Piece, ...]] = []
        self._protocols: set[str] | None = None
        self._ports_asked = False
        self._action: Target | Lookup | None = None
        self._comment = ""

    def read(self, token: Token) -> None:
        """Take one terminal."""
        _READERS[token.type](self, token.split())

    def finish(self, line: int) -> Read:
        """The rule."""
        if self._action is None:
            raise RefusedError("a rule without a verdict")
        return Read(pieces=tuple(self._pieces), action=self._action, comment=self._comment, line=line)

    def _address(self, words: list[str]) -> None:
        name, family = self._named(words, {Kind.ADDRESSES, Kind.INTERVALS})
        self._pieces.append((Piece(matches=(SetMatch(name=name, ends=(_ENDS[words[1]],)),), family=family),))

    def _pair(self, words: list[str]) -> None:
        name, family = self._named(words, {Kind.PAIRS})
        if words[3] != words[0]:
            raise RefusedError("addresses of two families")
        ends = (_ENDS[words[1]], _ENDS[words[4]])
        self._pieces.append((Piece(matches=(SetMatch(name=name, ends=ends),), family=family),))

    def _port_tuple(self, words: list[str]) -> None:
        name, family = self._named(words, {Kind.PORTS})
        ends = (_ENDS[words[1]], End.DST)
        self._pieces.append((Piece(matches=(SetMatch(name=name, ends=ends),), family=family),))

    def _protocol(self, words: list[str]) -> None:
        if self._protocols is not None:
            raise RefusedError("`meta l4proto` behind another protocol")
        names = _values(words[2:])
        unknown = [name for name in names if name not in PROTOCOLS]
        if unknown:
            raise RefusedError(f"`{unknown[0]}` is no protocol that is understood")
        self._protocols = set(names)
        self._pieces.append(tuple(Piece(matches=(ProtocolMatch(number=PROTOCOLS[name]),)) for name in names))

    def _ports(self, words: list[str]) -> None:
        if words[0] != "th":
            self._protocol(["meta", "l4proto", words[0]])
        elif not self._protocols or not self._protocols <= _PORTED:
            raise RefusedError("`th dport` needs `meta l4proto` of tcp, udp or sctp before it")
        if self._ports_asked:
            raise RefusedError("ports twice")
        self._ports_asked = True
        ports = union(IntervalSet.of(*_span(word)) for word in _values(words[2:]))
        self._pieces.append((Piece(matches=(PortMatch(end=End.DST, ports=ports),)),))

    def _state(self, words: list[str]) -> None:
        names = words[2].split(",")
        if not _STATES.keys() >= set(names):
            raise RefusedError(f"`{words[2]}` is no list of {', '.join(_STATES)}")
        states = frozenset(_STATES[name] for name in names)
        self._pieces.append((Piece(matches=(StateMatch(states=states),)),))

    def _icmpv6(self, words: list[str]) -> None:
        if self._protocols is not None:
            raise RefusedError("`icmpv6` behind another protocol")
        self._protocols = {"ipv6-icmp"}
        found = [number(word, 0, 255) for word in _values(words[2:])]
        protocol = ProtocolMatch(number=PROTOCOLS["ipv6-icmp"])
        self._pieces.append(
            tuple(Piece(matches=(protocol, IcmpMatch(type=type_)), family=Family.V6) for type_ in found)
        )

    def _verdict(self, words: list[str]) -> None:
        self._action = verdict(words)

    def _lookup(self, words: list[str]) -> None:
        name, family = self._named(words, {Kind.VERDICTS})
        self._pieces.append((Piece(matches=(), family=family),))
        self._action = Lookup(map=name, end=_ENDS[words[1]])

    def _read_comment(self, words: list[str]) -> None:
        self._comment = " ".join(words[1:])[1:-1]
        if len(self._comment.encode()) > LONGEST_COMMENT:
            raise RefusedError(f"the comment is longer than {LONGEST_COMMENT} bytes")

    def _named(self, words: list[str], kinds: set[Kind]) -> tuple[str, Family]:
        """The set that the last word names, which must be of such a kind and of the first word's family."""
        name, family = words[-1].removeprefix("@"), _FAMILIES[words[0]]
        one = self._sets.get(name)
        if one is None:
            raise RefusedError(f"there is no set `{name}`")
        if one.kind not in kinds or one.family is not family:
            raise RefusedError(f"the set `{name}` is of another type")
        return name, family


def _values(words: list[str]) -> list[str]:
    """One word, or the elements of `{ …, … }`."""
    text = " ".join(words)
    return [word.strip() for word in text.strip("{}").split(",")]


def _span(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low, high = number(first, 0, 65535), number(last if dash else first, 0, 65535)
    if low > high:
        raise RefusedError(f"`{text}` ends before it begins")
    return low, high


_READERS: Mapping[str, Callable[[RuleReader, list[str]], None]] = {
    "ADDRESS": RuleReader._address,
    "PAIR": RuleReader._pair,
    "PORT_TUPLE": RuleReader._port_tuple,
    "PROTOCOL": RuleReader._protocol,
    "PORTS": RuleReader._ports,
    "STATE": RuleReader._state,
    "ICMPV6": RuleReader._icmpv6,
    "VERDICT": RuleReader._verdict,
    "LOOKUP": RuleReader._lookup,
    "COMMENT": RuleReader._read_comment,
}
