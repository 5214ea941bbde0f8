"""A lab that is up: probed once before anything is loaded, then loaded, then probed for the answer.

The first round tells a dropped packet from a broken lab.  What did not pass while nothing filtered it is UNKNOWN, and
so is every other probe that could not be made: only silence, twice, where there was an answer before, is DENY.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager

from npcompile.runtime.lab.build import LabError, built
from npcompile.runtime.lab.observation import Observation, Observed
from npcompile.runtime.lab.plan import Plan
from npcompile.runtime.lab.prober import Prober
from npcompile.runtime.lab.probes import Probe
from npcompile.runtime.namespaces import Namespace, own_folder
from npcompile.runtime.place import PLACE

# Seconds to wait for an answer, one a round: what got none is asked again.
_CONTROL = (1.0, 2.0, 4.0)
_FILTERED = (0.3, 0.8)


class Lab:
    """The namespaces of a plan, by the names of its places, and the prober in them."""

    def __init__(
        self, plan: Plan, namespaces: Mapping[str, Namespace], prober: Prober, probes: Sequence[Probe]
    ) -> None:
        self.plan = plan
        self.namespaces = namespaces
        self.prober = prober
        self._numbers = range(len(probes))
        self._broken: dict[int, str] = {}

    def check(self) -> None:
        """Every probe must pass while nothing is loaded."""
        self._ask(self._numbers, _CONTROL)
        for number in self.prober.unanswered(self._numbers):
            reason = self.prober.observation(number).reason or "no answer"
            self._broken[number] = f"it did not pass before anything was loaded: {reason}"

    def load(self, load: Callable[[str], None]) -> None:
        """Call for each node, by its name, in the node's namespace."""
        for node in self.plan.nodes:
            with self.namespaces[node.name].entered():
                load(node.name)

    def observe(self) -> list[Observation]:
        """What comes of every probe now."""
        sound = [number for number in self._numbers if number not in self._broken]
        self._ask(sound, _FILTERED)
        return [
            Observation(Observed.UNKNOWN, self._broken[number])
            if number in self._broken
            else self.prober.observation(number)
            for number in self._numbers
        ]

    def _ask(self, numbers: Sequence[int], waits: Sequence[float]) -> None:
        self.prober.next_phase()
        for seconds in waits:
            numbers = self.prober.unanswered(numbers)
            if numbers:
                self.prober.ask(numbers, seconds)


@contextmanager
def opened(plan: Plan, probes: Sequence[Probe]) -> Iterator[Lab]:
    """A lab for these probes; gone afterwards.  Raises LabError where the machine does not let us."""
    with ExitStack() as stack:
        try:
            stack.enter_context(own_folder(PLACE))  # what loaders write down goes with the lab, however that ends
        except OSError as error:
            raise LabError((error.strerror or "unknown error").lower()) from error
        namespaces = stack.enter_context(built(plan))
        hosts = {address: namespaces[place.name] for place in plan.places for address in place.addresses}
        try:
            prober = Prober(hosts, probes)
        except OSError as error:
            raise LabError((error.strerror or "unknown error").lower()) from error
        with closing(prober):
            yield Lab(plan, namespaces, prober, probes)
