"""A YAML text with many pods, most of which are known from others like them: see `pod_shapes`.

libyaml reads everything else, and of each shape a pod.  Whenever it has anything to say against what it reads, the text
is left to it as a whole: then it matters what it sees, and in what order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from npcompile.diagnostics.model import Diagnostic
from npcompile.frontend.inventory import PodObject
from npcompile.frontend.nodes import Document
from npcompile.frontend.pieces import Piece, cut, excerpt
from npcompile.frontend.pod_shapes import PodShape, Values, learn, values_of
from npcompile.frontend.yaml_reader import read_yaml
from npcompile.source import SourceFile

_POD = "\nkind: Pod\n"
_BREAKS = ("\r", "\x85", "\u2028", "\u2029")  # lines are told by line feeds here
_FEW = 20  # pods of a file that are not worth the trouble
_ROUNDS = 3  # of learning shapes; what is unlike all others by then is left to libyaml

Read = Document | PodObject


def read_yaml_with_pods(file: SourceFile) -> Iterable[Read | Diagnostic]:
    """Every document of a file in order, as `read_yaml` finds them; some of the pods among them are read already."""
    if file.text.count(_POD) < _FEW or file.text.startswith("\ufeff") or any(sign in file.text for sign in _BREAKS):
        return read_yaml(file)
    found = _Reading(file, cut(file.text)).read()
    return read_yaml(file) if found is None else found


@dataclass(slots=True)
class _Reading:
    """What is known of a file's pieces so far."""

    file: SourceFile
    pieces: list[Piece]
    found: dict[int, list[Read]] = field(default_factory=lambda: defaultdict(list))
    shapes: dict[str, list[PodShape]] = field(default_factory=lambda: defaultdict(list))

    def read(self) -> Iterator[Read] | None:
        """Everything in the file's order; None when libyaml has something to say."""
        pods = [piece.number for piece in self.pieces if piece.number and _POD in f"\n{piece.text}"]
        waiting = {number: values_of(self.pieces[number].text) for number in pods}
        left = {piece.number for piece in self.pieces}.difference(pods)
        for _ in range(_ROUNDS):
            times = Counter(rest for _, rest in waiting.values())
            models = {rest: number for number, (_, rest) in reversed(waiting.items())}
            if not self.read_pieces(left.union(models.values())):
                return None
            for rest, number in models.items():
                if times[rest] > 1:
                    self.learn(number, rest)
            left = set()
            waiting = {
                number: (values, rest)
                for number, (values, rest) in waiting.items()
                if number not in self.found and not self.is_known(number, values, rest)
            }
        if not self.read_pieces(waiting):
            return None
        return (one for _, several in sorted(self.found.items()) for one in several)

    def read_pieces(self, numbers: Collection[int]) -> bool:
        """Let libyaml read some of the pieces; False when it says anything."""
        if not numbers:
            return True
        lines = [piece.line for piece in self.pieces]
        for one in read_yaml(self.file, excerpt(self.pieces, numbers)):
            if isinstance(one, Diagnostic):
                return False
            start: Any = one.root.start_mark
            self.found[bisect_right(lines, start.line) - 1].append(one)
        return True

    def learn(self, number: int, rest: str) -> None:
        """Take a document that libyaml read for the model of others with the same text between the values."""
        match self.found.get(number):
            case [Document() as model]:
                if shape := learn(self.file, model.root, self.pieces[number]):
                    self.shapes[rest].append(shape)

    def is_known(self, number: int, values: Values, rest: str) -> bool:
        """Read a pod that is like one that libyaml read, if it is."""
        for shape in self.shapes.get(rest, ()):
            if pod := shape.read(self.pieces[number], values):
                self.found[number].append(pod)
                return True
        return False
