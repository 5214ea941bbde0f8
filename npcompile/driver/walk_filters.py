"""The way of a packet through an artifact of a packet filter: the rules that match, hook by hook."""

from __future__ import annotations

from npcompile.driver.walk import Ending, Origin, Origins, Passed, Place, Step, Visit
from npcompile.ir.cluster import Cluster
from npcompile.ir.flow import Flow
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import point
from npcompile.readers import interpreter
from npcompile.readers.artifact import ingress_chain, read_artifact, rules_file
from npcompile.readers.interpreter import Outcome
from npcompile.readers.packet import Packet
from npcompile.readers.passage import Rulesets, Stop, first_packet, passage
from npcompile.readers.rules import Goto, Jump, Ruleset
from npcompile.readers.sets import AddressSet
from npcompile.runtime.loader import Stored


class FilterGuide:
    """Knows the way through an artifact for `node` (None: for every one); raises ReadingError."""

    def __init__(self, stored: Stored, cluster: Cluster, node: str | None) -> None:
        self._target = stored.target
        self._rulesets = read_artifact(stored.target, stored.files)
        self._lines = {name: data.decode().split("\n") for name, data in stored.files.items()}
        self._origins = Origins(stored)
        self._profiles = frozenset(self._origins.profiles)
        self._cluster = cluster
        self._node = node

    def passed(self, flow: Flow) -> Passed:
        """The way of a flow whose ends both have an address."""
        found = passage(self._loaded, self._cluster, flow)
        packet = first_packet(flow)
        return Passed(
            visits=tuple(self._visit(stop, outcome, packet) for stop, outcome in found.outcomes),
            elsewhere=tuple(_place(stop) for stop in found.elsewhere),
        )

    def _loaded(self, node: str | None) -> Rulesets | None:
        """A node's artifact filters pods without a node, too."""
        return self._rulesets if self._node is None or node in {self._node, None} else None

    def _visit(self, stop: Stop, outcome: Outcome, packet: Packet) -> Visit:
        file = rules_file(self._target, packet.family)
        return Visit(
            place=_place(stop),
            ending=Ending.DROP if outcome.dropped else _ENDINGS[outcome.ending],
            steps=tuple(self._step(file, step) for step in outcome.walk),
            isolating=self._isolating(outcome, packet) if outcome.dropped else (),
        )

    def _step(self, file: str, step: interpreter.Step) -> Step:
        rule = step.rule
        origin = self._origins.of(rule.comment) if rule.comment else None
        line = self._lines[file][rule.line - 1]
        return Step(file=file, line=rule.line, text=line, id=rule.comment, origin=origin)

    def _isolating(self, outcome: Outcome, packet: Packet) -> tuple[Origin, ...]:
        """Whoever isolates the pod that a dropped packet is from, or, once it is judged for ingress, for.

        A profile is a chain that the packet went through, or a set that has the pod's address.
        """
        chains = {step.rule.target.chain for step in outcome.walk if isinstance(step.rule.target, Jump | Goto)}
        subject = packet.dst if ingress_chain(self._target) in chains else packet.src
        direction = Direction.INGRESS if subject is packet.dst else Direction.EGRESS
        ruleset = self._rulesets[packet.family]
        names = sorted(name for name in self._profiles if name in chains or _holds(ruleset, name, point(subject)))
        found = (origin for name in names for origin in self._origins.isolating(name))
        return tuple(origin for origin in found if origin.direction == direction.value)


def _holds(ruleset: Ruleset, name: str, subject: int) -> bool:
    found = ruleset.sets.get(name)
    return isinstance(found, AddressSet) and subject in found.addresses


def _place(stop: Stop) -> Place:
    return Place(hook=stop.hook.value, node=stop.node)


_ENDINGS = {
    interpreter.Ending.ACCEPT: Ending.ACCEPT,
    interpreter.Ending.DROP: Ending.DROP,
    interpreter.Ending.POLICY: Ending.POLICY,
}
