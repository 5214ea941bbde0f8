"""Established connections when the policies tighten: with `recheck`, those that are no longer allowed are deleted from
connection tracking, so that their next packet is judged as a new connection's.

An entry is judged by what the artifact's own files say, read back by the readers of artifacts: in its original
direction, from the address that opened it to the one that it was translated to (what the filters saw), at the hook that
its first packet met.  What the node itself opened is not filtered, and stays.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from npcompile.backends.target import Established
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import diagnose
from npcompile.netset.cidrs import Address
from npcompile.readers.artifact import read_artifact
from npcompile.readers.interpreter import judge
from npcompile.readers.packet import Packet
from npcompile.readers.passage import Rulesets
from npcompile.readers.rules import Hook
from npcompile.runtime.loader import MACHINE, Stored
from npcompile.runtime.programs import ProgramError, need, outputs

_FIELD = re.compile(r"(src|dst|sport|dport|type|code|id|zone)=(\S+)")
_PROTOCOL = re.compile(r"\S+ +(\d+) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A connection: the packet that opened it, as the filters saw it, and what its entry is found by."""

    opened: Packet
    original: Mapping[str, str]
    zone: int | None

    @property
    def question(self) -> Packet:
        """The packet without what no policy can name: the client's port."""
        packet = self.opened
        return Packet(
            src=packet.src, dst=packet.dst, protocol=packet.protocol, dport=packet.dport, icmp=packet.icmp,
            sport=None if packet.sport is None else 0,
        )  # fmt: skip


def is_rechecked(artifact: Stored) -> bool:
    """Whether the artifact asks for it."""
    return artifact.manifest.get("established") == Established.RECHECK.value


def check_machine() -> None:
    """Raise InputError unless this machine has what rechecking needs."""
    need(["conntrack", "ip"])
    try:
        import pyroute2  # noqa: F401
    except ImportError:
        message = "the artifact was emitted with `--established recheck`, which needs the Python module `pyroute2`"
        raise InputError([diagnose(MACHINE, None, message, help="install `npcompile[linux]`")]) from None


def cut(artifact: Stored) -> int:
    """Delete the connections that the artifact does not allow, and say how many; raises ProgramError."""
    listed, addresses = outputs([["conntrack", "-L"], ["ip", "-j", "address"]])
    found = [*entries(listed)]
    if not found:
        return 0
    own = {info["local"] for link in json.loads(addresses) for info in link.get("addr_info", ()) if "local" in info}
    rulesets = read_artifact(artifact.target, artifact.files)
    return _delete(denied(found, rulesets, {ipaddress.ip_address(one) for one in own}))


def entries(listed: str) -> Iterator[Entry]:
    """What `conntrack -L` prints."""
    for line in listed.splitlines():
        protocol = _PROTOCOL.match(line)
        fields = _FIELD.findall(line)
        second = next((index for index, (key, _) in enumerate(fields[1:], 1) if key == "src"), None)
        if protocol is None or second is None:
            continue
        original, reply = dict(fields[:second]), dict(fields[second:])
        number = int(protocol[1])
        icmp = (int(original["type"]), int(original["code"])) if "type" in original else None
        opened = Packet(
            src=ipaddress.ip_address(original["src"]),
            dst=ipaddress.ip_address(reply["src"]),
            protocol=number,
            sport=int(original["sport"]) if "sport" in original else None,
            dport=int(reply["sport"]) if "sport" in reply else None,
            icmp=icmp,
        )
        yield Entry(
            opened=opened,
            original={**original, "protocol": protocol[1]},
            zone=int(reply["zone"]) if "zone" in reply else None,
        )


def denied(found: Iterable[Entry], rulesets: Rulesets, own: set[Address]) -> Iterator[Entry]:
    """The connections whose first packet would be dropped now.  `own`: the node's addresses."""
    verdicts: dict[Packet, bool] = {}
    for entry in found:
        if entry.opened.src in own:
            continue
        hook = Hook.INPUT if entry.opened.dst in own else Hook.FORWARD
        question = entry.question
        if question not in verdicts:
            verdicts[question] = judge(rulesets[question.family], question, hook).dropped
        if verdicts[question]:
            yield entry


def _delete(chosen: Iterable[Entry]) -> int:
    """Delete entries; one that is gone by itself does not count."""
    from pyroute2 import NFCTSocket
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

    deleted = 0
    for entry in chosen:
        original = entry.original
        family = socket.AF_INET if entry.opened.src.version == 4 else socket.AF_INET6
        known = {name: int(original[key]) for key, name in _TUPLE.items() if key in original}
        one = NFCTAttrTuple(family=family, saddr=original["src"], daddr=original["dst"], **known)
        with NFCTSocket(nfgen_family=family) as connections:
            try:
                connections.entry("del", tuple_orig=one, zone=entry.zone)
                deleted += 1
            except NetlinkError as error:
                if error.code != errno.ENOENT:
                    raise ProgramError(f"an entry of connection tracking cannot be deleted: {error}") from None
    return deleted


_TUPLE = {
    "protocol": "proto",
    "sport": "sport",
    "dport": "dport",
    "type": "icmp_type",
    "code": "icmp_code",
    "id": "icmp_id",
}
