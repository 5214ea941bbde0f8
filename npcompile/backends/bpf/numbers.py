"""Numbers that stay: what an earlier artifact numbered keeps its number as long as it means the same.

Without an earlier artifact numbers are dense, in the order of the tables.  With one, whatever is new gets the lowest
numbers that the earlier artifact does not have: an entry then changes only where its meaning does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from npcompile.backends.bpf.structure import NOT_ISOLATED, SERVICE_MIXED, Tables
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import RuleCode, Severity, diagnose

LOCK = RuleCode(code="NPC721", slug="lock", severity=Severity.ERROR)
"""What `--lock` names does not hold the numbers of an earlier artifact of the target `bpf`."""

VERSION = 1
_LARGEST = (1 << 31) - 1


class Kind(Enum):
    """What is numbered.  Classes are numbered within their ruleset."""

    ENDPOINT = "endpoints"
    IDENTITY = "identities"
    RULESET = "rulesets"
    CLASS = "classes"
    RULE = "rules"


Numbers = Mapping[Kind, Mapping[str, int]]  # by a key that tells the meaning
NO_NUMBERS: Numbers = {kind: {} for kind in Kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of what dense numbers stand for: number 1 is the first of each.  `classes` are by ruleset, from class 1:
    class 0 is the usual one, whatever it means.
    """

    endpoints: tuple[str, ...]
    identities: tuple[str, ...]
    rulesets: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    rules: tuple[str, ...]


def renumber(tables: Tables, keys: Keys, earlier: Numbers) -> tuple[Tables, Numbers]:
    """The tables with numbers kept, and the numbers of everything in them."""
    endpoints = _keep(keys.endpoints, earlier[Kind.ENDPOINT])
    identities = _keep(keys.identities, earlier[Kind.IDENTITY])
    rulesets = _keep(keys.rulesets, earlier[Kind.RULESET])
    rules = _keep(keys.rules, earlier[Kind.RULE])
    earlier_classes = _by_ruleset(earlier[Kind.CLASS])
    classes = [
        _keep([f"{ruleset}/{one}" for one in own], earlier_classes.get(ruleset, {}))
        for ruleset, own in zip(keys.rulesets, keys.classes, strict=True)
    ]
    identity, ruleset = (0, *identities.values()), (NOT_ISOLATED, *rulesets.values())
    rule: dict[int | None, int | None] = {SERVICE_MIXED: SERVICE_MIXED, **dict(enumerate(rules.values(), 1))}
    of_class = ((), *((0, *own.values()) for own in classes))
    renumbered = replace(
        tables,
        endpoints=tuple(
            replace(one, number=number, egress=ruleset[one.egress], ingress=ruleset[one.ingress])
            for one, number in zip(tables.endpoints, endpoints.values(), strict=True)
        ),
        addresses=tuple((address, identity[number]) for address, number in tables.addresses),
        networks=tuple((network, identity[number]) for network, number in tables.networks),
        rulesets=tuple(sorted(
            (replace(one, number=ruleset[one.number]) for one in tables.rulesets), key=lambda one: one.number
        )),
        classes=tuple(sorted(
            (
                replace(
                    one,
                    ruleset=ruleset[one.ruleset],
                    identity=identity[one.identity],
                    peer_class=of_class[one.ruleset][one.peer_class],
                )
                for one in tables.classes
            ),
            key=lambda one: (one.ruleset, one.identity),
        )),
        policy=tuple(sorted(
            (
                replace(
                    one,
                    ruleset=ruleset[one.ruleset],
                    peer_class=of_class[one.ruleset][one.peer_class],
                    rule=rule[one.rule],
                )
                for one in tables.policy
            ),
            key=lambda one: (one.ruleset, one.peer_class),
        )),
        rules=tuple(sorted((number, origin) for number, (_, origin) in zip(rules.values(), tables.rules, strict=True))),
    )  # fmt: skip
    together = {key: number for own in classes for key, number in own.items()}
    return renumbered, {
        Kind.ENDPOINT: endpoints,
        Kind.IDENTITY: identities,
        Kind.RULESET: rulesets,
        Kind.CLASS: together,
        Kind.RULE: rules,
    }


def _keep(keys: Iterable[str], earlier: Mapping[str, int]) -> dict[str, int]:
    """The number of each key, in the keys' order."""
    taken = set(earlier.values())
    free = (number for number in range(1, _LARGEST) if number not in taken)
    return {key: earlier[key] if key in earlier else next(free) for key in keys}


def write_numbers(numbers: Numbers) -> bytes:
    """The text of `numbers.json`."""
    document = {kind.value: dict(sorted(numbers[kind].items())) for kind in Kind}
    return (json.dumps({"version": VERSION, **document}, indent=1) + "\n").encode("ascii")


def read_numbers(data: bytes) -> Numbers:
    """The inverse; raises InputError where the text is not of that form, or gives two things one number."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise _no_numbers() from None
    if not isinstance(document, dict) or set(document) != {"version", *(kind.value for kind in Kind)}:
        raise _no_numbers()
    found = {kind: document[kind.value] for kind in Kind}
    if document["version"] != VERSION or not all(_is_numbering(one) for one in found.values()):
        raise _no_numbers()
    spaces = [*(found[kind] for kind in Kind if kind is not Kind.CLASS), *_by_ruleset(found[Kind.CLASS]).values()]
    if any(len(set(space.values())) != len(space) for space in spaces):
        raise _no_numbers()
    return found


def _no_numbers() -> InputError:
    message = "what `--lock` names does not hold the numbers of an earlier artifact"
    return InputError([diagnose(LOCK, None, message, help="name the directory of an artifact of the target `bpf`")])


def _is_numbering(value: object) -> bool:
    return isinstance(value, dict) and all(type(number) is int and 1 <= number <= _LARGEST for number in value.values())


def _by_ruleset(classes: Mapping[str, int]) -> Mapping[str, Mapping[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for key, number in classes.items():
        found.setdefault(key.partition("/")[0], {})[key] = number
    return found
