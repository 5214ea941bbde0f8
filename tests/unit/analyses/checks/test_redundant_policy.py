"""A default-deny that is superfluous only until the next pod comes is no reason to fail."""

from __future__ import annotations

import pytest

from tests.commands import npcompile

POLICIES = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {SELECTOR}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]
"""
POD = """\
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop, labels: {app: api}}
status: {phase: Running, podIP: 10.0.0.1}
"""


@pytest.mark.parametrize(
    ("selector", "pods", "severity"),
    [
        ("matchLabels: {app: api}", POD, "info"),
        ("", "", "warning"),  # whatever pod may come, the other policy isolates it
        ("matchLabels: {app: api}", "", None),
    ],
)
def test_a_default_deny(selector: str, pods: str, severity: str | None) -> None:
    text = (POLICIES.replace("SELECTOR", selector) + pods).encode()
    result = npcompile("check", "-", "--select", "NPC102", "--output-format", "json", stdin=text)
    found = [one["severity"] for one in result.json["diagnostics"]]
    assert found == ([] if severity is None else [severity])
