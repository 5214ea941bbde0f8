"""The names that iptables and ipset see, within what their kernel modules take."""

from __future__ import annotations

from npcompile.backends.filters.names import Style

CHAIN_LIMIT = 28  # XT_EXTENSION_MAXNAMELEN of linux/netfilter/x_tables.h, less the final zero
SET_LIMIT = 31  # IPSET_MAXNAMELEN of linux/netfilter/ipset/ip_set.h, less the final zero
TEMPORARY = "-t"  # the suffix of the set that is filled before it is swapped in

FORWARD = "NPC-FORWARD"
INPUT = "NPC-INPUT"
EGRESS = "NPC-EGRESS"
INGRESS = "NPC-INGRESS"
ALLOW = "NPC-ALLOW"
ACCEPT = "NPC-ACCEPT"

STYLE = Style(
    dispatch_chain="NPC-DIS-",
    profile_chain="NPC-PRO-",
    policy_chain="NPC-POL-",
    family_set="npc{family}-{kind}-",
    chain_limit=CHAIN_LIMIT,
    set_limit=SET_LIMIT - len(TEMPORARY),
)
