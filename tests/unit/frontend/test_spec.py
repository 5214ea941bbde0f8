"""Assertion files: what each form means, and what is said of texts that are none."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Severity
from npcompile.diagnostics.render import FORMATS
from npcompile.frontend.spec import load_assertions
from npcompile.ir.assertion import (
    ANY_POD,
    AllOf,
    Allowed,
    AnyOf,
    Assertion,
    Complement,
    Denied,
    Ends,
    Isolated,
    Word,
)
from npcompile.ir.labels import EVERYTHING, NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import BlockPeer, Direction, PodPeer
from npcompile.netset import ports
from npcompile.netset.cidrs import Network
from npcompile.source import SourceFile
from tests.golden import Golden
from tests.unit.relation.building import block

ROOT = Path(__file__).parents[3]
GOLDEN = Path("tests/golden/spec")


def parsed(text: str) -> tuple[Assertion, ...]:
    return load_assertions([SourceFile(path="spec", text=text)])


def problems(text: str) -> list[tuple[int, int, str, str]]:
    with pytest.raises(InputError) as caught:
        parsed(text)
    found = [(one.span, one) for one in caught.value.diagnostics]
    return [(span.line, span.column, one.message, one.help) for span, one in found if span is not None]


def denied(text: str) -> Denied:
    (assertion,) = parsed(text)
    (requirement,) = assertion.requirements
    assert isinstance(requirement, Denied)
    return requirement


def source(text: str) -> Ends:
    """What an endpoint means."""
    (party,) = denied(f"deny {text} -> world").region.flows.src
    return party.ends


def where(key: str, *values: str, operator: Operator = Operator.IN) -> PodPeer:
    return PodPeer(
        namespaces=Selector(requirements=(Requirement(key=key, operator=operator, values=values),)), pods=EVERYTHING
    )


def who(key: str, *values: str, operator: Operator = Operator.IN) -> PodPeer:
    return PodPeer(
        namespaces=EVERYTHING, pods=Selector(requirements=(Requirement(key=key, operator=operator, values=values),))
    )


def name(text: str) -> PodPeer:
    return where(NAMESPACE_NAME, text)


def every(*parts: Ends) -> AllOf:
    return AllOf(parts=parts)


DESIGN = """\
deny * -> ns:production except ns:production/app=nginx-ingress -> ns:production/app=payments-api on tcp/8080
allow ns:web/app=frontend -> ns:web/app=backend on tcp/8080
"db is sealed": only ns:web/app=backend may reach ns:data/app=postgres on tcp/5432
deny world -> ns(env=prod & tier in (db,cache))
isolated ns:pci/app=vault egress
let ingress = ns:ingress-nginx/app.kubernetes.io/name=ingress-nginx
deny world -> ns:production except @ingress -> ns:production/tier=web on tcp/80-443 [severity=warning, until=2027-01-31]
"""


def test_the_sentences_of_the_design() -> None:
    deny, allow, only, labels, isolated, named = parsed(DESIGN)
    (one,) = deny.requirements
    assert isinstance(one, Denied)
    flows, (taken,) = one.region.flows, one.region.excepts
    assert (flows.src[0].ends, flows.dst[0].ends, flows.ports) == (Word.EVERYONE, name("production"), ports.EVERY_PORT)
    assert taken.src[0].ends == every(name("production"), who("app", "nginx-ingress"))
    assert ports.describe(taken.ports) == "tcp/8080"

    (one,) = allow.requirements
    assert isinstance(one, Allowed)
    assert one.region.flows.dst[0].ends == every(name("web"), who("app", "backend"))

    wanted, unwanted = only.requirements
    assert isinstance(wanted, Allowed)
    assert isinstance(unwanted, Denied)
    backend = every(name("web"), who("app", "backend"))
    assert wanted.region.flows.src[0].ends == backend
    assert unwanted.region.flows.src[0].ends == every(Word.EVERYONE, Complement(of=backend))
    assert wanted.region.flows.dst == unwanted.region.flows.dst
    assert {ports.describe(one.region.flows.ports) for one in (wanted, unwanted)} == {"tcp/5432"}
    assert (only.name, only.title, allow.name) == ("db is sealed", "db is sealed", None)

    (one,) = labels.requirements
    assert isinstance(one, Denied)
    assert one.region.flows.dst[0].ends == every(ANY_POD, every(where("env", "prod"), where("tier", "cache", "db")))

    (one,) = isolated.requirements
    assert one == Isolated(side=one.side if isinstance(one, Isolated) else (), direction=Direction.EGRESS)

    (one,) = named.requirements
    assert isinstance(one, Denied)
    (taken,) = one.region.excepts
    assert taken.src[0].ends == every(name("ingress-nginx"), who("app.kubernetes.io/name", "ingress-nginx"))
    assert ports.describe(taken.ports) == "tcp/80-443"
    assert (named.severity, named.until) == (Severity.WARNING, date(2027, 1, 31))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("*", Word.EVERYONE),
        ("world", Word.WORLD),
        ("node", Word.NODES),
        ("ns:a", name("a")),
        ("ns:a/b=c", every(name("a"), who("b", "c"))),
        ("ns:a/x.y/b=c", every(name("a"), who("x.y/b", "c"))),
        ("ns:a/b", every(name("a"), who("b", operator=Operator.EXISTS))),
        ("ns:a/!b", every(name("a"), who("b", operator=Operator.DOES_NOT_EXIST))),
        ("ns:a/b!=c", every(name("a"), who("b", "c", operator=Operator.NOT_IN))),
        ("ns:a/b in (d, c, d)", every(name("a"), who("b", "c", "d"))),
        ("ns:a/b notin (c)", every(name("a"), who("b", "c", operator=Operator.NOT_IN))),
        ('ns:a/b=""', every(name("a"), who("b", ""))),
        ("ns:a/(b=c & d)", every(name("a"), every(who("b", "c"), who("d", operator=Operator.EXISTS)))),
        ("ns(a=b)", every(ANY_POD, where("a", "b"))),
        ("ns()", ANY_POD),
        ("ns(a=b)/c=d", every(ANY_POD, where("a", "b"), who("c", "d"))),
        ("pod()", ANY_POD),
        ("pod(a=b | c=d & e=f)", every(ANY_POD, AnyOf(parts=(who("a", "b"), every(who("c", "d"), who("e", "f")))))),
        ("pod(!(a=b))", every(ANY_POD, every(ANY_POD, Complement(of=who("a", "b"))))),
        ("10.0.0.1", block("10.0.0.1/32")),
        ("10.0.0.0/8", block("10.0.0.0/8")),
        ("fd00::/8", block("fd00::/8")),
        ("::1", block("::1/128")),
        ("!ns:a", every(Word.EVERYONE, Complement(of=name("a")))),
        ("ns:a & 10.0.0.0/8", every(name("a"), block("10.0.0.0/8"))),
        ("world & (10.0.0.0/8 | ns:a)", every(Word.WORLD, AnyOf(parts=(block("10.0.0.0/8"), name("a"))))),
    ],
)
def test_endpoints(text: str, meaning: Ends) -> None:
    assert source(text) == meaning


def test_several_endpoints_stand_one_by_one() -> None:
    text = "let some = ns:a, ns:b/c=d\ndeny @some | (ns:e, world), ns:f & node -> world"
    (party, *_), flows = denied(text).region.flows.src, denied(text).region.flows
    assert [one.text for one in flows.src] == ["ns:a", "ns:b/c=d", "ns:e", "world", "ns:f & node"]
    assert party.span is not None
    assert (party.span.line, party.span.column) == (1, 12)
    assert source("ns:a & (ns:b, ns:c)") == every(name("a"), AnyOf(parts=(name("b"), name("c"))))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("tcp/80", "tcp/80"),
        ("TCP/80", "tcp/80"),
        ("tcp/80-443", "tcp/80-443"),
        ("tcp/80, 443, 8000-8010", "tcp/80,443,8000-8010"),
        ("tcp/80, udp/53, 54", "tcp/80 udp/53-54"),
        ("tcp", "tcp/*"),
        ("tcp/*", "tcp/*"),
        ("icmp", "icmp"),
        ("tcp, udp, sctp, icmp", "any port"),
    ],
)
def test_ports(text: str, meaning: str) -> None:
    assert ports.describe(denied(f"deny world -> ns:a on {text}").region.flows.ports) == meaning


def test_severities_and_their_end() -> None:
    plain, lower, until = parsed("""
        deny world -> ns:a
        deny world -> ns:b [severity=info]
        deny world -> ns:c [severity=warning, until=2027-01-31]
    """)
    assert [one.severity_on(date(2030, 1, 1)) for one in (plain, lower)] == [Severity.ERROR, Severity.INFO]
    days = (date(2027, 1, 31), date(2027, 2, 1))
    assert [until.severity_on(day) for day in days] == [Severity.WARNING, Severity.ERROR]


def test_layout() -> None:
    first, second = parsed(
        "\ufeff".strip("\ufeff")
        + "deny world  # the internet\n"
        + "\n"
        + "    # not a word\n"
        + "  -> ns:a,\n"
        + "\tns:b\n"
        + "# between\n"
        + '"a # b": allow ns:a -> ns:b'
    )
    assert (first.text, second.text, second.name) == ("deny world -> ns:a, ns:b", "allow ns:a -> ns:b", "a # b")
    assert first.span is not None
    assert (first.span.line, first.span.column, first.span.end_line, first.span.end_column) == (1, 1, 5, 6)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028"])
def test_every_line_end_ends_a_line(end: str) -> None:
    assert len(parsed(f"deny world -> ns:a{end}deny world{end} -> ns:b{end}")) == 2


def test_files_have_their_own_names() -> None:
    texts = ("let x = ns:a\ndeny world -> @x", "let x = ns:b\ndeny world -> @x")
    files = [SourceFile(path=f"spec{index}", text=text) for index, text in enumerate(texts)]
    found = [one.requirements[0] for one in load_assertions(files)]
    assert [one.region.flows.dst[0].text for one in found if isinstance(one, Denied)] == ["ns:a", "ns:b"]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_a_file_without_a_sentence_proves_nothing(text: str) -> None:
    assert problems(text) == [(1, 1, "no sentence in this file", "write `deny world -> ns:production`")]


def test_problems_of_all_files_come_together() -> None:
    files = [
        SourceFile(path=name, text=text) for name, text in (("b", "deny"), ("a", "allow\nonly"), ("c", "let x = *"))
    ]
    with pytest.raises(InputError) as caught:
        load_assertions(files)
    places = [(one.span.file.path, one.span.line) for one in caught.value.diagnostics if one.span]
    assert places == [("a", 1), ("a", 2), ("b", 1), ("c", 1)]


def test_names_that_stand_for_too_much() -> None:
    doubling = "let x0 = ns:a\n" + "".join(f"let x{i + 1} = @x{i} & @x{i}\n" for i in range(60)) + "deny @x60 -> world"
    assert [one[2] for one in problems(doubling)] == ["this stands for too much"]


@pytest.mark.parametrize("case", ["forms", "values"])
def test_what_is_said_of_mistakes(golden: Golden, case: str) -> None:
    path = GOLDEN / f"{case}.npspec"
    file = SourceFile(path=path.as_posix(), text=(ROOT / path).read_text(encoding="utf-8"))
    with pytest.raises(InputError) as caught:
        load_assertions([file])
    golden.check(FORMATS["full"](caught.value.diagnostics, {}), (ROOT / path).with_suffix(".err"))


SENTENCE = re.compile(r'(deny|allow|only|isolated|let)\b|"')


def test_the_documentation_is_of_this_language() -> None:
    text = (ROOT / "docs/assertions.md").read_text(encoding="utf-8")
    blocks = [one for one in re.findall(r"```\n(.*?)```", text, re.DOTALL) if SENTENCE.match(one)]
    names = "let worker = ns:a\nlet bank = world\nlet dns = ns:b\nlet A = ns:a\nlet B = ns:b\n"
    assert len(blocks) == 4
    for sentences in blocks:
        assert parsed(names + re.sub(r"(?<![@\w])([AB])(?= |$)", r"@\1", sentences, flags=re.MULTILINE))


def network(text: Ends) -> Network:
    assert isinstance(text, BlockPeer)
    return text.cidr


def test_host_bits_do_not_matter() -> None:
    assert str(network(source("10.1.2.3/8"))) == "10.0.0.0/8"
