"""What the checks of likely mistakes and of portability say, and where they are silent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcompile.analyses.checks.registry import CHECKS
from npcompile.analyses.claims import Claim, Cni, Evidence, Matching, PortUndeclared
from npcompile.diagnostics.errors import InternalError
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.driver.check import CheckOptions, check_program
from npcompile.driver.replay import Replayer
from npcompile.frontend import decode, load
from npcompile.ir.flow import Endpoint
from npcompile.ir.policy import NamedPort
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import RuleOf
from tests.commands import npcompile
from tests.strategies import programs

POLICY = """\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: web}
spec: SPEC
"""
POD = """\
---
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: web, labels: {app: NAME}}
spec: {HOST containers: [{name: main, image: x, ports: [PORTS]}]}
status: {phase: Running, podIP: ADDRESS}
"""
SERVICE = """\
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: web}
spec: {selector: {app: api}, clusterIP: 10.96.0.9, ports: [PORTS]}
"""
NODE = """\
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.0.2.7}]}
"""
NAMESPACE = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: NAME}\n"
BY_HTTP = "{podSelector: {}, ingress: [{ports: [{port: http}]}]}"
BY_NUMBER = "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}"


def policy(spec: str) -> str:
    return POLICY.replace("SPEC", spec)


def pod(name: str, ports: str = "", *, host: bool = False, address: str = "10.0.0.5") -> str:
    text = POD.replace("NAME", name).replace("PORTS", ports).replace("ADDRESS", address)
    return text.replace("HOST", "hostNetwork: true," if host else "")


def service(name: str, ports: str) -> str:
    return SERVICE.replace("NAME", name).replace("PORTS", ports)


def found(text: str, *options: str) -> list[dict[str, Any]]:
    result = npcompile("check", "-", "--output-format", "json", *options, stdin=text.encode())
    assert result.code in (0, 1), result.out + result.err
    return list(result.json["diagnostics"])


def only(text: str, code: str, *options: str) -> dict[str, Any]:
    (one,) = found(text, "--select", code, *options)
    return one


@pytest.mark.parametrize(
    ("ports", "advice"),
    [
        ("{name: http, containerPort: 80, protocol: UDP}", "they declare `http` for UDP: set `protocol`"),
        ("{name: web, containerPort: 80}, {name: adm, containerPort: 81}", "they declare `adm`, `web`"),
        ("", "write the port's number, or name it in the pods' `containerPort`"),
    ],
)
def test_an_unknown_port_name(ports: str, advice: str) -> None:
    one = only(policy(BY_HTTP) + pod("api", ports), "NPC410")
    assert (one["severity"], one["kind"], one["help"]) == ("warning", "proved", advice)


@pytest.mark.parametrize("options", [(), ("--symbolic",)])
def test_what_the_pods_of_the_input_say_is_said_of_them(options: tuple[str, ...]) -> None:
    assert only(policy(BY_HTTP) + pod("api"), "NPC410", *options)["scope"] == "inventory"


@pytest.mark.parametrize(
    "text",
    [
        policy(BY_HTTP),
        policy(BY_HTTP) + pod("api", "{name: http, containerPort: 80}") + pod("db"),
        policy(BY_HTTP) + pod("api", host=True),
        policy("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: http}]}]}")
        + pod("a"),
    ],
)
def test_no_unknown_port_name(text: str) -> None:
    assert found(text, "--select", "NPC410") == []


def test_an_egress_rule_asks_the_pods_that_it_goes_to() -> None:
    spec = "{podSelector: {}, egress: [{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: http}]}]}"
    text = policy(spec) + pod("api", "{name: http, containerPort: 80}") + pod("db", address="10.0.0.6")
    assert only(text, "NPC410")["line"] == 5
    assert found(text.replace("app: db}}}]", "app: api}}}]"), "--select", "NPC410") == []


HTTP_80, TO_8080, TO_NAME = "{port: 80}", "{port: 80, targetPort: 8080}", "{port: 80, targetPort: http}"


@pytest.mark.parametrize(
    ("ports", "services", "expected"),
    [
        ("", [TO_8080], 1),
        ("{name: http, containerPort: 8080}", [TO_NAME], 1),
        ("{name: http, containerPort: 80}", [TO_NAME], 0),
        ("", [HTTP_80], 0),
        ("", [TO_8080, "{port: 8000, targetPort: 80}"], 0),
        ("", ["{port: 80, targetPort: 8080, protocol: UDP}"], 0),
        ("{containerPort: 80}", [TO_8080], 0),
    ],
)
def test_the_port_of_a_service(ports: str, services: list[str], expected: int) -> None:
    text = policy(BY_NUMBER) + pod("api", ports)
    text += "".join(service(f"s{index}", one) for index, one in enumerate(services))
    assert len(found(text, "--select", "NPC413")) == expected
    assert not (expected and found(text, "--select", "NPC412"))


def test_ports_are_compared_only_where_every_pod_declares_some() -> None:
    both = policy(BY_NUMBER) + pod("api", "{containerPort: 8080}") + pod("db", "{containerPort: 5432}")
    assert only(both, "NPC412")["severity"] == "info"
    assert found(both + pod("silent"), "--select", "NPC412") == []
    wide = both.replace("port: 80}]}]", "port: 80, endPort: 9000}]}]")
    assert found(wide, "--select", "NPC412") == []


@pytest.mark.parametrize(
    ("block", "severity", "words"),
    [
        ("{cidr: 10.0.0.0/30, except: [10.0.0.0/31, 10.0.0.2/31]}", "warning", "leaves nothing"),
        ("{cidr: '2001:db8::/32', except: ['2001:db8::/33', '2001:db8:8000::/33']}", "warning", "leaves nothing"),
        (
            "{cidr: 10.0.0.0/24, except: [10.0.0.0/25, 10.0.0.128/26, 10.0.0.192/27, 10.0.0.224/28, 10.0.0.240/29,"
            " 10.0.0.248/30, 10.0.0.252/31]}",
            "info",
            "leaves nothing but `10.0.0.254/31`",
        ),
    ],
)
def test_a_block_of_which_nothing_is_left(block: str, severity: str, words: str) -> None:
    one = only(policy(f"{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {block}}}]}}]}}"), "NPC414")
    assert one["severity"] == severity
    assert one["message"].endswith(words)


def test_an_unknown_namespace_is_one_beside_listed_ones() -> None:
    lone = policy("{podSelector: {}}")
    assert found(lone, "--select", "NPC416") == []
    assert "which the input does not list" in only(lone + NAMESPACE.replace("NAME", "wbe"), "NPC416")["message"]
    assert only(lone + NAMESPACE.replace("NAME", "wbe"), "NPC416")["help"] == "did you mean `wbe`?"
    assert found(lone + NAMESPACE.replace("NAME", "web"), "--select", "NPC416") == []
    elsewhere = lone.replace("namespace: web", "namespace: kube-system") + NAMESPACE.replace("NAME", "web")
    assert found(elsewhere, "--select", "NPC416") == []


def test_pods_on_the_nodes_network() -> None:
    everyone = policy("{podSelector: {}}") + pod("agent", host=True)
    assert only(everyone, "NPC417")["severity"] == "info"
    chosen = policy("{podSelector: {matchLabels: {app: agent}}}") + pod("agent", host=True)
    assert only(chosen, "NPC417")["severity"] == "warning"
    any_peer = policy("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}") + pod("agent", host=True)
    assert found(any_peer, "--select", "NPC418") == []


def test_blocks_with_addresses_of_nodes_and_services() -> None:
    spec = "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: CIDR}}]}]}"
    node = policy(spec.replace("CIDR", "192.0.2.0/24")) + NODE
    assert "node `n1`" in only(node, "NPC502", "--cni", "cilium")["message"]
    narrow = policy(spec.replace("CIDR", "10.96.0.0/24")) + service("api", HTTP_80)
    assert "`10.96.0.9`" in only(narrow, "NPC419")["message"]
    wide = policy(spec.replace("CIDR", "10.96.0.0/12")) + service("api", HTTP_80)
    assert found(wide, "--select", "NPC419") == []


OTHER = """\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: q, namespace: NAMESPACE}
spec: SPEC
"""


@pytest.mark.parametrize(
    ("namespace", "other", "silent"),
    [
        ("web", "{podSelector: {}, policyTypes: [Ingress, Egress]}", True),  # a default-deny
        ("web", "{podSelector: {}, policyTypes: [Egress], egress: [{}]}", True),
        ("web", "{podSelector: {}, policyTypes: [Ingress]}", False),
        ("db", "{podSelector: {}, policyTypes: [Egress]}", False),  # another namespace's
        ("web", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress]}", False),  # other pods'
        ("web", "{podSelector: {matchLabels: {tier: x}}, policyTypes: [Egress]}", True),
        ("web", "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: []}", False),
    ],
)
@pytest.mark.parametrize("listed", ["", "egress: [],", "egress: null,"])
def test_egress_closed_beside_ingress_rules(namespace: str, other: str, silent: bool, listed: str) -> None:
    spec = f"{{podSelector: {{matchLabels: {{app: api}}}}, {listed} policyTypes: [Ingress, Egress], ingress: [{{}}]}}"
    text = POLICY.replace("SPEC", spec) + OTHER.replace("NAMESPACE", namespace).replace("SPEC", other)
    found = npcompile("check", "-", "--select", "NPC422", "--output-format", "json", stdin=text.encode())
    expected = [] if silent or "[]" in listed else [2]
    assert [one["line"] for one in found.json["diagnostics"]] == expected


def test_a_heuristic_is_never_an_error() -> None:
    assert all(one.RULE.severity < Severity.ERROR for one in CHECKS if one.RULE.kind is Kind.HEURISTIC)


EVERYTHING_AT_ONCE = "".join(
    (
        policy("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 1, endPort: 9}]}]}"),
        policy("{podSelector: {}, egress: [{ports: [{port: http}, {port: 5, protocol: SCTP}]}]}").replace("p,", "q,"),
        pod("api", "{name: http, containerPort: 80}"),
        pod("db", "{name: http, containerPort: 81}", address="10.0.0.6"),
        service("api", TO_8080),
    )
)


@pytest.mark.parametrize("cni", [str(one.value) for one in Cni])
def test_a_plugin_changes_nothing_of_what_else_is_said(cni: str) -> None:
    without, with_cni = found(EVERYTHING_AT_ONCE), found(EVERYTHING_AT_ONCE, "--cni", cni)
    assert not [one for one in without if one["code"].startswith("NPC5")]
    assert [one for one in with_cni if not one["code"].startswith("NPC5")] == without
    assert len(with_cni) > len(without)


OWN = ("NPC41", "NPC420", "NPC5")


@settings(max_examples=150)
@given(programs(), st.sampled_from(Cni))
def test_whatever_is_said_of_any_program_is_confirmed(program: Program, cni: Cni) -> None:
    options = CheckOptions(select=OWN, cni=cni)
    said = list(check_program(program, options))
    assert said == list(check_program(program, options))
    assert all(one.rule.code.startswith(OWN) for one in said)


LIE = RuleCode(code="NPC199", slug="a-lie", severity=Severity.WARNING, kind=Kind.PROVED)


def program(text: str) -> Program:
    return load([decode("-", text.encode())]).program


def lies(text: str) -> list[tuple[Program, Evidence]]:
    one = program(text)
    rule = RuleOf(policy=one.policies[0], rule=one.policies[0].rules[0])
    port = NamedPort(protocol=Protocol.TCP, name="http")
    end = Endpoint(pod=one.cluster.pods[0], address=one.cluster.pods[0].addresses[0])
    return [
        (one, PortUndeclared(rule=rule, port=port)),
        (replace(one, cluster=replace(one.cluster, pods=())), PortUndeclared(rule=rule, port=port)),
        (one, Matching(policy=rule.policy, endpoint=end, holds=False)),
        (one, Matching(policy=rule.policy, endpoint=end, peer=rule.rule.match.peers[0], holds=False)),
    ]


@pytest.mark.parametrize("number", range(4))
def test_what_does_not_hold_is_an_internal_error(number: int) -> None:
    spec = "{podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: http}]}]}"
    one, evidence = lies(policy(spec) + pod("api", "{name: http, containerPort: 80}"))[number]
    claim = Claim(rule=LIE, message="so it is", span=None, evidence=evidence, scope=Scope.INVENTORY)
    with pytest.raises(InternalError):
        Replayer(one).confirm(claim)
