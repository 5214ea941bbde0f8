"""Namespaces in which nearly all policies meet: boxes decide what would take a solver minutes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from npcompile.ir.labels import Operator, Requirement, Selector
from npcompile.ir.policy import Policy
from npcompile.questions import NotDecided, Redundant
from npcompile.symbolic import session
from npcompile.symbolic.engine import SymbolicEngine
from tests.unit.symbolic.build import pods, policy, program, rule, tcp

VALUES = [f"value-{number}" for number in range(6)]


def one_of(rng: random.Random, keys: int) -> Selector:
    """A selector of some of eight keys, each with several values."""
    chosen = sorted(rng.sample(range(8), keys))
    some = (tuple(sorted(rng.sample(VALUES, rng.randrange(2, 5)))) for _ in chosen)
    requirements = (
        Requirement(key=f"key-{key}", operator=Operator.IN, values=values)
        for key, values in zip(chosen, some, strict=True)
    )
    return Selector(requirements=tuple(requirements))


def crowd() -> Iterator[Policy]:
    """In each of twenty groups a policy that two others replace together, and two more that meet most of the rest."""
    rng = random.Random(5)
    for number in range(20):
        subjects, peers = one_of(rng, 2), pods(one_of(rng, 1), app="web")
        first = rng.randrange(1, 30_000)
        middle, last = first + 5_000, first + 9_000
        for name, low, high in (
            (f"free-{number}", first, last + 20_000),
            (f"part-{number}-a", first + 1, middle),
            (f"part-{number}-b", middle + 1, last),
        ):
            own = subjects if name.startswith("part") else one_of(rng, 2)
            yield policy(name, own, ingress=[rule(peers, tcp(low, high))])
        yield policy(f"whole-{number}", subjects, ingress=[rule(peers, tcp(first + 1, last))])
        yield policy(f"wider-{number}", one_of(rng, 2), ingress=[rule(peers, tcp(first, last + 1))])


def test_without_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(session, "Query")
    engine = SymbolicEngine(program(*crowd()))
    found = list(engine.redundant())
    planted = {f"whole-{number}" for number in range(20)}
    assert not any(isinstance(one, NotDecided) for one in found)
    assert planted == {one.policy.name for one in found if one.policy.name.startswith("whole")}
    for one in found:
        if isinstance(one, Redundant) and one.policy.name in planted:
            number = one.policy.name.removeprefix("whole-")
            assert [other.name for other in one.cover] == [f"part-{number}-a", f"part-{number}-b"]
    assert list(engine.unfelt()) == []
