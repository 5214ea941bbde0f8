"""Pods, workloads, Services and nodes as clusters and people write them."""

from __future__ import annotations

import pytest

from npcompile.ir.cluster import ContainerPort, ServicePort
from npcompile.netset.ports import Protocol
from tests.unit.frontend.reading import HEAD, cluster, pod, policies, refused, said

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: n%s}\n%s"


def with_status(status: str) -> str:
    """A pod with a status in flow style."""
    return POD % ("", f"status: {status}\n")


def with_containers(containers: str, more: str = "") -> str:
    """A pod with a list of containers in flow style."""
    return POD % ("", f"spec: {{containers: {containers}{more}}}\n")


# --- addresses and phases --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "addresses"),
    [
        ("{}", []), ("~", []), ("", []), ("[]", []), ("{podIP: ''}", []), ("{podIP: ~}", []), ("{podIPs: ~}", []),
        ("{podIPs: []}", []), ("{podIPs: [{}]}", []), ("{podIPs: [~]}", []), ("{phase: Pending}", []),
        ("{podIP: 10.0.0.1}", ["10.0.0.1"]),
        ("{podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}]}", ["10.0.0.1"]),
        ("{podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}", ["10.0.0.1", "fd00::1"]),
        ("{podIP: 'fd00::1', podIPs: [{ip: 'fd00::1'}, {ip: 10.0.0.1}]}", ["fd00::1", "10.0.0.1"]),
        ("{podIP: 'FD00:0::1', podIPs: [{ip: 'fd00::1'}]}", ["fd00::1"]),
        ("{podIPs: [{ip: '::ffff:10.0.0.1'}]}", ["10.0.0.1"]),
    ],
)  # fmt: skip
def test_addresses(status: str, addresses: list[str]) -> None:
    assert [str(address) for address in pod(with_status(status)).addresses] == addresses


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("{podIP: 10.0.0.300}", "4:17 NPC008 `10.0.0.300` is no IP address"),
        ("{podIP: 'fe80::1%eth0'}", "4:17 NPC008 `fe80::1%eth0` is no IP address"),
        ("{podIP: 010.0.0.1}", "4:17 NPC008 `010.0.0.1` is no IP address"),
        ("{podIPs: [{ip: 10.0.0.1}, {ip: 10.0.0.2}]}",
         "4:18 NPC008 `podIPs` and `podIP` have several addresses of one family: 10.0.0.1, 10.0.0.2"),
        ("{podIP: 10.0.0.3, podIPs: [{ip: 10.0.0.1}]}",
         "4:35 NPC008 `podIPs` and `podIP` have several addresses of one family: 10.0.0.1, 10.0.0.3"),
    ],
)  # fmt: skip
def test_addresses_that_are_wrong(status: str, error: str) -> None:
    assert refused(with_status(status)) == [error]


@pytest.mark.parametrize(
    ("phase", "count"), [("Succeeded", 0), ("Failed", 0), ("Running", 1), ("Pending", 1), ("Unknown", 1)]
)
def test_finished_pods_have_no_endpoint(phase: str, count: int) -> None:
    assert len(cluster(with_status(f"{{phase: {phase}, podIP: 10.0.0.1}}")).pods) == count


def test_two_pods_with_one_address() -> None:
    other = with_status("{podIP: 10.0.0.1}").replace("name: a", "name: b")
    assert said(with_status("{podIP: 10.0.0.1}"), other) == [
        "1:1 NPC014 `n/b` has the address 10.0.0.1 of `n/a`: no packet filter can tell them apart"
    ]
    host = "spec: {hostNetwork: true}\n"
    assert said(with_status("{podIP: 10.0.0.1}") + host, other + host) == []


# --- labels ----------------------------------------------------------------------------------------------------------


def labelled(labels: str) -> str:
    """A pod with labels in flow style."""
    return POD % (f", labels: {labels}", "")


def test_values_of_labels_are_as_they_are_written() -> None:
    labels = "{v: 1.10, m: 080, o: yes, 1: x, e: '', q: \"1\", app.kubernetes.io/name: web}"
    assert pod(labelled(labels)).labels == {
        "v": "1.10", "m": "080", "o": "yes", "1": "x", "e": "", "q": "1", "app.kubernetes.io/name": "web"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "key"),
    [("n", "false"), ("y", "true"), ("on", "true"), ("0x10", "16"), ("1e3", "1000"), ("'n'", "n"), ('"on"', "on")],
)
def test_keys_of_labels_are_the_same_in_pods_and_in_selectors(written: str, key: str) -> None:
    """What JSON makes of them, on the way to the API server."""
    assert pod(labelled(f"{{{written}: v}}")).labels == {key: "v"}
    (policy,) = policies(f"{HEAD}metadata: {{name: p}}\nspec: {{podSelector: {{matchLabels: {{{written}: v}}}}}}\n")
    assert [requirement.key for requirement in policy.subjects.requirements] == [key]


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ("{a: [x]}", "3:47 NPC008 label `a` must be a string, not a list"),
        ("{a: x, a: y}", "3:50 NPC007 duplicate key `a`"),
        ("{on: x, true: y}", "3:51 NPC007 duplicate key `true`"),
        ("{~: x}", "3:44 NPC008 `~` cannot be a key"),
    ],
)
def test_labels_without_a_meaning(labels: str, error: str) -> None:
    assert refused(labelled(labels)) == [error]


def test_a_label_may_override_a_merged_one() -> None:
    assert pod(labelled("{<<: {a: x, b: y}, a: z}")).labels == {"a": "z", "b": "y"}


@pytest.mark.parametrize("labels", ["~", "{}", "", "[]", "text"])
def test_no_labels(labels: str) -> None:
    assert pod(labelled(labels)).labels == {}


def test_a_namespace_carries_its_name() -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: n, labels: {kubernetes.io/metadata.name: other, a: b}}\n"
    assert cluster(text).namespaces["n"].labels == {"kubernetes.io/metadata.name": "n", "a": "b"}


def test_a_namespace_that_is_only_mentioned() -> None:
    namespace = cluster(labelled("{}")).namespaces["n"]
    assert (namespace.listed, namespace.labels) == (False, {"kubernetes.io/metadata.name": "n"})


@pytest.mark.parametrize("kind", ["Pod", "Namespace", "Service", "Node"])
def test_an_object_needs_a_name(kind: str) -> None:
    assert refused(f"apiVersion: v1\nkind: {kind}\nmetadata: {{}}\n") == ["1:1 NPC008 `metadata.name` is required"]


# --- ports -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("containers", ["~", "[]", "[{}]", "[{name: c}]", "[{ports: ~}]", "[{ports: []}]", "text"])
def test_no_ports(containers: str) -> None:
    assert pod(with_containers(containers)).ports == ()


def port(name: str | None, number: int, protocol: Protocol = Protocol.TCP) -> ContainerPort:
    """A container's port."""
    return ContainerPort(name=name, protocol=protocol, number=number)


def test_ports() -> None:
    containers = (
        "[{ports: [{containerPort: 80, name: http}, {containerPort: 53, protocol: UDP, name: ''}]}, "
        "{ports: [{containerPort: 80, name: http}, {containerPort: 81, name: http}]}]"
    )
    assert pod(with_containers(containers)).ports == (
        port("http", 80), port(None, 53, Protocol.UDP), port("http", 81)
    )  # fmt: skip


def test_sidecars_listen_and_other_init_containers_do_not() -> None:
    init = (
        ", initContainers: [{restartPolicy: Always, ports: [{containerPort: 1, name: a}]}, "
        "{ports: [{containerPort: 2, name: b}]}]"
    )
    assert pod(with_containers("[]", init)).ports == (port("a", 1),)


@pytest.mark.parametrize("number", ["'80'", "0", "65536", "http", "[]", "80.5", "~"])
def test_a_container_port_that_is_no_port(number: str) -> None:
    (error,) = refused(with_containers(f"[{{ports: [{{containerPort: {number}}}]}}]"))
    assert error == "4:46 NPC008 `containerPort` must be a number between 1 and 65535"


def test_a_container_port_without_a_number_and_one_of_no_protocol() -> None:
    assert said(with_containers("[{ports: [{name: x}]}]")) == [
        "4:30 NPC016 a container's port without `containerPort`: no policy will find it"
    ]
    assert refused(with_containers("[{ports: [{containerPort: 80, protocol: tcp}]}]")) == [
        "4:60 NPC008 `protocol` must be one of `TCP`, `UDP`, `SCTP`, not `tcp`"
    ]


# --- Services and nodes ----------------------------------------------------------------------------------------------


def service(spec: str) -> str:
    """A Service with a spec in flow style."""
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: n}}\nspec: {spec}\n"


@pytest.mark.parametrize(
    ("spec", "selector", "addresses"),
    [
        ("{selector: {a: b}, clusterIP: None}", {"a": "b"}, []),
        ("{selector: {a: b}, clusterIP: None, clusterIPs: [None]}", {"a": "b"}, []),
        ("{selector: {a: b}, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1']}", {"a": "b"},
         ["10.96.0.1", "fd00::1"]),
        ("{selector: {a: b}, clusterIP: 10.96.0.1, clusterIPs: ~}", {"a": "b"}, ["10.96.0.1"]),
        ("{type: ExternalName, externalName: x.example, selector: {a: b}}", None, []),
        ("{clusterIP: ''}", None, []), ("{selector: {}}", None, []), ("{selector: ~}", None, []), ("~", None, []),
    ],
)  # fmt: skip
def test_services(spec: str, selector: dict[str, str] | None, addresses: list[str]) -> None:
    (found,) = cluster(service(spec)).services
    assert found.selector == selector
    assert [str(address) for address in found.addresses] == addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{port: 80}", ServicePort(name=None, protocol=Protocol.TCP, number=80, target=80)),
        ("{port: 80, targetPort: 8080}", ServicePort(name=None, protocol=Protocol.TCP, number=80, target=8080)),
        ("{port: 80, targetPort: '8080'}", ServicePort(name=None, protocol=Protocol.TCP, number=80, target="8080")),
        ("{port: 53, targetPort: dns, protocol: UDP, name: d}",
         ServicePort(name="d", protocol=Protocol.UDP, number=53, target="dns")),
        ("{port: 80, targetPort: 0}", ServicePort(name=None, protocol=Protocol.TCP, number=80, target=80)),
    ],
)  # fmt: skip
def test_service_ports(text: str, expected: ServicePort) -> None:
    (found,) = cluster(service(f"{{ports: [{text}]}}")).services
    assert found.ports == (expected,)


def test_a_service_port_needs_a_number() -> None:
    assert refused(service("{ports: [{name: x}]}")) == [
        "4:16 NPC008 a Service's `port` must be a number between 1 and 65535"
    ]


@pytest.mark.parametrize("target", ["70000", "-1", "65536"])
def test_a_target_port_that_is_none(target: str) -> None:
    assert refused(service(f"{{ports: [{{port: 80, targetPort: {target}}}]}}")) == [
        "4:39 NPC008 a Service's `targetPort` must be a number between 1 and 65535, or a name"
    ]


def test_nodes() -> None:
    text = (
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: ["
        "{type: InternalIP, address: 10.9.0.1}, {type: Hostname, address: n1}, {type: ExternalIP, address: 192.0.2.1}, "
        "{type: InternalIP, address: 'fd09::1'}]}\n"
    )
    on_it = with_status("{hostIP: 10.9.0.1, hostIPs: [{ip: 10.9.0.1}, {ip: 'fd09::2'}]}") + "spec: {nodeName: n1}\n"
    elsewhere = on_it.replace("name: a", "name: b").replace("n1", "n2").replace("fd09::2", "fd09::9")
    host = with_status("{podIP: 10.9.0.7}").replace("name: a", "name: c") + "spec: {nodeName: n1, hostNetwork: true}\n"
    nodes = cluster(text, on_it, elsewhere.replace("10.9.0.1", "10.9.0.2"), host).nodes
    assert {name: [str(address) for address in node.addresses] for name, node in nodes.items()} == {
        "n1": ["10.9.0.1", "192.0.2.1", "fd09::1", "fd09::2", "10.9.0.7"],
        "n2": ["10.9.0.2", "fd09::9"],
    }


@pytest.mark.parametrize("labels", ["{a: }", "{a: null}", "{a: ~}"])
def test_a_label_without_a_value_is_empty(labels: str) -> None:
    assert pod(labelled(labels)).labels == {"a": ""}


# --- what could forge a line of the output ---------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [r"a\nDENY  b", r"\e]0;a\a", r"a\u202eb"])
@pytest.mark.parametrize(
    "form",
    [
        'kind: Pod\nmetadata: {{name: "{}"}}\n',
        'kind: Pod\nmetadata: {{generateName: "{}"}}\n',
        'kind: Pod\nmetadata: {{name: a, namespace: "{}"}}\n',
        'kind: Pod\nmetadata: {{name: a, labels: {{"{}": b}}}}\n',
        'kind: Pod\nmetadata: {{name: a, labels: {{app: "{}"}}}}\n',
        'kind: Pod\nmetadata: {{name: a, ownerReferences: [{{kind: Job, name: "{}"}}]}}\n',
        'kind: Pod\nmetadata: {{name: a, ownerReferences: [{{kind: "{}", name: b}}]}}\n',
        'kind: Pod\nmetadata: {{name: a}}\nspec: {{nodeName: "{}"}}\n',
        'kind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{ports: [{{containerPort: 80, name: "{}"}}]}}]}}\n',
        'kind: Namespace\nmetadata: {{name: "{}"}}\n',
        'kind: Service\nmetadata: {{name: "{}"}}\nspec: {{ports: [{{port: 80}}]}}\n',
        'kind: Service\nmetadata: {{name: a}}\nspec: {{ports: [{{port: 80, targetPort: "{}"}}]}}\n',
    ],
)
def test_names_and_labels_that_cannot_be_shown_are_refused(form: str, odd: str) -> None:
    problems = refused("apiVersion: v1\n" + form.format(odd))
    assert [one.partition(" ")[2] for one in problems] == ["NPC008 a name or label must not hold control characters"]


def test_a_pod_that_cannot_be_shown_is_refused_among_many_alike() -> None:
    form = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a-{0}\n  labels: {{app: {1}}}\n"
    pods = [form.format(number, r'"web\n"' if number == 30 else "web") for number in range(40)]
    assert refused("---\n".join(pods)) == ["185:17 NPC008 a name or label must not hold control characters"]
