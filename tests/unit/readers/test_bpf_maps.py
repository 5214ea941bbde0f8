"""`maps.json` is read strictly: whatever the loader would not pack is refused, with where it stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from npcompile.backends.bpf import BpfTarget
from npcompile.backends.target import Options
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
from npcompile.ir.policy import Direction
from npcompile.netset.ports import Protocol
from npcompile.readers.bpf_lookup import Reason, judge
from npcompile.readers.bpf_maps import read_maps
from npcompile.readers.problems import ReadingError
from tests.commands import ROOT

Document = dict[str, Any]


def document() -> Document:
    program = load(read_sources([str(ROOT / "examples" / "payments")])).program
    found: Document = json.loads(BpfTarget().emit(program, Options()).files["maps.json"])
    return found


def refusal(data: bytes) -> str:
    with pytest.raises(ReadingError) as refused:
        read_maps(data)
    return "\n".join(one.message for one in refused.value.diagnostics)


def test_what_is_emitted_is_read() -> None:
    maps = read_maps(json.dumps(document()).encode())
    assert maps.endpoints and maps.policy and maps.rules


def change(section: str, key: str, value: object) -> Callable[[Document], None]:
    def apply(one: Document) -> None:
        one[section][0][key] = value

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change("classes", "class", 0), "classes[0]: `0` is no number"),
        (change("classes", "ruleset", True), "classes[0]: `True` is no number"),
        (change("classes", "identity", 1 << 31), "classes[0]: `2147483648` is no number"),
        (change("classes", "ruleset", 999), "there is no ruleset 999"),
        (change("policy", "rule", 999), "there is no rule 999"),
        (change("policy", "rule", "denied"), "policy[0]: `denied` is no number"),
        (change("policy", "ports", "80-82"), "policy[0]: the ports `80-82` are no aligned block"),
        (change("policy", "ports", "81-82"), "policy[0]: the ports `81-82` are no aligned block"),
        (change("policy", "ports", "080"), "policy[0]: ports `080`"),
        (change("policy", "ports", "0"), "policy[0]: the ports `0` are no aligned block"),
        (change("policy", "ports", "65536"), "policy[0]: the ports `65536` are no aligned block"),
        (change("policy", "protocol", "icmp"), "policy[0]: protocol `icmp`"),
        (change("policy", "protocol", "any"), "policy[0]: protocol `any`"),
        (change("addresses", "address", "10.0.0.01"), "addresses[0]: `10.0.0.01` is no address"),
        (change("addresses", "address", "2001:DB8::1"), "addresses[0]: `2001:DB8::1` is not how"),
        (change("networks", "network", "10.0.0.1/8"), "networks[0]: `10.0.0.1/8` is no network"),
        (change("endpoints", "egress", 77), "there is no egress ruleset 77"),
        (change("endpoints", "addresses", []), "endpoints[0]: an endpoint has one address"),
        (change("endpoints", "addresses", ["192.0.2.77"]), "its address 192.0.2.77 has no identity"),
        (change("rulesets", "direction", "sideways"), "rulesets[0]: `sideways` is no direction"),
        (change("rules", "origin", ""), "rules[0]: `` is no text"),
        (lambda one: one["policy"].append(one["policy"][0]), "its key stands twice"),
        (lambda one: one["endpoints"][0].update(more=1), "endpoints[0]: an entry has exactly these keys"),
        (lambda one: one.update(version=2), "version 2 is not known"),
        (lambda one: one["features"].update(established="perhaps"), "`features` must say"),
        (lambda one: one.pop("rules"), "exactly these keys"),
    ],
)
def test_what_is_refused(change: Callable[[Document], None], message: str) -> None:
    changed = document()
    change(changed)
    assert message in refusal(json.dumps(changed).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b'{"version": 1, "version": 1}', b"NaN", b"\xff"])
def test_what_is_no_document(data: bytes) -> None:
    assert refusal(data)


def test_every_problem_is_said_at_once() -> None:
    changed = document()
    change("policy", "ports", "x")(changed)
    change("classes", "class", -1)(changed)
    assert refusal(json.dumps(changed).encode()).count("\n") == 1


def test_the_narrowest_entry_decides() -> None:
    changed = document()
    api = next(one for one in changed["endpoints"] if one["ingress"])
    ruleset = api["ingress"]
    changed["policy"] = [
        {"ruleset": ruleset, "class": 0, "protocol": "any", "ports": "*", "rule": 1},
        {"ruleset": ruleset, "class": 0, "protocol": "tcp", "ports": "*", "rule": 2},
        {"ruleset": ruleset, "class": 0, "protocol": "tcp", "ports": "80-95", "rule": 3},
        {"ruleset": ruleset, "class": 0, "protocol": "tcp", "ports": "80", "rule": "service-mixed"},
    ]
    changed["classes"] = []
    changed["rules"] = [{"id": number, "origin": f"np:{number}"} for number in (1, 2, 3)]
    maps = read_maps(json.dumps(changed).encode())

    def said(protocol: Protocol, port: int | None) -> tuple[Reason, str]:
        endpoint = maps.endpoints[api["pod"]]
        found = judge(maps, endpoint, Direction.INGRESS, ip_address("198.51.100.1"), (protocol, port))
        return found.reason, found.origin

    assert said(Protocol.ICMP, None) == (Reason.RULE, "np:1")
    assert said(Protocol.UDP, 80) == (Reason.RULE, "np:1")
    assert said(Protocol.TCP, 79) == (Reason.RULE, "np:2")
    assert said(Protocol.TCP, 81) == (Reason.RULE, "np:3")
    assert said(Protocol.TCP, 80)[0] is Reason.SERVICE_MIXED
