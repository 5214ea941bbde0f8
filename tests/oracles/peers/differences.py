"""Where npcompile and a peer disagree and are known to, each with its reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from tests.oracles.peers.conventions import Convention, Peer
from tests.oracles.peers.table import Difference

FOLDERS = (
    "acs-security-demos",
    "ipblockstest",
    "multiple_topology_resources_1",
    "netpol-analysis-example-minimal",
    "netpol_named_port_test",
    "onlineboutique",
    "onlineboutique_workloads",
    "with_end_port_example",
)
"""The folders of ../shared/realworld."""


class Reason(Enum):
    """Why a difference is none of npcompile's mistakes."""

    INGRESS_OBJECTS = "the peer models Ingress and Route objects, which no NetworkPolicy speaks of"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Differences of one folder with one peer that have one reason; `lines` as `table.Difference` writes them."""

    peer: Peer
    folder: str
    reason: Reason
    lines: tuple[str, ...]


KNOWN_DIFFERENCES = (
    Known(
        peer=Peer.NETPOL_ANALYZER,
        folder="acs-security-demos",
        reason=Reason.INGRESS_OBJECTS,
        lines=(
            "{ingress-controller} => frontend/asset-cache[Deployment] : no port, not tcp/8080",
            "{ingress-controller} => frontend/webapp[Deployment] : no port, not tcp/8080",
        ),
    ),
)

NEEDED: Mapping[Convention, frozenset[str]] = {
    Convention.POD_ADDRESSES: frozenset({"ipblockstest", "multiple_topology_resources_1", "onlineboutique"}),
    Convention.HOST_NETWORK: frozenset({"ipblockstest", "multiple_topology_resources_1"}),
    Convention.OWN_NODE: frozenset({"ipblockstest", "multiple_topology_resources_1", "onlineboutique"}),
    Convention.DNS_POD: frozenset({"onlineboutique", "onlineboutique_workloads"}),
    Convention.IPV4: frozenset(FOLDERS) - {"acs-security-demos"},
    Convention.PORTLESS: frozenset(FOLDERS) - {"acs-security-demos", "netpol-analysis-example-minimal"},
}
"""The folders where a comparison fails without a convention; in all others it makes no difference.

SELF_PAIRS is not among them: it only leaves out what no peer ever lists.
"""

REDUNDANT = frozenset(
    {
        # No other pod may send to its pods.
        "acs-security-demos: no asset-cache-netpol",
        # Every pod that they isolate is isolated by a policy of its own.
        "acs-security-demos: no default-deny-in-namespace-backend",
        "acs-security-demos: no default-deny-in-namespace-frontend",
        "acs-security-demos: no default-deny-in-namespace-payments",
        "netpol-analysis-example-minimal: no default-deny-in-namespace",
    }
)
"""The policies that may be dropped (`mutants.Drop`) without changing what passes."""

ONLY_PORTLESS = frozenset({"with_end_port_example: no enable-all-protocols-with-all-ports"})
"""Those that only keep out what has no ports, and netpol-analyzer knows no such protocol."""


def known_lines(peer: Peer, folder: str) -> frozenset[str]:
    """The differences that a comparison must show."""
    return frozenset(
        line for one in KNOWN_DIFFERENCES if (one.peer, one.folder) == (peer, folder) for line in one.lines
    )


def surprises(found: Iterable[Difference], known: Collection[str]) -> list[str]:
    """What is wrong between the differences that were found and those that are known: nothing, where all is well."""
    lines = {str(one) for one in found}
    return [
        *(f"not listed: {line}" for line in sorted(lines - set(known))),
        *(f"listed, and no longer so: {line}" for line in sorted(set(known) - lines)),
    ]
