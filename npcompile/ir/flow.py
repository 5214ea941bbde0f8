"""Flows: who sends what to whom."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from npcompile.ir.cluster import Pod
from npcompile.netset.cidrs import Address, Family, family_of
from npcompile.netset.ports import Protocol


class Verdict(Enum):
    """What becomes of a flow."""

    ALLOW = "ALLOW"
    DENY = "DENY"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One end of a flow: a pod at one of its addresses (None: it has none yet), or an address that is no pod's."""

    pod: Pod | None = None
    address: Address | None = None

    def __post_init__(self) -> None:
        if self.pod is None and self.address is None:
            raise ValueError("an endpoint is a pod, an address, or both")

    @property
    def family(self) -> Family | None:
        """The family of its address; None when it has no address yet."""
        return None if self.address is None else family_of(self.address)

    def __str__(self) -> str:
        return str(self.pod or self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A connection attempt.  `port` is the destination's, 1 to 65535, and None for a port-less protocol.

    Both ends are of one family when both have addresses.
    """

    src: Endpoint
    dst: Endpoint
    protocol: Protocol
    port: int | None = None

    def __post_init__(self) -> None:
        if (self.port is not None) != self.protocol.has_ports:
            raise ValueError(f"a flow of {self.protocol} with port {self.port}")
        src, dst = self.src.address, self.dst.address
        if src is not None and dst is not None and src.version != dst.version:
            raise ValueError(f"a flow from {src} to {dst}: two address families")

    @property
    def port_text(self) -> str:
        """As the command line writes it: `tcp/8080`, `icmp`."""
        return f"{self.protocol}/{self.port}" if self.protocol.has_ports else str(self.protocol)

    def __str__(self) -> str:
        return f"{self.src} -> {self.dst} {self.port_text}"
