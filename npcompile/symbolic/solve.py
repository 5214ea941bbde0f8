"""Asking z3: one question at a time, with bounded work, and an unknown that cannot be overlooked.

Work is bounded by z3's resource counter and not by time, so outcomes do not depend on the machine.  The canonical
choices (`first`, `least`) are minima over all models, so they do not depend on which model the solver finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import z3

from npcompile.diagnostics.errors import InternalError


class OutOfEffortError(Exception):
    """z3 gave up within the bound.  Whoever asks must report that the question is not decided."""


def solver(ctx: z3.Context, seed: int) -> z3.Solver:
    """The solver of all queries.  Any other one that decides QF_FD would give the same answers."""
    logic = z3.to_symbol("QF_FD", ctx)  # `SolverFor` would start z3's main context for the name, which takes 6 ms
    made = z3.Solver(z3.Z3_mk_solver_for_logic(ctx.ref(), logic), ctx=ctx)
    made.set("random_seed", seed)
    made.set("phase", "always_false")  # a hint: models near the canonical ones need fewer questions
    return made


class Query:
    """A set of constraints, and questions about the flows that satisfy them."""

    def __init__(self, constraints: Iterable[z3.BoolRef], *, ctx: z3.Context, effort: int, seed: int) -> None:
        self._solver = solver(ctx, seed)
        self._solver.set("rlimit", effort)
        self._model: z3.ModelRef | None = None
        self._ctx = ctx
        self._named = 0
        self._spent: int | None = 0
        self.add(*constraints)

    def add(self, *constraints: z3.BoolRef) -> None:
        """Add constraints for good, or until the end of the scope."""
        self._solver.add(*constraints)

    def satisfiable(self, *constraints: z3.BoolRef, switches: Iterable[z3.BoolRef] = ()) -> bool:
        """Whether some flow satisfies everything, these further constraints and switched ones included.

        Raises `OutOfEffortError` when that is not found out.
        """
        with self.scope() if constraints else nullcontext():  # a push costs as much as many a check
            self.add(*constraints)
            self._spent = None
            outcome = self._solver.check(*switches)
            if outcome == z3.sat:
                self._model = self._solver.model()
        if outcome == z3.unknown:
            raise OutOfEffortError(self._solver.reason_unknown())
        return bool(outcome == z3.sat)

    @property
    def spent(self) -> int:
        """What everything that was asked in this context has cost, in z3's resource units; 0 before the first check."""
        if self._spent is None:  # it costs as much as an easy question
            counts = (value for key, value in self._solver.statistics() if key == "rlimit count")
            self._spent = int(next(counts, 0))
        return self._spent

    def switches(self, constraints: Iterable[z3.BoolRef]) -> list[z3.BoolRef]:
        """Add constraints that only hold where their switch is given to `satisfiable`."""
        made = []
        for number, constraint in enumerate(constraints):
            switch = z3.Bool(f"switch {number}", self._ctx)
            self.add(z3.Implies(switch, constraint))
            made.append(switch)
        return made

    def name(self, constraint: z3.BoolRef) -> z3.BoolRef:
        """A literal that is true of the flows that satisfy a constraint, and of no others: a switch both ways."""
        self._named += 1
        literal = z3.Bool(f"name {self._named}", self._ctx)
        self.add(literal == constraint)
        return literal

    def either(self, literals: Iterable[z3.BoolRef]) -> z3.BoolRef:
        """A literal that is true of the flows of which one of some is."""
        return self.name(z3.Or(*literals, self._ctx))

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Constraints that are added within are dropped at the end."""
        self._solver.push()
        try:
            yield
        finally:
            self._solver.pop()

    def holds(self, term: z3.BoolRef) -> bool:
        """Whether a term is true of the flow that was found last; False where that flow leaves it open."""
        assert self._model is not None, "ask for a flow first"
        return bool(z3.is_true(self._model.eval(term, model_completion=True)))

    def first(self, options: Sequence[z3.BoolRef]) -> int:
        """Choose the first option that some flow satisfies, and add it.  Some option must be satisfiable."""
        return self.first_of(options.__getitem__, len(options))

    def first_of(self, option: Callable[[int], z3.BoolRef], count: int) -> int:
        """`first` of many options, which are made as they are needed."""
        impossible, best = 0, None
        while best is None:
            if impossible == count:
                raise InternalError("a witness cannot be completed: the options left out a case")
            best = self._find(option, range(impossible, min(2 * impossible + 1, count)))
            impossible = min(2 * impossible + 1, count) if best is None else impossible
        while best > impossible and (better := self._ask(option, range(impossible, best))) is not None:
            best = better
        self.add(option(best))
        return best

    def _find(self, option: Callable[[int], z3.BoolRef], among: range) -> int | None:
        true = self._first_true(option, among)
        return self._ask(option, among) if true is None else true

    def _ask(self, option: Callable[[int], z3.BoolRef], among: range) -> int | None:
        """Some option among these that is satisfiable, if there is one: the first of those that a new flow has."""
        if not self.satisfiable(z3.Or(*map(option, among), self._ctx)):
            return None
        return self._first_true(option, among)

    def least(self, number: z3.BitVecRef) -> int:
        """Choose the least value that a number can have, and add that it has it."""
        width = number.size()
        value = self._value(number)
        for bit in reversed(range(width)):
            if not value >> bit & 1:
                continue
            goal = value >> bit ^ 1
            if self.satisfiable(z3.Extract(width - 1, bit, number) == goal):
                value = self._value(number)
        self.add(number == value)
        return value

    def _value(self, number: z3.BitVecRef) -> int:
        assert self._model is not None, "ask for a flow first"
        return int(self._model.eval(number, model_completion=True).as_long())

    def _first_true(self, option: Callable[[int], z3.BoolRef], among: range) -> int | None:
        return next((index for index in among if self.holds(option(index))), None)
