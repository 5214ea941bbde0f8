"""The front end takes the manifests that a real API server takes, for what it takes them for, and no others.

The answers of the server are in `oracles/apiserver/answers.jsonl`; its README says what `accepted` means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, Severity
from npcompile.frontend import load
from npcompile.ir.policy import Policy
from npcompile.source import SourceFile

RECORDED = Path(__file__).parent / "oracles/apiserver/answers.jsonl"
ANSWERS = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").strip().split("\n")]


class Reason(Enum):
    """Why npcompile decides otherwise than the server."""

    # Taken, although the server refuses.
    STATUS = "what older clusters exported has a `status`; it means nothing, and gets a warning"
    EXPORTED = "an exported policy has a resourceVersion, which only its creation may not have"
    SEVERAL = "kubectl splits several documents and lists before the server sees them, and so does npcompile"
    NO_POLICY = "no policy, but another object, another tool's file, or nothing: skipped, and said so where it matters"
    NULL_LABEL = (
        "a label without a value: the server stores the empty value, and so it is judged; kubectl drops the key"
    )
    VENDOR = "another vendor's NetworkPolicy: skipped with a warning that it is not judged"
    # Refused, although the server takes it.
    MAPPED = "an IPv4-mapped IPv6 block: network plugins read it differently, and the IPv4 one says what is meant"
    NO_VERSION = "an apiVersion without its version, which the server fills in for this one group"
    AFTER_END = "the server ignores text after `...`: a policy there would vanish silently"


DIVERGENCES = {
    **dict.fromkeys(
        (
            "document with status: {}",
            "document with status: null",
            "document with status:",
            "document with status: []",
            "document with status: text",
            "document with status: {conditions: []}",
            "document with status: {conditions: [{type: Accepted, status: 'True'}]}",
            "document with <<: {status: {}}",
            "document: JSON with the status field",
        ),
        Reason.STATUS,
    ),
    "metadata: resourceVersion: '5'": Reason.EXPORTED,
    **dict.fromkeys(
        (
            "document: two documents",
            "document: two documents, first empty",
            "document: List of one policy",
            "document: List of two policies",
            "document: List with metadata",
            "document: NetworkPolicyList",
            "document: NetworkPolicyList whose items have no kind",
            "document: JSON twice",
            "document: JSON followed by YAML",
            "document: JSON List",
        ),
        Reason.SEVERAL,
    ),
    **dict.fromkeys(
        (
            "kind: Ingress",
            "document: empty document",
            "document: only a newline",
            "document: only spaces",
            "document: only a comment",
            "document: only a separator",
            "document: null document",
            "document: scalar document",
            "document: number document",
            "document: list document",
            "document: empty mapping",
        ),
        Reason.NO_POLICY,
    ),
    **dict.fromkeys(
        (
            "metadata.labels.app is `null`",
            "metadata.labels.app is ``",
            "spec.podSelector.matchLabels.app is `null`",
            "spec.podSelector.matchLabels.app is ``",
            "spec.ingress.0.from.0.namespaceSelector.matchLabels.app is `null`",
            "spec.ingress.0.from.0.namespaceSelector.matchLabels.app is ``",
            "metadata.labels with an unknown null key",
            "spec.podSelector.matchLabels with an unknown null key",
            "spec.ingress.0.from.0.podSelector.matchLabels with an unknown null key",
            "label value: ",
            "label value: null",
            "label value: ~",
            "peer: {podSelector: {matchLabels: {a: null}}}",
            "metadata: labels: {a: null}",
            "document: set",
        ),
        Reason.NULL_LABEL,
    ),
    **dict.fromkeys(
        ("apiVersion: projectcalico.org/v3", "apiVersion: crd.projectcalico.org/v1", "apiVersion: cilium.io/v2"),
        Reason.VENDOR,
    ),
    **dict.fromkeys(
        (
            "cidr: ::ffff:10.0.0.0/104",
            "cidr: ::ffff:10.0.0.0/96",
            "cidr: ::ffff:0:0/96",
            "cidr: ::ffff:a00:0/104",
            "cidr: ::ffff:10.1.2.3/128",
            "cidr: ::ffff:010.0.0.0/104",
            "cidr 10.0.0.0/8 except `['::ffff:10.1.0.0/112']`",
            "cidr 10.0.0.0/8 except `['::ffff:10.0.0.0/104']`",
            "cidr '::ffff:10.0.0.0/104' except `['::ffff:10.1.0.0/112']`",
            "cidr '::ffff:0:0/96' except `['::ffff:10.0.0.0/104']`",
        ),
        Reason.MAPPED,
    ),
    "apiVersion: networking.k8s.io/": Reason.NO_VERSION,
    "document: text after document end": Reason.AFTER_END,
}


# Where our error is about something else than the server's: a key of the map itself, the block that is wrong before its
# exception is, the fault beside a status.
NAMED_OTHERWISE = {
    "scalar as label key: .inf",
    "scalar as label key: .nan",
    "cidr '::ffff:10.0.0.0/104' except `[10.1.0.0/16]`",
    "cidr '::ffff:10.0.0.0/104' except `[10.0.0.0/8]`",
    "cidr '::ffff:0:0/96' except `[10.0.0.0/8]`",
    "cidr '::ffff:0:0/96' except `[fd00::/100]`",
    "several: status and an invalid value",
}


def read(text: str) -> tuple[Policy, ...] | list[Diagnostic]:
    """The policies of a manifest, or the errors that it is refused with."""
    try:
        return load([SourceFile(path="manifest.yaml", text=text)]).program.policies
    except InputError as refusal:
        return [one for one in refusal.diagnostics if one.severity is Severity.ERROR]


def test_accepts_and_refuses_what_the_server_does() -> None:
    differ = {
        answer["name"]: answer["manifest"]
        for answer in ANSWERS
        if isinstance(read(answer["manifest"]), tuple) != answer["accepted"]
    }
    assert {name: text for name, text in differ.items() if name not in DIVERGENCES} == {}
    assert DIVERGENCES.keys() - differ.keys() == set(), "these agree by now: take them out of the table"


def test_an_accepted_manifest_means_what_the_server_made_of_it() -> None:
    differ = {}
    for answer in ANSWERS:
        if answer["accepted"] and answer["name"] not in DIVERGENCES:
            ours, theirs = read(answer["manifest"]), read(json.dumps(answer["defaulted"]))
            if ours != theirs or len(ours) != 1:
                differ[answer["name"]] = (ours, theirs)
    assert differ == {}


@pytest.mark.parametrize("name", [name for name, why in DIVERGENCES.items() if why is Reason.SEVERAL])
def test_lists_and_several_documents_mean_what_kubectl_made_of_them(name: str) -> None:
    answer = next(answer for answer in ANSWERS if answer["name"] == name)
    theirs = read("\n---\n".join(json.dumps(one) for one in answer["kubectl"]["objects"]))
    assert theirs
    assert read(answer["manifest"]) == theirs


@pytest.mark.parametrize("name", [name for name, why in DIVERGENCES.items() if why is Reason.NULL_LABEL])
def test_a_label_without_a_value_means_what_the_server_stored(name: str) -> None:
    answer = next(answer for answer in ANSWERS if answer["name"] == name)
    (stored,) = answer["server"]["objects"]
    theirs = read(json.dumps(stored))
    assert theirs
    assert read(answer["manifest"]) == theirs


@pytest.mark.parametrize("name", [name for name, why in DIVERGENCES.items() if why in (Reason.STATUS, Reason.EXPORTED)])
def test_fields_of_the_server_change_nothing(name: str) -> None:
    manifest = next(answer["manifest"] for answer in ANSWERS if answer["name"] == name)
    ours = read(manifest)
    assert isinstance(ours, tuple)
    assert len(ours) == 1


@pytest.mark.parametrize(
    "name", [name for name, why in DIVERGENCES.items() if why in (Reason.NO_POLICY, Reason.VENDOR)]
)
def test_what_is_skipped_leaves_no_policy(name: str) -> None:
    manifest = next(answer["manifest"] for answer in ANSWERS if answer["name"] == name)
    assert read(manifest) == ()


def single_faults() -> Iterator[tuple[str, str, str]]:
    """(name, manifest, last part of the field) of every answer with exactly one fault, of a named field."""
    for answer in ANSWERS:
        faults: list[dict[str, Any]] = answer["errors"]
        if len(faults) == 1 and faults[0]["field"] and answer["name"] not in DIVERGENCES:
            word = re.findall(r"[^.\[\]]+", re.sub(r"\[\d+\]", "", faults[0]["field"]))[-1]
            yield answer["name"], answer["manifest"], word


def test_errors_name_the_field_that_the_server_names() -> None:
    silent = {}
    for name, manifest, field in single_faults():
        errors = read(manifest)
        assert isinstance(errors, list)
        shown = [f"{one.message} {one.span.file.line(one.span.line) if one.span else ''}" for one in errors]
        if not any(field.lower() in text.lower() for text in shown):
            silent[name] = (field, [one.message for one in errors])
    assert {name: what for name, what in silent.items() if name not in NAMED_OTHERWISE} == {}
    assert NAMED_OTHERWISE - silent.keys() == set(), "these name the field by now: take them out of the table"
