"""From the lowered table to the text that `nft -f` loads, one command a line, all of them one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import assert_never

from npcompile.backends.filters.matches import Declared, FilterSet, InSet, SetKind, Side
from npcompile.backends.nftables.names import TABLE
from npcompile.backends.nftables.structure import (
    Action,
    Chain,
    Goto,
    Jump,
    Line,
    Look,
    Match,
    OfIcmpV6Types,
    PairSet,
    Table,
    ToItself,
    Tracked,
    Transport,
    VerdictMap,
)
from npcompile.netset.cidrs import Family, Network, block, text_at
from npcompile.netset.intervals import union

_ADDRESS = {Family.V4: "ipv4_addr", Family.V6: "ipv6_addr"}
_HEADER = {Family.V4: "ip", Family.V6: "ip6"}
_FIELD = {Side.SOURCE: "saddr", Side.DESTINATION: "daddr"}
_LINE = 1000  # elements a line, so that lines stay readable by programs with bounded buffers


def emit_table(table: Table) -> bytes:
    """The text for `nft -f`.

    `add` before `delete`, so that the table is there to delete, and both before the rest: the kernel goes from the old
    table to the new one in one step, or, where it refuses any line, stays as it is.
    """
    lines = [f"add table inet {TABLE}", f"delete table inet {TABLE}", f"add table inet {TABLE}"]
    lines += (_declared(chain) for chain in table.chains)
    for one in table.sets:
        lines += _set(one)
    for pairs in table.pairs:
        lines += _pairs(pairs)
    for verdicts in table.maps:
        lines += _map(verdicts)
    lines += (f"add rule inet {TABLE} {chain.name} {_rule(line)}" for chain in table.chains for line in chain.lines)
    return "\n".join([*lines, ""]).encode("ascii")


def _declared(chain: Chain) -> str:
    if chain.hook is None:
        return f"add chain inet {TABLE} {chain.name}"
    return f"add chain inet {TABLE} {chain.name} {{ type filter hook {chain.hook} priority filter; policy accept; }}"


def _set(one: FilterSet) -> Iterator[str]:
    kinds = {
        SetKind.ADDRESSES: f"type {_ADDRESS[one.family]};",
        SetKind.NETWORKS: f"type {_ADDRESS[one.family]}; flags interval;",
        SetKind.PORTS: f"type {_ADDRESS[one.family]} . inet_proto . inet_service;",
    }
    yield f"add set inet {TABLE} {one.name} {{ {kinds[one.kind]} }}"
    if one.kind is SetKind.NETWORKS:
        yield from _elements(one.name, _spans(one))
    else:
        yield from _elements(one.name, [_member(member) for member in one.members])


def _spans(one: FilterSet) -> list[str]:
    """The networks, those side by side as one range: intervals need no prefixes."""
    covered = union(block(member) for member in one.members if not isinstance(member, Declared | int))
    return [f"{text_at(first)}-{text_at(last)}" if first != last else text_at(first) for first, last in covered]


@lru_cache(maxsize=1 << 16)  # an address is in many sets, and stays while policies change
def _member(member: int | Network | Declared) -> str:
    match member:
        case int():
            return text_at(member)
        case Declared():
            return f"{text_at(member.address)} . {member.protocol} . {member.number}"
        case _:
            return str(member)


def _pairs(pairs: PairSet) -> Iterator[str]:
    kind = _ADDRESS[pairs.family]
    yield f"add set inet {TABLE} {pairs.name} {{ type {kind} . {kind}; }}"
    yield from _elements(pairs.name, [f"{address} . {address}" for address in map(text_at, pairs.members)])


def _map(verdicts: VerdictMap) -> Iterator[str]:
    yield f"add map inet {TABLE} {verdicts.name} {{ type {_ADDRESS[verdicts.family]} : verdict; }}"
    yield from _elements(verdicts.name, [f"{text_at(address)} : goto {chain}" for address, chain in verdicts.chains])


def _elements(name: str, members: Sequence[str]) -> Iterator[str]:
    for first in range(0, len(members), _LINE):
        yield f"add element inet {TABLE} {name} {{ {', '.join(members[first : first + _LINE])} }}"


def _rule(line: Line) -> str:
    words = [_match(match) for match in line.matches]
    words.append(_action(line.action))
    if line.rule is not None:
        words.append(f'comment "{line.rule}"')
    return " ".join(words)


def _match(match: Match) -> str:
    match match:
        case InSet(kind=SetKind.PORTS):
            return f"{_HEADER[match.family]} {_FIELD[match.side]} . meta l4proto . th dport @{match.name}"
        case InSet():
            return f"{_HEADER[match.family]} {_FIELD[match.side]} @{match.name}"
        case Transport():
            return _transport(match)
        case Tracked():
            return match.value
        case OfIcmpV6Types():
            return f"icmpv6 type {_one_of([str(number) for number in match.numbers])}"
        case ToItself():
            header = _HEADER[match.family]
            return f"{header} saddr . {header} daddr @{match.set}"
        case _:
            assert_never(match)


def _transport(match: Transport) -> str:
    protocols = _one_of([str(protocol) for protocol in match.protocols])
    if match.ranges is None:
        return f"meta l4proto {protocols}"
    ports = _one_of([str(first) if first == last else f"{first}-{last}" for first, last in match.ranges])
    if len(match.protocols) == 1:
        return f"{protocols} dport {ports}"
    return f"meta l4proto {protocols} th dport {ports}"


def _one_of(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{{ {', '.join(words)} }}"


def _action(action: Action | Jump | Goto | Look) -> str:
    match action:
        case Jump():
            return f"jump {action.chain}"
        case Goto():
            return f"goto {action.chain}"
        case Look():
            return f"{_HEADER[action.family]} {_FIELD[action.side]} vmap @{action.map}"
        case Action():
            return action.value
        case _:
            assert_never(action)
