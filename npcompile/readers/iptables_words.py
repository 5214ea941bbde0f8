"""The words of iptables-restore text: what single arguments mean.

Only the plainest spelling of each is known.  iptables knows more: names from /etc/services, octal numbers, addresses of
one to four parts, host names, abbreviated options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network

from npcompile.netset.cidrs import Family, Network
from npcompile.readers.ipset_entries import address_of, number
from npcompile.readers.problems import RefusedError
from npcompile.readers.rules import Hook, SetMark

PROTOCOLS: Mapping[str, int] = {
    "icmp": 1,
    "tcp": 6,
    "udp": 17,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "ipv6-icmp": 58,
    "sctp": 132,
    "udplite": 136,
}
PORTED = {6: "tcp", 17: "udp", 132: "sctp"}
ICMP = {Family.V4: 1, Family.V6: 58}
ICMP_MODULES = {Family.V4: {"icmp"}, Family.V6: {"icmp6", "icmpv6"}}
ICMP_OPTION = {Family.V4: "--icmp-type", Family.V6: "--icmpv6-type"}
_ICMP_NAMES = {
    Family.V4: {"echo-request": 8, "ping": 8, "echo-reply": 0, "pong": 0},
    Family.V6: {"echo-request": 128, "ping": 128, "echo-reply": 129, "pong": 129},
}
REJECT_TYPES = {
    Family.V4: {
        "icmp-net-unreachable",
        "icmp-host-unreachable",
        "icmp-port-unreachable",
        "icmp-proto-unreachable",
        "icmp-net-prohibited",
        "icmp-host-prohibited",
        "icmp-admin-prohibited",
        "tcp-reset",
    },
    Family.V6: {
        "icmp6-no-route",
        "icmp6-adm-prohibited",
        "icmp6-addr-unreachable",
        "icmp6-port-unreachable",
        "tcp-reset",
    },
}

# Names that iptables takes for a target in the place of a user's chain, or may take for one in some version.
_TARGETS = frozenset(
    """
    ACCEPT DROP RETURN QUEUE CONTINUE ERROR standard PREROUTING POSTROUTING
    AUDIT CHECKSUM CLASSIFY CLUSTERIP CONNMARK CONNSECMARK CT DNAT DNPT DSCP ECN HL HMARK IDLETIMER LED LOG MARK
    MASQUERADE NAT NETMAP NFLOG NFQUEUE NOTRACK RATEEST REDIRECT REJECT SECMARK SET SNAT SNPT SYNPROXY TCPMSS
    TCPOPTSTRIP TEE TOS TPROXY TRACE TTL ULOG
    """.split()  # noqa: SIM905  # a list would be fifty lines
)
_BUILT_IN = frozenset(hook.value for hook in Hook)
_EXTENSION_HEADERS = frozenset({43, 44, 51, 60})
_HEX = re.compile(r"0x[0-9a-fA-F]{1,8}")
_CHAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
LONGEST_CHAIN = 28
LONGEST_SET = 31
LONGEST_INTERFACE = 15
LONGEST_COMMENT = 255  # iptables cuts longer ones silently
MOST_ENDS = 6
MULTIPORT_SLOTS = 15
ALL_BITS = 0xFFFF_FFFF


def user_chain(name: str) -> str:
    """The name of a user's chain; Refused when it cannot be one, or some iptables could take it for something else."""
    if name in _TARGETS or name in _BUILT_IN:
        raise RefusedError(f"`{name}` is no chain of a user's, and no target that is understood")
    if not _CHAIN_NAME.fullmatch(name):
        raise RefusedError(f"`{name}` is no chain name that is understood")
    if len(name) > LONGEST_CHAIN:
        raise RefusedError(f"the chain name `{name}` is longer than {LONGEST_CHAIN} bytes")
    return name


def protocol_number(family: Family, text: str) -> int:
    """The number behind `-p`; 0 is any protocol."""
    name = text.lower()
    found = 0 if name == "all" else PROTOCOLS[name] if name in PROTOCOLS else number(name, 0, 255)
    if family is Family.V6 and found in _EXTENSION_HEADERS:
        raise RefusedError(f"`{text}` is an extension header, which ip6tables skips")
    return found


def network_of(family: Family, text: str) -> Network:
    """`ADDRESS` or `ADDRESS/LENGTH`; host bits are ignored."""
    address, slash, length = text.partition("/")
    bits = number(length, 0, family.bits) if slash else family.bits
    found = address_of(family, address)
    make = IPv6Network if family is Family.V6 else IPv4Network
    return make((int(found), bits), strict=False)


def icmp_type(family: Family, text: str) -> tuple[int, int | None]:
    """`TYPE`, `TYPE/CODE` or a name; type 255 is any type in IPv4 and a type in IPv6, so here it is neither."""
    if text in _ICMP_NAMES[family]:
        return _ICMP_NAMES[family][text], None
    kind, slash, code = text.partition("/")
    return number(kind, 0, 254), number(code, 0, 255) if slash else None


def port_span(text: str, *, open_ends: bool) -> tuple[int, int]:
    """`PORT` or `FIRST:LAST`, from 0 to 65535; with `open_ends` also `:LAST` and `FIRST:`.

    Without them, in `-m multiport`, a range has at least two ports.
    """
    first, colon, last = text.partition(":")
    low = 0 if open_ends and colon and not first else number(first, 0, 65535)
    high = 65535 if open_ends and colon and not last else number(last if colon else first, 0, 65535)
    if low > high or (colon and low == high and not open_ends):
        raise RefusedError(f"`{text}` ends before it begins" if low > high else f"`{text}` is a range of one port")
    return low, high


def value_and_mask(text: str) -> tuple[int, int]:
    """`VALUE` or `VALUE/MASK`; without one the mask is all 32 bits."""
    value, slash, mask = text.partition("/")
    return _bits(value), _bits(mask) if slash else ALL_BITS


def set_mark(option: str, text: str) -> SetMark:
    """What an option of `-j MARK` does."""
    if option in {"--set-mark", "--set-xmark"}:
        value, mask = value_and_mask(text)
        return SetMark(value=value, mask=mask | value if option == "--set-mark" else mask)
    value = _bits(text)
    match option:
        case "--or-mark":
            return SetMark(value=value, mask=value)
        case "--and-mark":
            return SetMark(value=0, mask=value ^ ALL_BITS)
        case "--xor-mark":
            return SetMark(value=value, mask=0)
    raise RefusedError(f"`{option}` is not understood")


def _bits(text: str) -> int:
    """A number of 32 bits, decimal or, behind `0x`, hexadecimal."""
    if _HEX.fullmatch(text):
        return int(text, 16)
    return number(text, 0, ALL_BITS)
