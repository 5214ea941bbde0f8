"""The way of a flow's first packet through an artifact, whatever the target: what `trace --artifact` tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from npcompile.ir.flow import Verdict
from npcompile.runtime.loader import Stored


class Ending(Enum):
    """How a packet leaves a place where it is judged."""

    ACCEPT = "ACCEPT"
    DROP = "DROP"
    POLICY = "POLICY"  # left to the rules after ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What an id of the artifact stands for, as the manifest tells: a rule of a policy, or, where `rule` is None, the
    policy's isolating of its subjects; and its place, if it has one.
    """

    policy: str
    direction: str
    rule: int | None
    file: str | None
    line: int | None

    def __str__(self) -> str:
        place = f" ({self.file}:{self.line})" if self.file is not None else ""
        return f"{self.policy} {self.direction}{'' if self.rule is None else f'[{self.rule}]'}{place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A line of the artifact that had a say: where it stands, what it says, the id in it, and where it comes from."""

    file: str
    line: int
    text: str
    id: str
    origin: Origin | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a packet is judged: a hook, or a program at a pod's interface, of a node; None where it is not known."""

    hook: str
    node: str | None

    def __str__(self) -> str:
        return f"{self.hook} on {f'node {self.node}' if self.node else 'a node that is not known'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A place that the packet came to: how it left, and the lines that led there, in order.

    `isolating`: of a drop, the policies that isolate the pod, none of whose rules allows the packet.  `service_mixed`:
    it was for a Service of which the pod may not reach every backend.
    """

    place: Place
    ending: Ending
    steps: tuple[Step, ...]
    isolating: tuple[Origin, ...] = ()
    service_mixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """The places until one dropped the packet, in order, and `elsewhere` those that another node's artifact judges."""

    visits: tuple[Visit, ...]
    elsewhere: tuple[Place, ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        """ALLOW when no place drops; None when no known one does, and not all are known."""
        if any(visit.ending is Ending.DROP for visit in self.visits):
            return Verdict.DENY
        return None if self.elsewhere else Verdict.ALLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The way of one flow through the artifact of a directory, which is for one node, or for every one (None).

    `passed` is None for a flow that has no packets, because an end has no address.
    """

    directory: str
    target: str
    node: str | None
    passed: Passed | None
    expected: Verdict

    @property
    def verdict(self) -> Verdict | None:
        """The artifact's; None where it has none."""
        return self.passed.verdict if self.passed else None

    @property
    def differs(self) -> bool:
        """Whether the artifact contradicts the policies.  To close a Service that not every backend is allowed of is
        what the target bpf does.
        """
        mixed = self.passed is not None and any(visit.service_mixed for visit in self.passed.visits)
        return not mixed and self.verdict is not None and self.verdict is not self.expected


class Origins:
    """The ids of an artifact, and who isolates, by its manifest.  What it does not tell in its own words is unknown."""

    def __init__(self, stored: Stored) -> None:
        self._rules = _mapping(stored.manifest.get("rules"))
        self._isolating = _mapping(stored.manifest.get("isolating"))

    def of(self, id_: str) -> Origin | None:
        """What an id stands for."""
        match self._rules.get(id_):
            case {"policy": str(policy), "direction": str(direction), "rule": int() | None as rule, **rest}:
                line = rest.get("line")
                return Origin(
                    policy=policy,
                    direction=direction,
                    rule=rule,
                    file=text(rest.get("file")),
                    line=line if isinstance(line, int) else None,
                )
        return None

    @property
    def profiles(self) -> Iterator[str]:
        """The names of what stands for profiles."""
        return iter(self._isolating)

    def isolating(self, name: str) -> tuple[Origin, ...]:
        """The policies that isolate the pods which a name stands for."""
        ids = self._isolating.get(name)
        found = (self.of(id_) for id_ in ids) if isinstance(ids, list) else ()
        return tuple(origin for origin in found if origin is not None)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def text(value: object) -> str | None:
    """A value of a JSON document, if it is a string."""
    return value if isinstance(value, str) else None


# --- for machines ---


def walk_json(walk: Walk) -> dict[str, object]:
    """The machine formats' field `artifact`."""
    passed = walk.passed
    return {
        "target": walk.target,
        "node": walk.node,
        "verdict": str(walk.verdict) if walk.verdict else None,
        "differs": walk.differs,
        "hooks": [
            {
                **_place_json(visit.place),
                "ending": visit.ending.value,
                "walk": [_step_json(step) for step in visit.steps],
                "isolating": [_origin_json(origin) for origin in visit.isolating],
            }
            for visit in (passed.visits if passed else ())
        ],
        "elsewhere": [_place_json(place) for place in (passed.elsewhere if passed else ())],
    }


def _place_json(place: Place) -> dict[str, object]:
    return {"hook": place.hook, "node": place.node}


def _step_json(step: Step) -> dict[str, object]:
    fields = {"file": step.file, "line": step.line, "text": step.text, "rule": step.id or None}
    return {**fields, "origin": _origin_json(step.origin) if step.origin else None}


def _origin_json(origin: Origin) -> dict[str, object]:
    return {name: getattr(origin, name) for name in ("policy", "direction", "rule", "file", "line")}


# --- for people ---

_ENDINGS = {Ending.ACCEPT: "accepted", Ending.DROP: "dropped", Ending.POLICY: "left to the rules after ours"}


def walk_text(walk: Walk) -> Iterator[str]:
    """Each place, and below it the lines that had a say, in order."""
    whose = f"for node {walk.node}" if walk.node is not None else "for every node"
    told = f"  artifact {walk.directory} ({walk.target}, {whose})"
    passed = walk.passed
    if passed is None:
        yield f"{told}: an end has no address yet, so it has no packets"
        return
    contradiction = "   <- not what the policies say: it is of another input, or wrong" if walk.differs else ""
    yield f"{told}: {walk.verdict if walk.verdict is not None else 'passes here'}{contradiction}"
    for visit in passed.visits:
        yield f"    {visit.place}: {_ENDINGS[visit.ending]}"
        for step in visit.steps:
            origin = f"   <- {step.origin}" if step.origin else ""
            yield f"      {step.file}:{step.line}: {step.text}{origin}"
        if visit.service_mixed:
            yield "      not every backend of the Service is allowed, so that the target closes it"
        yield from (f"      isolated by {origin}" for origin in visit.isolating)
    for place in passed.elsewhere:
        yield f"    {place}: judged by that node's own artifact"
    if not passed.visits and not passed.elsewhere:
        yield "    its packets meet no hook"
