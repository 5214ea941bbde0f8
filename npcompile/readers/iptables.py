"""Reads the text of `iptables-restore --noflush` and `ip6tables-restore --noflush`.

The rules are those of iptables 1.8, legacy and nft, from their source and as they answer on trial; what only one of the
two takes is refused.  `COMMIT` needs its newline, `:CHAIN` empties a chain that exists, chains must be declared before
they are named, and `--noflush` leaves the rules of built-in chains where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from npcompile.netset.cidrs import Family
from npcompile.readers.grammar import Statement, statements
from npcompile.readers.iptables_rules import RuleReader
from npcompile.readers.iptables_words import user_chain
from npcompile.readers.jumps import next_chain, wrong_jumps
from npcompile.readers.problems import Problems, RefusedError, decode
from npcompile.readers.rules import Chain, Hook, Policy, Rule, Ruleset, empty_table
from npcompile.readers.sets import IpSet

LONGEST_LINE = 10238  # iptables-restore's buffer has 10240 bytes, for the newline and a null too
MOST_OPTIONS = 40  # iptables-restore takes 255 words, and an option has 6 at most


def read_iptables(
    data: bytes,
    family: Family,
    sets: Mapping[str, IpSet],
    *,
    state: Ruleset | None = None,
    path: str = "iptables",
) -> Ruleset:
    """The `filter` table after `iptables-restore --noflush` has read `data`.

    `sets`: the ipsets that exist.  `state`: the table before, of the same family; by default its built-in chains are
    empty and accept.  Raises ReadingError with every line that a loader would refuse or that is not understood.
    """
    problems = decode(data, path, longest_line=LONGEST_LINE)
    if data and not data.endswith(b"\n"):
        problems.add(data.count(b"\n") + 1, "the last line has no end, so iptables-restore would not commit")
    before = state or empty_table(family, sets)
    loader = _Loader(family, sets, before, problems)
    for statement in statements("iptables", problems):
        try:
            loader.run(statement)
        except RefusedError as refused:
            problems.add(statement.line, str(refused))
    if loader.open_since:
        problems.add(loader.open_since, "the table has no `COMMIT`")
    problems.raise_any()
    after = loader.chains
    return Ruleset(family=family, chains={name: after[name] for name in sorted(after)}, sets=sets)


@dataclass(slots=True, kw_only=True)
class _Live:
    """A chain while the text is read."""

    policy: Policy | None
    rules: list[Rule] = field(default_factory=list)


class _Loader:
    """The chains, and the commands that change them."""

    def __init__(self, family: Family, sets: Mapping[str, IpSet], before: Ruleset, problems: Problems) -> None:
        self._family = family
        self._sets = sets
        self._problems = problems
        self._chains = {
            chain.name: _Live(policy=chain.policy, rules=[replace(rule, line=0) for rule in chain.rules])
            for chain in before.chains.values()
        }
        self.open_since = 0  # the line of the table that is not yet committed

    @property
    def chains(self) -> dict[str, Chain]:
        """What is loaded."""
        return {
            name: Chain(name=name, rules=tuple(live.rules), policy=live.policy) for name, live in self._chains.items()
        }

    def run(self, statement: Statement) -> None:
        """Do what one line says, or raise Refused."""
        words = statement.tokens[0].split()
        if statement.kind == "table":
            self._table(words[0], statement.line)
            return
        if not self.open_since:
            raise RefusedError("outside of a table")
        match statement.kind:
            case "append":
                self._chain(words[1]).rules.append(self._rule(words[1], statement))
            case "declaration":
                self._declare(words[0].removeprefix(":"), words[1])
            case "commit":
                self.open_since = 0
                for line, message in wrong_jumps(self.chains):
                    self._problems.add(line or statement.line, message)
            case "insert" | "delete_number" | "delete_rule" as kind:
                self._edit(kind, words, statement)
            case "new":
                self._new(words[1])
            case "flush":
                self._chain(words[1]).rules.clear()
            case "erase":
                self._erase(words[1])
            case "policy":
                self._set_policy(words[1], words[2])
            case kind:
                raise AssertionError(kind)

    def _table(self, word: str, line: int) -> None:
        if self.open_since:
            raise RefusedError(f"`{word}` before the `COMMIT` of the table of line {self.open_since}")
        self.open_since = line
        if word != "*filter":
            raise RefusedError(f"`{word}`: only the table `filter` is understood")

    def _declare(self, name: str, policy: str) -> None:
        if name in {hook.value for hook in Hook}:
            if policy != "-":
                self._set_policy(name, policy)
            return
        if policy != "-":
            raise RefusedError(f"`{name}` is a user's chain and has no policy")
        if name in self._chains:
            self._chains[name].rules.clear()
        else:
            self._new(name)

    def _new(self, name: str) -> None:
        if name in self._chains:
            raise RefusedError(f"a chain `{name}` exists already")
        self._chains[user_chain(name)] = _Live(policy=None)

    def _set_policy(self, name: str, policy: str) -> None:
        chain = self._chain(name)
        if chain.policy is None:
            raise RefusedError(f"`{name}` is a user's chain and has no policy")
        if policy not in {known.value for known in Policy}:
            raise RefusedError(f"`{policy}` is no policy: it is ACCEPT or DROP")
        chain.policy = Policy(policy)

    def _erase(self, name: str) -> None:
        chain = self._chain(name)
        if chain.policy is not None:
            raise RefusedError(f"`{name}` is a built-in chain")
        if chain.rules:
            raise RefusedError(f"the chain `{name}` has rules")
        if any(next_chain(rule) == name for other in self._chains.values() for rule in other.rules):
            raise RefusedError(f"some rule leads to the chain `{name}`")
        del self._chains[name]

    def _edit(self, kind: str, words: list[str], statement: Statement) -> None:
        """Insert a rule, or delete one by its number, from 1, or by what it says."""
        rules = self._chain(words[1]).rules
        if kind == "delete_rule":
            wanted = self._rule(words[1], statement)
            found = [index for index, rule in enumerate(rules) if rule == wanted]
            if len(found) != 1:
                raise RefusedError("more than one rule is like this" if found else "there is no such rule")
            del rules[found[0]]
            return
        index = int(words[2]) - 1 if len(words) > 2 else 0
        if index > len(rules) - (kind == "delete_number"):
            raise RefusedError(f"the chain `{words[1]}` has {len(rules)} rules only")
        if kind == "insert":
            rules.insert(index, self._rule(words[1], statement))
        else:
            del rules[index]

    def _chain(self, name: str) -> _Live:
        if name not in self._chains:
            raise RefusedError(f"there is no chain `{name}`")
        return self._chains[name]

    def _rule(self, chain: str, statement: Statement) -> Rule:
        """The rule of a line; notes each of its problems."""
        reader = RuleReader(self._family, self._sets)
        if len(statement.tokens) > MOST_OPTIONS:
            raise RefusedError(f"more than {MOST_OPTIONS} options")
        for token in statement.tokens[1:]:
            try:
                reader.read(token)
            except RefusedError as refused:
                self._problems.add(statement.line, str(refused), column=token.column or 1)
        hook = Hook(chain) if self._chains[chain].policy is not None else None
        rule = reader.finish(statement.line, hook)
        self._chain(next_chain(rule) or chain)
        return rule
