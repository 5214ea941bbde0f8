"""No claim passes that the reference evaluator does not confirm."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest

from npcompile.analyses.checks import mixed_service
from npcompile.analyses.claims import Case, Claim, FlowWitness, MixedBackends, NothingSelected, Unchanged
from npcompile.diagnostics.errors import InternalError
from npcompile.diagnostics.model import Kind, RuleCode, Scope, Severity
from npcompile.driver import check
from npcompile.driver.inputs import read_sources
from npcompile.driver.replay import Replayer
from npcompile.frontend import load
from npcompile.ir.flow import Endpoint, Flow
from npcompile.ir.program import Program
from npcompile.netset.ports import Protocol
from npcompile.questions import Example, MixedService, RuleOf
from npcompile.relation.engine import RelationEngine
from npcompile.source import SourceFile
from tests.commands import ROOT, npcompile

RULE = RuleCode(code="NPC199", slug="a-lie", severity=Severity.WARNING, kind=Kind.PROVED)


@pytest.fixture(scope="module")
def program() -> Program:
    return load(read_sources([str(ROOT / "examples/payments")])).program


def endpoint(program: Program, name: str) -> Endpoint:
    pod = next(pod for pod in program.cluster.pods if str(pod) == name)
    return Endpoint(pod=pod, address=pod.addresses[0])


def flow(program: Program, src: str, dst: str, port: int) -> Flow:
    ends = endpoint(program, src), endpoint(program, dst)
    return Flow(src=ends[0], dst=ends[1], protocol=Protocol.TCP, port=port)


def claim(evidence: FlowWitness | MixedBackends | NothingSelected | Unchanged) -> Claim:
    return Claim(rule=RULE, message="so it is", span=None, evidence=evidence, scope=Scope.INVENTORY)


def rule_of(program: Program, name: str, direction: str) -> RuleOf:
    policy = next(policy for policy in program.policies if str(policy) == name)
    return RuleOf(policy=policy, rule=next(rule for rule in policy.rules if str(rule.direction) == direction))


def test_a_true_claim_gets_its_witness(program: Program) -> None:
    allowed = flow(program, "ingress-nginx/nginx-ingress-0", "production/payments-api-0", 8080)
    evidence = FlowWitness(
        flow=allowed,
        egress_allowed=True,
        ingress_allowed=True,
        matched_by=rule_of(program, "production/payments-api", "ingress"),
    )
    diagnostic = Replayer(program).confirm(claim(evidence))
    assert diagnostic.witness is not None
    assert diagnostic.witness.verdict == "ALLOW"


@pytest.mark.parametrize(
    "lie",
    [
        {"egress_allowed": False},
        {"ingress_allowed": False},
        {"matched_by": ("production/payments-api", "egress")},
        {"matched_by": ("production/postgres", "ingress")},
        {"even_without": True},
        {"port": 8081},
        {"src": "analytics/reporting-0"},
    ],
    ids=str,
)
def test_a_lie_is_an_internal_error(program: Program, lie: dict[str, object]) -> None:
    src = str(lie.pop("src", "ingress-nginx/nginx-ingress-0"))
    port = int(str(lie.pop("port", 8080)))
    name, direction = lie.pop("matched_by", ("production/payments-api", "ingress"))  # type: ignore[misc]
    evidence = FlowWitness(
        flow=flow(program, src, "production/payments-api-0", port),
        egress_allowed=True,
        ingress_allowed=True,
        matched_by=rule_of(program, name, direction),
    )
    with pytest.raises(InternalError, match="does not confirm"):
        Replayer(program).confirm(claim(replace(evidence, **lie)))  # type: ignore[arg-type]


def test_emptiness_is_confirmed_too(program: Program) -> None:
    of = rule_of(program, "production/payments-api", "ingress")
    for evidence in (NothingSelected(policy=of.policy), NothingSelected(policy=of.policy, rule=replace_ports(of))):
        with pytest.raises(InternalError):
            Replayer(program).confirm(claim(evidence))


def replace_ports(of: RuleOf) -> object:
    return replace(of.rule, match=replace(of.rule.match, ports=()))


def test_nothing_is_said_after_a_lie(monkeypatch: pytest.MonkeyPatch, program: Program) -> None:
    def lies(case: Case) -> Iterator[Claim]:
        denied = flow(program, "analytics/reporting-0", "production/payments-api-0", 8080)
        yield claim(FlowWitness(flow=denied, ingress_allowed=True))

    monkeypatch.setattr(check, "CHECKS", (*check.CHECKS, SimpleNamespace(RULE=RULE, check=lies)))
    result = npcompile("check", "examples/payments")
    assert (result.code, result.out) == (3, "")
    assert "internal error: NPC199" in result.err


def test_an_unexpected_error_is_neither_clean_nor_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(case: Case) -> Iterator[Claim]:
        raise ZeroDivisionError(str(case.scope))

    monkeypatch.setattr(check, "CHECKS", (SimpleNamespace(RULE=RULE, check=fails),))
    result = npcompile("check", "examples/payments")
    assert (result.code, result.out) == (3, "")
    assert "internal error: ZeroDivisionError" in result.err


def test_a_policy_that_changes_something_is_not_redundant(program: Program) -> None:
    allowed = flow(program, "ingress-nginx/nginx-ingress-0", "production/payments-api-0", 8080)
    policy = next(policy for policy in program.policies if str(policy) == "production/payments-api")
    elsewhere = next(policy for policy in program.policies if str(policy) == "production/postgres")
    for lie in (
        Unchanged(policy=policy, examples=(Example(flow=allowed),)),
        Unchanged(policy=elsewhere, examples=(Example(flow=allowed),)),
        Unchanged(policy=policy, examples=()),
    ):
        with pytest.raises(InternalError):
            Replayer(program).confirm(claim(lie))


def test_an_item_that_is_needed_is_not_shadowed(program: Program) -> None:
    allowed = flow(program, "ingress-nginx/nginx-ingress-0", "production/payments-api-0", 8080)
    of = rule_of(program, "production/payments-api", "ingress")
    for item in (*of.rule.match.peers, *of.rule.match.ports):
        evidence = FlowWitness(flow=allowed, ingress_allowed=True, matched_by=of, even_without_item=item)
        with pytest.raises(InternalError):
            Replayer(program).confirm(claim(evidence))


class TestMixedBackends:
    TEXT = inspect.cleandoc(mixed_service.__doc__ or "").partition("Bad:\n")[2].partition("Good:\n")[0]

    @pytest.fixture
    def evidence(self) -> tuple[Program, MixedBackends]:
        program = load([SourceFile(path="bad.yaml", text=dedent(self.TEXT))]).program
        (answer,) = RelationEngine(program).mixed_services()
        assert isinstance(answer, MixedService)
        return program, MixedBackends(
            service=answer.service, port=answer.port, allowed=answer.allowed, denied=answer.denied
        )

    def test_true(self, evidence: tuple[Program, MixedBackends]) -> None:
        program, mixed = evidence
        witness = Replayer(program).confirm(claim(mixed)).witness
        assert witness is not None
        assert witness.verdict == "DENY"

    @pytest.mark.parametrize(
        "lie", ["verdicts", "both allowed", "both denied", "port", "source", "not behind", "to itself"]
    )
    def test_lies(self, evidence: tuple[Program, MixedBackends], lie: str) -> None:
        program, mixed = evidence
        allowed, denied = mixed.allowed, mixed.denied
        web = allowed.flow.src
        match lie:
            case "verdicts":
                mixed = replace(mixed, allowed=denied, denied=allowed)
            case "both allowed":
                mixed = replace(mixed, denied=allowed)
            case "both denied":
                mixed = replace(mixed, allowed=denied)
            case "port":
                mixed = replace(mixed, port=replace(mixed.port, target=9090))
            case "source":
                mixed = replace(mixed, allowed=Example(flow=replace(allowed.flow, src=denied.flow.dst)))
            case "not behind":
                mixed = replace(mixed, service=replace(mixed.service, selector={"app": "web"}))
            case "to itself":
                own = replace(mixed.service, selector={"app": "web"})
                flow = Example(flow=replace(allowed.flow, dst=web))
                mixed = replace(mixed, service=own, allowed=flow)
        with pytest.raises(InternalError, match="does not confirm"):
            Replayer(program).confirm(claim(mixed))


FOR_ANY_POD = b"""\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: in, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{namespaceSelector: {matchLabels: {team: web}}, podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 80}]
  - {from: [{podSelector: {}}], ports: [{port: metrics}]}
"""


def test_a_witness_among_pods_that_could_exist_says_all_that_its_replay_takes(tmp_path: Path) -> None:
    """Its pods and namespaces are written down as it gives them, and traced."""
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(FOR_ANY_POD)
    found = npcompile("check", policy, "--no-cache", "--output-format", "json").json["diagnostics"]
    witnesses = [one["witness"] for one in found if one["witness"]]
    assert any(one["src"].get("namespace_labels", {}).get("team") == "web" for one in witnesses)
    assert any(one["port_names"] == ["metrics"] for one in witnesses)
    for number, witness in enumerate(witnesses):
        written = [*_manifests(witness["src"], []), *_manifests(witness["dst"], _ports(witness))]
        unique = [one for place, one in enumerate(written) if one not in written[:place]]
        pods = tmp_path / f"pods-{number}.json"
        pods.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": unique}))
        names = [f"{one['namespace']}/{one['pod']}" if "pod" in one else one["address"] for one in _ends(witness)]
        traced = npcompile("trace", *names, witness["port"], "-f", policy, "-f", pods, "--output-format", "json")
        (answer,) = traced.json["flows"]
        assert answer["verdict"] == witness["verdict"]
        for side in ("egress", "ingress"):
            assert answer[side]["allowed"] == witness[f"{side}_allowed"]


def _ends(witness: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return witness["src"], witness["dst"]


def _ports(witness: dict[str, Any]) -> list[dict[str, object]]:
    protocol, _, number = witness["port"].partition("/")
    return [
        {"name": name, "containerPort": int(number), "protocol": protocol.upper()} for name in witness["port_names"]
    ]


def _manifests(end: dict[str, Any], ports: list[dict[str, object]]) -> Iterator[dict[str, object]]:
    if "pod" not in end:
        return
    if "namespace_labels" in end:
        metadata = {"name": end["namespace"], "labels": end["namespace_labels"]}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    yield {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": end["pod"], "namespace": end["namespace"], "labels": end["labels"]},
        "spec": {"containers": [{"name": "main", "image": "main", "ports": ports}]},
        "status": {"podIP": end["address"]} if end["address"] else {},
    }
