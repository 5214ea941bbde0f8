"""A kernel of the tests' own: takes the lines of `ipset restore` and `iptables-restore`, and tells what it holds in the
words of `ipset list` and `iptables-save`, or as text that the readers of artifacts take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from npcompile.netset.cidrs import Family
from npcompile.runtime.iptables.image import (
    Image,
    KernelSet,
    Loaded,
    Table,
    asked_sets,
    loaded,
    read_kernel_sets,
    read_kernel_table,
)
from npcompile.runtime.loader import Step

BUILTIN = ("INPUT", "FORWARD", "OUTPUT")
TABLES = {"iptables-restore": Family.V4, "ip6tables-restore": Family.V6}


def _empty() -> dict[Family, dict[str, list[str]]]:
    return {family: {name: [] for name in BUILTIN} for family in Family}


@dataclass(slots=True)
class FakeKernel:
    """Sets by name, as (what `create` says of them, members), and the chains of both families."""

    sets: dict[str, tuple[str, set[str]]] = field(default_factory=dict)
    tables: dict[Family, dict[str, list[str]]] = field(default_factory=_empty)

    def run(self, step: Step) -> None:
        """Do a step; AssertionError where the programs would fail."""
        if step.command[0] == "ipset":
            for line in step.text.splitlines():
                self.ipset(line)
        else:
            self.restore(TABLES[step.command[0]], step.text)

    def ipset(self, line: str) -> None:
        """One line of `ipset restore`."""
        match line.split(" "):
            case ["create", name, *header]:
                assert name not in self.sets, line
                self.sets[name] = (" ".join(header), set())
            case ["add", name, member]:
                assert member not in self.sets[name][1], line
                self.sets[name][1].add(member)
            case ["del", name, member]:
                self.sets[name][1].remove(member)
            case ["destroy", name, "-exist"]:
                assert not self.references(name), line
                self.sets.pop(name, None)
            case _:
                raise AssertionError(line)

    def restore(self, family: Family, text: str) -> None:
        """One text for `iptables-restore --noflush`."""
        chains = self.tables[family]
        for line in text.splitlines():
            match line.split(" ", 2):
                case ["*filter"] | ["COMMIT"]:
                    pass
                case [name, "-", "[0:0]"]:
                    chains[name.removeprefix(":")] = []
                case ["-A", name, rest]:
                    assert set(asked_sets([rest])) <= set(self.sets), line
                    chains[name].append(rest)
                case ["-I", name, rest]:
                    assert rest.startswith("1 "), line
                    chains[name].insert(0, rest.removeprefix("1 "))
                case ["-D", name, rest]:
                    chains[name].remove(rest)
                case ["-X", name]:
                    assert not chains.pop(name), line
                    assert not [one for lines in chains.values() for one in lines if one.endswith(f" {name}")], line
                case _:
                    raise AssertionError(line)
        assert all(
            one.split(" ")[-1] in chains for lines in chains.values() for one in lines if one.startswith("-j NPC")
        )

    def references(self, name: str) -> int:
        """How often rules ask a set."""
        return sum(asked_sets(lines)[name] for chains in self.tables.values() for lines in chains.values())

    def told_sets(self) -> Mapping[str, KernelSet]:
        """The sets, as the loader reads them."""
        return read_kernel_sets(self.listed())

    def told_tables(self) -> Mapping[Family, Table]:
        """The tables, likewise."""
        return {family: read_kernel_table(self.saved(family)) for family in Family}

    def loaded(self, elsewhere: frozenset[str] = frozenset()) -> Mapping[Family, Loaded]:
        """What that means."""
        sets = self.told_sets()
        return {family: loaded(table, family, sets, elsewhere) for family, table in self.told_tables().items()}

    def listed(self) -> str:
        """What `ipset list` prints."""
        return "\n".join(self._listed(name, *one) for name, one in self.sets.items())

    def _listed(self, name: str, header: str, members: Iterable[str]) -> str:
        kind, family, maxelem = (
            part.strip() for part in header.replace("maxelem", "|maxelem").replace(" family", "|family").split("|")
        )
        lines = [
            f"Name: {name}",
            f"Type: {kind}",
            "Revision: 6",
            f"Header: {family} hashsize 1024 {maxelem} bucketsize 12 initval 0xce546585",
            "Size in memory: 256",
            f"References: {self.references(name)}",
            f"Number of entries: {len(set(members))}",
            "Members:",
            *sorted(members, reverse=True),
        ]
        return "".join(f"{line}\n" for line in lines)

    def saved(self, family: Family) -> str:
        """What `iptables-save -t filter` prints."""
        chains = self.tables[family]
        lines = ["# Generated by the tests", "*filter"]
        lines += (f":{name} {'ACCEPT' if name in BUILTIN else '-'} [7:420]" for name in sorted(chains))
        lines += (f"-A {name} {line}" for name in sorted(chains) for line in chains[name])
        return "".join(f"{line}\n" for line in (*lines, "COMMIT", "# Completed"))

    def ipset_text(self) -> bytes:
        """The sets, as text for the reader of artifacts."""
        lines = [f"create {name} {header}" for name, (header, _) in self.sets.items()]
        lines += (f"add {name} {member}" for name, (_, members) in self.sets.items() for member in sorted(members))
        return "".join(f"{line}\n" for line in lines).encode()

    def table_text(self, family: Family) -> bytes:
        """The chains of a family, likewise."""
        chains = self.tables[family]
        lines = ["*filter", *(f":{name} - [0:0]" for name in chains if name not in BUILTIN)]
        lines += (f"-A {name} {line}" for name in chains for line in chains[name])
        return "".join(f"{line}\n" for line in (*lines, "COMMIT")).encode()


def same(one: Image, other: Image) -> bool:
    """Whether two images say the same."""
    return one.chains == other.chains and set(one.jumps) == set(other.jumps) and one.sets == other.sets
