"""Reads the text of `ipset restore`.

The rules are those of the kernel and of ipset 7, as they answer on trial.  Three are worth knowing.

- `-exist` does not forgive what it should: ipset sends neighbouring `add` lines of one set in one message, which has
  the flag of its first line only, and a flag once given stays for all later messages.  Here an `add` or `del` is
  forgiven when it has `-exist` itself and its message begins with it, or a message before had it: never more than
  ipset forgives.
- `create NAME TYPE family inet6 -exist` succeeds although NAME exists with the family inet.  Here it is an error.
- Addresses are read with the C library: `010.1.1.1` is 8.1.1.1, and names are looked up.  Here both are errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from npcompile.netset.cidrs import Family
from npcompile.readers import ipset_entries
from npcompile.readers.grammar import Statement, statements
from npcompile.readers.ipset_entries import Element, SetType
from npcompile.readers.problems import RefusedError, decode
from npcompile.readers.sets import IpSet

LONGEST_NAME = 31
DEFAULT_MAXELEM = 65536
LONGEST_LINE = 1000  # ipset's buffer has 1024 bytes
LONGEST_COMMENT = 255
_LARGEST = 0xFFFF_FFFF


@dataclass(slots=True, kw_only=True)
class _Live:
    """A set while the text is read."""

    type: SetType
    family: Family
    maxelem: int
    comments: bool
    elements: set[Element] = field(default_factory=set)

    @property
    def parameters(self) -> tuple[SetType, Family, int, bool]:
        return (self.type, self.family, self.maxelem, self.comments)


def read_ipset(data: bytes, *, path: str = "ipset") -> Mapping[str, IpSet]:
    """The sets, by name, that exist after `ipset restore` has read `data`, when there were none before.

    Raises ReadingError with every line that ipset would refuse or that is not understood.  What comes after a line that
    ipset would refuse is read as if that line were not there.
    """
    problems = decode(data, path, longest_line=LONGEST_LINE)
    kernel = _Kernel()
    for statement in statements("ipset", problems):
        try:
            kernel.run(statement)
        except RefusedError as refused:
            problems.add(statement.line, str(refused))
    problems.raise_any()
    live = sorted(kernel.sets.items())
    return {name: ipset_entries.meaning(one.type, one.family, one.elements) for name, one in live}


class _Kernel:
    """The sets, and the commands that change them."""

    def __init__(self) -> None:
        self.sets: dict[str, _Live] = {}
        self._kinds: dict[str, tuple[SetType, Family]] = {}
        self._message = ("", "")  # the command and the set of the netlink message that is being filled
        self._message_forgives = False
        self._forgives = False  # an earlier line said -exist
        self._commands: Mapping[str, Callable[[list[str], Statement, bool], None]] = {
            "create": self._create,
            "add": self._add,
            "delete": self._delete,
            "flush": self._flush,
            "swap": self._swap,
            "rename": self._rename,
            "destroy": self._destroy,
        }

    def run(self, statement: Statement) -> None:
        """Do what one line says, or raise Refused."""
        words = statement.tokens[0].split()
        exist = statement.tokens[-1].type == "EXIST"
        self._forgives |= exist
        message = (statement.kind, words[1]) if statement.kind in {"add", "delete"} else ("", "")
        if message != self._message or message == ("", ""):
            self._message, self._message_forgives = message, self._forgives
        self._commands[statement.kind](words[1:], statement, exist and self._message_forgives)

    def _create(self, words: list[str], statement: Statement, forgiven: bool) -> None:
        name, type_name = words
        if len(name.encode()) > LONGEST_NAME:
            raise RefusedError(f"the set name `{name}` is longer than {LONGEST_NAME} bytes")
        options: dict[str, list[str]] = {}
        for token in statement.tokens[1:]:
            if token.type in options:
                raise RefusedError(f"`{token.split()[0]}` twice")
            options[token.type] = token.split()
        try:
            set_type = SetType(type_name)
        except ValueError:
            raise RefusedError(f"sets of type `{type_name}` are not understood") from None
        maxelem = int(options["MAXELEM"][1]) if "MAXELEM" in options else DEFAULT_MAXELEM
        hashsize = int(options["HASHSIZE"][1]) if "HASHSIZE" in options else 0
        if max(maxelem, hashsize) > _LARGEST:
            raise RefusedError("the number is larger than 32 bits")
        family = Family.V6 if options.get("FAMILY", ["", "inet"])[1] == "inet6" else Family.V4
        new = _Live(type=set_type, family=family, maxelem=maxelem, comments="COMMENTS" in options)
        self._remember(name, new)
        old = self.sets.setdefault(name, new)
        if old is not new and not (forgiven and old.parameters == new.parameters):
            raise RefusedError(f"a set `{name}` exists already" + (" with other parameters" if forgiven else ""))

    def _add(self, words: list[str], statement: Statement, forgiven: bool) -> None:
        name, entry = words
        one = self._set(name)
        self._check_comment(statement, one)
        for element in ipset_entries.elements(one.type, one.family, entry):
            if element in one.elements:
                if not forgiven:
                    raise RefusedError(f"`{entry}` is in the set already, in whole or in part")
            elif len(one.elements) >= one.maxelem:
                raise RefusedError(f"the set is full: its maxelem is {one.maxelem}")
            one.elements.add(element)

    def _check_comment(self, statement: Statement, one: _Live) -> None:
        comments = [token for token in statement.tokens if token.type == "COMMENT"]
        if comments and not one.comments:
            raise RefusedError("the set was created without `comment`")
        for token in comments:
            if len(token.split('"')[1].encode()) > LONGEST_COMMENT:
                raise RefusedError(f"the comment is longer than {LONGEST_COMMENT} bytes")

    def _delete(self, words: list[str], statement: Statement, forgiven: bool) -> None:
        name, entry = words
        one = self._set(name)
        for element in ipset_entries.elements(one.type, one.family, entry):
            if element not in one.elements and not forgiven:
                raise RefusedError(f"`{entry}` is not in the set, in whole or in part")
            one.elements.discard(element)

    def _flush(self, words: list[str], statement: Statement, forgiven: bool) -> None:
        for one in [self._set(name) for name in words] if words else self.sets.values():
            one.elements.clear()

    def _swap(self, words: list[str], statement: Statement, forgiven: bool) -> None:
        a, b = (self._set(name) for name in words)
        if (a.type, a.family) != (b.type, b.family):
            raise RefusedError("sets of two types or families cannot be swapped")
        self.sets.update(zip(words, (b, a), strict=True))

    def _rename(self, words: list[str], statement: Statement, forgiven: bool) -> None:
        old, new = words
        one = self._set(old)
        if new in self.sets:
            raise RefusedError(f"a set `{new}` exists already")
        if len(new.encode()) > LONGEST_NAME:
            raise RefusedError(f"the set name `{new}` is longer than {LONGEST_NAME} bytes")
        self._remember(new, one)
        self.sets[new] = one
        del self.sets[old]

    def _destroy(self, words: list[str], statement: Statement, forgiven: bool) -> None:
        names: Iterable[str] = words or tuple(self.sets)
        for name in names:
            if not (forgiven and name not in self.sets):
                self._set(name)
            self.sets.pop(name, None)

    def _remember(self, name: str, one: _Live) -> None:
        """Refuse a name whose type changes: ipset may go on reading its entries as those of the first."""
        if self._kinds.setdefault(name, (one.type, one.family)) != (one.type, one.family):
            raise RefusedError(f"`{name}` had another type or family before")

    def _set(self, name: str) -> _Live:
        if name not in self.sets:
            raise RefusedError(f"there is no set `{name}`")
        return self.sets[name]
