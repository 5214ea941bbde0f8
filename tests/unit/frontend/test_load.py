"""Files, documents and lists: what is read, what is skipped, and what would vanish silently if it were."""

from __future__ import annotations

import gc

import pytest

from npcompile.diagnostics.errors import InputError
from npcompile.frontend import decode, load
from npcompile.source import SourceFile
from tests.unit.frontend.reading import HEAD, cluster, policies, read, refusal, refused, said, with_spec

POLICY = with_spec("{podSelector: {}}")
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"


def names(*texts: str, path: str = "a.yaml") -> list[str]:
    """The names of the policies of texts."""
    return [str(policy) for policy in policies(*texts, path=path)]


# --- bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"a: \xe9", "not UTF-8 text: byte 0xe9 at offset 3"),
        (b"\xef\xbb\xbfa: \xe9", "not UTF-8 text: byte 0xe9 at offset 6"),
        ("a: b".encode("utf-16"), "not UTF-8 text: byte 0x00 at offset 3"),
        ("a: b".encode("utf-16-le"), "not UTF-8 text: byte 0x00 at offset 1"),
        (b"\x80", "not UTF-8 text: byte 0x80 at offset 0"),
    ],
)
def test_bytes_that_are_no_text(data: bytes, problem: str) -> None:
    with pytest.raises(InputError) as refusal:
        decode("a.yaml", data)
    assert [(one.rule.code, one.message) for one in refusal.value.diagnostics] == [("NPC002", problem)]


def test_a_byte_order_mark_is_dropped() -> None:
    assert decode("a.yaml", b"\xef\xbb\xbfa: \xc3\xa9").text == "a: é"


# --- kinds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        *(("networking.k8s.io/v1", kind) for kind in ("networkPolicy", "NetworkPolicies", "NetworkPolcy", "Pod")),
        *(("networking.k8s.io/v1", kind) for kind in ("networkpolicy", "network-policy", "NetworkPolicys", "Foo")),
        *((version, "NetworkPolicy") for version in ("extensions/v1beta1", "networking.k8s.io/v1beta1", "v1")),
        *((version, "NetworkPolicy") for version in ("networking.k8s.io", "networking.k8s.o/v1", "policy/v1")),
        *((version, "NetworkPolicy") for version in ("networking.k8s.io.io/v1", "Networking.k8s.io/v1")),
        *((version, "NetworkPolicyList") for version in ("v1", "extensions/v1beta1")),
        *(("v1", kind) for kind in ("pod", "Pods", "namespace", "Namspace", "Deployment", "NetworkPolicy", "Servcie")),
        *(("apps/v1", kind) for kind in ("Pod", "deployment", "Deploymet", "StatefulSets")),
        *(("v2", "Pod"), ("apps/v1alpha1", "Deployment"), ("batch/v1", "Cronjob"), ("apps/v1", "List")),
    ],
)  # fmt: skip
def test_what_was_surely_meant_to_be_read_is_an_error(version: str, kind: str) -> None:
    (error,) = refusal(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n")
    assert error.rule.code == "NPC009"
    assert error.message == f"an object with `apiVersion: {version}` and `kind: {kind}` would be ignored"
    assert error.help.startswith("write `apiVersion: ")


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("networkpolicy", "write `apiVersion: networking.k8s.io/v1` and `kind: NetworkPolicy`"),
        ("pods", "write `apiVersion: v1` and `kind: Pod`"),
        ("Deploymnt", "write `apiVersion: apps/v1` and `kind: Deployment`"),
    ],
)
def test_the_advice_for_a_misspelt_kind(kind: str, advice: str) -> None:
    version = {"networkpolicy": "v1", "pods": "v1", "Deploymnt": "apps/v1"}[kind]
    assert refusal(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n")[0].help == advice


@pytest.mark.parametrize(
    "head",
    [
        "kind: NetworkPolicy\n", "apiVersion: ~\nkind: NetworkPolicy\n", "apiVersion: networking.k8s.io/v1\n",
        "apiversion: networking.k8s.io/v1\nKind: NetworkPolicy\n", "", "kind: [NetworkPolicy]\n", "kind: Pod\n",
        "apiVersion: networking.k8s.io/v1\nkind: {}\n",
    ],
)  # fmt: skip
def test_a_policy_without_its_head_is_an_error(head: str) -> None:
    text = f"{head}metadata: {{name: p}}\nspec: {{podSelector: {{}}, ingress: []}}\n"
    assert [error.split(" ")[1] for error in refused(text)] == ["NPC009"]


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "Endpoints"), ("networking.k8s.io/v1", "Ingress"),
        ("serving.knative.dev/v1", "Service"), ("example.com/v1", "Pod"), ("rbac.authorization.k8s.io/v1", "Role"),
        ("networking.istio.io/v1", "VirtualService"), ("metrics.k8s.io/v1beta1", "PodMetrics"), ("v1", "SecretList"),
    ],
)  # fmt: skip
def test_other_kinds_are_skipped_and_counted(version: str, kind: str) -> None:
    assert said(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n") == [
        f"NPC011 skipped what no NetworkPolicy concerns: {kind} (1)"
    ]


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("projectcalico.org/v3", "NetworkPolicy"), ("crd.projectcalico.org/v1", "NetworkPolicy"),
        ("crd.projectcalico.org/v1", "GlobalNetworkPolicy"), ("cilium.io/v2", "CiliumNetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"), ("crd.antrea.io/v1beta1", "NetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
    ],
)  # fmt: skip
def test_policies_of_others_are_skipped_with_a_warning(version: str, kind: str) -> None:
    text = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{podSelector: {{}}, ingress: []}}\n"
    assert said(text) == [f"2:7 NPC010 `{kind}` of `{version}` (`x`) is not judged, although it may change what passes"]


def test_a_kind_twice() -> None:
    assert refused(f"{POLICY}kind: ConfigMap\n")[0] == "5:1 NPC007 duplicate key `kind`"
    assert refused(f"{CONFIG}kind: NetworkPolicy\n")[0].startswith("1:13 NPC009")


# --- documents -------------------------------------------------------------------------------------------------------


def test_several_documents_and_files() -> None:
    other = POLICY.replace("name: p", "name: q")
    assert names(f"{POLICY}---\n# empty\n---\n{other}") == ["default/p", "default/q"]
    assert names(other, POLICY) == ["default/p", "default/q"]


def test_everything_wrong_is_said_at_once_and_in_order() -> None:
    first = POLICY.replace("name: p", "name: P") + "---\n" + POLICY.replace("spec", "spc") + "---\na: [\n"
    second = "apiVersion: v1\nkind: pod\n"
    assert refused(first, second) == [
        "3:18 NPC008 name `P`: it may hold lowercase letters, digits, `-` and `.`, and each part starts and ends with "
        "a letter or digit",
        "9:1 NPC006 unknown field `spc`",
        "12:1 NPC001 not YAML: did not find expected node content while parsing a flow node",
        "2:7 NPC009 an object with `apiVersion: v1` and `kind: pod` would be ignored",
    ]


def test_the_files_of_other_tools_are_skipped() -> None:
    texts = (
        "replicas: 3\nimage: {tag: x}\n",
        "- hosts: all\n",
        "just text",
        "[",
        "a: [\n---\n\tb",
        "{}",
        "name: chart\napiVersion: v2\n",
    )
    assert said(*texts) == [
        "NPC011 skipped what no NetworkPolicy concerns: a document that is no object (4), text that is no manifest (2)"
    ]


def test_the_keys_of_other_tools_files_are_their_business() -> None:
    assert said("a: 1\na: 2\n") == ["NPC011 skipped what no NetworkPolicy concerns: a document that is no object (1)"]
    assert refused(f"{CONFIG}metadata: {{name: c}}\n") == ["4:1 NPC007 duplicate key `metadata`"]


@pytest.mark.parametrize("stray", ["spec: {podSelector: {}}", "just text", "- a", "7", "apiVersion: v1", "kind: Foo"])
def test_a_document_that_is_no_object_among_objects_is_an_error(stray: str) -> None:
    assert refused(f"{POLICY}---\n{stray}\n") == [
        "6:1 NPC009 a document without `apiVersion` and `kind` among Kubernetes objects"
    ]


@pytest.mark.parametrize("nothing", ["", "# comment", "~", "null", "{}"])
def test_an_empty_document_among_objects_is_none(nothing: str) -> None:
    assert names(f"{POLICY}---\n{nothing}\n") == ["default/p"]


def test_a_broken_manifest_is_never_taken_for_the_file_of_another_tool() -> None:
    for text in ("apiVersion: v1\nkind: [", "kind: NetworkPolicy\nspec: [", "apiversion: x\nkind: ["):
        assert refused(text)[0].split(" ")[1] == "NPC001"


def test_a_plain_list_of_objects_is_an_error() -> None:
    item = "- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n"
    assert refused(item) == ["1:1 NPC009 a plain list of objects, which Kubernetes does not read"]


# --- lists -----------------------------------------------------------------------------------------------------------

ITEM = "{metadata: {name: p}, spec: {podSelector: {}}}"
FULL = ITEM.replace("{metadata", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata", 1)


@pytest.mark.parametrize(
    "text",
    [
        f"apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems: [{FULL}]\n",
        f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems: [{ITEM}]\n",
        f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems: [{FULL}]\n",
        f"apiVersion: example.com/v1\nkind: ThingList\nitems: [{FULL}]\n",
    ],
)
def test_lists(text: str) -> None:
    assert names(text) == ["default/p"]


def test_items_of_a_typed_list_that_do_not_say_their_kind() -> None:
    pods = "apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a}}]\n---\n"
    workloads = "apiVersion: apps/v1\nkind: DeploymentList\nitems: [{metadata: {name: b}}]\n"
    assert [str(pod) for pod in cluster(pods + workloads).pods] == ["default/a", "default/b"]


@pytest.mark.parametrize("items", ["[]", "~", ""])
def test_an_empty_list(items: str) -> None:
    assert names(f"apiVersion: v1\nkind: List\nitems: {items}\n") == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("apiVersion: v1\nkind: List\n", "1:1 NPC008 a `List` needs `items`, a list of objects"),
        ("apiVersion: v1\nkind: PodList\nitems: {}\n", "3:8 NPC008 a `PodList` needs `items`, a list of objects"),
        ("apiVersion: v1\nkind: List\nitems: [~, 7]\n", "3:9 NPC008 an item of a `List` must be an object"),
        (f"apiVersion: v1\nkind: List\nitems: [{ITEM}]\n",
         "3:9 NPC009 a document without `apiVersion` and `kind` among Kubernetes objects"),
        ("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, items: []}]\n",
         "3:9 NPC008 a `List` within a `List`, which `kubectl apply` does not read"),
        (f"apiVersion: networking.k8s.io/v1\nkind: List\nitems: [{FULL}]\n",
         "2:7 NPC009 an object with `apiVersion: networking.k8s.io/v1` and `kind: List` would be ignored"),
    ],
)  # fmt: skip
def test_lists_that_are_wrong(text: str, error: str) -> None:
    assert error in refused(text)


# --- templates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (HEAD + "metadata:\n  name: {{ .Values.name }}\n", "4:9"),
        (HEAD + "metadata:\n  {{ .Values.key }}: x\n", "4:3"),
        (HEAD + "metadata:\n  name: p\n  labels:\n    {{- include \"l\" . | nindent 4 }}\nspec: {}\n", "6:5"),
        ("{{- if .Values.enabled }}\n" + POLICY + "{{- end }}\n", "1:1"),
        (HEAD + "metadata: {name: p}\nspec:\n  ingress:\n  {{- range .x }}\n  - {}\n  {{- end }}\n", "6:3"),
        (HEAD + "metadata: {name: \"{{ .Release.Name }}-p\"}\nspec: {}\n", "3:18"),
        (with_spec("{podSelector: {matchLabels: {app: '{{ .Chart.Name }}'}}}"), "4:41"),
        (with_spec("{podSelector: {}, ingress: [{ports: [{port: '{{ .Values.port }}'}]}]}"), "4:51"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replicas: {{ .replicas }}\n", "5:13"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: '{{ .Release.Name }}'}\n", "3:18"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: '{{ .Release.Namespace }}'}\n", "3:32"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: '{{ .Chart.Name }}'}}\n", "3:35"),
    ],
)  # fmt: skip
def test_helm_templates(text: str, place: str) -> None:
    (error,) = refusal(text)
    assert (str(error.span), error.rule.code) == (f"a.yaml:{place.partition(':')[0]}", "NPC005")
    assert error.span is not None
    assert error.span.column == int(place.partition(":")[2])
    assert "helm template" in error.help


def test_braces_that_are_text() -> None:
    alert = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  rules: |\n    {{ $labels.pod }} is down\n---\n"
    )
    note = POLICY.replace("name: p", "name: p, annotations: {note: '{{ x }}'}")
    assert names(alert + note) == ["default/p"]


# --- the collector of cycles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was(enabled: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        read(POLICY)
        assert gc.isenabled() is enabled
        refused("apiVersion: [")
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()


def test_an_error_while_files_are_listed_passes_through() -> None:
    def files() -> list[SourceFile]:
        raise OSError("no files")

    with pytest.raises(OSError, match="no files"):
        load(files())
    assert gc.isenabled()
