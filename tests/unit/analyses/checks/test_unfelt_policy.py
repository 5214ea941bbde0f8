"""When NPC104 speaks, and when it leaves the word to the findings about a policy's rules."""

from __future__ import annotations

import pytest

from tests.commands import npcompile

POLICIES = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: clients, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: db}}}]
"""
FROM_API = """\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: more, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [api, cron]}]}}]
"""
PODS = "".join(
    f"""\
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}
spec: {{containers: [{{name: main, image: i}}]}}
"""
    for name in ("api", "cron", "db", "web")
)


def found(text: str, *codes: str) -> list[tuple[str, str]]:
    run = npcompile("check", "-", "--select", ",".join(codes), "--output-format", "json", stdin=text.encode())
    every_pod = True if PODS in text else None  # without pods every finding is about all that could exist
    assert all(one["every_pod"] is every_pod for one in run.json["diagnostics"])
    return [(one["code"], one["message"].split("`")[1]) for one in run.json["diagnostics"]]


@pytest.mark.parametrize("pods", ["", PODS])
def test_dead_rules_are_warned_of_once(pods: str) -> None:
    assert found(POLICIES + pods, "NPC104", "NPC201") == [
        ("NPC201", "shop/db ingress[0]"),
        ("NPC201", "shop/clients egress[0]"),
    ]
    assert found(POLICIES + pods, "NPC104") == []


@pytest.mark.parametrize("pods", ["", PODS])
def test_a_rule_that_is_partly_dead_and_partly_another_ones(pods: str) -> None:
    some = "{matchExpressions: [{key: app, operator: In, values: [api, web]}]}"
    wide = POLICIES.replace("{matchLabels: {app: web}}", some)
    assert found(wide + pods, "NPC104") == [], "it lets api in"
    both = [("NPC104", "shop/db"), ("NPC104", "shop/more")]
    assert found(wide + FROM_API + pods, "NPC104") == both, "either lets api in, and nobody else"
