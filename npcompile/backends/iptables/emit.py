"""From the lowered structure to the text that `ipset restore` and `iptables-restore --noflush` load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import assert_never

from npcompile.backends.filters.matches import Declared, FilterSet, InSet, OfProtocol, SetKind, ToPorts
from npcompile.backends.iptables.names import TEMPORARY
from npcompile.backends.iptables.structure import (
    Action,
    Chain,
    Goto,
    InState,
    Jump,
    Line,
    Match,
    OfIcmpV6Type,
    Table,
    ToItself,
    Unmarked,
)
from npcompile.netset.cidrs import Family, Network, text_at
from npcompile.netset.ports import Protocol

_TYPES = {SetKind.ADDRESSES: "hash:ip", SetKind.NETWORKS: "hash:net", SetKind.PORTS: "hash:ip,port"}

# Classic BPF, as `-m bpf` takes it: the number of instructions, then each as code, jt, jf, k.  The programs load the
# words of the source address and compare them with those of the destination address: offsets 12 and 16 of the IPv4
# header (RFC 791), 8 and 24 of the IPv6 header (RFC 8200).
_SAME_ADDRESS = {
    Family.V4: "6,32 0 0 12,7 0 0 0,32 0 0 16,29 0 1 0,6 0 0 65535,6 0 0 0",
    Family.V6: (
        "18,32 0 0 8,7 0 0 0,32 0 0 24,29 0 13 0,32 0 0 12,7 0 0 0,32 0 0 28,29 0 9 0,"
        "32 0 0 16,7 0 0 0,32 0 0 32,29 0 5 0,32 0 0 20,7 0 0 0,32 0 0 36,29 0 1 0,6 0 0 65535,6 0 0 0"
    ),
}


def emit_sets(sets: Iterable[FilterSet]) -> bytes:
    """The text for `ipset restore`, of both families.

    Every set is filled beside itself and swapped in.  Those that say who is filtered come first, widened, and last,
    exact: so a pod that moves between them, or that takes over an address, is never in none.
    """
    ordered = sorted(sets, key=lambda one: one.name)
    isolating = [one for one in ordered if one.isolates]
    members = {one.name: [_member(member) for member in one.members] for one in ordered}
    lines: list[str] = []
    for one in isolating:
        lines.append(_create(one.name, one))
        lines += [f"add {one.name} {member} -exist" for member in members[one.name]]
    for one in (*(one for one in ordered if not one.isolates), *isolating):
        lines += _reload(one, members[one.name])
    return "\n".join([*lines, ""]).encode("ascii")


def _reload(one: FilterSet, members: Iterable[str]) -> list[str]:
    """Replace a set's members in one step.  The flush is for what an interrupted load may have left."""
    temporary = one.name + TEMPORARY
    return [
        *([] if one.isolates else [_create(one.name, one)]),
        _create(temporary, one),
        f"flush {temporary}",
        *[f"add {temporary} {member}" for member in members],
        f"swap {temporary} {one.name}",
        f"destroy {temporary}",
    ]


def _create(name: str, one: FilterSet) -> str:
    family = "inet" if one.family is Family.V4 else "inet6"
    return f"create {name} {_TYPES[one.kind]} family {family} maxelem {one.capacity} -exist"


@lru_cache(maxsize=1 << 16)  # an address is in many sets, and stays while policies change
def _member(member: int | Network | Declared) -> str:
    match member:
        case int():
            return text_at(member)
        case Declared():
            return f"{text_at(member.address)},{member.protocol}:{member.number}"
        case _:
            return str(member)


def emit_table(table: Table, mark: int) -> bytes:
    """The text for `iptables-restore --noflush`, or `ip6tables-restore --noflush`, of one family.

    Naming a chain of ours empties it, whatever it held; chains of others are not named, but for the two hooks.
    """
    lines = ["*filter"]
    lines += (f":{chain.name} - [0:0]" for chain in table.chains)
    lines += (text for chain in table.chains for text in _chain(chain, table.family, mark))
    lines += (f"-I {hook.builtin} 1 -j {hook.chain}" for hook in table.hooks)
    lines.append("COMMIT")
    return "\n".join([*lines, ""]).encode("ascii")


def _chain(chain: Chain, family: Family, mark: int) -> Iterator[str]:
    return (f"-A {chain.name} {_line(line, family, mark)}" for line in chain.lines)


def _line(line: Line, family: Family, mark: int) -> str:
    """As `iptables-save` writes it, with the protocol first, so that what is loaded can be compared with it as text."""
    words = [f"-p {word}" for match in line.matches if (word := _protocol_of(match, family)) is not None]
    words += [word for match in line.matches if (word := _match(match, family, mark))]
    if line.rule is not None:
        words.append(f'-m comment --comment "{line.rule}"')
    words.append(_action(line.action, mark))
    return " ".join(words)


def _protocol_of(match: Match, family: Family) -> str | None:
    """The protocol that a match asks for."""
    match match:
        case OfProtocol() | ToPorts():
            return _protocol(match.protocol, family)
        case OfIcmpV6Type():
            return _protocol(Protocol.ICMP, Family.V6)
        case _:
            return None


def _match(match: Match, family: Family, mark: int) -> str:
    """What it asks beside the protocol."""
    match match:
        case InSet():
            sides = f"{match.side.value},{match.side.value}" if match.kind is SetKind.PORTS else match.side.value
            return f"-m set --match-set {match.name} {sides}"
        case OfProtocol():
            return ""  # its protocol is all
        case ToPorts():
            return _ports(match)
        case InState():
            return f"-m conntrack --ctstate {match.state.value}"
        case OfIcmpV6Type():
            return f"-m icmp6 --icmpv6-type {match.number}"
        case ToItself():
            return f'-m bpf --bytecode "{_SAME_ADDRESS[family]}"'
        case Unmarked():
            return f"-m mark ! --mark {mark:#x}/{mark:#x}"
        case _:
            assert_never(match)


def _protocol(protocol: Protocol, family: Family) -> str:
    if protocol is Protocol.ICMP and family is Family.V6:
        return "ipv6-icmp"
    return str(protocol)


def _ports(match: ToPorts) -> str:
    spans = [str(first) if first == last else f"{first}:{last}" for first, last in match.ranges]
    if len(spans) == 1:
        return f"-m {match.protocol} --dport {spans[0]}"
    return f"-m multiport --dports {','.join(spans)}"


def _action(action: Action | Jump | Goto, mark: int) -> str:
    match action:
        case Jump():
            return f"-j {action.chain}"
        case Goto():
            return f"-g {action.chain}"
        case Action.MARK:
            return f"-j MARK --set-xmark {mark:#x}/{mark:#x}"
        case Action.CLEAR:
            return f"-j MARK --set-xmark 0x0/{mark:#x}"
        case Action.RETURN | Action.DROP | Action.ACCEPT:
            return f"-j {action.value}"
        case _:
            assert_never(action)
