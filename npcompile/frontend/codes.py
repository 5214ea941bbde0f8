"""The codes of everything that the front end has to say: NPC0xx."""

from __future__ import annotations

from npcompile.diagnostics.model import RuleCode, Severity

SYNTAX = RuleCode(code="NPC001", slug="syntax", severity=Severity.ERROR)
"""The text is not YAML or JSON.  Mend it at the place named; `kubectl apply --dry-run=client` says the same."""

ENCODING = RuleCode(code="NPC002", slug="encoding", severity=Severity.ERROR)
"""The file is not UTF-8 text, the only encoding that Kubernetes manifests have."""

LIMITS = RuleCode(code="NPC003", slug="limits", severity=Severity.ERROR)
"""The text nests too deeply, or its aliases expand to far more than is written ("billion laughs")."""

NO_INPUT = RuleCode(code="NPC004", slug="no-input", severity=Severity.ERROR)
"""A path that does not exist or cannot be read, a standard input that is empty, or nothing to check in all that was
read: a run of `check` that judges nothing must not look as if all was well."""

TEMPLATE = RuleCode(code="NPC005", slug="unrendered-template", severity=Severity.ERROR)
"""The file is a Helm template.  Check what Helm renders: `helm template CHART | npcompile check -`."""

UNKNOWN_FIELD = RuleCode(code="NPC006", slug="unknown-field", severity=Severity.ERROR)
"""A NetworkPolicy has a field that the API does not know.  The API server refuses it or, worse, drops it."""

DUPLICATE_KEY = RuleCode(code="NPC007", slug="duplicate-key", severity=Severity.ERROR)
"""A mapping has a key twice.  One of the two values would silently win."""

INVALID_VALUE = RuleCode(code="NPC008", slug="invalid-value", severity=Severity.ERROR)
"""A value that the API server refuses: of a wrong type, out of range, or against a rule of the NetworkPolicy API."""

ALMOST_KNOWN_KIND = RuleCode(code="NPC009", slug="almost-known-kind", severity=Severity.ERROR)
"""An object that was surely meant to be one that npcompile reads, under a misspelt kind or a wrong or retired
apiVersion.  Skipping it would make a policy vanish silently."""

FOREIGN_POLICY = RuleCode(code="NPC010", slug="foreign-policy", severity=Severity.WARNING)
"""Another API's network policy (Calico's, Cilium's, AdminNetworkPolicy).  It may change what traffic passes, and
npcompile does not judge it."""

SKIPPED = RuleCode(code="NPC011", slug="skipped", severity=Severity.INFO)
"""Objects and files that no NetworkPolicy concerns were skipped."""

DUPLICATE_OBJECT = RuleCode(code="NPC012", slug="duplicate-object", severity=Severity.ERROR)
"""The same kind, namespace and name twice: in a cluster the last one applied wins.  If the files belong to several
clusters, say so with `[[program]]` in `npcompile.toml`.  When both say the same, this is only an info."""

STALE_FIELD = RuleCode(code="NPC013", slug="stale-field", severity=Severity.WARNING)
"""A field of earlier versions of the API, without effect (`status` of a NetworkPolicy).  API servers since 1.28 refuse
it under strict validation, which is the default of `kubectl apply`."""

SHARED_ADDRESS = RuleCode(code="NPC014", slug="shared-address", severity=Severity.WARNING)
"""Two pods have one address, so that no packet filter can tell them apart.  Usually one of them no longer runs."""

ODD_CIDR = RuleCode(code="NPC015", slug="odd-cidr", severity=Severity.WARNING)
"""A CIDR with leading zeros.  The API server takes `010.0.0.0/8` for 10.0.0.0/8; other programs read octal, or refuse
it, and later versions of Kubernetes will."""

ODD_OBJECT = RuleCode(code="NPC016", slug="odd-object", severity=Severity.WARNING)
"""A pod, a workload or the like that says too little to be judged in full.  The API server would refuse it."""

NULL_LABEL = RuleCode(code="NPC017", slug="null-label", severity=Severity.WARNING)
"""A label has a key and no value (`app:`).  The API server stores the empty value, and so it is judged; `kubectl apply`
drops the key before the server sees it, and then a selector selects more."""
