"""What one family's part of the kernel holds of ours, or is to hold: chains, jumps to them, and sets.

The same value is read from an artifact's text and from what the kernel says of itself, so that both can be compared.
A set has its artifact's name here; in the kernel it may have another suffix, its *generation*, which `Loaded` knows.
"""

from __future__ import annotations

import re
import socket
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from npcompile.backends.iptables.names import is_chain, set_meaning
from npcompile.diagnostics.errors import InternalError
from npcompile.netset.cidrs import Family

_ASKED = re.compile(r"--match-set (\S+)")
_FAMILIES = {"inet": Family.V4, "inet6": Family.V6}
_WHOLE = {Family.V4: "/32", Family.V6: "/128"}
_COMMANDS = re.compile(
    r"add (\S+) \S+\n(?:add \1 \S+\n)*|.+"
)  # for `ipset restore`: members of a set at once, or a line
_LISTED = re.compile(
    r"Name: (.*)\nType: (.*)\n(?:.+\n)*?Header: (.*)\n(?:.+\n)*?References: (.*)\n(?:.+\n)*?Members:\n((?:.+\n)*)"
)
_PARAMETER = re.compile(r"family (inet6?) .*?(maxelem \d+)")


@dataclass(frozen=True, slots=True)
class SetImage:
    """A set: what `ipset create` is told after its name, and the members as `ipset save` writes them."""

    header: str
    members: frozenset[str]

    @property
    def family(self) -> Family:
        """The family of its addresses."""
        return _FAMILIES[self.header.split()[2]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One family's chains (the text of each line behind its chain's name), jumps as (built-in chain, our chain), and
    the sets that the chains ask.
    """

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    jumps: tuple[tuple[str, str], ...] = ()
    sets: Mapping[str, SetImage] = field(default_factory=dict)


NOTHING = Image()

Table = Mapping[str, Sequence[str]]
"""The lines of every chain of a table, ours and others', each without its chain's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a family of the kernel holds.

    `image`: by the artifacts' names.  `generations`: the kernel's names of the sets that our chains ask.  `counts`: how
    many of each jump there are.  `first`: the jumps that come before everything else in their built-in chain.  `idle`:
    sets of ours that no rule asks, and `stale`: that others do, or rules that the kernel is about to forget.  `taken`:
    every set's name, foreign ones included.  `elsewhere`: sets that our chains in the other back end ask.  `shared`:
    sets that others ask beside our chains here.
    """

    image: Image = NOTHING
    generations: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    first: frozenset[tuple[str, str]] = frozenset()
    idle: frozenset[str] = frozenset()
    stale: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()
    elsewhere: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSet:
    """A set as `ipset list` tells of it."""

    image: SetImage
    references: int


def asked_sets(lines: Iterable[str]) -> Counter[str]:
    """How often lines of chains ask each set."""
    return Counter(_ASKED.findall("\n".join(lines)))


def renamed(chains: Table, names: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """Chains with other names of the sets that their lines ask."""
    others = {old: new for old, new in names.items() if old != new}
    if not others:
        return {chain: tuple(lines) for chain, lines in chains.items()}
    return {
        chain: tuple(
            [_ASKED.sub(lambda found: f"--match-set {others.get(found[1], found[1])}", line) for line in lines]
        )
        for chain, lines in chains.items()
    }


# --- from an artifact ---


def read_artifact(ipset: bytes, tables: Mapping[Family, bytes]) -> Mapping[Family, Image]:
    """The images that an artifact's files stand for.  They were checked against their digests, so that text which
    `emit` does not write is an InternalError.
    """
    sets = _restored_sets(ipset.decode())
    return {family: _restored_table(text.decode().splitlines(), sets) for family, text in tables.items()}


def _restored_sets(text: str) -> Mapping[str, SetImage]:
    """The sets after `ipset restore` has read a text and there were none before."""
    sets: dict[str, tuple[str, set[str]]] = {}
    for found in _COMMANDS.finditer(text.replace(" -exist\n", "\n")):
        if found[1]:
            sets[found[1]][1].update(found[0].split()[2::3])
            continue
        match found[0].split(" "):
            case ["create", name, *header]:
                sets.setdefault(name, (" ".join(header), set()))
            case ["flush", name]:
                sets[name][1].clear()
            case ["swap", one, other]:
                sets[one], sets[other] = sets[other], sets[one]
            case ["destroy", name]:
                del sets[name]
            case _:
                raise InternalError(f"`{found[0]}` in an artifact's sets")
    return {name: _set_image(header, members) for name, (header, members) in sets.items()}


def _restored_table(lines: Iterable[str], sets: Mapping[str, SetImage]) -> Image:
    chains: dict[str, list[str]] = {}
    jumps: list[tuple[str, str]] = []
    for line in lines:
        match line.split(" ", 2):
            case ["*filter"] | ["COMMIT"]:
                pass
            case [name, "-", "[0:0]"] if is_chain(name.removeprefix(":")):
                chains[name.removeprefix(":")] = []
            case ["-A", name, rest] if name in chains:
                chains[name].append(rest)
            case ["-I", builtin, rest] if rest.startswith("1 -j "):
                jumps.append((builtin, rest.removeprefix("1 -j ")))
            case _:
                raise InternalError(f"`{line}` in an artifact's chains")
    asked = asked_sets(line for chain in chains.values() for line in chain)
    return Image(
        chains={name: tuple(rules) for name, rules in chains.items()},
        jumps=tuple(jumps),
        sets={name: sets[name] for name in sorted(asked)},
    )


def _set_image(header: str, members: Iterable[str]) -> SetImage:
    family = SetImage(header=header, members=frozenset()).family
    if family is Family.V4 and not header.startswith("hash:net "):
        return SetImage(header=header, members=frozenset(members))
    return SetImage(header=header, members=frozenset([_saved(member, family) for member in members]))


def _saved(member: str, family: Family) -> str:
    """A member as `ipset save` writes it, with the C library's notation of IPv6 addresses."""
    member = member.removesuffix(_WHOLE[family])
    if family is Family.V4:
        return member
    address, mark, rest = member.partition("," if "," in member else "/")
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address)) + mark + rest


# --- from the kernel ---


def read_kernel_sets(text: str) -> Mapping[str, KernelSet]:
    """The sets that `ipset list` tells of; those that are not ours without their members."""
    sets: dict[str, KernelSet] = {}
    for name, type_, header, references, members in _LISTED.findall(text):
        known = _PARAMETER.match(header) if set_meaning(name) else None
        image = SetImage(header=header, members=frozenset())
        if known and type_.startswith("hash:"):
            image = SetImage(f"{type_} family {known[1]} {known[2]}", frozenset(members.splitlines()))
        sets[name] = KernelSet(image=image, references=int(references))
    return sets


def is_readable(text: str) -> bool:
    """Whether `iptables-save -t filter` can tell of the table, or rules that others made with nft keep it from that."""
    return not text.startswith("# Table `filter' is incompatible")


def read_kernel_table(text: str) -> Table:
    """The chains that `iptables-save -t filter` tells of."""
    chains: dict[str, list[str]] = {}
    for line in text.splitlines():
        match line.split(" ", 2):
            case [name, _, _] if name.startswith(":"):
                chains[name.removeprefix(":")] = []
            case ["-A", name, rest]:
                chains[name].append(rest)
    return chains


def restored(table: Table, text: str) -> Table:
    """The chains after a text of ours for `iptables-restore --noflush`; raises InternalError for what is not ours."""
    chains = {name: list(lines) for name, lines in table.items()}
    for line in text.splitlines():
        match line.split(" ", 2):
            case ["*filter"] | ["COMMIT"]:
                pass
            case [name, "-", "[0:0]"]:
                chains[name.removeprefix(":")] = []
            case ["-A", name, rest]:
                chains[name].append(rest)
            case ["-I", name, rest]:
                chains[name].insert(0, rest.removeprefix("1 "))
            case ["-D", name, rest]:
                chains[name].remove(rest)
            case ["-X", name]:
                del chains[name]
            case _:
                raise InternalError(f"`{line}` in a flip")
    return chains


def loaded(
    table: Table, family: Family, sets: Mapping[str, KernelSet], elsewhere: frozenset[str] = frozenset()
) -> Loaded:
    """What is ours of a family's table, with the sets that exist and those that the other back end's chains ask."""
    chains = {name: lines for name, lines in table.items() if is_chain(name)}
    builtins = {name: lines for name, lines in table.items() if name not in chains}
    jumps = [(builtin, chain) for builtin, lines in builtins.items() for chain in _jumps(lines) if chain in chains]
    asked = asked_sets(line for chain in chains.values() for line in chain)
    generations = _generations(asked, sets)
    meanings = {name: meaning for meaning, name in generations.items()}
    image = Image(
        chains=renamed(chains, meanings),
        jumps=tuple(sorted(set(jumps))),
        sets={meaning: sets[name].image for meaning, name in sorted(generations.items())},
    )
    prefix = f"npc{family.value}-"
    own = {name for name in sets if name.startswith(prefix) and set_meaning(name)}
    unasked = own - set(asked) - elsewhere
    return Loaded(
        image=image,
        generations=generations,
        counts=Counter(jumps),
        first=frozenset((builtin, chain) for builtin, chain in jumps if builtins[builtin][0] == f"-j {chain}"),
        idle=frozenset(name for name in unasked if not sets[name].references),
        stale=frozenset(name for name in unasked if sets[name].references),
        taken=frozenset(sets),
        elsewhere=elsewhere,
        shared=frozenset(meaning for meaning, name in generations.items() if sets[name].references != asked[name]),
    )


def _jumps(lines: Iterable[str]) -> Iterator[str]:
    """The chains that bare jumps lead to."""
    return (line.removeprefix("-j ") for line in lines if line.startswith("-j ") and line.count(" ") == 1)


def _generations(asked: Iterable[str], sets: Mapping[str, KernelSet]) -> dict[str, str]:
    """The kernel's name of each set that our chains ask.  Where they ask two generations of one, which no artifact
    makes them do, neither stands for it.
    """
    by_meaning: defaultdict[str, list[str]] = defaultdict(list)
    for name in asked:
        if (meaning := set_meaning(name)) is not None and name in sets:
            by_meaning[meaning].append(name)
    return {meaning: names[0] for meaning, names in sorted(by_meaning.items()) if len(names) == 1}
