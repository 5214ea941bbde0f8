"""Reads what the two peers list: `SOURCE => DESTINATION : CONNECTIONS` a line, several lines a pair possible.

A line that is not understood is an error, never left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address

from npcompile.netset import cidrs
from npcompile.netset.intervals import EMPTY, IntervalSet, union
from npcompile.netset.ports import EVERY_PORT, Protocol, all_ports, port_range
from tests.oracles.peers.table import End, Table

NUMBERED = union(all_ports(protocol) for protocol in Protocol if protocol.has_ports)

_LINE = re.compile(r"(?P<src>\S.*\S) => (?P<dst>\S.*\S) : (?P<connections>\S.*)")
_ADDRESSES = re.compile(r"(?P<first>[0-9a-f.:]+)(-(?P<last>[0-9a-f.:]+))?(\[External\])?")
_BRACES = re.compile(r"\{protocols:(?P<protocols>[A-Z, ]+?)(,dst_ports:(?P<ports>[0-9,-]+))?\}")
_ITEM = re.compile(r"(?P<protocol>TCP|UDP|SCTP) (?P<ports>[0-9,-]+)")


def read_expected(text: str) -> Table:
    """What netpol-analyzer lists (`expected/NAME.txt`)."""
    return _read(text.splitlines(), _expected_ports)


def read_live(text: str) -> Table:
    """What network-config-analyzer prints with `-o txt_no_fw_rules`, between other messages."""
    return _read((line for line in text.splitlines() if " => " in line), _live_ports)


def _read(lines: Iterable[str], ports_of: Callable[[str], IntervalSet]) -> Table:
    found: dict[tuple[End, End], IntervalSet] = {}
    for line in filter(None, lines):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"not a line of a peer's: {line!r}")
        pair = _end(match["src"]), _end(match["dst"])
        found[pair] = found.get(pair, EMPTY) | ports_of(match["connections"])
    return found


def _end(text: str) -> End:
    match = _ADDRESSES.fullmatch(text)
    if match is None:
        return text
    first, last = ip_address(match["first"]), ip_address(match["last"] or match["first"])
    return IntervalSet.of(cidrs.point(first), cidrs.point(last))


def _expected_ports(text: str) -> IntervalSet:
    """`All Connections`, or `TCP 80,8000-8080`; several protocols follow one another after a comma.

    netpol-analyzer knows TCP, UDP and SCTP only.
    """
    if text == "All Connections":
        return NUMBERED
    items = [_ITEM.fullmatch(item) for item in re.split(r", ?(?=[A-Z])", text)]
    return union(port for item in items for port in _spans(_need(item, text)["protocol"], _need(item, text)["ports"]))


def _live_ports(text: str) -> IntervalSet:
    """`All connections`, or `{protocols:TCP, UDP,dst_ports:80,8000-8080}`, without ports for all of them."""
    if text == "All connections":
        return EVERY_PORT
    match = _need(_BRACES.fullmatch(text), text)
    spans = match["ports"] or "1-65535"
    return union(port for protocol in match["protocols"].split(", ") for port in _spans(protocol, spans))


def _spans(protocol: str, text: str) -> Iterator[IntervalSet]:
    for span in text.split(","):
        first, _, last = span.partition("-")
        yield port_range(Protocol(protocol), int(first), int(last or first))


def _need(match: re.Match[str] | None, text: str) -> re.Match[str]:
    if match is None:
        raise ValueError(f"not a peer's word for ports: {text!r}")
    return match
