"""The names in our table, which nothing else shares: short words, and digests of what they stand for."""

from __future__ import annotations

from npcompile.backends.filters.names import Style
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Family

TABLE = "npcompile"
FORWARD = "forward"
INPUT = "input"
EGRESS = "egress"
INGRESS = "ingress"

_LIMIT = 255  # NFT_NAME_MAXLEN of linux/netfilter/nf_tables.h, less the final zero

STYLE = Style(
    dispatch_chain="dispatch-",
    profile_chain="profile-",
    policy_chain="policy-",
    family_set="{kind}{family}-",
    chain_limit=_LIMIT,
    set_limit=_LIMIT,
)


def dispatch_map(direction: Direction, family: Family) -> str:
    """The verdict map from a pod's address to the chain of its profile."""
    return f"{direction.value}{family.value}"


def itself_set(family: Family) -> str:
    """The set of isolated pods' addresses, each beside itself."""
    return f"self{family.value}"
