"""The target `iptables` in this kernel: read by its own programs, changed by `ipset restore` and `iptables-restore`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from npcompile.backends.iptables.names import FORWARD, INPUT, is_chain
from npcompile.backends.iptables.target import IPSET_FILE, TABLE_FILES
from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.netset.cidrs import Family
from npcompile.runtime.converge import converge, load, preview, read
from npcompile.runtime.iptables.image import (
    NOTHING,
    Image,
    KernelSet,
    Loaded,
    Table,
    asked_sets,
    is_readable,
    loaded,
    read_artifact,
    read_kernel_sets,
    read_kernel_table,
    restored,
)
from npcompile.runtime.iptables.plan import FamilyDelta, as_loaded, as_written, plan
from npcompile.runtime.loader import ELSEWHERE, Delta, Step, Stored
from npcompile.runtime.nf_tables import IPV4, IPV6, following, generation, may_have_chain, may_have_table
from npcompile.runtime.noted import Note
from npcompile.runtime.programs import ProgramError, need, outputs, started

VARIANTS = ("legacy", "nft")
_TOOLS = {Family.V4: "iptables", Family.V6: "ip6tables"}
_NF_TABLES = {Family.V4: IPV4, Family.V6: IPV6}
_IPSET = ("ipset", "restore")
_LIST = ("ipset", "list")
_NOTE = "iptables-nft"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is loaded: all sets, and the tables as a whole.

    `elsewhere`: the other back end, if it holds chains of ours; `asked`: the sets that these ask.  `generation`: of
    nf_tables, if that is our back end and nobody changed it meanwhile; `noted`: whether an earlier apply has noted the
    tables with it.  `families`: what that means.
    """

    sets: Mapping[str, KernelSet]
    tables: Mapping[Family, Table]
    elsewhere: str | None = None
    asked: frozenset[str] = frozenset()
    generation: int | None = None
    noted: bool = False
    families: Mapping[Family, Loaded] = field(init=False)

    def __post_init__(self) -> None:
        families = {family: loaded(table, family, self.sets, self.asked) for family, table in self.tables.items()}
        object.__setattr__(self, "families", families)


Wanted = Mapping[Family, Image]


@dataclass(frozen=True, slots=True, kw_only=True)
class IptablesLoader:
    """`variant`: the back end of iptables, or None for what the machine's `iptables-restore` is."""

    variant: str | None = None
    target: str = "iptables"

    def usable(self) -> bool:
        """Whether ipset and iptables are installed."""
        return all(shutil.which(program) for program in self._programs())

    def is_loaded(self) -> bool:
        """Whether there are chains of ours that packets get to, in either back end."""
        looks = [
            command
            for variant in VARIANTS
            for family in Family
            if variant == "legacy" or _may_have_ours(family)
            for command in _look_at(variant, family)
        ]
        return any(map(_has_ours, outputs(looks)))

    def delta(self, artifact: Stored | None) -> Delta:
        """What `apply` or `detach` would do; raises InputError."""
        need(self._programs())
        return preview(self, lambda: _wanted(artifact))

    def between(self, old: Stored, new: Stored) -> Delta:
        """The steps from one artifact, as its own files load it, to the other, as its own files would: sets have the
        names there that artifacts give.
        """
        wanted = _wanted(new)
        there = {family: plan(as_loaded(image), wanted[family]) for family, image in _wanted(old).items()}
        renamed = {family: as_written(wanted[family], delta.generations) for family, delta in there.items()}
        return Delta(steps=(*self._steps(there), *self._steps(renamed)))

    def apply(self, artifact: Stored) -> Delta:
        """Load an artifact; raises InputError, with nothing touched, or LoadError."""
        need(self._programs())
        return load(self, lambda: _wanted(artifact), artifact)

    def detach(self) -> Delta:
        """Remove our jumps, chains and sets, of both back ends unless one was asked for; raises as `apply` does."""
        need(self._programs())
        other = read(self).elsewhere if self.variant is None else None
        if other is None:
            return converge(self, lambda: _wanted(None))
        first = IptablesLoader(variant=other).detach()
        second = converge(self, lambda: _wanted(None))
        return Delta(steps=(*first.steps, *second.steps), diagnostics=second.diagnostics)

    @contextmanager
    def reading(self, *, noted: bool) -> Iterator[Callable[[], State]]:
        """What is loaded here."""
        here = self._back_end()
        other = next(variant for variant in VARIANTS if variant != here)
        there = [command for family in Family for command in _look_at(other, family)]
        before = generation() if here == "nft" else None
        known = self._noted(before) if noted and before is not None else None
        saves = [] if known is not None else [self._save(family) for family in Family]
        with started([_LIST, *saves, *there]) as printed:

            def state() -> State:
                listed, *saved = printed()
                ours, others = saved[: len(saves)], saved[len(saves) :]
                return State(
                    sets=read_kernel_sets(listed),
                    tables=known if known is not None else self._read(ours),
                    elsewhere=other if any(map(_has_ours, others)) else None,
                    asked=frozenset(asked_sets(line for text in others for line in _our_lines(text))),
                    generation=before if before == generation() else None,
                    noted=known is not None,
                )

            yield state

    def _read(self, saved: Sequence[str], families: Sequence[Family] = tuple(Family)) -> Mapping[Family, Table]:
        """The tables that families' programs told of; raises ProgramError for one that they cannot tell of."""
        for family, text in zip(families, saved, strict=True):
            if not is_readable(text):
                words = " ".join(self._save(family))
                raise ProgramError(
                    f"`{words}` cannot tell what the table holds, because others have put rules into it with nft"
                )
        return {family: read_kernel_table(text) for family, text in zip(families, saved, strict=True)}

    def _noted(self, generation: int) -> Mapping[Family, Table] | None:
        """The tables at a generation, if an earlier apply noted them.

        No rule changes without a transaction, not even by its set's name: only sets that no rule asks can be renamed.
        """
        note = Note.of_thread(_NOTE)
        return note.read(generation, _tables) if note is not None else None

    def note(self, state: State) -> None:
        """The tables, of the back end nft."""
        note = Note.of_thread(_NOTE)
        if note is None or state.noted:
            return
        if not any(one.image.chains for one in state.families.values()):
            note.remove()
        elif state.generation is not None:
            note.write(state.generation, [state.tables[family] for family in Family])

    def expected(self, before: State, steps: Sequence[Step]) -> State | None:
        """What transactions make of the tables, where no sets change beside."""
        made = self._made(before, steps)
        if made is None or _IPSET in [step.command for step in steps]:
            return None
        tables, then = made
        return replace(before, sets=_asked(before, tables), tables=tables, generation=then, noted=False)

    def reread(self, before: State, steps: Sequence[Step], expected: State | None) -> State:
        """What the steps are about is read: sets, and tables.  The rest, the other back end too, is as it was.

        Nothing is read of nf_tables where our transactions were the only ones, and all where they were not.
        """
        now = generation() if before.generation is not None else None
        if expected is not None and expected.generation == now:
            return expected
        commands = {step.command for step in steps}
        tables, made = self._made(before, steps) or (before.tables, None)
        if made is not None and made == now:
            again = []
        elif self._back_end() == "legacy":
            again = [family for family in Family if self._restore(family) in commands]
        else:
            again = list(Family)
        lists = [_LIST] if _IPSET in commands else []
        printed = outputs([*lists, *map(self._save, again)])
        tables = {**tables, **self._read(printed[len(lists) :], again)}
        return replace(
            before,
            sets=read_kernel_sets(printed[0]) if lists else _asked(before, tables),
            tables=tables,
            generation=now if now == generation() else None,
            noted=False,
        )

    def _made(self, before: State, steps: Sequence[Step]) -> tuple[Mapping[Family, Table], int] | None:
        """What transactions make of the tables, and the generation then.  None where the first of our chains are made:
        these are read, so that they are known to be told as they were written.
        """
        if before.generation is None or not all(one.image.chains for one in before.families.values()):
            return None
        flips = {step.command: step.text for step in steps if step.command != _IPSET}
        tables = {
            family: restored(table, flips.get(self._restore(family), "")) for family, table in before.tables.items()
        }
        made = before.generation
        for _ in flips:
            made = following(made)
        return tables, made

    def _restore(self, family: Family) -> tuple[str, ...]:
        return (self._program(family, "restore"), "--noflush", "--wait=10")

    def _save(self, family: Family) -> Sequence[str]:
        return (self._program(family, "save"), "-t", "filter")

    def _back_end(self) -> str:
        """`legacy` or `nft`: by the name of the program that the machine's own is, or by what it says it is."""
        if self.variant is not None:
            return self.variant
        program = self._program(Family.V4, "restore")
        name = Path(shutil.which(program) or program).resolve().name
        known = [variant for variant in VARIANTS if variant in name.split("-")]
        if known:
            return known[0]
        (version,) = outputs([[program, "--version"]])
        return "nft" if "nf_tables" in version else "legacy"

    def wanted(self, state: State) -> Wanted:
        """The images that are loaded."""
        return {family: loaded.image for family, loaded in state.families.items()}

    def steps(self, state: State, wanted: Wanted) -> Sequence[Step]:
        """Sets nobody asks, then the families one after the other, then what nothing asks any more."""
        families = state.families.values()
        deltas = {family: plan(loaded, wanted[family]) for family, loaded in state.families.items()}
        idle = {name for loaded in families for name in loaded.idle}
        stale = {name for loaded in families for name in loaded.stale}
        return tuple(self._steps(deltas, idle, stale))

    def _steps(
        self, deltas: Mapping[Family, FamilyDelta], idle: Set[str] = frozenset(), stale: Set[str] = frozenset()
    ) -> Iterator[Step]:
        fill = [line for delta in deltas.values() for line in delta.fill]
        if idle:
            yield Step(command=_IPSET, text=_destroyed(idle), last=not fill)
        for lines in (fill, [line for delta in deltas.values() for line in delta.change]):
            if lines:
                yield Step(command=_IPSET, text=_lines(lines))
        for family, delta in deltas.items():
            if delta.flip:
                yield Step(command=self._restore(family), text=delta.flip)
        if free := {*stale, *(name for delta in deltas.values() for name in delta.free)}:
            yield Step(command=_IPSET, text=_destroyed(free), last=True)

    def warnings(self, state: State) -> Sequence[Diagnostic]:
        """Whether the other back end filters, too."""
        if state.elsewhere is None:
            return ()
        message = f"rules of ours are loaded in the `{state.elsewhere}` back end of iptables, too: both must allow"
        help_ = f"remove them with `npcompile apply --detach --variant {state.elsewhere}`"
        return (diagnose(ELSEWHERE, None, message, help=help_),)

    def _program(self, family: Family, verb: str) -> str:
        words = (_TOOLS[family], *((self.variant,) if self.variant else ()), verb)
        return "-".join(words)

    def _programs(self) -> tuple[str, ...]:
        return ("ipset", *(self._program(family, verb) for family in Family for verb in ("save", "restore")))


def _tables(noted: Any) -> Mapping[Family, Table]:
    """The tables that `IptablesLoader.note` wrote, as a JSON value."""
    tables = [{name: list(lines) for name, lines in table.items()} for table in noted]
    return dict(zip(Family, tables, strict=True))


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _destroyed(names: Iterable[str]) -> str:
    """Each in its turn; one that is gone already is no failure, so that the lines may be done again."""
    return _lines(f"destroy {name} -exist" for name in sorted(names))


def _wanted(artifact: Stored | None) -> Wanted:
    if artifact is None:
        return dict.fromkeys(Family, NOTHING)
    return read_artifact(artifact.files[IPSET_FILE], {family: artifact.files[TABLE_FILES[family]] for family in Family})


def _asked(before: State, tables: Mapping[Family, Table]) -> Mapping[str, KernelSet]:
    """The sets under other tables: every line of a chain that asks one is a reference to it."""
    was, now = (
        asked_sets(line for table in each.values() for lines in table.values() for line in lines)
        for each in (before.tables, tables)
    )
    return {
        name: one if was[name] == now[name] else replace(one, references=one.references + now[name] - was[name])
        for name, one in before.sets.items()
    }


def _look_at(variant: str, family: Family) -> Iterator[Sequence[str]]:
    """The command that looks at a back end's table, if that can be there.

    A table of the legacy back end is made by looking at it, so it is looked at only where it exists.
    """
    program = f"{_TOOLS[family]}-{variant}-save"
    exists = _has_legacy_filter(family) if variant == "legacy" else may_have_table(_NF_TABLES[family], "filter")
    if exists and shutil.which(program) is not None:
        yield (program, "-t", "filter")


def _may_have_ours(family: Family) -> bool:
    """Whether the back end nft may have chains of ours, without a listing."""
    return any(may_have_chain(_NF_TABLES[family], "filter", name) for name in (FORWARD, INPUT))


def _has_ours(saved: str) -> bool:
    """Whether there are chains of ours in a table that was looked at."""
    if not is_readable(saved):  # in the back end nft
        return any(map(_may_have_ours, Family))
    return any(map(is_chain, read_kernel_table(saved)))


def _our_lines(saved: str) -> Iterator[str]:
    return (line for name, lines in read_kernel_table(saved).items() if is_chain(name) for line in lines)


def _has_legacy_filter(family: Family) -> bool:
    tables = Path(f"/proc/thread-self/net/{'ip' if family is Family.V4 else 'ip6'}_tables_names")
    try:
        return "filter" in tables.read_text().split()
    except OSError:
        return False
