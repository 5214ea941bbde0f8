"""`npcompile trace`: one flow or many, each with its verdict and the rules that decide."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from npcompile.analyses.addressing import USAGE, parse_port
from npcompile.analyses.trace import Miss, Traced, Tracer
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, diagnose
from npcompile.driver.inputs import read_sources
from npcompile.frontend import load
from npcompile.ir.cluster import Cluster
from npcompile.ir.policy import Direction
from npcompile.ir.printer import rule_text
from npcompile.semantics import Reason, Side
from npcompile.source import Span

if TYPE_CHECKING:
    from npcompile.driver.trace_artifact import Walker
    from npcompile.driver.walk import Walk

_KEYS = ("src", "dst", "port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A flow as asked for; `line` is its place in a list of flows."""

    src: str
    dst: str
    port: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a question: its judged flows, and, where it was about an artifact, the way of each through it."""

    question: Question
    traced: tuple[Traced, ...]
    walks: tuple[Walk, ...] = ()

    @property
    def told(self) -> Iterator[tuple[Traced, Walk | None]]:
        """The judged flows, each with its way."""
        return zip(self.traced, self.walks or (None,) * len(self.traced), strict=True)


def run_trace(
    questions: Sequence[Question], paths: Sequence[str], *, explain: bool, artifact: str | None = None
) -> tuple[list[Answer], tuple[Diagnostic, ...]]:
    """Answer every question, or raise InputError with all that is wrong with any of them and answer none."""
    loaded = load(read_sources(paths))
    tracer = Tracer(loaded.program)
    walker = _walker(artifact, loaded.program.cluster) if artifact is not None else None
    answers: list[Answer] = []
    problems: list[Diagnostic] = []
    for question in questions:
        try:
            port = parse_port(question.port)
            traced = tracer.trace(question.src, question.dst, port, explain=explain)
            walks = tuple(walker.walk(one, port) for one in traced) if walker else ()
            answers.append(Answer(question=question, traced=tuple(traced), walks=walks))
        except InputError as error:
            problems += [at_line(one, question) for one in error.diagnostics]
    if problems:
        raise InputError(problems)
    return answers, loaded.diagnostics


def _walker(artifact: str, cluster: Cluster) -> Walker:
    from npcompile.driver.trace_artifact import Walker  # and with it the readers of artifacts, where one is asked about

    return Walker(artifact, cluster)


def read_flows(path: str) -> list[Question]:
    """The flows of a file, or of stdin (`-`): one JSON object a line, `{"src": …, "dst": …, "port": …}`."""
    (source,) = read_sources([path])
    questions: list[Question] = []
    problems: list[Diagnostic] = []
    for number, line in enumerate(source.text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(_flow_problem(source.path, number, f"not JSON: {error.msg.lower()}"))
            continue
        wrong = _wrong_fields(value)
        if wrong:
            problems.append(_flow_problem(source.path, number, wrong))
        else:
            questions.append(Question(src=value["src"], dst=value["dst"], port=value["port"], line=number))
    if problems:
        raise InputError(problems)
    return questions


def _wrong_fields(value: object) -> str | None:
    if not isinstance(value, dict):
        return "a flow must be an object"
    missing = [key for key in _KEYS if not isinstance(value.get(key), str)]
    if missing:
        return "a flow needs " + ", ".join(f"`{key}`" for key in missing) + ", each a string"
    unknown = sorted(set(value) - set(_KEYS))
    return f"unknown field `{unknown[0]}`" if unknown else None


def _flow_problem(path: str, line: int, message: str) -> Diagnostic:
    form = '{"src": "ns/pod", "dst": "10.0.0.1", "port": "tcp/80"}'
    return diagnose(USAGE, None, f"{path}:{line}: {message}", help=f"a line is `{form}`")


def at_line(problem: Diagnostic, question: Question) -> Diagnostic:
    """What is wrong with a question, with its place in the list."""
    if question.line is None:
        return problem
    return diagnose(problem.rule, None, f"flow at line {question.line}: {problem.message}", help=problem.help)


def as_json(asked: Question, traced: Traced, walk: Walk | None = None) -> dict[str, object]:
    """The machine formats' fields of one judged flow, and of its way through an artifact."""
    decision = traced.decision
    sides = {Direction.EGRESS: decision.egress, Direction.INGRESS: decision.ingress}
    fields: dict[str, object] = {
        "src": asked.src,
        "dst": asked.dst,
        "port": asked.port,
        "verdict": str(decision.verdict),
        "rules": [_rule_json(direction, side) for direction, side in sides.items() if side.policy is not None],
        **{str(direction): _side_json(side) for direction, side in sides.items()},
    }
    judged = {"src": str(traced.flow.src), "dst": str(traced.flow.dst), "port": traced.flow.port_text}
    if judged != {"src": asked.src, "dst": asked.dst, "port": asked.port}:
        fields["judged"] = judged
    if traced.family is not None:
        fields["family"] = int(traced.family)
    if traced.service is not None:
        fields["service"] = str(traced.service)
    if traced.unbound:
        fields["unbound"] = [str(pod) for pod in traced.unbound]
    if walk is not None:
        from npcompile.driver.walk import walk_json

        fields["artifact"] = walk_json(walk)
    return fields


def _side_json(side: Side) -> dict[str, object]:
    return {"allowed": side.allowed, "reason": side.reason.value}


def _rule_json(direction: Direction, side: Side) -> dict[str, object]:
    policy, rule = side.policy, side.rule
    span = (rule.span if rule else None) or (policy.span if policy else None)
    return {
        "direction": str(direction),
        "policy": str(policy),
        "rule": rule.index if rule else None,
        "file": span.file.path if span else None,
        "line": span.line if span else None,
    }


def render_json(answers: Sequence[Answer]) -> str:
    """Every judged flow in one document."""
    flows = [as_json(answer.question, *told) for answer in answers for told in answer.told]
    return json.dumps({"version": 1, "flows": flows}, indent=2, ensure_ascii=False) + "\n"


def render_jsonl(answers: Iterable[Answer]) -> str:
    """One judged flow a line."""
    return "".join(
        json.dumps(as_json(answer.question, *told), ensure_ascii=False) + "\n"
        for answer in answers
        for told in answer.told
    )


def render_text(answers: Iterable[Answer]) -> str:
    """For people: the verdict, both directions, and the closest miss of a denied one."""
    return "".join("\n".join(_text(*told)) + "\n" for answer in answers for told in answer.told)


def _text(traced: Traced, walk: Walk | None) -> Iterator[str]:
    flow = traced.flow
    family = f"  (IPv{int(traced.family)})" if traced.family else ""
    through = f"  (through Service {traced.service})" if traced.service else ""
    alike = f"  (and alike for {traced.pairs - 1} more)" if traced.pairs > 1 else ""
    yield f"{traced.decision.verdict!s:<5} {flow.src} -> {flow.dst}  {flow.port_text}{family}{through}{alike}"
    yield from sides_text(traced)
    if walk is not None:
        from npcompile.driver.walk import walk_text

        yield from walk_text(walk)


def sides_text(traced: Traced) -> Iterator[str]:
    """For people: what each side says of the flow, and why."""
    flow, decision = traced.flow, traced.decision
    for direction, side in ((Direction.EGRESS, decision.egress), (Direction.INGRESS, decision.ingress)):
        subject = flow.src if direction is Direction.EGRESS else flow.dst
        state = "allowed" if side.allowed else "DENIED "
        yield f"  {direction!s:<8} {state}  {_because(side, str(subject), direction)}"
        if not side.allowed:
            own = [miss for miss in traced.misses if miss.rule.direction is direction]
            yield from (_miss(miss, closest=miss is own[0]) for miss in own[:_MISSES])
            if len(own) > _MISSES:
                yield f"    and {len(own) - _MISSES} more that match less"
    for pod in traced.unbound:
        yield f"  note: the address of {pod} is not known yet; a rule with an ipBlock might allow it"


_MISSES = 5


def _because(side: Side, subject: str, direction: Direction) -> str:
    match side.reason:
        case Reason.NOT_A_POD:
            return f"{subject} is no pod of the pod network, and policies apply to those only"
        case Reason.SAME_POD:
            return "a pod always reaches itself"
        case Reason.OWN_NODE:
            return f"its own node always reaches {subject}"
        case Reason.NOT_ISOLATED:
            return f"no policy isolates {subject} for {direction}"
        case Reason.RULE if side.policy and side.rule:
            return f"by {rule_text(side.policy, side.rule)}{_place(side.rule.span)}"
        case _:
            return f"isolated by {side.policy}{_place(side.policy.span if side.policy else None)}, and no rule matches"


def _miss(miss: Miss, *, closest: bool) -> str:
    peer = f" peer {miss.peer}" if miss.peer is not None else ""
    reasons = list(dict.fromkeys(miss.reasons))
    arrow = "   <- closest miss" if closest else ""
    return f"    {rule_text(miss.policy, miss.rule)}{_place(miss.rule.span)}{peer}: {'; '.join(reasons)}{arrow}"


def _place(span: Span | None) -> str:
    return f" ({span})" if span else ""
