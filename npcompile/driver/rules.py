"""`npcompile rule`: what npcompile can report, and the documentation of each."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType

from npcompile.analyses import addressing
from npcompile.analyses.checks.registry import CHECKS
from npcompile.backends.bpf import limits as bpf_limits
from npcompile.backends.bpf import numbers
from npcompile.backends.filters import limits
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import RuleCode, diagnose
from npcompile.driver import bindings, check, config, diff, emit, lab, test
from npcompile.frontend import codes
from npcompile.frontend.spec import codes as spec_codes
from npcompile.readers import problems
from npcompile.runtime import loader, stored
from npcompile.runtime.bpf import capacity as bpf_capacity
from npcompile.runtime.bpf import compile as bpf_compile
from npcompile.runtime.bpf import loader as bpf_loader
from npcompile.runtime.lab import plan

# Codes that no check owns are documented by the string under each, in the module that reports them.
_MODULES = (
    codes,
    addressing,
    config,
    check,
    diff,
    bindings,
    spec_codes,
    test,
    emit,
    limits,
    bpf_limits,
    numbers,
    problems,
    plan,
    lab,
    stored,
    loader,
    bpf_compile,
    bpf_capacity,
    bpf_loader,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """A rule and its documentation page."""

    rule: RuleCode
    text: str


def documented_rules() -> Mapping[str, Documented]:
    """Every rule by its code, sorted."""
    found = {one.rule.code: one for one in _all()}
    return dict(sorted(found.items()))


def refuse_unknown(words: Iterable[str]) -> None:
    """Raise InputError for words of `--select` and `--ignore` that mean no rule: they would hide findings silently."""
    rules = [one.rule for one in documented_rules().values()]
    known = [name for rule in rules for name in (rule.code, rule.slug)]
    unknown = []
    for word in words:
        if not any(check.names(word, rule) for rule in rules):
            close = difflib.get_close_matches(word, known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else "`npcompile rule` lists all"
            unknown.append(diagnose(addressing.USAGE, None, f"there is no rule `{word}`", help=hint))
    if unknown:
        raise InputError(unknown)


def _all() -> Iterator[Documented]:
    for one in CHECKS:
        yield Documented(rule=one.RULE, text=inspect.cleandoc(one.__doc__ or ""))
    for module in _MODULES:
        yield from _constants(module)


def _constants(module: ModuleType) -> Iterator[Documented]:
    """The module's own RuleCodes, each with the string that follows its assignment."""
    body = ast.parse(inspect.getsource(module)).body
    for statement, following in pairwise(body):
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            continue
        value = getattr(module, statement.targets[0].id, None)
        if isinstance(value, RuleCode):
            text = following.value.value if _is_text(following) else ""  # type: ignore[attr-defined]
            yield Documented(rule=value, text=inspect.cleandoc(str(text)))


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
