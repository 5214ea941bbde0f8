"""Whole assertion files: names and their definitions, sentences and their attributes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Severity
from npcompile.frontend.spec import codes
from npcompile.frontend.spec.endpoints import Reader, names_like, tokens, trees
from npcompile.frontend.spec.parse import parse
from npcompile.frontend.spec.text import Problems, Sentence, sentences
from npcompile.ir.assertion import (
    AllOf,
    Allowed,
    Assertion,
    Complement,
    Denied,
    Flows,
    Isolated,
    Party,
    Region,
    Requirement,
    Side,
    Word,
    together,
)
from npcompile.ir.policy import Direction
from npcompile.source import SourceFile

if TYPE_CHECKING:
    from lark import Token, Tree

_DEFINED = re.compile(r"let\s+([A-Za-z_][-_A-Za-z0-9]*)")
_ATTRIBUTES = ("severity", "until")


def load_assertions(files: Iterable[SourceFile]) -> tuple[Assertion, ...]:
    """Every sentence of some files, in order; raises InputError with everything that is wrong in any of them."""
    found: list[Assertion] = []
    problems = []
    for file in files:
        reading = _File(Problems(file))
        found += reading.read()
        problems += reading.problems.found
    if problems:
        raise InputError(sorted(problems, key=lambda one: one.order))
    return tuple(found)


class _File:
    """One file.  Its names are its own."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self._names: dict[str, Side | None] = {}  # None: its definition is broken, and was reported
        self._titles: set[str] = set()

    def read(self) -> list[Assertion]:
        found = [one for sentence in sentences(self.problems.file.text) if (one := self._sentence(sentence))]
        if not found and not self.problems.found:
            self.problems.add(codes.SYNTAX, 0, 0, "no sentence in this file", "write `deny world -> ns:production`")
        return found

    def _sentence(self, sentence: Sentence) -> Assertion | None:
        tree = parse(sentence, self.problems)
        if tree is None:
            if defined := _DEFINED.match(sentence.text):
                self._names.setdefault(defined[1], None)
            return None
        reader = Reader(problems=self.problems, start=sentence.start, known=self._names)
        (child,) = trees(tree)
        if child.data == "definition":
            self._define(reader, child)
            return None
        return self._assertion(reader, child)

    def _define(self, reader: Reader, tree: Tree[Token]) -> None:
        (name,) = tokens(tree)
        if self._names.get(str(name)) is not None:
            reader.wrong(name, f"`{name}` is defined twice", "give the second one another name")
        before = len(self.problems.found)
        side = reader.side(trees(tree)[0])
        used = (tokens(one)[0].removeprefix("@") for one in tree.find_data("reference"))
        sound = all(self._names.get(one) is not None for one in used)
        self._names[str(name)] = side if sound and len(self.problems.found) == before else None

    def _assertion(self, reader: Reader, tree: Tree[Token]) -> Assertion:
        sentence, *attributes = trees(tree)
        severity, until = _attributes(reader, attributes[0]) if attributes else (None, None)
        return Assertion(
            name=self._title(reader, tokens(tree)),
            text=reader.text(sentence),
            requirements=_requirements(reader, sentence),
            severity=Severity.ERROR if severity is None else severity,
            until=until,
            span=self.problems.span(*reader.offsets(sentence)),
        )

    def _title(self, reader: Reader, found: list[Token]) -> str | None:
        if not found:
            return None
        title = " ".join(str(found[0])[1:-1].split())
        if not title:
            reader.wrong(found[0], "a name must not be empty", "leave it out: the sentence is its own name")
        elif not title.isprintable():
            reader.wrong(found[0], "a name must not hold control characters")
        elif title in self._titles:
            reader.wrong(found[0], f"two sentences are called `{title}`", "give each a name of its own")
        self._titles.add(title)
        return title


def _requirements(reader: Reader, tree: Tree[Token]) -> tuple[Requirement, ...]:
    match tree.data:
        case "deny":
            return (Denied(region=_region(reader, tree)),)
        case "allow":
            return (Allowed(region=_region(reader, tree)),)
        case "only":
            return _only(reader, tree)
        case _:  # isolated
            (direction,) = tokens(tree)
            return (Isolated(side=reader.side(trees(tree)[0]), direction=Direction(str(direction))),)


def _region(reader: Reader, tree: Tree[Token]) -> Region:
    flows, *excepts = trees(tree)
    return Region(flows=_flows(reader, flows), excepts=tuple(_flows(reader, trees(one)[0]) for one in excepts))


def _flows(reader: Reader, tree: Tree[Token]) -> Flows:
    src, dst, *ports = trees(tree)
    return Flows(
        src=reader.side(src),
        dst=reader.side(dst),
        ports=reader.ports(ports),
        text=reader.text(tree),
        span=reader.problems.span(*reader.offsets(tree)),
    )


def _only(reader: Reader, tree: Tree[Token]) -> tuple[Requirement, ...]:
    """The flows from A to B are allowed; those from everyone else to B, on the same ports, are not."""
    first, second, *on = trees(tree)
    src, dst, ports = reader.side(first), reader.side(second), reader.ports(on)
    span = reader.problems.span(*reader.offsets(tree))
    others = Party(
        ends=AllOf(parts=(Word.EVERYONE, Complement(of=together(src)))),
        text=f"everyone but {reader.text(first)}",
        span=reader.problems.span(*reader.offsets(first)),
    )
    behind = f"{reader.text(second)}{' ' + reader.text(on[0]) if on else ''}"
    wanted = Flows(src=src, dst=dst, ports=ports, text=f"{reader.text(first)} -> {behind}", span=span)
    unwanted = Flows(src=(others,), dst=dst, ports=ports, text=f"{others.text} -> {behind}", span=span)
    return Allowed(region=Region(flows=wanted)), Denied(region=Region(flows=unwanted))


def _attributes(reader: Reader, tree: Tree[Token]) -> tuple[Severity | None, date | None]:
    given: dict[str, Token] = {}
    for one in trees(tree):
        key, value = tokens(one)
        if key not in _ATTRIBUTES:
            close = names_like(str(key), dict.fromkeys(_ATTRIBUTES))
            advice = f"did you mean `{close}`?" if close else "attributes are `severity` and `until`"
            reader.wrong(key, f"there is no attribute `{key}`", advice)
        elif key in given:
            reader.wrong(key, f"`{key}` is given twice")
        given[str(key)] = value
    severity = _severity(reader, given["severity"]) if "severity" in given else None
    until = _date(reader, given["until"]) if "until" in given else None
    if "until" in given and "severity" not in given:
        advice = "write `[severity=warning, until=…]`: it says how long a lower severity holds"
        reader.wrong(given["until"], "`until` without `severity`", advice)
    return severity, until


def _severity(reader: Reader, token: Token) -> Severity | None:
    found = next((one for one in Severity if str(one) == str(token)), None)
    if found is None:
        reader.wrong(token, f"`{token}` is no severity", "write `info`, `warning` or `error`")
    return found


def _date(reader: Reader, token: Token) -> date | None:
    try:
        return date.fromisoformat(str(token)) if re.fullmatch(r"\d{4}-\d\d-\d\d", str(token), re.ASCII) else _refuse()
    except ValueError:
        reader.wrong(token, f"`{token}` is no day", "write year, month and day: `until=2027-01-31`")
        return None


def _refuse() -> date:
    raise ValueError
