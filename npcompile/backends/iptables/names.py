"""The names that iptables and ipset see, within what their kernel modules take."""

from __future__ import annotations

import re

from npcompile.backends.filters.names import CHAIN_DIGITS, SET_DIGITS, Style

CHAIN_LIMIT = 28  # XT_EXTENSION_MAXNAMELEN of linux/netfilter/x_tables.h, less the final zero
SET_LIMIT = 31  # IPSET_MAXNAMELEN of linux/netfilter/ipset/ip_set.h, less the final zero
TEMPORARY = "-t"  # the suffix of the set that is filled before it is swapped in

COMING, GOING = "new", "old"
"""The kinds of two sets that are empty in every artifact.  Packets between two members of one pass: a loader puts the
addresses there that come, or go, while it changes other sets."""

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

_CHAIN = re.compile(
    f"(?:{'|'.join((FORWARD, INPUT, EGRESS, INGRESS, ALLOW, ACCEPT))})"
    f"|(?:{STYLE.dispatch_chain}|{STYLE.profile_chain}|{STYLE.policy_chain})[a-z2-7]{{{CHAIN_DIGITS}}}"
)
_SET = re.compile(f"({STYLE.family_set.format(family='[46]', kind='[a-z]+')}[a-z2-7]{{{SET_DIGITS}}})(?:-[a-z])?")


def is_chain(name: str) -> bool:
    """Whether a chain of the kernel has a name that only artifacts give."""
    return _CHAIN.fullmatch(name) is not None


def is_of_kind(name: str, kind: str) -> bool:
    """Whether an artifact's set is of a kind."""
    return name.split("-")[1:2] == [kind]


def set_meaning(name: str) -> str | None:
    """The name that an artifact gives to a set of the kernel, which may have a suffix there; None: it is not ours."""
    found = _SET.fullmatch(name)
    return found[1] if found else None
