"""The normative cases of specs/semantics, through the front end and the reference evaluator.

The format is described in specs/semantics/README.md.  Reading is strict: a case that says something which this test
does not understand fails, so that no expectation is silently skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, Severity
from npcompile.frontend import load
from npcompile.ir.cluster import Cluster
from npcompile.ir.flow import Endpoint, Flow, Verdict
from npcompile.ir.policy import Direction
from npcompile.ir.printer import rule_text
from npcompile.ir.program import Program
from npcompile.netset.cidrs import Family
from npcompile.netset.ports import Protocol
from npcompile.semantics import Decision, Reason, Side, decide
from npcompile.source import SourceFile
from tests.conftest import ROOT

FOLDER = ROOT / "specs" / "semantics"
RULES = range(1, 19)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A flow and what is to become of it; None where the case does not say."""

    src: str
    dst: str
    port: str
    verdict: Verdict
    egress: Reason | None = None
    ingress: Reason | None = None
    rules: tuple[str, ...] | None = None
    family: Family | None = None

    def __str__(self) -> str:
        return f"{self.src} -> {self.dst} {self.port}" + (f" (IPv{self.family})" if self.family else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """The pods behind a Service's port, with the port that it leads to: `namespace/name number`."""

    service: str
    port: str
    at: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case of a file."""

    file: str
    name: str
    rule: int
    why: str
    input: str
    flows: tuple[Expected, ...] = ()
    pods: tuple[str, ...] | None = None
    backends: tuple[Backends, ...] = ()
    inactive: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    divergence: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"


class _Loader(yaml.SafeLoader):
    """Refuses a mapping that has a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"a duplicate key{node.start_mark}"
        return super().construct_mapping(node, deep)


def read_cases(folder: Path) -> Iterator[Case]:
    """Every case of a folder, in the order of its files."""
    for path in sorted(folder.glob("*.yaml")):
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        assert set(document) == {"cases"}, f"{path.name}: only `cases` may stand at the top"
        for fields in document["cases"]:
            yield _case(path.stem, fields)


def _case(file: str, fields: Mapping[str, Any]) -> Case:
    lists = {
        name: tuple(fields[name]) for name in ("pods", "inactive", "errors", "warnings", "infos") if name in fields
    }
    flows = tuple(_expected(flow) for flow in fields.get("flows", ()))
    backends = tuple(Backends(**{**one, "at": tuple(one["at"])}) for one in fields.get("backends", ()))
    case = Case(**{**fields, **lists, "file": file, "flows": flows, "backends": backends})
    assert case.rule in RULES, f"{case}: DESIGN has no rule {case.rule}"
    assert case.name and case.why.endswith("."), f"{case}: `why` is a sentence"
    assert isinstance(case.input, str), f"{case}: `input` is text"
    asked = case.flows or case.backends or case.pods is not None
    assert bool(asked) != bool(case.errors), f"{case}: either flows, pods or backends, or errors"
    return case


def _expected(fields: Mapping[str, Any]) -> Expected:
    known: dict[str, Any] = {"verdict": Verdict(fields["verdict"])}
    known |= {side: Reason(fields[side]) for side in ("egress", "ingress") if side in fields}
    if "rules" in fields:
        known["rules"] = tuple(fields["rules"])
    if "family" in fields:
        known["family"] = Family(fields["family"])
    return Expected(**{**fields, **known})


CASES = tuple(read_cases(FOLDER))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case, request: pytest.FixtureRequest) -> None:
    if case.divergence:
        request.applymarker(pytest.mark.xfail(reason=case.divergence, strict=True))
    source = SourceFile(path=f"{case.file}.yaml", text=case.input)
    if case.errors:
        with pytest.raises(InputError) as raised:
            load([source])
        _check_messages(raised.value.diagnostics, Severity.ERROR, case.errors)
        return
    loaded = load([source])
    _check_messages(loaded.diagnostics, Severity.WARNING, case.warnings)
    _check_messages(loaded.diagnostics, Severity.INFO, case.infos)
    program = loaded.program
    if case.pods is not None:
        assert tuple(str(pod) for pod in program.cluster.pods) == case.pods
    assert tuple(rule_text(p, rule) for p in program.policies for rule in p.inactive) == case.inactive
    for expected in case.flows:
        _check_flow(program, expected)
    for behind in case.backends:
        _check_backends(program.cluster, behind)


def test_every_rule_has_cases() -> None:
    assert {case.rule for case in CASES} == set(RULES)
    assert len({(case.file, case.name) for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdicts": []},  # an unknown key
        {"rule": 19},
        {"flows": [{"src": "a/b", "dst": "a/c", "port": "tcp/80", "verdict": "MAYBE"}]},
        {"flows": [{"src": "a/b", "dst": "a/c", "port": "tcp/80", "verdict": "DENY", "ingres": "no-rule"}]},
        {"flows": []},  # nothing expected
        {"errors": ["also invalid"]},
    ],
)
def test_a_case_that_is_not_understood_is_refused(wrong: Mapping[str, Any]) -> None:
    right = {
        "name": "one", "rule": 1, "why": "It is.", "input": "",
        "flows": [{"src": "a/b", "dst": "a/c", "port": "tcp/80", "verdict": "DENY"}],
    }  # fmt: skip
    _case("file", right)
    with pytest.raises((AssertionError, TypeError, ValueError)):
        _case("file", {**right, **wrong})


def _check_messages(found: tuple[Diagnostic, ...], severity: Severity, wanted: tuple[str, ...]) -> None:
    """Each message is one that was wanted, and each that was wanted is there."""
    messages = [one.message for one in found if one.severity is severity]
    assert [m for m in messages if not any(part in m for part in wanted)] == [], f"unexpected {severity}"
    assert [part for part in wanted if not any(part in m for m in messages)] == [], f"{severity} missing in {messages}"


def _check_flow(program: Program, expected: Expected) -> None:
    flows = list(flows_of(program.cluster, expected))
    assert flows, f"{expected}: no pair of addresses"
    for flow in flows:
        decision = decide(program.policies, program.cluster, flow)
        told = f"{expected}: {decision}"
        assert decision.verdict is expected.verdict, told
        assert expected.egress in (None, decision.egress.reason), told
        assert expected.ingress in (None, decision.ingress.reason), told
        assert expected.rules in (None, tuple(_deciding(decision))), told
        assert decision == decide(program.policies[::-1], program.cluster, flow), "the order of the policies counts"


def _check_backends(cluster: Cluster, expected: Backends) -> None:
    (service,) = (one for one in cluster.services if str(one) == expected.service)
    (port,) = (one for one in service.ports if str(one) == expected.port)
    at = ((pod, port.number_at(pod)) for pod in cluster.pods if service.selects(pod))
    assert tuple(f"{pod} {number}" for pod, number in at if number is not None) == expected.at, expected


def _deciding(decision: Decision) -> Iterator[str]:
    """What decided, egress first: a rule, or the policy that isolates where no rule matches."""
    sides: tuple[tuple[Direction, Side], ...] = (
        (Direction.EGRESS, decision.egress),
        (Direction.INGRESS, decision.ingress),
    )
    for direction, side in sides:
        if side.policy is not None:
            yield rule_text(side.policy, side.rule) if side.rule else f"{side.policy} {direction}"


def flows_of(cluster: Cluster, expected: Expected) -> Iterator[Flow]:
    """One flow a pair of addresses of one family."""
    word, _, number = expected.port.partition("/")
    for src in _ends(cluster, expected.src):
        for dst in _ends(cluster, expected.dst):
            families = {src.family, dst.family} - {None}
            if len(families) < 2 and expected.family in (None, *families):
                port = int(number) if number else None
                yield Flow(src=src, dst=dst, protocol=Protocol(word.upper()), port=port)


def _ends(cluster: Cluster, word: str) -> list[Endpoint]:
    """A pod at each of its addresses, or an address, which may be a pod's."""
    if "/" in word:
        (pod,) = (pod for pod in cluster.pods if str(pod) == word)
        return [Endpoint(pod=pod, address=address) for address in pod.addresses or (None,)]
    address = ip_address(word)
    owners = [pod for pod in cluster.pods if address in pod.addresses and not pod.host_network]
    return [Endpoint(pod=owner, address=address) for owner in owners] or [Endpoint(address=address)]
