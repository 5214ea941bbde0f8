"""The target `iptables` in this kernel: read by its own programs, changed by `ipset restore` and `iptables-restore`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from npcompile.backends.iptables.names import is_chain
from npcompile.backends.iptables.target import IPSET_FILE, TABLE_FILES
from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.netset.cidrs import Family
from npcompile.runtime.converge import converge, load, preview
from npcompile.runtime.iptables.image import (
    NOTHING,
    Image,
    Loaded,
    Table,
    asked_sets,
    loaded,
    read_artifact,
    read_kernel_sets,
    read_kernel_table,
    restored,
)
from npcompile.runtime.iptables.plan import FamilyDelta, as_loaded, as_written, plan
from npcompile.runtime.loader import ELSEWHERE, Delta, Step, Stored
from npcompile.runtime.nf_tables import IPV4, IPV6, following, generation, may_have_table
from npcompile.runtime.programs import need, outputs

VARIANTS = ("legacy", "nft")
_TOOLS = {Family.V4: "iptables", Family.V6: "ip6tables"}
_NF_TABLES = {Family.V4: IPV4, Family.V6: IPV6}
_IPSET = ("ipset", "restore")
_LIST = ("ipset", "list")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What both families hold of ours, and their tables as a whole; `elsewhere`: the other back end, if it holds chains
    of ours; `generation`: of nf_tables, if that is our back end and nobody changed it meanwhile.
    """

    families: Mapping[Family, Loaded]
    tables: Mapping[Family, Table] = field(default_factory=dict)
    elsewhere: str | None = None
    generation: int | None = None


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
        """Whether there are chains of ours, in either back end."""
        looks = [command for variant in VARIANTS for family in Family for command in _look_at(variant, family)]
        return any(is_chain(name) for text in outputs(looks) for name in read_kernel_table(text))

    def delta(self, artifact: Stored | None) -> Delta:
        """What `apply` or `detach` would do; raises InputError."""
        need(self._programs())
        return preview(self, _wanted(artifact))

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
        return load(self, _wanted(artifact), artifact)

    def detach(self) -> Delta:
        """Remove our jumps, chains and sets, of both back ends unless one was asked for; raises as `apply` does."""
        need(self._programs())
        other = self.read().elsewhere if self.variant is None else None
        if other is None:
            return converge(self, _wanted(None))
        first = IptablesLoader(variant=other).detach()
        second = converge(self, _wanted(None))
        return Delta(steps=(*first.steps, *second.steps), diagnostics=second.diagnostics)

    def read(self) -> State:
        """What is loaded here; raises ProgramError."""
        here = self._back_end()
        other = next(variant for variant in VARIANTS if variant != here)
        there = {family: command for family in Family for command in _look_at(other, family)}
        before = generation() if here == "nft" else None
        listed, *saved = outputs([_LIST, *self._saves(), *there.values()])
        tables = [read_kernel_table(text) for text in saved]
        elsewhere = [lines for table in tables[len(Family) :] for name, lines in table.items() if is_chain(name)]
        return _state(
            listed,
            dict(zip(Family, tables, strict=False)),
            asked=frozenset(asked_sets(line for lines in elsewhere for line in lines)),
            elsewhere=other if elsewhere else None,
            generation=before if before == generation() else None,
        )

    def reread(self, before: State, steps: Sequence[Step]) -> State:
        """The sets; and the tables, unless our transactions of nf_tables were the only ones since `before`: then they
        are what ours made of them.  The other back end is as it was.
        """
        flips = {step.command[0]: step.text for step in steps if step.command != _IPSET}
        expected = _after(before, len(flips))
        if expected is not None and generation() == expected:
            (listed,) = outputs([_LIST])
            tables = {
                family: restored(table, flips.get(self._program(family, "restore"), ""))
                for family, table in before.tables.items()
            }
        else:
            expected = None
            listed, *saved = outputs([_LIST, *self._saves()])
            tables = {family: read_kernel_table(text) for family, text in zip(Family, saved, strict=True)}
        asked = next(iter(before.families.values())).elsewhere
        return _state(listed, tables, asked=asked, elsewhere=before.elsewhere, generation=expected)

    def _saves(self) -> list[Sequence[str]]:
        return [(self._program(family, "save"), "-t", "filter") for family in Family]

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
                yield Step(command=(self._program(family, "restore"), "--noflush", "--wait=10"), text=delta.flip)
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


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _destroyed(names: Iterable[str]) -> str:
    """Each in its turn; one that is gone already is no failure, so that the lines may be done again."""
    return _lines(f"destroy {name} -exist" for name in sorted(names))


def _wanted(artifact: Stored | None) -> Wanted:
    if artifact is None:
        return dict.fromkeys(Family, NOTHING)
    return read_artifact(artifact.files[IPSET_FILE], {family: artifact.files[TABLE_FILES[family]] for family in Family})


def _after(before: State, transactions: int) -> int | None:
    """The generation after transactions of ours.  None where the first of our chains were among them: they are read, so
    that they are known to be told as they were written.
    """
    if before.generation is None or not all(one.image.chains for one in before.families.values()):
        return None
    expected = before.generation
    for _ in range(transactions):
        expected = following(expected)
    return expected


def _state(
    listed: str,
    tables: Mapping[Family, Table],
    *,
    asked: frozenset[str],
    elsewhere: str | None,
    generation: int | None,
) -> State:
    """`listed`: what `ipset list` prints.  `asked`: the sets that our chains in the other back end ask."""
    sets = read_kernel_sets(listed)
    return State(
        families={family: loaded(table, family, sets, asked) for family, table in tables.items()},
        tables=tables,
        elsewhere=elsewhere,
        generation=generation,
    )


def _look_at(variant: str, family: Family) -> Iterator[Sequence[str]]:
    """The command that looks at a back end's table, if that can be there.

    A table of the legacy back end is made by looking at it, so it is looked at only where it exists.
    """
    program = f"{_TOOLS[family]}-{variant}-save"
    exists = _has_legacy_filter(family) if variant == "legacy" else may_have_table(_NF_TABLES[family], "filter")
    if exists and shutil.which(program) is not None:
        yield (program, "-t", "filter")


def _has_legacy_filter(family: Family) -> bool:
    tables = Path(f"/proc/thread-self/net/{'ip' if family is Family.V4 else 'ip6'}_tables_names")
    try:
        return "filter" in tables.read_text().split()
    except OSError:
        return False
