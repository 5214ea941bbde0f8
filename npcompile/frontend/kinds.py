"""What kind of object a document is, by its apiVersion and kind, and what becomes of kinds that are not read."""

from __future__ import annotations

from enum import Enum, auto

from npcompile.frontend.inventory import READERS

NETWORK_POLICY = ("networking.k8s.io", "v1", "NetworkPolicy")

# APIs whose policies change what passes, beside NetworkPolicy.
_FOREIGN_KINDS = frozenset(
    (
        "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy",
        "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy",
        "ClusterNetworkPolicy", "MultiNetworkPolicy", "EgressFirewall", "EgressNetworkPolicy", "AntreaNetworkPolicy",
    )
)  # fmt: skip
_CORE_GROUPS = frozenset(("", "apps", "batch", "extensions", "networking.k8s.io", "policy"))
_KNOWN_KINDS = {kind.lower(): kind for _, kind in READERS} | {"networkpolicy": "NetworkPolicy"}


class Fate(Enum):
    """What becomes of an object."""

    POLICY = auto()
    INVENTORY = auto()
    LIST = auto()
    FOREIGN = auto()
    ALMOST = auto()
    SKIPPED = auto()


def split_api_version(api_version: str) -> tuple[str, str]:
    """(group, version); the core group is empty."""
    group, _, version = api_version.rpartition("/")
    return group, version


def fate_of(api_version: str, kind: str, *, looks_like_policy: bool) -> Fate:
    """Decide by names alone; `looks_like_policy`: its spec has the fields of a NetworkPolicy."""
    group, version = split_api_version(api_version)
    if (group, version, kind) == NETWORK_POLICY:
        return Fate.POLICY
    if kind in _FOREIGN_KINDS or (kind == "NetworkPolicy" and is_vendor(group)):
        return Fate.FOREIGN
    if kind == "NetworkPolicy" or is_misspelt_policy(kind):
        return Fate.ALMOST
    if kind.endswith("List"):
        return Fate.LIST
    if (group, kind) in READERS:
        return Fate.INVENTORY
    if group in _CORE_GROUPS and kind.lower() in _KNOWN_KINDS:
        return Fate.ALMOST
    if looks_like_policy and (not kind or not api_version):
        return Fate.ALMOST
    return Fate.SKIPPED


def expected(kind: str) -> str:
    """The kind, with its apiVersion, that a misspelt one was meant to be."""
    known = _KNOWN_KINDS.get(kind.lower(), "NetworkPolicy")
    if known == "NetworkPolicy":
        return "`apiVersion: networking.k8s.io/v1` and `kind: NetworkPolicy`"
    group = next(group for group, name in READERS if name == known)
    version = f"{group}/v1" if group else "v1"
    return f"`apiVersion: {version}` and `kind: {known}`"


def is_vendor(group: str) -> bool:
    """Whether an API group belongs to somebody else than Kubernetes."""
    return "." in group and not group.endswith((".k8s.io", ".kubernetes.io"))


def is_misspelt_policy(kind: str) -> bool:
    """Whether a kind is at most two edits away from NetworkPolicy, in any letter case; its list is not."""
    word = kind.lower().removesuffix("list") if kind.lower() != "networkpolicylist" else "networkpolicies"
    if kind == "NetworkPolicyList":
        return False
    return _distance(word.replace("-", "").replace("_", ""), "networkpolicy") <= 2 or word == "networkpolicies"


def _distance(a: str, b: str) -> int:
    """Levenshtein's edit distance."""
    if abs(len(a) - len(b)) > 2:
        return 3
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]
