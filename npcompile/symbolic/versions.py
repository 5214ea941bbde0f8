"""Two versions of a program under the symbolic engine: one flow, as each of them judges it.

The flow is the same in both, and so are its pods; only what a version knows of namespaces may differ.  A namespace that
one version lists has the labels that it lists there, and any labels, those of the variables, in the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import z3

from npcompile.ir.cluster import Cluster, Namespace, Pod
from npcompile.ir.policy import Direction
from npcompile.ir.program import Program
from npcompile.ir.versions import Both
from npcompile.questions import Example
from npcompile.symbolic import ends
from npcompile.symbolic.assume import different_addresses, possible
from npcompile.symbolic.boxes import Boxes
from npcompile.symbolic.decode import Candidates, Decoder
from npcompile.symbolic.encode import Encoding
from npcompile.symbolic.solve import Query
from npcompile.symbolic.stand_ins import stand_ins
from npcompile.symbolic.vocabulary import Vocabulary

TOTAL = 8  # times the effort of one check: what all of a comparison may cost


class Versions:
    """What all questions about two versions share.  `effort` bounds each solver check, in z3's resource units, and
    `total` all of them together.
    """

    def __init__(self, programs: Both[Program], *, effort: int, seed: int = 0) -> None:
        self.programs = programs
        joint = _joint(programs)
        self.vocabulary = Vocabulary.of(joint)  # its listed namespaces are those of both
        self.listed = Both(*(_listed(program, self.vocabulary) for program in programs))
        self._ctx = z3.Context()
        self.effort, self._seed, self.total = effort, seed, TOTAL * effort
        flow = ends.variables(self.vocabulary, self._ctx)
        own = [replace(self.vocabulary, listed=listed) for listed in self.listed]
        self.boxes = Both(*(Boxes(v, p.cluster) for v, p in zip(own, programs, strict=True)))
        self.encodings = Both(*(Encoding(v, b, flow, self._ctx) for v, b in zip(own, self.boxes, strict=True)))
        self.encoding = Encoding(self.vocabulary, self.boxes.new, flow, self._ctx)  # of what is no version's own
        self._decoder = Decoder(joint, self.vocabulary, self.encoding, stand_ins(self.vocabulary, joint.cluster))
        self._possible = tuple(possible(self.encoding, self.vocabulary))
        self._pods = tuple(_common_pods(programs))

    @property
    def relabelled(self) -> frozenset[int]:
        """The namespaces that the versions do not know alike, by their names' indices."""
        old, new = (program.cluster.namespaces for program in self.programs)
        both = {n for n in self.listed.old & self.listed.new if old[self.name(n)].labels != new[self.name(n)].labels}
        return frozenset(both | (self.listed.old ^ self.listed.new))

    def name(self, index: int) -> str:
        """The name that a namespace has by an index; no other than a known one."""
        return tuple(self.vocabulary.names.indices)[index]

    def query(self, *constraints: z3.BoolRef) -> Query:
        """A query for the flows that are possible and satisfy these constraints."""
        return Query((*self._possible, *constraints), ctx=self._ctx, effort=self.effort, seed=self._seed)

    def apart(self) -> z3.BoolRef:
        """What `query` leaves out, because it seldom matters: the addresses of the ends differ."""
        return different_addresses(self.encoding)

    def example(self, query: Query, direction: Direction) -> Example:
        """The canonical flow of a query that is satisfiable, and was just found to be."""
        return self._decoder.example(query, direction, Candidates(subjects=self._pods, peers=self._pods))


def _joint(programs: Both[Program]) -> Program:
    """A program that mentions what either version does; its namespaces are listed where both list them."""
    old, new = (program.cluster for program in programs)
    namespaces: dict[str, Namespace] = {}
    for name in sorted(old.namespaces.keys() | new.namespaces.keys()):
        found = [cluster.namespaces[name] for cluster in (old, new) if name in cluster.namespaces]
        namespaces[name] = replace(found[-1], listed=len(found) == len(programs) and all(one.listed for one in found))
    cluster = Cluster(namespaces=namespaces, pods=(*old.pods, *new.pods), nodes={**old.nodes, **new.nodes})
    return Program(policies=(*programs.old.policies, *programs.new.policies), cluster=cluster)


def _listed(program: Program, vocabulary: Vocabulary) -> frozenset[int]:
    namespaces = program.cluster.namespaces.values()
    return frozenset(vocabulary.names.index(one.name) for one in namespaces if one.listed)


def _common_pods(programs: Both[Program]) -> Iterator[Pod]:
    """The pods that both versions have, alike and on the same node: those that an example may use."""
    old, new = (program.cluster for program in programs)
    known = {pod.key: pod for pod in old.pods}
    for pod in new.pods:
        alike = known.get(pod.key) == pod and old.nodes.get(pod.node or "") == new.nodes.get(pod.node or "")
        if alike and not pod.host_network:
            yield pod
