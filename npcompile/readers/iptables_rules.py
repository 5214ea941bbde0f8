"""The rule of one line of iptables-restore text, made of its terminals.

Where iptables-legacy and iptables-nft take the same words for different rules (`! -s 0.0.0.0/0`, `-i +`, two `-m tcp`,
`! --dport 0:65535`), the words are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from npcompile.netset.cidrs import Family
from npcompile.netset.intervals import IntervalSet, union
from npcompile.readers.bytecode import compares_addresses
from npcompile.readers.iptables_words import (
    ICMP,
    ICMP_MODULES,
    ICMP_OPTION,
    LONGEST_COMMENT,
    LONGEST_INTERFACE,
    LONGEST_SET,
    MOST_ENDS,
    MULTIPORT_SLOTS,
    PORTED,
    PROTOCOLS,
    REJECT_TYPES,
    icmp_type,
    network_of,
    port_span,
    protocol_number,
    set_mark,
    user_chain,
    value_and_mask,
)
from npcompile.readers.problems import RefusedError
from npcompile.readers.rules import (
    Accept,
    AddressMatch,
    Drop,
    Goto,
    Hook,
    IcmpMatch,
    InterfaceMatch,
    Jump,
    MarkMatch,
    Match,
    PortMatch,
    ProtocolMatch,
    Return,
    Rule,
    SameAddressMatch,
    SetMatch,
    State,
    StateMatch,
    Target,
    Way,
)
from npcompile.readers.sets import End, IpSet

if TYPE_CHECKING:
    from lark import Token


_QUOTABLE = frozenset({"COMMENT", "BYTECODE"})


class RuleReader:
    """Gathers the rule of one line.  Every method raises Refused for a piece that is not understood."""

    def __init__(self, family: Family, sets: Mapping[str, IpSet]) -> None:
        self._family = family
        self._sets = sets
        self._fixed: dict[str, Match] = {}  # what iptables keeps once a rule, by its option
        self._matches: list[Match] = []
        self._options: set[str] = set()  # options that a rule may have once
        self._protocol = 0
        self._target: Target | None = None
        self._mark_wanted = False
        self._reject_type = ""
        self._comment = ""

    def read(self, token: Token) -> None:
        """Take one terminal."""
        words = token.split(maxsplit=3) if token.type in _QUOTABLE else token.split()
        before_option = 2 if words[0] in {"-m", "--match"} and len(words) > 2 else 0
        negated = words[before_option] == "!"
        if negated:
            del words[before_option]
        _READERS[token.type](self, words, negated)

    def finish(self, line: int, hook: Hook | None) -> Rule:
        """The rule, for a user's chain, or for the built-in chain of `hook`."""
        if self._mark_wanted:
            raise RefusedError("`-j MARK` without what to set")
        if self._reject_type == "tcp-reset" and self._protocol != PROTOCOLS["tcp"]:
            raise RefusedError("`--reject-with tcp-reset` needs `-p tcp`")
        if (hook is Hook.INPUT and Way.OUT.value in self._fixed) or (
            hook is Hook.OUTPUT and Way.IN.value in self._fixed
        ):
            raise RefusedError(f"packets of {hook.value} have no such interface")
        fixed = (self._fixed[name] for name in sorted(self._fixed))
        return Rule(matches=(*fixed, *self._matches), target=self._target, comment=self._comment, line=line)

    def _once(self, option: str) -> None:
        if option in self._options:
            raise RefusedError(f"`{option}` twice")
        self._options.add(option)

    def _address(self, words: list[str], negated: bool) -> None:
        end = End.SRC if words[0] in {"-s", "--source", "--src"} else End.DST
        self._once(end.value)
        network = network_of(self._family, words[1])
        if network.prefixlen:
            self._fixed[end.value] = AddressMatch(end=end, network=network, negated=negated)
        elif negated:
            raise RefusedError("not any address: iptables-legacy matches nothing, iptables-nft refuses it")

    def _read_protocol(self, words: list[str], negated: bool) -> None:
        self._once("-p")
        found = protocol_number(self._family, words[1])
        if found:
            self._fixed["protocol"] = ProtocolMatch(number=found, negated=negated)
            self._protocol = 0 if negated else found
        elif negated:
            raise RefusedError("the rule would never match a protocol")

    def _interface(self, words: list[str], negated: bool) -> None:
        way = Way.IN if words[0] in {"-i", "--in-interface"} else Way.OUT
        self._once(way.value)
        prefix, name = words[1].endswith("+"), words[1].removesuffix("+")
        if len(words[1].encode()) > LONGEST_INTERFACE:
            raise RefusedError(f"the interface name `{words[1]}` is longer than {LONGEST_INTERFACE} bytes")
        if not name.isascii() or "/" in name or not name or name == "!":
            raise RefusedError(f"`{words[1]}` is no interface that is understood")
        self._fixed[way.value] = InterfaceMatch(way=way, name=name, prefix=prefix, negated=negated)

    def _set(self, words: list[str], negated: bool) -> None:
        name, ends = words[3], words[4].split(",")
        found = self._sets.get(name)
        if found is None:
            raise RefusedError(f"there is no set `{name}`")
        if len(name.encode()) > LONGEST_SET:
            raise RefusedError(f"the set name `{name}` is longer than {LONGEST_SET} bytes")
        if found.family is not self._family:
            raise RefusedError(f"the set `{name}` is of IPv{found.family}")
        if len(ends) > MOST_ENDS or not {"src", "dst"}.issuperset(ends):
            raise RefusedError(f"`{words[4]}` is no list of at most {MOST_ENDS} of `src` and `dst`")
        self._matches.append(SetMatch(name=name, ends=tuple(map(End, ends)), negated=negated))

    def _state(self, words: list[str], negated: bool) -> None:
        try:
            states = frozenset(map(State, words[3].split(",")))
        except ValueError:
            known = ", ".join(state.value for state in State)
            raise RefusedError(f"`{words[3]}` is no list of {known}") from None
        if len(states) != words[3].count(",") + 1:
            raise RefusedError(f"`{words[3]}` names a state twice")
        self._matches.append(StateMatch(states=states, negated=negated))

    def _mark(self, words: list[str], negated: bool) -> None:
        value, mask = value_and_mask(words[3])
        self._matches.append(MarkMatch(value=value, mask=mask, negated=negated))

    def _read_comment(self, words: list[str], negated: bool) -> None:
        self._once("--comment")
        quoted = words[3].startswith('"')
        self._comment = re.sub(r"\\(.)", r"\1", words[3][1:-1]) if quoted else words[3]
        if len(self._comment.encode()) > LONGEST_COMMENT:
            raise RefusedError(f"the comment is longer than {LONGEST_COMMENT} bytes")

    def _bytecode(self, words: list[str], negated: bool) -> None:
        compares_addresses(self._family, words[3].strip('"'))
        self._matches.append(SameAddressMatch())

    def _port_module(self, words: list[str], negated: bool) -> None:
        self._once("-m port")
        if PORTED.get(self._protocol) != words[1]:
            raise RefusedError(f"`-m {words[1]}` needs `-p {words[1]}` before it")
        if {"--sport", "--dport"} & self._options:
            raise RefusedError(f"`-m {words[1]}` behind its options")

    def _ports(self, words: list[str], negated: bool) -> None:
        end = End.SRC if words[0] in {"--sport", "--source-port"} else End.DST
        before = frozenset(self._options)
        self._once("--sport" if end is End.SRC else "--dport")
        if self._protocol not in PORTED:
            raise RefusedError(f"`{words[0]}` needs `-p tcp`, `-p udp` or `-p sctp` before it")
        if "-m multiport" in self._options and not {"--sport", "--dport", "-m port"} & before:
            raise RefusedError(f"`{words[0]}` is short for an option of multiport here: put `-m` before it")
        low, high = port_span(words[1], open_ends=True)
        if negated and (low, high) == (0, 65535):
            raise RefusedError("not any port: iptables-legacy matches nothing, iptables-nft everything")
        self._matches.append(PortMatch(end=end, ports=IntervalSet.of(low, high), negated=negated))

    def _multiport(self, words: list[str], negated: bool) -> None:
        end = End.SRC if words[2] in {"--sports", "--source-ports"} else End.DST
        self._once("-m multiport")
        if self._protocol not in PORTED:
            raise RefusedError("`-m multiport` needs `-p tcp`, `-p udp` or `-p sctp` before it")
        spans = [port_span(item, open_ends=False) for item in words[3].split(",")]
        slots = sum(1 + (low != high) for low, high in spans)
        if slots > MULTIPORT_SLOTS:
            raise RefusedError(f"{slots} ports, where a range counts twice; at most {MULTIPORT_SLOTS} are possible")
        ports = union(IntervalSet.of(low, high) for low, high in spans)
        self._matches.append(PortMatch(end=end, ports=ports, negated=negated))

    def _icmp_module(self, words: list[str], negated: bool) -> None:
        self._once("-m icmp")
        if words[1] not in ICMP_MODULES[self._family] or self._protocol != ICMP[self._family]:
            raise RefusedError(f"`-m {words[1]}` needs the family's ICMP as `-p` before it")

    def _icmp(self, words: list[str], negated: bool) -> None:
        self._once("--icmp-type")
        if words[0] != ICMP_OPTION[self._family] or self._protocol != ICMP[self._family]:
            raise RefusedError(f"`{words[0]}` needs the family's ICMP as `-p` before it")
        kind, code = icmp_type(self._family, words[1])
        self._matches.append(IcmpMatch(type=kind, code=code, negated=negated))

    def _jump(self, words: list[str], negated: bool) -> None:
        self._once("-j")
        match words[1]:
            case "ACCEPT":
                self._target = Accept()
            case "DROP":
                self._target = Drop()
            case "REJECT":
                self._target = Drop(reject=True)
            case "RETURN":
                self._target = Return()
            case "MARK":
                self._mark_wanted = True
            case name:
                self._target = Jump(chain=user_chain(name))

    def _goto(self, words: list[str], negated: bool) -> None:
        self._once("-j")
        self._target = Goto(chain=user_chain(words[1]))

    def _marking(self, words: list[str], negated: bool) -> None:
        if not self._mark_wanted:
            raise RefusedError(f"`{words[0]}` once and behind `-j MARK` only")
        self._mark_wanted = False
        self._target = set_mark(words[0], words[1])

    def _rejecting(self, words: list[str], negated: bool) -> None:
        self._once("--reject-with")
        if self._target != Drop(reject=True) or words[1] not in REJECT_TYPES[self._family]:
            raise RefusedError(f"`--reject-with {words[1]}` is not understood here")
        self._reject_type = words[1]


_READERS: Mapping[str, Callable[[RuleReader, list[str], bool], None]] = {
    "ADDRESS": RuleReader._address,
    "PROTOCOL": RuleReader._read_protocol,
    "INTERFACE": RuleReader._interface,
    "SET": RuleReader._set,
    "STATE": RuleReader._state,
    "MARK": RuleReader._mark,
    "BYTECODE": RuleReader._bytecode,
    "COMMENT": RuleReader._read_comment,
    "PORT_MODULE": RuleReader._port_module,
    "PORTS": RuleReader._ports,
    "MULTIPORT": RuleReader._multiport,
    "ICMP_MODULE": RuleReader._icmp_module,
    "ICMP": RuleReader._icmp,
    "JUMP": RuleReader._jump,
    "GOTO": RuleReader._goto,
    "MARKING": RuleReader._marking,
    "REJECTING": RuleReader._rejecting,
}
