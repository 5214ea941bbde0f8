"""The API's rules for names, label keys and values, port names and CIDRs.

Each check returns what is wrong with a text, or None.  Source: k8s.io/apimachinery/pkg/util/validation.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Network, ip_network

from npcompile.netset.cidrs import Network

# A cluster says the same few names over and over.
_remembered = lru_cache(maxsize=4096)

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(rf"{_DNS_LABEL.pattern}(\.{_DNS_LABEL.pattern})*")
_LABEL_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_PORT_NAME = re.compile(r"[-a-z0-9]+")
_CIDR = re.compile(r"[0-9.]+/[0-9]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*/[0-9]+")
_LEADING_ZEROS = re.compile(r"(?<![0-9a-fA-F])0+(?=[0-9a-fA-F])")


@_remembered
def dns_label(text: str) -> str | None:
    """The rule for namespaces (RFC 1123 label)."""
    if len(text) > 63:
        return "it must be at most 63 characters long"
    if not _DNS_LABEL.fullmatch(text):
        return "it may hold lowercase letters, digits and `-`, and starts and ends with a letter or digit"
    return None


@_remembered
def dns_subdomain(text: str) -> str | None:
    """The rule for object names (RFC 1123 subdomain)."""
    if len(text) > 253:
        return "it must be at most 253 characters long"
    if not _DNS_SUBDOMAIN.fullmatch(text):
        return (
            "it may hold lowercase letters, digits, `-` and `.`, and each part starts and ends with a letter or digit"
        )
    return None


@_remembered
def label_key(text: str) -> str | None:
    """The rule for label and annotation keys (a qualified name)."""
    prefix, slash, name = text.rpartition("/")
    if slash and "/" in prefix:
        return "it may have one `/`, after a prefix"
    if slash and not prefix:
        return "the prefix before `/` must not be empty"
    if slash and (wrong := dns_subdomain(prefix)):
        return f"the prefix before `/` must be a DNS name: {wrong}"
    if not name:
        return "the name must not be empty"
    if len(name) > 63:
        return "the name must be at most 63 characters long"
    if not _LABEL_PART.fullmatch(name):
        return "it may hold letters, digits, `-`, `_` and `.`, and starts and ends with a letter or digit"
    return None


@_remembered
def label_value(text: str) -> str | None:
    """The rule for label values, which may be empty."""
    if len(text) > 63:
        return "a label value must be at most 63 characters long"
    if text and not _LABEL_PART.fullmatch(text):
        return "it may hold letters, digits, `-`, `_` and `.`, and starts and ends with a letter or digit"
    return None


@_remembered
def port_name(text: str) -> str | None:
    """The rule for container port names (RFC 6335)."""
    if len(text) > 15:
        return "a port name must be at most 15 characters long"
    if not _PORT_NAME.fullmatch(text):
        return "a port name may hold lowercase letters, digits and `-`"
    if not re.search("[a-z]", text):
        return "a port name needs a letter"
    if "--" in text or text.startswith("-") or text.endswith("-"):
        return "a port name may hold `-` only singly and between other characters"
    return None


@_remembered
def cidr(text: str) -> Network | None:
    """A CIDR as the API server reads it, host bits cleared; None when it refuses the text.

    Leading zeros are allowed, and are decimal in IPv4 (netutils.ParseCIDRSloppy, which keeps old manifests valid).
    """
    if not _CIDR.fullmatch(text):
        return None
    try:
        return ip_network(_LEADING_ZEROS.sub("", text), strict=False)
    except ValueError:
        return None


def is_canonical_cidr(text: str) -> bool:
    """Whether a valid CIDR is written without leading zeros, so that every tool reads it alike."""
    return not _LEADING_ZEROS.search(text)


def mapped_ipv4(network: Network) -> IPv4Network | None:
    """The IPv4 network that an IPv6 network lies over (`::ffff:10.0.0.0/104` over `10.0.0.0/8`); None for others."""
    if isinstance(network, IPv4Network) or network.prefixlen < 96 or network.network_address.ipv4_mapped is None:
        return None
    return IPv4Network((int(network.network_address.ipv4_mapped), network.prefixlen - 96))
