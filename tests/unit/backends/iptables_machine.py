"""A small interpreter of the lowered structure: what the kernel does with a packet, one chain at a time."""

from __future__ import annotations

from dataclasses import dataclass

from npcompile.backends.iptables.structure import (
    Action,
    Goto,
    InSet,
    InState,
    IpSet,
    Jump,
    Line,
    Marked,
    Match,
    OfIcmpV6Type,
    OfProtocol,
    Ruleset,
    SetKind,
    Side,
    ToItself,
    ToPorts,
)
from npcompile.netset.cidrs import Address, Network
from npcompile.netset.ports import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """The first packet of a connection."""

    src: Address
    dst: Address
    protocol: Protocol
    port: int | None


class Machine:
    """One family's table and sets, and one packet in them."""

    def __init__(self, ruleset: Ruleset, packet: Packet) -> None:
        self.table = next(table for table in ruleset.tables if table.family.value == packet.src.version)
        self.chains = {chain.name: chain for chain in self.table.chains}
        self.sets = {one.name: one for one in ruleset.sets if one.family is self.table.family}
        self.packet = packet
        self.mark = True  # whatever came before may have left it set
        self.accepted = False

    def passes(self, builtin: str) -> bool:
        """Whether the packet gets through our part of a chain of the kernel's."""
        hook = next(hook for hook in self.table.hooks if hook.builtin == builtin)
        passed = self._run(hook.chain)
        assert not (passed and self.mark), "an allowed packet leaves with our mark"
        return passed

    def _run(self, name: str) -> bool:
        """False once the packet is dropped."""
        for line in self.chains[name].lines:
            if not all(self._holds(match) for match in line.matches):
                continue
            match line.action:
                case Jump(chain):
                    if not self._run(chain):
                        return False
                    if self.accepted:
                        return True
                case Goto(chain):
                    return self._run(chain)
                case Action.RETURN:
                    return True
                case Action.DROP:
                    return False
                case Action.ACCEPT:
                    self.accepted = True
                    return True
                case Action.MARK:
                    self.mark = True
                case Action.CLEAR:
                    self.mark = False
        return True

    def _holds(self, match: Match) -> bool:
        packet = self.packet
        match match:
            case InSet(name, kind, side):
                one = self.sets[name]
                assert one.kind is kind
                return self._contains(one, packet.src if side is Side.SOURCE else packet.dst)
            case OfProtocol(protocol):
                return packet.protocol is protocol
            case ToPorts(protocol, ranges):
                assert sum(1 if a == b else 2 for a, b in ranges) <= 15
                return packet.protocol is protocol and any(a <= (packet.port or 0) <= b for a, b in ranges)
            case ToItself():
                return packet.src == packet.dst
            case Marked():
                return self.mark
            case InState() | OfIcmpV6Type():
                return False

    def _contains(self, one: IpSet, address: Address) -> bool:
        if one.kind is SetKind.PORTS:
            wanted = (address, self.packet.protocol, self.packet.port)
            return any((m.address, m.protocol, m.number) == wanted for m in one.members)  # type: ignore[union-attr]
        if one.kind is SetKind.NETWORKS:
            return any(address in m for m in one.members if isinstance(m, Network))
        return address in one.members


def lines(ruleset: Ruleset) -> list[Line]:
    """Every line of both families."""
    return [line for table in ruleset.tables for chain in table.chains for line in chain.lines]
