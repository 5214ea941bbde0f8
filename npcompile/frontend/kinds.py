"""What kind of object a document is, by its apiVersion and kind, and what becomes of kinds that are not read."""

from __future__ import annotations

from enum import Enum, auto

from npcompile.frontend.inventory import READERS

_GROUP = "networking.k8s.io"
_POLICY = "NetworkPolicy"
_API_VERSION = f"{_GROUP}/v1"

# APIs whose policies change what passes, beside NetworkPolicy.
_FOREIGN_KINDS = frozenset(
    (
        "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy",
        "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy",
        "ClusterNetworkPolicy", "MultiNetworkPolicy", "EgressFirewall", "EgressNetworkPolicy", "AntreaNetworkPolicy",
        "FQDNNetworkPolicy", "ApplicationNetworkPolicy",
    )
)  # fmt: skip

# The API groups of Kubernetes that have what npcompile reads, with their other kinds: a closed list.
_OTHER_KINDS = {
    "": frozenset(
        (
            "Binding", "ComponentStatus", "ConfigMap", "Endpoints", "Event", "LimitRange", "PersistentVolume",
            "PersistentVolumeClaim", "PodTemplate", "ResourceQuota", "Secret", "ServiceAccount",
        )
    ),
    "apps": frozenset(("ControllerRevision", "Scale")),
    "batch": frozenset[str](),
    "extensions": frozenset(("Ingress", "PodSecurityPolicy", "Scale")),
    _GROUP: frozenset(("Ingress", "IngressClass", "IPAddress", "ServiceCIDR", "ClusterCIDR")),
}  # fmt: skip
_READ = {kind for _, kind in READERS} | {_POLICY}
_BY_WORD = {kind.lower(): kind for kind in sorted(_READ)}


class Fate(Enum):
    """What becomes of an object."""

    POLICY = auto()
    INVENTORY = auto()
    LIST = auto()
    FOREIGN = auto()
    ALMOST = auto()
    SKIPPED = auto()


def fate_of(api_version: str, kind: str, *, looks_like_policy: bool) -> Fate:
    """Decide by names alone; `looks_like_policy`: its spec has the fields of a NetworkPolicy."""
    if (api_version, kind) == (_API_VERSION, _POLICY):
        return Fate.POLICY
    if (api_version, kind) in READERS:
        return Fate.INVENTORY
    if kind.endswith("List"):
        return _fate_of_list(api_version, kind)
    group = _group_of(api_version)
    if kind in _FOREIGN_KINDS or (kind == _POLICY and _is_vendor(group)):
        return Fate.FOREIGN
    if _is_almost(group, kind) or (looks_like_policy and not (kind and api_version)):
        return Fate.ALMOST
    return Fate.SKIPPED


def item_kind(api_version: str, kind: str) -> tuple[str, str]:
    """What the items of a list are that do not say it themselves."""
    return ("", "") if kind == "List" else (api_version, kind.removesuffix("List"))


def expected(kind: str) -> str:
    """The apiVersion and kind that an almost known one was meant to be."""
    word = kind.removesuffix("List") if kind != "List" else kind
    known = "List" if word == "List" else _nearest(word) or _POLICY
    if known == "List":
        return "`apiVersion: v1` and `kind: List`"
    if known == _POLICY:
        return f"`apiVersion: {_API_VERSION}` and `kind: {_POLICY}{'List' if word != kind else ''}`"
    version = next(version for version, name in READERS if name == known)
    return f"`apiVersion: {version}` and `kind: {known}{'List' if word != kind else ''}`"


def is_known_list(kind: str) -> bool:
    """Whether a kind is `List`, or the list of something that is read."""
    return kind == "List" or kind.removesuffix("List") in _READ


def _fate_of_list(api_version: str, kind: str) -> Fate:
    if kind == "List":
        return Fate.LIST if api_version == "v1" else Fate.ALMOST
    inner = fate_of(api_version, kind.removesuffix("List"), looks_like_policy=False)
    return Fate.ALMOST if inner is Fate.ALMOST else Fate.LIST


def _group_of(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _is_almost(group: str, kind: str) -> bool:
    """Whether something that npcompile reads was meant."""
    if kind == _POLICY or _distance(_plain(kind), _POLICY.lower()) <= 2:
        return True
    if group == _GROUP:
        return kind not in _OTHER_KINDS[_GROUP]
    return group in _OTHER_KINDS and kind not in _OTHER_KINDS[group] and _nearest(kind) is not None


def _nearest(kind: str) -> str | None:
    """The kind that a misspelt one was meant to be: in another letter case, in the plural, or with a slip or two."""
    word = _plain(kind)
    if word in _BY_WORD:
        return _BY_WORD[word]
    near = [(_distance(word, known), known) for known in _BY_WORD if len(known) > 3]
    best = min(near)
    return _BY_WORD[best[1]] if best[0] <= (2 if len(word) > 6 else 1) else None


def _plain(kind: str) -> str:
    word = kind.lower().translate({ord(sign): None for sign in " -_"})
    return word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s") if word not in _BY_WORD else word


def _is_vendor(group: str) -> bool:
    """Whether an API group belongs to somebody else than Kubernetes, and is no misspelling of its own."""
    return "." in group and not group.endswith((".k8s.io", ".kubernetes.io")) and _distance(group, _GROUP) > 4


def _distance(a: str, b: str) -> int:
    """Levenshtein's edit distance; 5 for any over 4."""
    if abs(len(a) - len(b)) > 4:
        return 5
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return min(row[-1], 5)
