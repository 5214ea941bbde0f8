"""`npcompile lab`: the pods of an input as network namespaces, an artifact loaded on their nodes, every flow tried."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from ipaddress import ip_address
from typing import TYPE_CHECKING

from npcompile import semantics
from npcompile.analyses.addressing import parse_port, usage_error
from npcompile.analyses.trace import Traced, Tracer
from npcompile.backends.target import Artifact, Options, Target
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, RuleCode, Severity, diagnose
from npcompile.driver.emit import manifest
from npcompile.driver.exit_codes import Exit, worst
from npcompile.driver.inputs import read_sources
from npcompile.driver.trace import Question, at_line
from npcompile.frontend import load
from npcompile.ir.flow import Endpoint, Verdict
from npcompile.ir.policy import Direction
from npcompile.ir.program import PolicyIndex, Program
from npcompile.netset.cidrs import Address, Family, point
from npcompile.runtime.lab.observation import Observation, Observed
from npcompile.runtime.lab.outside import outside
from npcompile.runtime.lab.plan import SIZE, Plan, make_plan
from npcompile.runtime.lab.probes import Number, Trial, every_trial, probe, trial_of
from npcompile.runtime.lab.settle import addresses, settle
from npcompile.runtime.loader import LoadError, Stored
from npcompile.runtime.namespaces import has_ipv6
from npcompile.runtime.registry import loaders

if TYPE_CHECKING:
    from npcompile.runtime.lab.session import Lab

LAB_MACHINE = RuleCode(code="NPC742", slug="lab-machine", severity=Severity.ERROR)
"""A lab cannot be made on this machine: it needs root on Linux, the extra `npcompile[linux]`, and the programs that
load the artifact."""

HOSTS_LEFT_OUT = RuleCode(code="NPC743", slug="lab-hosts-left-out", severity=Severity.INFO)
"""The policies' ipBlocks tell apart more addresses outside the cluster than a lab has hosts for.  Ask for others with
`--flows`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabOptions:
    """What to load and what to try.  `numbers`: these protocols and ports instead of those that the policies call for;
    `questions`: these flows instead of all.
    """

    target: Target
    numbers: tuple[Number, ...] = ()
    questions: tuple[Question, ...] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A flow to try, as it was asked for, and what the reference evaluator says of it.

    `closed`: it goes to a Service that the target closes to its source, because not every backend is allowed.
    """

    question: Question
    traced: Traced
    trial: Trial
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """What was expected of a flow, and what was seen.  `traced.family` is set where the two families differ."""

    question: Question
    traced: Traced
    seen: Observation
    closed: bool = False

    @property
    def differs(self) -> bool:
        """Whether the kernel did something else, and not what the target is known to do."""
        return self.seen.differs(self.traced.decision.verdict) and not self.closes

    @property
    def closes(self) -> bool:
        """Whether the flow was allowed, and the target closed its Service."""
        return self.closed and self.seen.observed is Observed.DENY and self.traced.decision.verdict is Verdict.ALLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything that can be known before anything is touched: the lab's plan, what to try, and what to load on each
    node.
    """

    plan: Plan
    asked: tuple[Asked, ...]
    artifacts: Mapping[str, Stored]
    diagnostics: tuple[Diagnostic, ...] = ()


def prepare(paths: Sequence[str], options: LabOptions) -> Prepared:
    """Read the input and plan its lab; raises InputError with all that is wrong."""
    loaded = load(read_sources(paths))
    prepared = prepare_program(loaded.program, options)
    return replace(prepared, diagnostics=(*loaded.diagnostics, *prepared.diagnostics))


def prepare_program(program: Program, options: LabOptions) -> Prepared:
    """Plan the lab of a program; raises InputError."""
    if options.questions is None:
        return _prepare_everything(settle(program), options)
    if not options.questions:
        raise usage_error("the list of flows is empty")
    named = _named_addresses(options.questions)
    settled = settle(program, avoid=named)
    plan = make_plan(settled, _strangers(settled, named))
    return Prepared(
        plan=plan,
        asked=_with_closed(settled, tuple(_chosen(settled, plan, options.questions)), options.target),
        artifacts=_artifacts(settled, plan, options.target),
    )


def _prepare_everything(settled: Program, options: LabOptions) -> Prepared:
    hosts = outside(settled)
    plan = make_plan(settled, hosts.addresses)
    asked = _with_closed(settled, tuple(_everything(settled, plan, options.numbers)), options.target)
    if not asked:
        message = "every pod of the input is on its node's network, where no policy applies"
        raise InputError([diagnose(SIZE, None, message, help="name the files with the other pods, too")])
    message = f"{hosts.left_out} more addresses outside the cluster, which ipBlocks tell apart, are not tried"
    told = (diagnose(HOSTS_LEFT_OUT, None, message, help="name them in `--flows`"),) if hosts.left_out else ()
    return Prepared(
        plan=plan,
        asked=asked,
        artifacts=_artifacts(settled, plan, options.target),
        diagnostics=told,
    )


def _artifacts(program: Program, plan: Plan, target: Target) -> Mapping[str, Stored]:
    """What `emit --node` writes for each node."""
    return {node.name: _stored(target.emit(program, Options(node=node.name)), node.name) for node in plan.nodes}


def _stored(artifact: Artifact, node: str) -> Stored:
    document = manifest(artifact, Options(node=node))
    return Stored(target=artifact.target, files=artifact.files, manifest=document)


def _named_addresses(questions: Iterable[Question]) -> list[Address]:
    """The addresses among the words of flows."""
    found = []
    for question in questions:
        for word in (question.src, question.dst):
            try:
                found.append(ip_address(word))
            except ValueError:
                continue
    return found


def _strangers(program: Program, named: Iterable[Address]) -> list[Address]:
    """Those addresses that nothing in the cluster has."""
    known = set(addresses(program.cluster))
    return sorted({address for address in named if address not in known}, key=point)


def _everything(program: Program, plan: Plan, numbers: Sequence[Number]) -> Iterator[Asked]:
    policies = PolicyIndex(program.policies)
    for trial in every_trial(program, plan, numbers):
        flow, through = trial.flow, trial.through
        decision = semantics.decide(policies.judging(flow), program.cluster, flow)
        traced = Traced(flow=flow, decision=decision, service=through.service if through else None)
        dst = f"{through.service.namespace}/svc/{through.service.name}" if through else _word(flow.dst)
        port = f"{through.port.protocol}/{through.port.number}" if through else flow.port_text
        yield Asked(Question(src=_word(flow.src), dst=dst, port=port), traced, trial)


def _with_closed(program: Program, asked: tuple[Asked, ...], target: Target) -> tuple[Asked, ...]:
    """With the Services that the target closes to some sources."""
    if not target.whole_services:
        return asked
    backends: dict[object, list[Asked]] = defaultdict(list)
    for one in asked:
        backends[_front(one)].append(one)
    closed = {
        front for front, found in backends.items() if not all(_is_open(program, one.traced) for one in found)
    }  # fmt: skip
    return tuple(replace(one, closed=one.traced.service is not None and _front(one) in closed) for one in asked)


def _front(one: Asked) -> tuple[object, ...]:
    """What a source sees of a Service: its backends are one."""
    flow = one.traced.flow
    return flow.src.address, one.traced.service, one.question.port, flow.dst.family


def _is_open(program: Program, traced: Traced) -> bool:
    """Whether the source's policies allow a backend; that a pod always reaches itself is none of theirs."""
    side, pod = traced.decision.egress, traced.flow.src.pod
    if side.reason is not semantics.Reason.SAME_POD or pod is None:
        return side.allowed
    return not any(Direction.EGRESS in one.directions and semantics.selects(one, pod) for one in program.policies)


def _word(end: Endpoint) -> str:
    """As `trace` takes it: pods on their node's network are the node, and nodes go by address."""
    return str(end.pod) if end.pod is not None and not end.pod.host_network else str(end.address)


def _chosen(program: Program, plan: Plan, questions: Iterable[Question]) -> Iterator[Asked]:
    tracer = Tracer(program)
    problems: list[Diagnostic] = []
    for question in questions:
        try:
            port = parse_port(question.port)
            asked = [
                Asked(question, traced, trial)
                for traced in tracer.each(question.src, question.dst, port)
                if (trial := trial_of(plan, traced, port)) is not None
            ]
            if not asked:
                raise usage_error(f"`{question.src}` and `{question.dst}` have no address family in common")
            yield from asked
        except InputError as error:
            problems += [at_line(one, question) for one in error.diagnostics]
    if problems:
        raise InputError(problems)


def need_machine(plan: Plan, *, shell: bool) -> None:
    """Raise InputError with everything that this machine lacks for a lab."""
    problems = []
    if sys.platform != "linux":
        problems.append(("a lab is made of Linux's network namespaces", "run it on Linux"))
    elif os.geteuid() != 0:
        problems.append(("a lab needs root: network namespaces, raw sockets and packet filters", "run it with sudo"))
    if not _is_installed("pyroute2"):
        problems.append(("a lab needs pyroute2, which is not installed", "install `npcompile[linux]`"))
    if plan.forwards and shutil.which("nft") is None:
        problems.append(("a lab with Services needs `nft`, which is not installed", "install nftables"))
    if shell and (shutil.which("nsenter") is None or shutil.which("setpriv") is None):
        problems.append(("a shell needs `nsenter` and `setpriv`, which are not installed", "install util-linux"))
    if Family.V6 in plan.families and not has_ipv6():
        problems.append(("the input has IPv6 addresses, and this kernel has no IPv6", "boot without `ipv6.disable=1`"))
    if problems:
        raise InputError([diagnose(LAB_MACHINE, None, message, help=advice) for message, advice in problems])


def _is_installed(package: str) -> bool:
    try:
        return bool(distribution(package))
    except PackageNotFoundError:
        return False


@contextmanager
def running(prepared: Prepared, *, shell: bool = False) -> Iterator[Lab]:
    """The lab, up, with nothing loaded; gone afterwards.  Raises InputError when this machine cannot have it."""
    need_machine(prepared.plan, shell=shell)
    # Here, since without the extra there is no pyroute2 to import.
    from npcompile.runtime.lab.build import LabError
    from npcompile.runtime.lab.session import opened

    probes = [probe(one.trial) for one in prepared.asked]
    try:
        with opened(prepared.plan, probes) as lab:
            yield lab
    except LabError as error:
        raise InputError([diagnose(LAB_MACHINE, None, f"the lab cannot be made: {error}")]) from None


def try_everything(prepared: Prepared, lab: Lab) -> list[Row]:
    """Load, and hold what is seen against what is expected.  Of an artifact that does not load, nothing is known."""
    lab.check()
    try:
        lab.load(lambda node: _load(node, prepared))
        seen = lab.observe()
    except LoadError as error:
        seen = [Observation(Observed.UNKNOWN, f"the artifact does not load: {error}")] * len(prepared.asked)
    return list(_rows(zip(prepared.asked, seen, strict=True)))


def exit_code(rows: Iterable[Row]) -> Exit:
    """1 for a difference, 3 where nothing is known of a flow."""
    known = {True: Exit.CLEAN, False: Exit.UNDECIDED}
    return worst(Exit.FINDINGS if row.differs else known[row.seen.is_known] for row in rows)


def _rows(tried: Iterable[tuple[Asked, Observation]]) -> Iterator[Row]:
    """A row for what was asked, a Service's backends apart; or, where they do not agree, one a pair of addresses."""
    groups: dict[object, list[Row]] = defaultdict(list)
    for asked, seen in tried:
        backend = asked.traced.flow.dst.pod if asked.traced.service else None
        groups[asked.question, backend].append(Row(asked.question, asked.traced, seen, asked.closed))
    for rows in groups.values():
        if all(_outcome(row) == _outcome(rows[0]) for row in rows):
            yield rows[0]
        else:
            yield from map(_with_family, rows)


def _outcome(row: Row) -> tuple[object, ...]:
    return row.traced.decision, row.seen, row.closed


def _with_family(row: Row) -> Row:
    return replace(row, traced=replace(row.traced, family=row.traced.flow.dst.family))


def _load(node: str, prepared: Prepared) -> None:
    """Bring a node's artifact into its network namespace, where this thread is: by its target's loader, or by the
    commands that the manifest names.  Raises LoadError, or InputError when a program is missing.
    """
    artifact = prepared.artifacts[node]
    pods = next(place.pods for place in prepared.plan.nodes if place.name == node)
    loader = loaders(interfaces={place.name: place.ifname for place in pods}).get(artifact.target)
    if loader is not None:
        loader.apply(artifact)
        return
    with ExitStack() as opened:
        # In memory only, so that no end of this process leaves a file behind.
        files = {name: opened.enter_context(os.fdopen(os.memfd_create(name), "wb")) for name in artifact.files}
        for name, data in artifact.files.items():
            files[name].write(data)
            files[name].flush()
        for line in artifact.manifest["load"]:  # type: ignore[attr-defined]
            words = [f"/dev/fd/{files[word].fileno()}" if word in files else word for word in line.split()]
            _run(words, [one.fileno() for one in files.values()])


def _run(command: Sequence[str], files: Sequence[int]) -> None:
    for file in files:
        os.lseek(file, 0, os.SEEK_SET)
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, pass_fds=files)
    except FileNotFoundError:
        message = f"the program `{command[0]}` is not installed"
        raise InputError([diagnose(LAB_MACHINE, None, message, help="install it")]) from None
    except subprocess.CalledProcessError as error:
        raise LoadError(f"`{command[0]}` failed: {' '.join(error.stderr.split())}", restored=False) from None
