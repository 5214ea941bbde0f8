"""`npcompile trace --artifact`: the way of a flow's first packet through an artifact, rule by rule, back to the source.

The artifact is read from the bytes that a node would load, by readers that know nothing of how they were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from npcompile.analyses.trace import Traced
from npcompile.ir.cluster import Cluster
from npcompile.ir.flow import Verdict
from npcompile.netset.cidrs import family_of
from npcompile.readers.artifact import read_artifact, rules_file
from npcompile.readers.interpreter import Ending, Outcome, Step
from npcompile.readers.passage import Passage, Rulesets, Stop, passage
from npcompile.runtime.loader import Stored
from npcompile.runtime.stored import read_stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a rule's comment stands for, as the manifest tells: a rule of a policy, and its place if it has one."""

    policy: str
    direction: str
    rule: int
    file: str | None
    line: int | None

    def __str__(self) -> str:
        place = f" ({self.file}:{self.line})" if self.file is not None else ""
        return f"{self.policy} {self.direction}[{self.rule}]{place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """A rule that matched: where it stands in the artifact, what it says, and where it comes from."""

    file: str
    line: int
    text: str
    id: str
    origin: Origin | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The way of one flow through the artifact of a directory, which is for one node, or for every one (None).

    `found` is None for a flow that has no packets, because an end has no address.
    """

    directory: str
    target: str
    node: str | None
    found: Passage | None
    steps: tuple[tuple[Stepped, ...], ...]  # of each outcome of `found`
    expected: Verdict

    @property
    def differs(self) -> bool:
        """Whether the artifact contradicts the policies."""
        verdict = self.found.verdict if self.found else None
        return verdict is not None and verdict is not self.expected


class Walker:
    """An artifact, read back; raises InputError for one that is not what was emitted, or not understood."""

    def __init__(self, directory: str, cluster: Cluster) -> None:
        self._directory = directory
        self._stored = read_stored(Path(directory))
        self._rulesets = read_artifact(self._stored.target, self._stored.files)
        self._lines = {name: data.decode().split("\n") for name, data in self._stored.files.items()}
        self._cluster = cluster
        self._node = _text(self._stored.manifest.get("node"))

    def walk(self, traced: Traced) -> Walk:
        """The way of a judged flow."""
        flow, target = traced.flow, self._stored.target
        found: Passage | None = None
        steps: list[tuple[Stepped, ...]] = []
        if flow.src.address is not None and flow.dst.address is not None:
            found = passage(self._loaded, self._cluster, flow)
            name = rules_file(target, family_of(flow.dst.address))
            steps += (tuple(self._stepped(name, step) for step in outcome.walk) for _, outcome in found.outcomes)
        return Walk(
            directory=self._directory,
            target=target,
            node=self._node,
            found=found,
            steps=tuple(steps),
            expected=traced.decision.verdict,
        )

    def _loaded(self, node: str | None) -> Rulesets | None:
        """A node's artifact filters pods without a node, too."""
        return self._rulesets if self._node is None or node in {self._node, None} else None

    def _stepped(self, name: str, step: Step) -> Stepped:
        line = step.rule.line
        origin = _origin(self._stored, step.rule.comment) if step.rule.comment else None
        return Stepped(file=name, line=line, text=self._lines[name][line - 1], id=step.rule.comment, origin=origin)


def _origin(stored: Stored, id_: str) -> Origin | None:
    """What the manifest says of an id; None when it says nothing that can be understood."""
    rules = stored.manifest.get("rules")
    fields = rules.get(id_) if isinstance(rules, Mapping) else None
    match fields:
        case {"policy": str(policy), "direction": str(direction), "rule": int(rule), **rest}:
            line = rest.get("line")
            file = _text(rest.get("file"))
            return Origin(
                policy=policy, direction=direction, rule=rule, file=file, line=line if isinstance(line, int) else None
            )
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def walk_json(walk: Walk) -> dict[str, object]:
    """The machine formats' field `artifact`."""
    found = walk.found
    return {
        "target": walk.target,
        "node": walk.node,
        "verdict": str(found.verdict) if found and found.verdict else None,
        "differs": walk.differs,
        "hooks": [
            {
                **_stop_json(stop),
                "ending": "DROP" if outcome.dropped else outcome.ending.value,
                "walk": [_step_json(step) for step in steps],
            }
            for (stop, outcome), steps in zip(found.outcomes, walk.steps, strict=True)
        ]
        if found
        else [],
        "elsewhere": [_stop_json(stop) for stop in found.elsewhere] if found else [],
    }


def _stop_json(stop: Stop) -> dict[str, object]:
    return {"hook": stop.hook.value, "node": stop.node}


def _step_json(step: Stepped) -> dict[str, object]:
    origin = step.origin
    fields = {"file": step.file, "line": step.line, "text": step.text, "rule": step.id or None}
    told = {name: getattr(origin, name) for name in ("policy", "direction", "rule", "file", "line")} if origin else None
    return {**fields, "origin": told}


def walk_text(walk: Walk) -> Iterator[str]:
    """For people: each hook, and below it the rules that matched, in order."""
    whose = f"for node {walk.node}" if walk.node is not None else "for every node"
    told = f"  artifact {walk.directory} ({walk.target}, {whose})"
    if walk.found is None:
        yield f"{told}: an end has no address yet, so it has no packets"
        return
    verdict = walk.found.verdict
    contradiction = "   <- not what the policies say: it is of another input, or wrong" if walk.differs else ""
    yield f"{told}: {verdict if verdict is not None else 'passes here'}{contradiction}"
    for (stop, outcome), steps in zip(walk.found.outcomes, walk.steps, strict=True):
        yield f"    {_place(stop)}: {_ending(outcome)}"
        for step in steps:
            origin = f"   <- {step.origin}" if step.origin else ""
            yield f"      {step.file}:{step.line}: {step.text}{origin}"
    for stop in walk.found.elsewhere:
        yield f"    {_place(stop)}: judged by that node's own artifact"
    if not walk.found.outcomes and not walk.found.elsewhere:
        yield "    its packets meet no hook"


def _place(stop: Stop) -> str:
    return f"{stop.hook.value} on {f'node {stop.node}' if stop.node else 'a node that is not known'}"


def _ending(outcome: Outcome) -> str:
    if outcome.dropped:
        return "dropped"
    return "accepted" if outcome.ending is Ending.ACCEPT else "left to the rules after ours"
