"""What our table holds, or is to hold: read from an artifact, or from what `nft list table` prints.

The two are compared as text.  Where the two write one thing in two ways, it is written as the artifact has it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from npcompile.backends.nftables.names import TABLE
from npcompile.diagnostics.errors import InternalError

_HEADERS = (f"add table inet {TABLE}", f"delete table inet {TABLE}")
_COMMAND = re.compile(rf"((?:add|delete|flush) (?:chain|set|map|element|rule)) inet {TABLE} (\S+)(?: (.*))?")
_BLOCK = re.compile(r"^\t(chain|set|map) (\S+) \{\n(.*?)^\t\}$", re.MULTILINE | re.DOTALL)
_DORMANT = re.compile(r"^\tflags .*\bdormant\b", re.MULTILINE)
_ELEMENTS = re.compile(r"\n?\t\telements = \{ (.*?) \}", re.DOTALL)
# linux/icmpv6.h and linux/in6.h, by the words of nft.
_ICMPV6 = {
    "mld-listener-query": "130",
    "mld-listener-report": "131",
    "mld-listener-done": "132",
    "mld-listener-reduction": "132",
    "nd-router-solicit": "133",
    "nd-router-advert": "134",
    "nd-neighbor-solicit": "135",
    "nd-neighbor-advert": "136",
    "mld2-listener-report": "143",
}
# nft leaves out that a rule asks for the protocol when it can say so in the port's name.
_NAMED_PORT = re.compile(r"^(ip6?) daddr \. meta l4proto \. (tcp|udp|sctp) dport ")
_ICMPV6_NAME = re.compile(r"\b(?:mld2?|nd)-[a-z-]+")


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain: what stands between its braces, if it is at a hook, and its rules."""

    hook: str = ""
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Set:
    """A set or a map: its kind, what stands between its braces, and its elements."""

    kind: str
    type: str
    elements: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A table; `dormant`: none of its chains sees a packet."""

    chains: Mapping[str, Chain] = field(default_factory=dict)
    sets: Mapping[str, Set] = field(default_factory=dict)
    dormant: bool = False


def read_artifact(text: str) -> Image:
    """The table that an artifact's file makes.  It was checked against its digest, so that text which `emit` does not
    write is an InternalError.
    """
    return after(Image(), text)


def after(old: Image, text: str) -> Image:
    """The table that a transaction makes of another one; raises InternalError for lines that are not ours."""
    chains = {name: (one.hook, [*one.rules]) for name, one in old.chains.items()}
    sets = {name: (one.kind, one.type, {*one.elements}) for name, one in old.sets.items()}
    dormant = old.dormant
    for line in text.splitlines():
        found = _COMMAND.fullmatch(line)
        match found.groups() if found else (line,):
            case ["add chain", name, hook]:
                chains[name] = (_inside(hook or ""), [])
            case ["flush chain", name, _]:
                chains[name][1].clear()
            case ["delete chain", name, _]:
                del chains[name]
            case ["add set" | "add map" as verb, name, declared]:
                sets[name] = (verb.removeprefix("add "), _inside(declared), set())
            case ["delete set" | "delete map", name, _]:
                del sets[name]
            case ["add element", name, elements]:
                sets[name][2].update(_elements_of(sets[name][1], _inside(elements).split(", ")))
            case ["delete element", name, elements]:
                sets[name][2].difference_update(_elements_of(sets[name][1], _inside(elements).split(", ")))
            case ["add rule", name, rule]:
                chains[name][1].append(rule)
            case [header] if header in _HEADERS:
                if header == _HEADERS[1]:
                    chains, sets, dormant = {}, {}, False
            case _:
                raise InternalError(f"`{line}` in an artifact's table")
    return _image(chains, sets, dormant=dormant)


def read_kernel(text: str) -> Image:
    """The table that `nft list table` prints."""
    chains: dict[str, tuple[str, list[str]]] = {}
    sets: dict[str, tuple[str, str, Iterable[str]]] = {}
    for kind, name, body in _BLOCK.findall(text):
        if kind == "chain":
            lines = [line.strip() for line in body.splitlines()]
            hook = lines.pop(0) if lines and lines[0].startswith("type ") else ""
            chains[name] = (hook, [_rule(line) for line in lines])
        else:
            elements = _ELEMENTS.search(body)
            members = re.split(r",\s+", elements[1]) if elements else []
            lines = [line.strip() for line in _ELEMENTS.sub("", body).splitlines() if line.strip()]
            declared = " ".join(f"{one};" for one in lines)
            sets[name] = (kind, declared, _elements_of(declared, members))
    return _image(chains, sets, dormant=_DORMANT.search(text) is not None)


def to_note(image: Image) -> object:
    """A table as a JSON value."""
    return [
        [[name, one.hook, one.rules] for name, one in image.chains.items()],
        [[name, one.kind, one.type, [*one.elements]] for name, one in image.sets.items()],
        image.dormant,
    ]


def from_note(noted: Any) -> Image:
    """The table that `to_note` wrote."""
    chains, sets, dormant = noted
    return Image(
        chains={name: Chain(hook, tuple(rules)) for name, hook, rules in chains},
        sets={name: Set(kind, declared, frozenset(elements)) for name, kind, declared, elements in sets},
        dormant=dormant,
    )


def _image(
    chains: Mapping[str, tuple[str, Iterable[str]]],
    sets: Mapping[str, tuple[str, str, Iterable[str]]],
    *,
    dormant: bool,
) -> Image:
    return Image(
        chains={name: Chain(hook, tuple(rules)) for name, (hook, rules) in chains.items()},
        sets={name: Set(kind, declared, frozenset(elements)) for name, (kind, declared, elements) in sets.items()},
        dormant=dormant,
    )


def _rule(text: str) -> str:
    text = _NAMED_PORT.sub(r"meta l4proto \2 \1 daddr . meta l4proto . th dport ", text)
    return _ICMPV6_NAME.sub(lambda word: _ICMPV6.get(word[0], word[0]), text)


def _inside(braces: str) -> str:
    return braces.removeprefix("{ ").removesuffix(" }")


def _elements_of(declared: str, written: Iterable[str]) -> Iterator[str]:
    """Elements of a set as it is declared."""
    return map(_interval if "interval" in declared else _element, written)


def _element(text: str) -> str:
    key, colon, verdict = text.partition(" : ")
    if ":" not in key:
        return text
    return " . ".join(_address(part) for part in key.split(" . ")) + colon + verdict


def _interval(text: str) -> str:
    """As first and last address: nft writes prefixes where it can."""
    if "/" in text:
        network = ip_network(text)
        return f"{network.network_address}-{network.broadcast_address}"
    first, _, last = text.partition("-")
    return f"{ip_address(first)}-{ip_address(last or first)}"


def _address(text: str) -> str:
    """An IPv6 address in the C library's notation, anything else as it is."""
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text)) if ":" in text else text


# --- commands ---


def commands(old: Image | None, new: Image | None) -> Iterator[str]:
    """The lines of one transaction from one table to the other; None is no table.

    What rules and maps name must be there before, and nothing may name what goes.
    """
    if new is None:
        if old is not None:
            yield f"delete table inet {TABLE}"
        return
    if old is None or not _compatible(old, new):
        yield from [*_HEADERS] if old is not None else []
        yield _HEADERS[0] + (" { flags dormant; }" if new.dormant else "")
        old = Image()
    yield from (_declared(name, one) for name, one in new.chains.items() if name not in old.chains)
    yield from (
        f"add {one.kind} inet {TABLE} {name} {{ {one.type} }}" for name, one in new.sets.items() if name not in old.sets
    )
    gone = [name for name in old.chains if name not in new.chains]
    changed = [name for name, one in new.chains.items() if old.chains.get(name, Chain(one.hook)) != one]
    yield from (f"flush chain inet {TABLE} {name}" for name in (*changed, *gone) if name in old.chains)
    for name, one in new.sets.items():
        before = old.sets[name].elements if name in old.sets else frozenset[str]()
        yield from _elements("delete", name, before - one.elements)
        yield from _elements("add", name, one.elements - before)
    yield from (f"add rule inet {TABLE} {name} {rule}" for name in changed for rule in new.chains[name].rules)
    yield from (f"delete {one.kind} inet {TABLE} {name}" for name, one in old.sets.items() if name not in new.sets)
    yield from (f"delete chain inet {TABLE} {name}" for name in gone)


def is_made_anew(text: str) -> bool:
    """Whether a transaction is about the table as a whole."""
    return text.startswith(_HEADERS)


def _compatible(old: Image, new: Image) -> bool:
    """Whether what both have is declared alike, and the table: only elements and rules can change under a name."""
    chains = all(old.chains[name].hook == one.hook for name, one in new.chains.items() if name in old.chains)
    sets = all(
        (old.sets[name].kind, old.sets[name].type) == (one.kind, one.type)
        for name, one in new.sets.items()
        if name in old.sets
    )
    return chains and sets and old.dormant == new.dormant


def _declared(name: str, chain: Chain) -> str:
    return f"add chain inet {TABLE} {name}" + (f" {{ {chain.hook} }}" if chain.hook else "")


def _elements(verb: str, name: str, elements: frozenset[str]) -> Iterator[str]:
    if elements:
        yield f"{verb} element inet {TABLE} {name} {{ {', '.join(sorted(elements))} }}"
