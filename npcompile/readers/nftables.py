"""Reads the text of `nft -f` that makes one table `inet`.

The rules are those of nft 1.0 and of the kernel's nf_tables, from their source and as they answer on trial.  The table
becomes a `filter` table a family: its base chain of a hook stands for the built-in chain.  That is what it is to a
packet that no other table has to do with: `accept` and the end of a base chain leave the table, and other tables of the
same hook still see the packet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from npcompile.netset.cidrs import Family
from npcompile.netset.intervals import IntervalSet, union
from npcompile.readers import nftables_sets
from npcompile.readers.grammar import Statement, statements
from npcompile.readers.jumps import wrong_jumps
from npcompile.readers.nftables_rules import Read, RuleReader, part_name, verdicts
from npcompile.readers.nftables_sets import Kind, Live
from npcompile.readers.problems import Problems, RefusedError, decode
from npcompile.readers.rules import Chain, Goto, Hook, Jump, Policy, Ruleset, empty_table
from npcompile.readers.sets import AddressSet, IpSet

LONGEST_LINE = 1 << 20  # nft's scanner has no bound; this is more than we write
LONGEST_NAME = 255
_HOOKS = {hook.value.lower(): hook for hook in Hook}
_KEYWORDS = frozenset({"accept", "drop", "return", "jump", "goto", "continue", "queue", "reject"})


def read_nftables(data: bytes, *, path: str = "nftables") -> Mapping[Family, Ruleset]:
    """What the table does to packets of each family after `nft -f` has read `data`, when there was none before.

    Raises ReadingError with every line that nft or the kernel would refuse or that is not understood.
    """
    problems = decode(data, path, longest_line=LONGEST_LINE)
    loader = _Loader(problems)
    for statement in statements("nftables", problems):
        try:
            loader.run(statement)
        except RefusedError as refused:
            problems.add(statement.line, str(refused))
    problems.raise_any()
    rulesets = {family: loader.ruleset(family) for family in Family}
    for ruleset in rulesets.values():
        for line, message in wrong_jumps(ruleset.chains):
            problems.add(line, message)
    problems.raise_any()
    return rulesets


@dataclass(slots=True, kw_only=True)
class _LiveChain:
    """A chain while the text is read; `hook` and `policy` are None in one that only rules lead to."""

    hook: Hook | None = None
    policy: Policy | None = None
    rules: list[Read] = field(default_factory=list)


class _Loader:
    """The table, and the commands that change it."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._table: str | None = None
        self._there = False
        self._chains: dict[str, _LiveChain] = {}
        self._sets: dict[str, Live] = {}
        self._commands: Mapping[str, Callable[[list[str], Statement], None]] = {
            "table": self._add_table,
            "delete_table": self._delete_table,
            "chain": self._add_chain,
            "set": self._add_set,
            "map": self._add_set,
            "element": self._add_elements,
            "rule": self._add_rule,
        }

    def run(self, statement: Statement) -> None:
        """Do what one line says, or raise Refused."""
        words = statement.tokens[0].split()
        table = words[3]
        if self._table not in {None, table}:
            raise RefusedError(f"a second table `{table}`: only one is understood")
        self._table = table
        if statement.kind != "table" and not self._there:
            raise RefusedError(f"there is no table `{table}`")
        self._commands[statement.kind](words, statement)

    def ruleset(self, family: Family) -> Ruleset:
        """What is loaded, for one family."""
        chains = dict(empty_table(family, {}).chains)
        for name, live in self._chains.items():
            rules = tuple(rule for read in live.rules for rule in read.rules(family, self._sets))
            place = live.hook.value if live.hook is not None else name
            chains[place] = Chain(name=place, rules=rules, policy=live.policy)
        sets = {name: one for name, one in self._meanings().items() if one.family is family}
        return Ruleset(family=family, chains={name: chains[name] for name in sorted(chains)}, sets=sets)

    def _meanings(self) -> Mapping[str, IpSet]:
        """The sets as values; of a map, the addresses of each verdict."""
        found: dict[str, IpSet] = {}
        for name, one in sorted(self._sets.items()):
            if one.kind is not Kind.VERDICTS:
                found[name] = nftables_sets.meaning(one)
                continue
            for target in verdicts(one):
                points = (point for point, its in one.verdicts.items() if its == target)
                addresses = union(IntervalSet.of(point, point) for point in points)
                found[part_name(name, target)] = AddressSet(family=one.family, addresses=addresses)
        return found

    def _add_table(self, words: list[str], statement: Statement) -> None:
        self._there = True

    def _delete_table(self, words: list[str], statement: Statement) -> None:
        self._there = False
        self._chains.clear()
        self._sets.clear()

    def _add_chain(self, words: list[str], statement: Statement) -> None:
        name = _fitting(words[4])
        if name in self._chains:
            raise RefusedError(f"a chain `{name}` exists already")
        if len(statement.tokens) == 1:
            if name in {hook.value for hook in Hook}:
                raise RefusedError(f"`{name}` is the name of a built-in chain here")
            self._chains[name] = _LiveChain()
            return
        body = statement.tokens[1].split()
        hook, policy = body[body.index("hook") + 1], body[body.index("policy") + 1].rstrip(";")
        if hook not in _HOOKS:
            raise RefusedError(f"the hook `{hook}` is not understood: it is {', '.join(_HOOKS)}")
        if any(other.hook is _HOOKS[hook] for other in self._chains.values()):
            raise RefusedError(f"a second chain at the hook `{hook}`")
        self._chains[name] = _LiveChain(hook=_HOOKS[hook], policy=Policy(policy.upper()))

    def _add_set(self, words: list[str], statement: Statement) -> None:
        name = _fitting(words[4])
        if name in self._sets:
            raise RefusedError(f"a set `{name}` exists already")
        self._sets[name] = nftables_sets.declared(statement.tokens[1])

    def _add_elements(self, words: list[str], statement: Statement) -> None:
        one = self._sets.get(words[4])
        if one is None:
            raise RefusedError(f"there is no set `{words[4]}`")
        for chain in nftables_sets.add(one, statement.tokens[1]):
            self._leads_to(chain)

    def _add_rule(self, words: list[str], statement: Statement) -> None:
        """Append the rule of a line; notes each of its problems."""
        if words[4] not in self._chains:
            raise RefusedError(f"there is no chain `{words[4]}`")
        reader = RuleReader(self._sets)
        for token in statement.tokens[1:]:
            try:
                reader.read(token)
            except RefusedError as refused:
                self._problems.add(statement.line, str(refused), column=token.column or 1)
        read = reader.finish(statement.line)
        if isinstance(read.action, Jump | Goto):
            self._leads_to(read.action.chain)
        self._chains[words[4]].rules.append(read)

    def _leads_to(self, chain: str) -> None:
        found = self._chains.get(chain)
        if found is None:
            raise RefusedError(f"there is no chain `{chain}`")
        if found.hook is not None:
            raise RefusedError(f"`{chain}` is a base chain, to which nothing can lead")


def _fitting(name: str) -> str:
    if len(name) > LONGEST_NAME:
        raise RefusedError(f"the name `{name}` is longer than {LONGEST_NAME} bytes")
    if name in _KEYWORDS:
        raise RefusedError(f"`{name}` is a word of nft's own")
    return name
